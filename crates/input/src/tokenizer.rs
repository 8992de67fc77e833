//! A `tokenizer.json` from outside: loaded without chance, and run step by step, so that one which makes endless text of a short one is
//! stopped before the memory is full.
//!
//! The steps are the library's own, in its own order: added tokens are found, the rest is normalized, then split; a model then makes
//! tokens of each part.

use std::cell::Cell;
use tokenizers::utils::SysRegex;
use tokenizers::{
    Model, ModelWrapper, NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
    PreTokenizerWrapper, Tokenizer,
};

/// A text may become so many times its bytes before the model sees it, and `SLACK` bytes more. Real tokenizers stay below 5, and the
/// worst single character of Unicode's own compatibility forms makes 11 bytes of one.
const GROWTH: usize = 16;
const SLACK: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    #[error("not a usable tokenizer.json: {0}")]
    Unusable(String),
    #[error("the tokenizer makes more than {most} bytes of a text of {bytes} bytes before it splits it into tokens; use one that does not")]
    Grows { bytes: usize, most: usize },
    #[error("tokenizing a text of {bytes} bytes: {problem}")]
    Text { bytes: usize, problem: String },
}

/// Loads the bytes of a `tokenizer.json`. Padding, truncation and BPE's dropout belong to somebody's training and are turned off: nothing is
/// cut or filled up, and a text has the same tokens each time.
pub fn load_tokenizer(bytes: &[u8]) -> Result<Tokenizer, TokenizerError> {
    let unusable = |why: &dyn std::fmt::Display| TokenizerError::Unusable(why.to_string());
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).map_err(|e| unusable(&e))?;
    // Some files that are no tokenizers make the library panic; here that is an error like its others.
    let parsed = std::panic::catch_unwind(|| Tokenizer::from_bytes(bytes));
    let mut tokenizer = parsed.map_err(|_| unusable(&"the tokenizers library gives up on it"))?.map_err(|e| unusable(&e))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|e| unusable(&e))?;
    if let ModelWrapper::BPE(model) = tokenizer.get_model()
        && model.dropout.is_some()
    {
        let mut model = model.clone();
        model.dropout = None;
        tokenizer.with_model(model);
    }
    Ok(tokenizer)
}

/// The steps of one tokenizer up to its model.
#[derive(Debug)]
pub struct Splitter {
    normalizers: Vec<Step>,
    pre_tokenizers: Vec<PreTokenizerWrapper>,
}

#[derive(Debug)]
struct Step {
    normalizer: NormalizerWrapper,
    /// What a `Replace` looks for: its matches are counted before it runs.
    pattern: Option<SysRegex>,
}

impl Splitter {
    pub fn new(tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let (mut normalizers, mut pre_tokenizers) = (vec![], vec![]);
        if let Some(all) = tokenizer.get_normalizer() {
            flatten_normalizer(all, &mut normalizers)?;
        }
        if let Some(all) = tokenizer.get_pre_tokenizer() {
            flatten_pre_tokenizer(all, &mut pre_tokenizers);
        }
        Ok(Self { normalizers, pre_tokenizers })
    }

    /// The text's parts, ready for the model; added tokens that it contains are tokens already. Special ones are found too, unless the
    /// tokenizer was told to read them as text.
    pub fn split(&self, tokenizer: &Tokenizer, text: &str) -> Result<PreTokenizedString, TokenizerError> {
        let most = text.len().saturating_mul(GROWTH).saturating_add(SLACK);
        let grows = || TokenizerError::Grows { bytes: text.len(), most };
        let failed = |e: tokenizers::Error| TokenizerError::Text { bytes: text.len(), problem: e.to_string() };
        let bounded = Bounded { steps: &self.normalizers, left: Cell::new(most), failed: Cell::new(None) };
        let mut parts = tokenizer.get_added_vocabulary().extract_and_normalize(Some(&bounded), text);
        match bounded.failed.into_inner() {
            None => {}
            Some(Stop::Grows) => return Err(grows()),
            Some(Stop::Failed(e)) => return Err(failed(e)),
        }
        for (at, step) in self.pre_tokenizers.iter().enumerate() {
            step.pre_tokenize(&mut parts).map_err(failed)?;
            // One step makes at most four bytes of one.
            if at > 0
                && parts.get_splits(OffsetReferential::Normalized, OffsetType::None).iter().map(|part| part.0.len()).sum::<usize>() > most
            {
                return Err(grows());
            }
        }
        Ok(parts)
    }

    /// The text's tokens as the library gives them, without those that a template would add.
    pub fn ids(&self, tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let failed = |e: tokenizers::Error| TokenizerError::Text { bytes: text.len(), problem: e.to_string() };
        let mut parts = self.split(tokenizer, text)?;
        parts.tokenize(|part| tokenizer.get_model().tokenize(part.get())).map_err(failed)?;
        Ok(collect(&parts))
    }
}

fn collect(parts: &PreTokenizedString) -> Vec<u32> {
    let parts = parts.get_splits(OffsetReferential::Original, OffsetType::None);
    parts.iter().filter_map(|part| part.2.as_ref()).flatten().map(|token| token.id).collect()
}

fn flatten_normalizer(normalizer: &NormalizerWrapper, out: &mut Vec<Step>) -> Result<(), TokenizerError> {
    if let NormalizerWrapper::Sequence(all) = normalizer {
        return all.as_ref().iter().try_for_each(|one| flatten_normalizer(one, out));
    }
    let pattern = match normalizer {
        NormalizerWrapper::Replace(replace) => Some(pattern(replace)?),
        _ => None,
    };
    out.push(Step { normalizer: normalizer.clone(), pattern });
    Ok(())
}

/// The library keeps a replacement's pattern to itself, except in the form of a file.
fn pattern(replace: &tokenizers::normalizers::Replace) -> Result<SysRegex, TokenizerError> {
    let unusable = |why: &dyn std::fmt::Display| TokenizerError::Unusable(format!("the pattern of a normalizer: {why}"));
    let file = serde_json::to_value(replace).map_err(|e| unusable(&e))?;
    let word = |kind: &str| file.pointer(&format!("/pattern/{kind}")).and_then(|word| word.as_str());
    let pattern = match (word("String"), word("Regex")) {
        (Some(text), _) => regex::escape(text),
        (None, Some(regex)) => regex.to_owned(),
        (None, None) => return Err(unusable(&"neither a string nor a regular expression")),
    };
    SysRegex::new(&pattern).map_err(|e| unusable(&e))
}

fn flatten_pre_tokenizer(pre_tokenizer: &PreTokenizerWrapper, out: &mut Vec<PreTokenizerWrapper>) {
    match pre_tokenizer {
        PreTokenizerWrapper::Sequence(all) => all.as_ref().iter().for_each(|one| flatten_pre_tokenizer(one, out)),
        one => out.push(one.clone()),
    }
}

enum Stop {
    Grows,
    Failed(tokenizers::Error),
}

/// The normalizers of a text, which may make `left` bytes more of it. The library ignores what a normalizer returns, so a failure is kept here.
struct Bounded<'a> {
    steps: &'a [Step],
    left: Cell<usize>,
    failed: Cell<Option<Stop>>,
}

impl Bounded<'_> {
    fn run(&self, text: &mut NormalizedString) -> Result<(), Stop> {
        for step in self.steps {
            if let (NormalizerWrapper::Replace(replace), Some(pattern)) = (&step.normalizer, &step.pattern) {
                // At most one match before each byte and one at the end; they are counted only where those might be too many.
                let size = |matches: usize| replace.content.len().saturating_mul(matches).saturating_add(text.len());
                if size(text.len() + 1) > self.left.get() && size(pattern.find_iter(text.get()).count()) > self.left.get() {
                    return Err(Stop::Grows);
                }
            }
            step.normalizer.normalize(text).map_err(Stop::Failed)?;
            if text.len() > self.left.get() {
                return Err(Stop::Grows);
            }
        }
        self.left.set(self.left.get() - text.len());
        Ok(())
    }
}

impl Normalizer for Bounded<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> tokenizers::Result<()> {
        let earlier = self.failed.take();
        let stop = earlier.or_else(|| self.run(text).err());
        self.failed.set(stop);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer(more: &str) -> Result<Tokenizer, TokenizerError> {
        load_tokenizer(
            format!(
                r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"post_processor":null,"decoder":null,{more},
                "model":{{"type":"BPE","dropout":0.5,"vocab":{{"a":0,"b":1,"ab":2,"aba":3,"x":4,"Ġ":5}},"merges":[["a","b"],["ab","a"]]}}}}"#
            )
            .as_bytes(),
        )
    }

    fn ids(more: &str, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let tokenizer = tokenizer(more)?;
        Splitter::new(&tokenizer)?.ids(&tokenizer, text)
    }

    #[test]
    fn dropout_is_turned_off() {
        let (text, plain) = ("ab".repeat(50), r#""normalizer":null,"pre_tokenizer":null"#);
        assert_eq!(ids(plain, &text).unwrap(), [2; 50]);
    }

    #[test]
    fn the_steps_give_what_the_library_gives() {
        let split = r#"{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}]}"#;
        let lower =
            r#"{"type":"Sequence","normalizers":[{"type":"Lowercase"},{"type":"Replace","pattern":{"String":"z"},"content":"ab"}]}"#;
        let tokenizer = tokenizer(&format!(r#""normalizer":{lower},"pre_tokenizer":{split}"#)).unwrap();
        let splitter = Splitter::new(&tokenizer).unwrap();
        for text in ["", "ab aba", "AZ 1b\tzz", "é z"] {
            assert_eq!(splitter.ids(&tokenizer, text).unwrap(), tokenizer.encode_fast(text, false).unwrap().get_ids(), "{text:?}");
        }
    }

    #[test]
    fn a_tokenizer_that_makes_endless_text_is_stopped() {
        let replace = |pattern: &str, content: &str| format!(r#"{{"type":"Replace","pattern":{pattern},"content":"{content}"}}"#);
        let twenty = replace(r#"{"String":"a"}"#, &"a".repeat(20));
        let endless = format!(r#"{{"type":"Sequence","normalizers":[{}]}}"#, vec![twenty; 40].join(","));
        let many_steps = vec![r#"{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}"#; 60].join(",");
        let cases = [
            (format!(r#""normalizer":{endless},"pre_tokenizer":null"#), "ab".repeat(1000)),
            (format!(r#""normalizer":{},"pre_tokenizer":null"#, replace(r#"{"Regex":"."}"#, &"x".repeat(100_000))), "a".repeat(100_000)),
            (format!(r#""normalizer":{{"type":"Prepend","prepend":"{}"}},"pre_tokenizer":null"#, "x".repeat(100_000)), "a".into()),
            (format!(r#""normalizer":null,"pre_tokenizer":{{"type":"Sequence","pretokenizers":[{many_steps}]}}"#), "é".repeat(100)),
        ];
        for (more, text) in cases {
            let error = ids(&more, &text).unwrap_err();
            assert!(matches!(error, TokenizerError::Grows { .. }), "{error}");
        }
        // A long replacement that matches seldom is none of this.
        let seldom = format!(r#""normalizer":{},"pre_tokenizer":null"#, replace(r#"{"Regex":"b+"}"#, &"x".repeat(1000)));
        assert_eq!(ids(&seldom, &format!("{}b", "a".repeat(10_000))).unwrap().len(), 11_000);
    }
}
