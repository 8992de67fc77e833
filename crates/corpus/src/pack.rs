//! Training documents become token shards, and shards become numbered sequences.
//!
//! Each training chunk is one shard: its documents' tokens, each document followed by the end-of-text token, and preceded by BOS where the
//! tokenizer puts one before texts. A shard is cut into windows:
//! sequence `i` covers tokens `[i*L, i*L + L + 1)`, `L` inputs with their targets one further. So each token but the first is a target exactly once; the tail
//! that does not fill a window is dropped and counted. A bert's windows are framed instead: `L - 2` tokens of the stream, without overlap, between
//! the tokens that begin and end a text. All of it is fixed before sampling begins: a sequence's number stands for its content.

use crate::clean::CleanDocument;
use crate::error::{Error, Result};
use crate::megatron::{ShardWriter, TokenType};
use crate::merge::JsonLines;
use crate::output::FileInfo;
use crate::tokenizer::{Encoded, Tokenizer};
use osler_core::digest::Digest;
use osler_core::job::Unknown;
use osler_core::json;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Text that is tokenized at once by all threads.
const BATCH_BYTES: usize = 4 << 20;
const FORMAT: u32 = 1;

/// What a dataset is: written by [`pack`], read by [`crate::Dataset`]. Its fingerprint is the corpus's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetManifest {
    pub format: u32,
    /// Tokens of a sequence's input; one more is stored for the last target.
    pub sequence_length: u32,
    pub vocab_size: u32,
    pub token_type: TokenType,
    pub eos: u32,
    /// What each document begins with: BOS, or nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub front: Vec<u32>,
    /// Of `tokenizer.json`.
    pub tokenizer: Digest,
    pub shards: Vec<Shard>,
    pub documents: u64,
    pub sequences: u64,
    /// Stored tokens, those that begin and end documents included.
    pub tokens: u64,
    /// Tokens that no sequence covers.
    pub dropped_tokens: u64,
    /// What stands around each window, if anything does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<Frame>,
    /// Over every other field.
    pub fingerprint: Digest,
}

/// Token ids before and after a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    pub begin: u32,
    pub end: u32,
}

/// How a shard's tokens are cut into sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// Tokens from the beginning of a window to that of the next.
    pub stride: u64,
    /// Tokens of a window: one more than the stride where the last is only a target.
    pub tokens: u64,
}

impl Windows {
    pub fn new(sequence_length: u32, frame: Option<Frame>) -> Self {
        match frame {
            None => Self { stride: sequence_length.into(), tokens: u64::from(sequence_length) + 1 },
            Some(_) => Self { stride: sequence_length.saturating_sub(2).into(), tokens: sequence_length.saturating_sub(2).into() },
        }
    }

    fn count(self, tokens: u64) -> u64 {
        tokens.saturating_sub(self.tokens - self.stride).checked_div(self.stride).unwrap_or_default()
    }

    /// Tokens that the windows of a shard leave over.
    fn dropped(self, tokens: u64) -> u64 {
        match self.count(tokens) {
            0 => tokens,
            n => tokens - (n * self.stride + self.tokens - self.stride),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    pub bin: FileInfo,
    pub idx: FileInfo,
    pub documents: u64,
    pub tokens: u64,
    pub sequences: u64,
}

/// The number of windows without a frame in `tokens`.
pub fn sequences_in(tokens: u64, sequence_length: u32) -> u64 {
    Windows::new(sequence_length, None).count(tokens)
}

impl DatasetManifest {
    /// The fingerprint that the other fields have.
    pub(crate) fn expected_fingerprint(&self) -> Digest {
        let blank = Self { fingerprint: Digest::from_bytes([0; 32]), ..self.clone() };
        // Serialization cannot fail: all fields are numbers, strings and lists.
        Digest::of(&json::bytes(&blank))
    }

    pub fn windows(&self) -> Windows {
        Windows::new(self.sequence_length, self.frame)
    }

    /// Checks that the manifest agrees with itself; a manifest from outside is believed only then.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::Unusable(format!("dataset manifest: {what}; it is damaged or was edited")));
        if self.format != FORMAT {
            return Err(Error::Unusable(format!("dataset manifest: format {}, this program reads {FORMAT}", self.format)));
        }
        if self.expected_fingerprint() != self.fingerprint {
            return wrong("the fingerprint does not fit the content");
        }
        if self.frame.is_some_and(|frame| frame.begin.max(frame.end) >= self.vocab_size) {
            return wrong("what stands around the windows is not in the vocabulary");
        }
        if self.front.iter().any(|token| *token >= self.vocab_size) {
            return wrong("what documents begin with is not in the vocabulary");
        }
        if self.windows().stride == 0 || self.token_type != TokenType::for_vocab(self.vocab_size) || self.eos >= self.vocab_size {
            return wrong("sequence length, vocabulary and token type do not fit together");
        }
        let add = |f: fn(&Shard) -> u64| self.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(f(shard)));
        let sums = (add(|s| s.documents), add(|s| s.tokens), add(|s| s.sequences));
        if sums != (Some(self.documents), Some(self.tokens), Some(self.sequences)) {
            return wrong("the shards' counts do not add up");
        }
        for shard in &self.shards {
            let bytes = shard.tokens.checked_mul(self.token_type.bytes());
            if bytes != Some(shard.bin.bytes) || shard.sequences != self.windows().count(shard.tokens) {
                return wrong("a shard's counts do not fit its size");
            }
            let plain = |name: &str| !name.is_empty() && !name.contains(['/', '\\', '\0']) && !name.starts_with('.');
            if !plain(&shard.bin.name) || !plain(&shard.idx.name) {
                return wrong("a shard's file name is not a plain name");
            }
        }
        let dropped: u64 = self.shards.iter().map(|s| self.windows().dropped(s.tokens)).sum();
        if dropped != self.dropped_tokens { wrong("the dropped tokens do not add up") } else { Ok(()) }
    }
}

/// What [`pack`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    pub dataset: DatasetManifest,
    /// What the tokenizer did not know of the texts.
    pub unknown: Unknown,
}

/// Tokenizes the files that [`crate::merge`] wrote into `shard-00000.bin`, `.idx` and so on, one shard a file, and numbers the sequences.
///
/// # Errors
/// Not one sequence comes out; a file cannot be read or written; the tokenizer gives an id outside its vocabulary.
pub fn pack(train: &[PathBuf], tokenizer: &Tokenizer, sequence_length: u32, frame: Option<Frame>, out_dir: &Path) -> Result<Packed> {
    let windows = Windows::new(sequence_length, frame);
    if windows.stride == 0 {
        return Err(Error::Unusable(format!("sequence_length is {sequence_length}; a sequence has at least one token of the text")));
    }
    let token_type = TokenType::for_vocab(tokenizer.vocab_size());
    let (mut shards, mut unknown) = (Vec::new(), Unknown::default());
    for (index, path) in train.iter().enumerate() {
        let mut writer = ShardWriter::create(out_dir, &format!("shard-{index:05}"), token_type)?;
        unknown.add(&tokenize_file(path, tokenizer, &mut writer)?);
        let tokens = writer.tokens();
        let (bin, idx) = writer.finish()?;
        shards.push(Shard { documents: bin.records, bin, idx, tokens, sequences: windows.count(tokens) });
    }
    let mut manifest = DatasetManifest {
        format: FORMAT,
        sequence_length,
        vocab_size: tokenizer.vocab_size(),
        token_type,
        eos: tokenizer.eos(),
        front: tokenizer.front().to_vec(),
        tokenizer: tokenizer.digest(),
        documents: shards.iter().map(|s| s.documents).sum(),
        sequences: shards.iter().map(|s| s.sequences).sum(),
        tokens: shards.iter().map(|s| s.tokens).sum(),
        dropped_tokens: shards.iter().map(|s| windows.dropped(s.tokens)).sum(),
        shards,
        frame,
        fingerprint: Digest::from_bytes([0; 32]),
    };
    if manifest.sequences == 0 {
        return Err(Error::Unusable(format!(
            "packing gave no sequence: {} documents have {} tokens in {} shards, and one sequence of length {sequence_length} needs {} in one shard; \
             use a shorter sequence_length or more text",
            manifest.documents,
            manifest.tokens,
            manifest.shards.len(),
            windows.tokens,
        )));
    }
    manifest.fingerprint = manifest.expected_fingerprint();
    Ok(Packed { dataset: manifest, unknown })
}

/// Threads tokenize; the order of documents is the file's. Gives back what was unknown in it.
fn tokenize_file(path: &Path, tokenizer: &Tokenizer, writer: &mut ShardWriter) -> Result<Unknown> {
    let mut lines = JsonLines::open(path)?;
    let (mut more, mut unknown) = (true, Unknown::default());
    while more {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while more && bytes < BATCH_BYTES {
            match lines.next::<CleanDocument>()? {
                Some(document) => {
                    bytes += document.text.len();
                    batch.push(document);
                }
                None => more = false,
            }
        }
        let encoded: Vec<Result<Encoded>> = batch
            .par_iter()
            .map(|document| {
                let encoded = tokenizer.encode_counted(&document.text);
                let mut encoded = encoded.map_err(|e| Error::Unusable(format!("document {}: {e}", document.id)))?;
                encoded.ids.splice(..0, tokenizer.front().iter().copied());
                encoded.ids.push(tokenizer.eos());
                Ok(encoded)
            })
            .collect();
        for encoded in encoded {
            let encoded = encoded?;
            unknown.add(&encoded.unknown);
            writer.document(&encoded.ids)?;
        }
    }
    Ok(unknown)
}
