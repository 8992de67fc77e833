//! Tokenizers: loading a `tokenizer.json`, trained here or elsewhere, and turning texts into token ids. A text can never produce a special
//! token: `<|endoftext|>` inside a document is spelled out like any other text.

mod bpe;
mod guard;
mod special;
mod train;
mod wordpiece;

pub use guard::Encoded;
pub use train::{MIN_VOCAB, TokenizerInfo, train_tokenizer, train_wordpiece};

use crate::error::{Error, Result};
use guard::Guard;
use osler_core::digest::Digest;
use osler_core::mlm::{Piece, Pieces};
use std::path::Path;

/// Begins and ends texts in tokenizers trained here.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Real ones have at most some tens of megabytes.
const MAX_FILE: u64 = 256 << 20;

/// A tokenizer with its end-of-text token.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    guard: Guard,
    eos: u32,
    front: Vec<u32>,
    vocab_size: u32,
    digest: Digest,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`, or the `vocab.txt` of a bert. The end-of-text token is the EOS that the files beside it name ([`Specials`]),
    /// or else `<|endoftext|>`, or in a WordPiece vocabulary `[SEP]`.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = tokenizer_json(path)?;
        let mut inner = osler_input::load_tokenizer(&bytes).map_err(|e| Error::file(path, e.to_string()))?;
        let specials = special::read(path, &bytes)?;
        let bert = pieces_of(&inner).is_some();
        let name = if bert { wordpiece::SEP } else { END_OF_TEXT };
        let eos = specials.eos.or_else(|| inner.token_to_id(name)).ok_or_else(|| {
            let way_out = "put a tokenizer_config.json with a fitting \"eos_token\" beside it";
            Error::file(path, format!("the vocabulary has no end-of-text token {name:?}; {way_out}"))
        })?;
        let highest = inner.get_vocab(true).values().copied().max().unwrap_or_default();
        let vocab_size = highest.checked_add(1).ok_or_else(|| Error::file(path, "a token id is too large"))?;
        let guard = Guard::new(&mut inner, &bytes, &specials, eos).map_err(|e| Error::file(path, e.to_string()))?;
        // What a bert puts around texts stands around windows, not documents.
        let front = if bert { vec![] } else { specials.front };
        Ok(Self { inner, guard, eos, front, vocab_size, digest: Digest::of(&bytes) })
    }

    /// The id that ends every document.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// What begins every document: BOS where the tokenizer puts one before a text, else nothing.
    pub fn front(&self) -> &[u32] {
        &self.front
    }

    /// How a token is spelled in the vocabulary.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// One more than the highest id, added tokens included: the number of rows that an embedding needs.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// What masking and framing need to know; none where the vocabulary is not BERT's.
    pub fn pieces(&self) -> Option<BertPieces> {
        pieces_of(&self.inner)
    }

    /// Of the bytes of `tokenizer.json`.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The ids of a text, without any special token before, after or in it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.encode_counted(text)?.ids)
    }

    /// As [`Tokenizer::encode`], with what of the text the tokenizer did not know.
    pub fn encode_counted(&self, text: &str) -> Result<Encoded> {
        self.guard.encode(&self.inner, text).map_err(|e| Error::Unusable(e.to_string()))
    }

    /// The text of ids; special tokens are shown.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, false).map_err(|e| Error::Unusable(format!("decoding {} tokens: {e}", ids.len())))
    }
}

/// What a bert's tokenizer says beside ids of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BertPieces {
    pub pieces: Pieces,
    pub begin: u32,
    pub end: u32,
    pub pad: u32,
}

fn pieces_of(inner: &tokenizers::Tokenizer) -> Option<BertPieces> {
    if !matches!(inner.get_model(), tokenizers::ModelWrapper::WordPiece(_)) {
        return None;
    }
    let id = |token: &str| inner.token_to_id(token);
    let (begin, end, pad, mask) = (id(wordpiece::CLS)?, id(wordpiece::SEP)?, id(wordpiece::PAD)?, id(wordpiece::MASK)?);
    let added = inner.get_added_tokens_decoder();
    let special = |id: u32| [begin, end, pad, mask].contains(&id) || added.get(&id).is_some_and(|token| token.special);
    let vocab = inner.get_vocab(true);
    let size = vocab.values().copied().max()?.checked_add(1)?;
    // An id that no token has is never seen, and is never drawn either.
    let mut kinds = vec![Piece::Special; size as usize];
    for (token, id) in &vocab {
        let kind = match token.strip_prefix(wordpiece::PREFIX) {
            _ if special(*id) => Piece::Special,
            Some(rest) if !rest.is_empty() => Piece::Continuation,
            _ => Piece::Start,
        };
        if let Some(place) = kinds.get_mut(*id as usize) {
            *place = kind;
        }
    }
    Some(BertPieces { pieces: Pieces::new(kinds, mask)?, begin, end, pad })
}

/// The `tokenizer.json` of a tokenizer in either form. BPE's dropout is null in it, so that whoever reads an export gives a text the tokens
/// that the model was trained on.
pub fn tokenizer_json(path: &Path) -> Result<Vec<u8>> {
    let bytes = read_bounded(path)?;
    if path.extension().is_none_or(|ending| ending != "txt") {
        return Ok(without_dropout(&bytes).unwrap_or(bytes));
    }
    let text = String::from_utf8(bytes).map_err(|e| Error::file(path, format!("not UTF-8: {e}")))?;
    wordpiece::from_vocab(path, &text).map(String::into_bytes)
}

/// The file without its dropout; none if it has none, or is no tokenizer.
fn without_dropout(bytes: &[u8]) -> Option<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct File {
        model: Model,
    }
    #[derive(serde::Deserialize)]
    struct Model {
        dropout: Option<f64>,
    }
    serde_json::from_slice::<File>(bytes).ok()?.model.dropout?;
    let mut file: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    *file.pointer_mut("/model/dropout")? = serde_json::Value::Null;
    serde_json::to_vec(&file).ok()
}

/// The same as [`Tokenizer::load`].
pub fn load_tokenizer(path: &Path) -> Result<Tokenizer> {
    Tokenizer::load(path)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    if size > MAX_FILE {
        return Err(Error::file(path, format!("{size} bytes are too many for a tokenizer")));
    }
    std::fs::read(path).map_err(Error::io("read", path))
}

/// A key of a `tokenizer_config.json`, if both are there; null counts as absent.
fn config_value(path: &Path, key: &str) -> Result<Option<serde_json::Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let config: serde_json::Value =
        serde_json::from_slice(&read_bounded(path)?).map_err(|e| Error::file(path, format!("not JSON: {e}")))?;
    Ok(config.get(key).filter(|value| !value.is_null()).cloned())
}

/// The byte that a character of the byte-level alphabet stands for.
#[cfg(test)]
fn byte_of(c: char) -> Option<u8> {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let direct = u8::try_from(u32::from(c)).ok().filter(|b| printable(*b));
    let hidden = || (0..=255).filter(|b| !printable(*b)).nth(u32::from(c).checked_sub(256)? as usize);
    direct.or_else(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpt2_tokenizer_gives_the_published_ids() {
        let Some(data) = crate::testing::shared_data("the_gpt2_tokenizer_gives_the_published_ids") else { return };
        let tokenizer = Tokenizer::load(&data.join("gpt2-tokenizer/tokenizer.json")).unwrap();
        assert_eq!(tokenizer.encode("Hello world").unwrap(), [15496, 995]);
        assert_eq!((tokenizer.eos(), tokenizer.vocab_size()), (50256, 50257));
    }

    #[test]
    fn berts_vocabulary_says_what_masking_needs() {
        use osler_core::ids::StageName;
        use osler_core::mlm::{IGNORED, Masking};
        use osler_core::spec::MlmSpec;
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = crate::testing::wordpiece(folder.path());
        let id = |token: &str| tokenizer.inner.token_to_id(token).unwrap();
        let pieces = tokenizer.pieces().unwrap();
        assert_eq!((pieces.begin, pieces.end, pieces.pad, tokenizer.eos()), (id("[CLS]"), id("[SEP]"), id("[PAD]"), id("[SEP]")));
        assert_eq!(tokenizer.encode("Ab [SEP]").unwrap().iter().filter(|token| **token == id("[SEP]")).count(), 0, "texts do not forge it");
        // "ab" is one word of two pieces: hidden together or not at all.
        let masking = Masking::new(1, StageName::new("s").unwrap(), MlmSpec { probability: 0.9, whole_word: true }, pieces.pieces);
        let tokens = [id("[CLS]"), id("a"), id("##b"), id("[SEP]")];
        for slot in 0..50 {
            let targets = masking.mask(0, slot, &tokens).targets;
            assert_eq!((targets[0], targets[3], targets[1] == IGNORED), (IGNORED, IGNORED, targets[2] == IGNORED));
        }
    }

    #[test]
    fn what_is_no_tokenizer_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let load = || Tokenizer::load(&path).err().unwrap().to_string();
        assert!(load().contains("cannot read"));
        std::fs::write(&path, "{}").unwrap();
        assert!(load().contains("not a usable tokenizer.json"));
        let no_eos = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":null,
            "post_processor":null,"decoder":null,"model":{"type":"BPE","vocab":{"a":0,"</s>":1},"merges":[]}}"#;
        std::fs::write(&path, no_eos).unwrap();
        assert!(load().contains("no end-of-text token \"<|endoftext|>\"; put a tokenizer_config.json"));
        let config = folder.path().join("tokenizer_config.json");
        std::fs::write(&config, r#"{"eos_token":{"content":"</s>"}}"#).unwrap();
        assert_eq!(Tokenizer::load(&path).unwrap().eos(), 1);
        std::fs::write(&config, r#"{"eos_token":["</s>"]}"#).unwrap();
        assert!(load().contains("neither a string"));
    }
}
