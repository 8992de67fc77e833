//! The special tokens of a folder with a tokenizer: which token begins and ends a text, what is put around every text, chat templates.
//!
//! The rules are those of transformers 5. Which token has which role is said by `tokenizer_config.json` (in folders of older versions by
//! `special_tokens_map.json`), else by the tokenizer's class. What is put around a text is said by the post-processor of `tokenizer.json`
//! alone: beside a `tokenizer.json`, `add_bos_token` and `add_eos_token` are not looked at.

mod class;
mod files;
mod post;
mod templates;
mod vocab;

pub use files::{TOKENIZER, tokenizer_files};
pub use templates::ChatTemplate;
pub use vocab::spellings;

use crate::ModelError;
use crate::generation::Generation;
use crate::json::{Fields, read_object};
use serde_json::{Map, Value};
use std::path::Path;
use vocab::Vocab;

/// Real ones have at most some tens of megabytes.
pub(crate) const MAX_TOKENIZER: u64 = 256 << 20;
pub(crate) const MAX_CONFIG: u64 = 64 << 20;

/// What a folder says about its special tokens. Ids are those of `tokenizer.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Specials {
    pub bos: Option<u32>,
    /// The tokenizer's own end token. A model may stop at others too, see [`Generation`].
    pub eos: Option<u32>,
    pub unk: Option<u32>,
    pub sep: Option<u32>,
    pub pad: Option<u32>,
    pub cls: Option<u32>,
    pub mask: Option<u32>,
    /// Special tokens without one of these roles (`additional_special_tokens`, `extra_special_tokens`).
    pub others: Vec<u32>,
    /// What the tokenizer puts before every text: usually nothing or BOS.
    pub front: Vec<u32>,
    /// What it puts behind every text.
    pub back: Vec<u32>,
    /// The one without a name is called "default".
    pub templates: Vec<ChatTemplate>,
    /// Where the folder contradicts itself and one side had to win.
    pub notes: Vec<String>,
}

impl Specials {
    /// Of a folder that holds a `tokenizer.json`.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(TOKENIZER);
        Self::beside(&path, &read_object(&path, MAX_TOKENIZER)?)
    }

    /// Of a `tokenizer.json` that was read already; `path` is where it lies, with the other files beside it.
    ///
    /// # Errors
    /// A file cannot be read; a role is given to something that is no token, or BOS or EOS to one that the vocabulary lacks.
    pub fn beside(path: &Path, tokenizer: &Value) -> Result<Self, ModelError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let found = Folder {
            settings: optional(&folder.join("tokenizer_config.json"), MAX_CONFIG)?,
            map: optional(&folder.join("special_tokens_map.json"), MAX_CONFIG)?,
            config: optional(&folder.join("config.json"), MAX_CONFIG)?,
            folder,
            vocab: Vocab::new(tokenizer),
        };
        let class = class::Defaults::of(&found.settings, &found.config, tokenizer);
        let numbered = Generation::read(folder)?;
        let (mut front, mut back) = (vec![], vec![]);
        post::around(tokenizer.get("post_processor").unwrap_or(&Value::Null), &mut front, &mut back)
            .map_err(|reason| ModelError::field(path, "post_processor", reason))?;
        if let Some(id) = front.iter().chain(&back).find(|id| !found.vocab.has(**id)) {
            return Err(ModelError::field(path, "post_processor", format!("puts token {id} beside a text, which the vocabulary lacks")));
        }
        let unk = found.lenient("unk_token", class.unk)?;
        let mut this = Self {
            bos: found.strict("bos_token", class.bos, &numbered.bos())?,
            eos: found.strict("eos_token", class.eos, &numbered.eos())?,
            unk: unk.or_else(|| found.vocab.unknown()),
            sep: found.lenient("sep_token", class.sep)?,
            pad: found.lenient("pad_token", class.pad)?.or(numbered.pad().filter(|id| found.vocab.has(*id) && found.silent("pad_token"))),
            cls: found.lenient("cls_token", class.cls)?,
            mask: found.lenient("mask_token", class.mask)?,
            others: found.others(),
            front,
            back,
            templates: templates::read(folder, &found.settings)?,
            notes: vec![],
        };
        this.contradictions(&found.settings);
        Ok(this)
    }

    /// Whether every text begins with BOS and nothing else.
    pub fn adds_bos(&self) -> bool {
        self.bos.is_some_and(|bos| self.front == [bos])
    }

    /// Whether every text ends with EOS and nothing else.
    pub fn adds_eos(&self) -> bool {
        self.eos.is_some_and(|eos| self.back == [eos])
    }

    fn contradictions(&mut self, settings: &Value) {
        for (key, around) in [("add_bos_token", &self.front), ("add_eos_token", &self.back)] {
            let said = settings.get(key).and_then(Value::as_bool);
            if said.is_some_and(|said| said == around.is_empty()) {
                let does = if around.is_empty() { "adds none" } else { "adds one" };
                self.notes.push(format!(
                    "tokenizer_config.json says {key} = {}, but the post-processor of tokenizer.json {does}, and transformers goes by it",
                    around.is_empty()
                ));
            }
        }
    }
}

/// The files of a folder that name special tokens; absent ones are empty objects.
struct Folder<'a> {
    folder: &'a Path,
    settings: Value,
    map: Value,
    config: Value,
    vocab: Vocab<'a>,
}

impl Folder<'_> {
    /// Which file says something about a role, and what: null is a statement too.
    fn said(&self, role: &str) -> Option<(&'static str, &Value)> {
        // Newer folders keep everything in tokenizer_config.json; in older ones the map has the last word.
        let older = self.settings.get("added_tokens_decoder").is_none();
        let mapped = self.map.get(role).filter(|_| older).map(|value| ("special_tokens_map.json", value));
        mapped.or_else(|| self.settings.get(role).map(|value| ("tokenizer_config.json", value)))
    }

    fn silent(&self, role: &str) -> bool {
        self.said(role).is_none()
    }

    /// The spelling of a role's token: a string, or an object with it in `content`.
    fn spelled(&self, role: &str) -> Result<Option<(&'static str, &str)>, ModelError> {
        let Some((file, value)) = self.said(role) else { return Ok(None) };
        let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
        match text {
            Some(text) => Ok(Some((file, text))),
            None if value.is_null() => Ok(None),
            None => Err(ModelError::field(&self.folder.join(file), role, "is neither a string nor an object with a string in \"content\"")),
        }
    }

    /// BOS and EOS must be tokens of the vocabulary. Where the tokenizer says nothing, the model's own number counts.
    fn strict(&self, role: &str, class: Option<&str>, numbered: &Option<(&'static str, u32)>) -> Result<Option<u32>, ModelError> {
        let lacks = |file: &str, field: &str, what: String| {
            let reason = format!("is {what}, which the vocabulary lacks: name a token of tokenizer.json");
            Err(ModelError::field(&self.folder.join(file), field, reason))
        };
        if let Some((file, text)) = self.spelled(role)? {
            return match self.vocab.id(text) {
                Some(id) => Ok(Some(id)),
                None => lacks(file, role, format!("{text:?}")),
            };
        }
        if !self.silent(role) {
            return Ok(None);
        }
        match (class.and_then(|text| self.vocab.id(text)), numbered) {
            (Some(id), _) => Ok(Some(id)),
            (None, Some((file, id))) if !self.vocab.has(*id) => lacks(file, &format!("{role}_id"), format!("token {id}")),
            (None, numbered) => Ok(numbered.map(|(_, id)| id)),
        }
    }

    /// Tokens that are special without a role of ours: a list, or in newer folders an object from a role to its token.
    fn others(&self) -> Vec<u32> {
        let files = [&self.settings, &self.map];
        let said = files.iter().flat_map(|file| ["additional_special_tokens", "extra_special_tokens"].map(|key| file.get(key)));
        let tokens = said.flatten().flat_map(|value| match value {
            Value::Array(list) => list.iter().collect::<Vec<_>>(),
            Value::Object(roles) => roles.values().collect(),
            _ => vec![],
        });
        let spelled = tokens.filter_map(|token| token.as_str().or_else(|| token.get("content")?.as_str()));
        let mut found: Vec<u32> = spelled.filter_map(|text| self.vocab.id(text)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }

    /// A role that no text of ours depends on: without such a token nobody has the role.
    fn lenient(&self, role: &str, class: Option<&str>) -> Result<Option<u32>, ModelError> {
        let spelled = self.spelled(role)?.map(|(_, text)| text).or(class.filter(|_| self.silent(role)));
        Ok(spelled.and_then(|text| self.vocab.id(text)))
    }
}

/// A JSON object that may be absent, and is empty then.
pub(crate) fn optional(path: &Path, most: u64) -> Result<Value, ModelError> {
    match read_object(path, most) {
        Err(ModelError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(Value::Object(Map::new())),
        other => other,
    }
}

/// A token id, or a list of them; negative numbers stand for "none" in old files.
pub(crate) fn ids(fields: &Fields, key: &str) -> Result<Vec<u32>, ModelError> {
    let one = |value: &Value| match value.as_i64() {
        Some(number) if number < 0 => Ok(None),
        Some(number) => u32::try_from(number).map(Some).map_err(|_| ()),
        None => Err(()),
    };
    let wrong = |value: &Value| fields.refuse(key, format!("is {value}, which is not a token id"));
    match fields.get(key) {
        None => Ok(vec![]),
        Some(list @ Value::Array(values)) => {
            let read: Result<Vec<_>, ()> = values.iter().map(one).collect();
            Ok(read.map_err(|()| wrong(list))?.into_iter().flatten().collect())
        }
        Some(value) => Ok(one(value).map_err(|()| wrong(value))?.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests;
