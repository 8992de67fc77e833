//! The text side of a model: its tokenizer and the rule for its beginning-of-sequence token.
//!
//! BOS is put before every text by models that were trained so (LLaMA) and by no others (GPT-2), never twice. Other special tokens
//! that a tokenizer would add by itself (an EOS at the end) are left out: they would stand between a prompt and its answer.
//!
//! A special token that an exam's text spells is that token, as in lm-evaluation-harness, whose numbers ours equal. (Training texts are read
//! otherwise: there it is spelled out.)

use std::path::Path;
use std::sync::Arc;

use osler_input::Splitter;
use serde_json::{Map, Value};
use tokenizers::Tokenizer;

use crate::error::ExamError;
use crate::source::Source;

#[derive(Debug, Clone)]
pub struct ExamTokenizer {
    tokenizer: Tokenizer,
    splitter: Arc<Splitter>,
    bos: Option<u32>,
    eos: Option<u32>,
    add_bos: bool,
    /// sha256 of tokenizer.json, where there is one.
    digest: Option<String>,
    file: String,
}

impl ExamTokenizer {
    pub fn new(tokenizer: Tokenizer, bos: Option<u32>, eos: Option<u32>, add_bos: bool) -> Result<Self, ExamError> {
        Self::checked(tokenizer, [bos, eos], add_bos, None, "in memory".into())
    }

    /// From a Hugging Face folder. `tokenizer.json` is needed. BOS and EOS are named by `tokenizer_config.json`, else numbered by
    /// `config.json`, else by `generation_config.json`. BOS is added if `add_bos_token` says so; where that is absent, if the
    /// class is LLaMA's or the tokenizer's own post-processor adds it.
    pub fn from_folder(folder: &Path) -> Result<Self, ExamError> {
        let source = Source::read(&folder.join("tokenizer.json"))?;
        let tokenizer = osler_input::load_tokenizer(source.text.as_bytes())
            .map_err(|e| ExamError::Tokenizer { file: source.file.clone(), message: e.to_string() })?;
        let named = config(folder, "tokenizer_config.json")?;
        let numbered = [config(folder, "config.json")?, config(folder, "generation_config.json")?];
        let bos = special(&tokenizer, &named, &numbered, "bos_token", &source.file)?;
        let eos = special(&tokenizer, &named, &numbered, "eos_token", &source.file)?;
        let add_bos = match named.get("add_bos_token") {
            Some(Value::Bool(add)) => *add,
            _ => is_llama(&named) || adds_by_itself(&tokenizer, bos),
        };
        Self::checked(tokenizer, [bos, eos], add_bos, Some(source.sha256), source.file)
    }

    fn checked(
        mut tokenizer: Tokenizer,
        [bos, eos]: [Option<u32>; 2],
        add_bos: bool,
        digest: Option<String>,
        file: String,
    ) -> Result<Self, ExamError> {
        let fail = |message: String| ExamError::Tokenizer { file: file.clone(), message };
        if add_bos && bos.is_none() {
            return Err(fail("BOS is to be added, but no BOS token is named; set bos_token in tokenizer_config.json".into()));
        }
        for (name, id) in [("BOS", bos), ("EOS", eos)] {
            if let Some(id) = id.filter(|id| tokenizer.id_to_token(*id).is_none()) {
                return Err(fail(format!("{name} is token {id}, which the vocabulary lacks")));
            }
        }
        // A folder may carry the settings of somebody's training script; an exam truncates by its own rule.
        tokenizer.with_truncation(None).map_err(|e| fail(e.to_string()))?;
        tokenizer.with_padding(None);
        let splitter = Arc::new(Splitter::new(&tokenizer).map_err(|e| fail(e.to_string()))?);
        Ok(Self { tokenizer, splitter, bos, eos, add_bos, digest, file })
    }

    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    pub fn eos(&self) -> Option<u32> {
        self.eos
    }

    pub fn adds_bos(&self) -> bool {
        self.add_bos
    }

    /// The text's tokens, with BOS in front if the model wants one and the text does not begin with it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ExamError> {
        let mut tokens = self.encode_plain(text)?;
        if let Some(bos) = self.bos.filter(|bos| self.add_bos && tokens.first() != Some(bos)) {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// The text's tokens and nothing else.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, ExamError> {
        let ids = self.splitter.ids(&self.tokenizer, text);
        ids.map_err(|e| ExamError::Tokenizer { file: self.file.clone(), message: e.to_string() })
    }

    /// The token that stands before a text without context: BOS, else EOS.
    pub fn prefix(&self) -> Result<u32, ExamError> {
        self.bos.or(self.eos).ok_or_else(|| ExamError::Tokenizer {
            file: self.file.clone(),
            message: "neither BOS nor EOS is known, so nothing can stand before a text's first token; \
                      set bos_token_id or eos_token_id in config.json"
                .into(),
        })
    }

    /// The text of a token, for result files.
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }
}

/// A JSON object of the folder; absent files are empty ones.
fn config(folder: &Path, name: &str) -> Result<Map<String, Value>, ExamError> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(Map::new());
    }
    let source = Source::read(&path)?;
    serde_json::from_str(&source.text).map_err(|e| source.fail(format!("{e}; expected one JSON object")))
}

fn special(
    tokenizer: &Tokenizer,
    named: &Map<String, Value>,
    numbered: &[Map<String, Value>],
    key: &str,
    file: &str,
) -> Result<Option<u32>, ExamError> {
    let fail = |message: String| ExamError::Tokenizer { file: file.to_owned(), message };
    // A null here is a statement: this model has no such token, whatever its config.json numbers.
    if let Some(value) = named.get(key) {
        let text = match value {
            Value::Null => return Ok(None),
            Value::Object(token) => token.get("content").and_then(Value::as_str),
            other => other.as_str(),
        };
        let text = text.ok_or_else(|| fail(format!("`{key}` in tokenizer_config.json is neither a string nor a token")))?;
        let id = tokenizer.token_to_id(text);
        return id.map(Some).ok_or_else(|| fail(format!("`{key}` is {text:?}, which the vocabulary lacks")));
    }
    let id_key = format!("{key}_id");
    for config in numbered {
        let id = match config.get(&id_key) {
            Some(Value::Array(ids)) => ids.first(), // Some models list several EOS tokens; the first is the main one.
            other => other,
        };
        match id {
            None | Some(Value::Null) => continue,
            Some(id) => {
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                return id.map(Some).ok_or_else(|| fail(format!("`{id_key}` is not a token id")));
            }
        }
    }
    Ok(None)
}

fn is_llama(named: &Map<String, Value>) -> bool {
    matches!(named.get("tokenizer_class").and_then(Value::as_str), Some("LlamaTokenizer" | "LlamaTokenizerFast"))
}

fn adds_by_itself(tokenizer: &Tokenizer, bos: Option<u32>) -> bool {
    let first = |special| tokenizer.encode_fast("a", special).ok().and_then(|e| e.get_ids().first().copied());
    bos.is_some() && first(true) == bos && first(false) != bos
}
