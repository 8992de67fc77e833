//! The text side of a model: its tokenizer and what stands before a text.
//!
//! What the tokenizer itself puts before a text (LLaMA's BOS, nothing for GPT-2) stands before every prompt, never twice. What it puts
//! behind a text (an EOS) is left out: it would stand between a prompt and its answer.
//!
//! A special token that an exam's text spells is that token, as in lm-evaluation-harness, whose numbers ours equal. (Training texts are read
//! otherwise: there it is spelled out.)

use std::path::Path;
use std::sync::Arc;

use osler_input::Splitter;
use osler_model::{ModelError, Specials, TOKENIZER};
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::error::ExamError;
use crate::source::Source;

#[derive(Debug, Clone)]
pub struct ExamTokenizer {
    tokenizer: Tokenizer,
    splitter: Arc<Splitter>,
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
        Self::checked(tokenizer, [bos, eos], front, None, file.to_owned())
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
        Self::checked(tokenizer, [bos, eos], front, Some(source.sha256), source.file)
    }

    fn checked(
        mut tokenizer: Tokenizer,
        [bos, eos]: [Option<u32>; 2],
        front: Vec<u32>,
        digest: Option<String>,
        file: String,
    ) -> Result<Self, ExamError> {
        let fail = |message: String| ExamError::Tokenizer { file: file.clone(), message };
        for (name, id) in [("BOS", bos), ("EOS", eos)] {
            if let Some(id) = id.filter(|id| tokenizer.id_to_token(*id).is_none()) {
                return Err(fail(format!("{name} is token {id}, which the vocabulary lacks")));
            }
        }
        // A folder may carry the settings of somebody's training script; an exam truncates by its own rule.
        tokenizer.with_truncation(None).map_err(|e| fail(e.to_string()))?;
        tokenizer.with_padding(None);
        let splitter = Arc::new(Splitter::new(&tokenizer).map_err(|e| fail(e.to_string()))?);
        Ok(Self { tokenizer, splitter, bos, eos, front, digest, file })
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

fn parse(json: &str, file: &str) -> Result<Tokenizer, ExamError> {
    osler_input::load_tokenizer(json.as_bytes()).map_err(|e| ExamError::Tokenizer { file: file.to_owned(), message: e.to_string() })
}
