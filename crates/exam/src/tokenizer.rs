//! The text side of a model: its tokenizer and what stands before a text.
//!
//! What the tokenizer itself puts before a text (LLaMA's BOS, nothing for GPT-2) stands before every prompt, never twice. What it puts
//! behind a text (an EOS) is left out: it would stand between a prompt and its answer.

use std::path::Path;

use osler_model::{ModelError, Specials, TOKENIZER};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::error::ExamError;
use crate::source::Source;

#[derive(Debug, Clone)]
pub struct ExamTokenizer {
    tokenizer: Tokenizer,
    bos: Option<u32>,
    eos: Option<u32>,
    /// What stands before every text.
    front: Vec<u32>,
    /// sha256 of tokenizer.json, where there is one.
    digest: Option<String>,
    file: String,
}

impl ExamTokenizer {
    /// A tokenizer from elsewhere; `add_bos` says whether BOS stands before every text.
    pub fn new(tokenizer: Tokenizer, bos: Option<u32>, eos: Option<u32>, add_bos: bool) -> Result<Self, ExamError> {
        Self::from_parts(tokenizer, bos, eos, add_bos, "in memory")
    }

    /// As [`Self::new`], from the text of a `tokenizer.json`; `file` is where errors say that it comes from.
    pub fn from_json(json: &str, bos: Option<u32>, eos: Option<u32>, add_bos: bool, file: &str) -> Result<Self, ExamError> {
        Self::from_parts(parse(json, file)?, bos, eos, add_bos, file)
    }

    fn from_parts(tokenizer: Tokenizer, bos: Option<u32>, eos: Option<u32>, add_bos: bool, file: &str) -> Result<Self, ExamError> {
        if add_bos && bos.is_none() {
            let message = "BOS is to be added, but no BOS token is named".into();
            return Err(ExamError::Tokenizer { file: file.to_owned(), message });
        }
        let front = bos.filter(|_| add_bos).into_iter().collect();
        Self { tokenizer, bos, eos, front, digest: None, file: file.to_owned() }.checked()
    }

    /// From a Hugging Face folder, by the rules of [`Specials`]. `tokenizer.json` is needed.
    pub fn from_folder(folder: &Path) -> Result<Self, ExamError> {
        let path = folder.join(TOKENIZER);
        let source = Source::read(&path)?;
        let tokenizer = parse(&source.text, &source.file)?;
        let json: Value = serde_json::from_str(&source.text).map_err(|e| source.fail(e.to_string()))?;
        let specials = Specials::beside(&path, &json).map_err(|error| match error {
            ModelError::Io { path, source, .. } => ExamError::Read { path, source },
            other => ExamError::Tokenizer { file: source.file.clone(), message: other.to_string() },
        })?;
        let (bos, eos, front) = (specials.bos, specials.eos, specials.front);
        Self { tokenizer, bos, eos, front, digest: Some(source.sha256), file: source.file }.checked()
    }

    fn checked(mut self) -> Result<Self, ExamError> {
        let fail = |message: String| ExamError::Tokenizer { file: self.file.clone(), message };
        for (name, id) in [("BOS", self.bos), ("EOS", self.eos)] {
            if let Some(id) = id.filter(|id| self.tokenizer.id_to_token(*id).is_none()) {
                return Err(fail(format!("{name} is token {id}, which the vocabulary lacks")));
            }
        }
        // A folder may carry the settings of somebody's training script; an exam truncates by its own rule.
        let unset = self.tokenizer.with_truncation(None).map(|_| ());
        unset.map_err(|e| ExamError::Tokenizer { file: self.file.clone(), message: e.to_string() })?;
        self.tokenizer.with_padding(None);
        Ok(self)
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

    /// Whether anything stands before every text.
    pub fn adds_bos(&self) -> bool {
        !self.front.is_empty()
    }

    /// The text's tokens, after what the tokenizer puts before a text, if the text does not begin with that by itself.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ExamError> {
        let mut tokens = self.encode_plain(text)?;
        if !tokens.starts_with(&self.front) {
            tokens.splice(0..0, self.front.iter().copied());
        }
        Ok(tokens)
    }

    /// The text's tokens and nothing else.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, ExamError> {
        let encoding = self.tokenizer.encode_fast(text, false);
        let encoding = encoding.map_err(|e| ExamError::Tokenizer { file: self.file.clone(), message: e.to_string() })?;
        Ok(encoding.get_ids().to_vec())
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

fn parse(json: &str, file: &str) -> Result<Tokenizer, ExamError> {
    Tokenizer::from_bytes(json.as_bytes()).map_err(|e| ExamError::Tokenizer { file: file.to_owned(), message: e.to_string() })
}
