//! Where a model stops and how it is sampled: the token ids of `config.json`, and `generation_config.json`.

use crate::ModelError;
use crate::json::Fields;
use crate::special::{MAX_CONFIG, ids, optional};
use serde_json::{Value, json};
use std::path::Path;

const CONFIG: &str = "config.json";
const SETTINGS: &str = "generation_config.json";

/// Token ids by role. A model may stop at several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenIds {
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

/// What a folder says about generation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Generation {
    /// Of `config.json`.
    pub ids: TokenIds,
    /// `generation_config.json`, whole, where there is one.
    pub settings: Option<Value>,
    /// Its ids.
    set: TokenIds,
}

impl TokenIds {
    fn read(path: &Path, value: &Value) -> Result<Self, ModelError> {
        let fields = Fields::new(path, value)?;
        let first = |key| Ok::<_, ModelError>(ids(&fields, key)?.first().copied());
        Ok(Self { bos: first("bos_token_id")?, eos: ids(&fields, "eos_token_id")?, pad: first("pad_token_id")? })
    }

    /// As the files have them: `null` where there is none, a list only of several.
    pub fn fields(&self) -> [(&'static str, Value); 3] {
        let eos = match self.eos.as_slice() {
            [] => Value::Null,
            [one] => json!(one),
            several => json!(several),
        };
        [("bos_token_id", json!(self.bos)), ("eos_token_id", eos), ("pad_token_id", json!(self.pad))]
    }
}

impl Generation {
    /// Absent files say nothing.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let (config, settings) = (folder.join(CONFIG), folder.join(SETTINGS));
        let set = optional(&settings, MAX_CONFIG)?;
        Ok(Self {
            ids: TokenIds::read(&config, &optional(&config, MAX_CONFIG)?)?,
            set: TokenIds::read(&settings, &set)?,
            settings: settings.is_file().then_some(set),
        })
    }

    /// Of a new model.
    pub fn of(ids: TokenIds) -> Self {
        Self { ids, settings: None, set: TokenIds::default() }
    }

    /// With the file that says so.
    pub(crate) fn bos(&self) -> Option<(&'static str, u32)> {
        self.ids.bos.map(|id| (CONFIG, id)).or(self.set.bos.map(|id| (SETTINGS, id)))
    }

    pub(crate) fn eos(&self) -> Option<(&'static str, u32)> {
        self.ids.eos.first().map(|id| (CONFIG, *id)).or(self.set.eos.first().map(|id| (SETTINGS, *id)))
    }

    pub(crate) fn pad(&self) -> Option<u32> {
        self.ids.pad.or(self.set.pad)
    }

    /// The tokens at which generation stops.
    pub fn stops(&self) -> &[u32] {
        if self.set.eos.is_empty() { &self.ids.eos } else { &self.set.eos }
    }

    /// `generation_config.json` as it is written: the folder's own, or what transformers derives from the model's config.
    pub fn to_json(&self) -> String {
        let derived = || {
            let mut value = json!({ "_from_model_config": true });
            for (key, id) in self.ids.fields().into_iter().filter(|(_, id)| !id.is_null()) {
                value[key] = id;
            }
            value
        };
        format!("{:#}\n", self.settings.clone().unwrap_or_else(derived))
    }

    /// For use with a tokenizer that may not be the folder's: an id stays if `same` says that both tokenizers mean the same token by it,
    /// else the tokenizer's own token of that role takes its place. Gives a sentence for each id that was changed.
    pub fn with_tokenizer(mut self, own: &TokenIds, same: &dyn Fn(u32) -> bool) -> (Self, Vec<String>) {
        let mut notes = vec![];
        let mut fit = |file: &str, ids: &TokenIds| {
            let mut note = |role: &str, from: &[u32], to: &[u32]| {
                let text = format!("{file}: {role}_token_id {from:?} is another token for the run's tokenizer: {to:?} takes its place");
                notes.push(text);
            };
            let mut one = |role: &str, id: Option<u32>, own: Option<u32>| match id {
                Some(id) if !same(id) => {
                    note(role, &[id], own.as_slice());
                    own
                }
                kept => kept,
            };
            let (bos, pad) = (one("bos", ids.bos, own.bos), one("pad", ids.pad, own.pad));
            let kept: Vec<u32> = ids.eos.iter().copied().filter(|id| same(*id)).collect();
            let eos = if kept.is_empty() && !ids.eos.is_empty() { own.eos.clone() } else { kept };
            if eos != ids.eos {
                note("eos", &ids.eos, &eos);
            }
            TokenIds { bos, eos, pad }
        };
        let set = fit(SETTINGS, &self.set);
        self.ids = fit(CONFIG, &self.ids);
        if let Some(settings) = &mut self.settings {
            let changed = self.set.fields().into_iter().zip(set.fields()).filter(|(before, after)| before != after);
            changed.for_each(|(_, (key, id))| settings[key] = id);
        }
        self.set = set;
        (self, notes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        folder
    }

    #[test]
    fn lists_of_end_tokens_and_sampling_settings_are_kept() {
        let settings = json!({ "bos_token_id": 0, "eos_token_id": [1, 2], "do_sample": true, "temperature": 0.6 });
        let found =
            folder(&[("config.json", json!({ "bos_token_id": 0, "eos_token_id": [1, 2] })), ("generation_config.json", settings.clone())]);
        let read = Generation::read(found.path()).unwrap();
        assert_eq!(read.ids, TokenIds { bos: Some(0), eos: vec![1, 2], pad: None });
        assert_eq!(serde_json::from_str::<Value>(&read.to_json()).unwrap(), settings);
        assert_eq!(read.ids.fields()[1], ("eos_token_id", json!([1, 2])));
        let (same, notes) = read.clone().with_tokenizer(&TokenIds::default(), &|_| true);
        assert_eq!((same, notes.len()), (read, 0));
    }

    #[test]
    fn without_settings_they_are_derived_from_the_config() {
        let found = folder(&[("config.json", json!({ "bos_token_id": -1, "eos_token_id": 2, "pad_token_id": null }))]);
        let read = Generation::read(found.path()).unwrap();
        assert_eq!(read.ids, TokenIds { bos: None, eos: vec![2], pad: None });
        assert_eq!(serde_json::from_str::<Value>(&read.to_json()).unwrap(), json!({ "_from_model_config": true, "eos_token_id": 2 }));
        assert_eq!(Generation::read(folder(&[]).path()).unwrap(), Generation::default());
    }

    #[test]
    fn another_tokenizers_own_tokens_take_the_place_of_ids_that_mean_something_else_to_it() {
        let settings = json!({ "bos_token_id": 1, "eos_token_id": [2, 7], "pad_token_id": 9, "top_p": 0.9 });
        let found = folder(&[("config.json", json!({ "bos_token_id": 1, "eos_token_id": 2 })), ("generation_config.json", settings)]);
        let own = TokenIds { bos: Some(50), eos: vec![51], pad: None };
        let (read, notes) = Generation::read(found.path()).unwrap().with_tokenizer(&own, &|id| id == 7);
        assert_eq!(read.ids, TokenIds { bos: Some(50), eos: vec![51], pad: None });
        let written: Value = serde_json::from_str(&read.to_json()).unwrap();
        assert_eq!(written, json!({ "bos_token_id": 50, "eos_token_id": 7, "pad_token_id": null, "top_p": 0.9 }));
        assert_eq!(notes.len(), 5, "{notes:?}");
        assert!(notes.iter().any(|n| n.contains("config.json: bos_token_id [1]") && n.contains("[50] takes its place")), "{notes:?}");
    }

    #[test]
    fn what_is_no_token_id_is_refused_by_field() {
        for (value, word) in [(json!("2"), "\"2\""), (json!([2, "x"]), "[2,\"x\"]"), (json!(1.5), "1.5")] {
            let error = Generation::read(folder(&[("config.json", json!({ "eos_token_id": value }))]).path()).unwrap_err().to_string();
            assert!(error.contains("config.json: field `eos_token_id`") && error.contains(word), "{error}");
        }
    }
}
