//! `[tokenizer]`: how texts become tokens, and what an imported model gets for tokens that it does not know.

use crate::ids::CorpusName;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum TokenizerSpec {
    /// Byte-level BPE, or WordPiece, trained on the named corpora's training documents.
    Train {
        vocab_size: u32,
        min_frequency: u32,
        corpora: Vec<CorpusName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wordpiece: Option<WordpieceSpec>,
    },
    /// A `tokenizer.json`, or a bert's `vocab.txt`.
    File {
        path: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        extend: Option<ExtendSpec>,
    },
}

impl TokenizerSpec {
    pub fn extend(&self) -> Option<ExtendSpec> {
        match self {
            Self::Train { .. } => None,
            Self::File { extend, .. } => *extend,
        }
    }
}

/// What an imported model gets for tokens that it has no rows for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendSpec {
    pub rule: ExtendRule,
    /// The rows are filled up to a multiple of this.
    pub multiple_of: u32,
}

/// How a new token's rows in embedding and head begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExtendRule {
    /// The mean of the old rows, with a little noise.
    Mean,
    /// As a new model's: normal, of the model's `init_std`.
    Normal,
    Zero,
}

/// BERT's way to split texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordpieceSpec {
    /// Texts are put into lower case and lose their accents.
    pub lowercase: bool,
}
