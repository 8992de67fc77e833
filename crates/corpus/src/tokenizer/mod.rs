//! Tokenizers: loading a `tokenizer.json`, trained here or elsewhere, and turning texts into token ids. A text can never produce a special
//! token: `<|endoftext|>` inside a document is spelled out like any other text.

mod bpe;
mod train;

pub use train::{MIN_VOCAB, TokenizerInfo, train_tokenizer};

use crate::error::{Error, Result};
use osler_core::digest::Digest;
use std::path::Path;

/// Begins and ends texts in tokenizers trained here.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Real ones have at most some tens of megabytes.
const MAX_FILE: u64 = 256 << 20;

/// A tokenizer with its end-of-text token.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    eos: u32,
    vocab_size: u32,
    digest: Digest,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`. The end-of-text token is the `eos_token` of a `tokenizer_config.json` beside it, or else `<|endoftext|>`.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read_bounded(path)?;
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|e| Error::file(path, format!("not a usable tokenizer.json: {e}")))?;
        // Nothing may be cut or filled up behind the back of packing; and texts do not forge special tokens.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::file(path, e.to_string()))?;
        inner.set_encode_special_tokens(true);
        let name = match configured_eos(&path.with_file_name("tokenizer_config.json"))? {
            Some(name) => name,
            None => END_OF_TEXT.to_owned(),
        };
        let eos = inner.token_to_id(&name).ok_or_else(|| {
            let way_out = "put a tokenizer_config.json with a fitting \"eos_token\" beside it";
            Error::file(path, format!("the vocabulary has no end-of-text token {name:?}; {way_out}"))
        })?;
        let highest = inner.get_vocab(true).values().copied().max().unwrap_or_default();
        let vocab_size = highest.checked_add(1).ok_or_else(|| Error::file(path, "a token id is too large"))?;
        Ok(Self { inner, eos, vocab_size, digest: Digest::of(&bytes) })
    }

    /// The id that ends every document.
    pub fn eos(&self) -> u32 {
        self.eos
    }

    /// One more than the highest id, added tokens included: the number of rows that an embedding needs.
    pub fn vocab_size(&self) -> u32 {
        self.vocab_size
    }

    /// Of the bytes of `tokenizer.json`.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The ids of a text, without any special token before or after.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|e| Error::Unusable(format!("tokenizing a text of {} bytes: {e}", text.len())))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids; special tokens are shown.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, false).map_err(|e| Error::Unusable(format!("decoding {} tokens: {e}", ids.len())))
    }
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

/// `eos_token` is a string, or an object with the string in `content`.
fn configured_eos(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let config: serde_json::Value =
        serde_json::from_slice(&read_bounded(path)?).map_err(|e| Error::file(path, format!("not JSON: {e}")))?;
    match config.get("eos_token") {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(token)) => Ok(Some(token.clone())),
        Some(object) => match object.get("content").and_then(|c| c.as_str()) {
            Some(token) => Ok(Some(token.to_owned())),
            None => Err(Error::file(path, "\"eos_token\" is neither a string nor an object with \"content\"")),
        },
    }
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
