//! Trains a byte-level BPE tokenizer on training documents and writes it as a `tokenizer.json` that Hugging Face's libraries read.

use super::bpe::Learner;
use super::{END_OF_TEXT, Tokenizer, wordpiece};
use crate::clean::CleanDocument;
use crate::error::{Error, Result};
use crate::merge::JsonLines;
use crate::output::Output;
use osler_core::digest::Digest;
use osler_core::spec::WordpieceSpec;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{AddedToken, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// The end-of-text token and the 256 bytes.
pub const MIN_VOCAB: u32 = 257;
/// Longer words are left out of the counting: they are not words, and their pairs would cost more than they teach.
const MAX_WORD: usize = 1024;
/// Text that is split at once by all threads.
const BATCH_BYTES: usize = 8 << 20;

/// What [`train_tokenizer`] made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerInfo {
    pub digest: Digest,
    /// May be smaller than asked for, where the text has no more pairs of the minimum frequency.
    pub vocab_size: u32,
    /// More than there are new tokens where two merges spell the same one.
    pub merges: u32,
    pub eos: u32,
    pub documents: u64,
    pub text_bytes: u64,
}

/// Learns `vocab_size` tokens, of pairs that occur at least `min_frequency` times, from the files that [`crate::merge`] wrote, and writes
/// the tokenizer to `out`. Ids: `<|endoftext|>` (begin and end of text), the 256 bytes, then the merges.
///
/// # Errors
/// `vocab_size` is below [`MIN_VOCAB`]; there are no documents; the files cannot be read.
pub fn train_tokenizer(train: &[PathBuf], vocab_size: u32, min_frequency: u32, out: &Path) -> Result<TokenizerInfo> {
    train_kind(train, vocab_size, min_frequency, None, out)
}

/// The same for BERT's WordPiece. Ids: `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]`, `[MASK]`, the letters, then the learned pieces. `[SEP]` ends texts.
pub fn train_wordpiece(train: &[PathBuf], vocab_size: u32, min_frequency: u32, spec: WordpieceSpec, out: &Path) -> Result<TokenizerInfo> {
    train_kind(train, vocab_size, min_frequency, Some(spec), out)
}

fn train_kind(
    train: &[PathBuf],
    vocab_size: u32,
    min_frequency: u32,
    wordpiece: Option<WordpieceSpec>,
    out: &Path,
) -> Result<TokenizerInfo> {
    if wordpiece.is_none() && vocab_size < MIN_VOCAB {
        return Err(Error::Unusable(format!("vocab_size is {vocab_size}; a byte-level vocabulary has at least {MIN_VOCAB} tokens")));
    }
    let mut counter = Counter { wordpiece, ..Counter::default() };
    for path in train {
        counter.file(path)?;
    }
    counter.flush()?;
    if counter.documents == 0 {
        return Err(Error::Unusable("the tokenizer has no training documents; check the corpora it is trained on".into()));
    }
    let (documents, text_bytes) = (counter.documents, counter.text_bytes);
    let (json, merges) = match wordpiece {
        None => build(&counter.words, vocab_size, min_frequency)?,
        Some(spec) => wordpiece::build(&counter.words, vocab_size, min_frequency, spec.lowercase)?,
    };
    let (folder, name) = match (out.parent(), out.file_name().and_then(|n| n.to_str())) {
        (Some(folder), Some(name)) => (folder, name),
        _ => return Err(Error::file(out, "not a file name")),
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut output = Output::create(folder, name)?;
    output.write(json.as_bytes())?;
    let info = output.finish()?;
    let tokenizer = Tokenizer::load(out)?;
    Ok(TokenizerInfo { digest: info.digest, vocab_size: tokenizer.vocab_size(), merges, eos: tokenizer.eos(), documents, text_bytes })
}

fn pre_tokenizer() -> ByteLevel {
    ByteLevel::new(false, false, true)
}

/// Counts words as the pre-tokenizer splits them, in its alphabet of 256 printable characters.
#[derive(Default)]
struct Counter {
    wordpiece: Option<WordpieceSpec>,
    words: HashMap<String, u64>,
    batch: Vec<String>,
    batch_bytes: usize,
    documents: u64,
    text_bytes: u64,
}

impl Counter {
    fn file(&mut self, path: &Path) -> Result<()> {
        let mut lines = JsonLines::open(path)?;
        while let Some(document) = lines.next::<CleanDocument>()? {
            self.documents += 1;
            self.text_bytes += document.text.len() as u64;
            self.batch_bytes += document.text.len();
            self.batch.push(document.text);
            if self.batch_bytes >= BATCH_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Sums do not depend on the order in which threads deliver them.
    fn flush(&mut self) -> Result<()> {
        let parts: Vec<Result<HashMap<String, u64>>> = self
            .batch
            .par_chunks(64)
            .map(|texts| match self.wordpiece {
                None => count_words(texts),
                Some(spec) => wordpiece::count_words(texts, spec.lowercase),
            })
            .collect();
        for part in parts {
            for (word, count) in part? {
                *self.words.entry(word).or_default() += count;
            }
        }
        self.batch.clear();
        self.batch_bytes = 0;
        Ok(())
    }
}

fn count_words(texts: &[String]) -> Result<HashMap<String, u64>> {
    let pre_tokenizer = pre_tokenizer();
    count(texts, |text| {
        let mut split = PreTokenizedString::from(text);
        pre_tokenizer.pre_tokenize(&mut split)?;
        Ok(split)
    })
}

/// The words that `split` cuts texts into, with their counts.
pub(super) fn count(texts: &[String], split: impl Fn(&str) -> tokenizers::Result<PreTokenizedString>) -> Result<HashMap<String, u64>> {
    let mut words: HashMap<String, u64> = HashMap::new();
    for text in texts {
        let split = split(text).map_err(|e| Error::Unusable(format!("splitting a text into words: {e}")))?;
        for (word, _, _) in split.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            match words.get_mut(word) {
                Some(count) => *count += 1,
                None => {
                    words.insert(word.to_owned(), 1);
                }
            }
        }
    }
    Ok(words)
}

/// The `tokenizer.json` and its number of merges.
fn build(words: &HashMap<String, u64>, vocab_size: u32, min_frequency: u32) -> Result<(String, u32)> {
    let failed = |e: tokenizers::Error| Error::Unusable(format!("building the tokenizer: {e}"));
    let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    alphabet.sort_unstable();
    let base: Vec<Vec<u8>> =
        std::iter::once(END_OF_TEXT.into()).chain(alphabet.iter().map(char::to_string)).map(String::into_bytes).collect();
    let ids: HashMap<char, u32> = alphabet.iter().copied().zip(1..).collect();
    let sorted: BTreeMap<&String, u64> =
        words.iter().filter(|(word, _)| word.len() <= MAX_WORD).map(|(word, count)| (word, *count)).collect();
    let words = sorted.into_iter().map(|(word, count)| (word.chars().filter_map(|c| ids.get(&c).copied()).collect(), count)).collect();
    let (spellings, merges) = Learner::new(base, words).learn(vocab_size as usize, u64::from(min_frequency), |pair, _| pair);

    let spell = |id: u32| spellings.get(id as usize).map(|s| String::from_utf8_lossy(s).into_owned()).unwrap_or_default();
    let vocab: Vocab = (0..).zip(&spellings).map(|(id, _)| (spell(id), id)).collect();
    let count = u32::try_from(merges.len()).map_err(|_| Error::Unusable("too many merges".into()))?;
    let merges: Vec<(String, String)> = merges.iter().map(|m| (spell(m.pair.0), spell(m.pair.1))).collect();
    let model = BPE::builder().vocab_and_merges(vocab, merges).build().map_err(failed)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_pre_tokenizer(Some(pre_tokenizer())).with_decoder(Some(ByteLevel::default())).with_post_processor(Some(pre_tokenizer()));
    tokenizer.add_special_tokens(&[AddedToken::from(END_OF_TEXT, true)]);
    Ok((tokenizer.to_string(true).map_err(failed)?, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_documents(folder: &Path, texts: &[&str]) -> PathBuf {
        let mut output = Output::create(folder, "train-00000.jsonl").unwrap();
        for (ordinal, text) in (0..).zip(texts) {
            let text_digest = crate::normal::text_digest(text);
            let document = CleanDocument {
                id: ordinal.to_string(),
                version: 1,
                source_index: 0,
                ordinal,
                words: 1,
                text_digest,
                text: (*text).into(),
            };
            output.json_line(&document).unwrap();
        }
        output.finish().unwrap();
        folder.join("train-00000.jsonl")
    }

    const TEXTS: [&str; 4] = [
        "The thrombin time was prolonged; thrombin's action wasn't inhibited.",
        "Thrombin inhibitors, e.g. \u{3b1}-thrombin \u{2265} 10 \u{b5}g/ml,\n prolong the  clotting time <|endoftext|>.",
        "\u{65e5}\u{672c}\u{8a9e} text and emoji \u{1f600}\u{1f600}",
        "12345 67890 1234 \t\t tabs",
    ];

    #[test]
    fn the_trained_tokenizer_round_trips_any_text_and_keeps_its_special_token() {
        let folder = tempfile::tempdir().unwrap();
        let train = write_documents(folder.path(), &TEXTS);
        let out = folder.path().join("tokenizer.json");
        let info = train_tokenizer(&[train], 280, 2, &out).unwrap();
        assert_eq!((info.vocab_size, info.merges, info.eos, info.documents), (280, 23, 0, 4));
        let tokenizer = Tokenizer::load(&out).unwrap();
        assert_eq!(tokenizer.digest(), info.digest);
        for text in TEXTS.iter().chain(&["", " leading", "unseen \u{12000} \u{0}"]) {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), **text);
            assert!(!ids.contains(&tokenizer.eos()), "a text cannot forge the end of a document");
        }
    }

    #[test]
    fn the_same_documents_give_the_same_bytes_on_any_number_of_threads() {
        let folder = tempfile::tempdir().unwrap();
        let many: Vec<String> = (0..500).map(|i| format!("{} {}", TEXTS[i % 4], i * 7919 % 1009)).collect();
        let train = write_documents(folder.path(), &many.iter().map(String::as_str).collect::<Vec<_>>());
        let digests: Vec<Digest> = [1, 2, 5, 1]
            .into_iter()
            .map(|threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let out = folder.path().join("tokenizer.json");
                pool.install(|| train_tokenizer(std::slice::from_ref(&train), 600, 1, &out)).unwrap().digest
            })
            .collect();
        assert!(digests.iter().all(|d| *d == digests[0]), "{digests:?}");
    }

    #[test]
    fn training_on_nothing_or_for_too_few_tokens_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let train = write_documents(folder.path(), &[]);
        let out = folder.path().join("tokenizer.json");
        let error = train_tokenizer(std::slice::from_ref(&train), 300, 2, &out).unwrap_err().to_string();
        assert!(error.contains("no training documents"), "{error}");
        let error = train_tokenizer(&[train], 256, 2, &out).unwrap_err().to_string();
        assert!(error.contains("at least 257"), "{error}");
        assert!(!out.exists());
    }

    #[test]
    fn where_no_token_has_two_spellings_the_library_s_trainer_gives_the_same_file() {
        use tokenizers::models::{TrainerWrapper, bpe::BpeTrainer};
        let folder = tempfile::tempdir().unwrap();
        let train = write_documents(folder.path(), &TEXTS);
        let out = folder.path().join("tokenizer.json");
        let info = train_tokenizer(&[train], 290, 2, &out).unwrap();
        assert_eq!(info.vocab_size - MIN_VOCAB, info.merges, "otherwise the library's result is not determined");
        let mut theirs = tokenizers::Tokenizer::new(BPE::default());
        theirs
            .with_pre_tokenizer(Some(pre_tokenizer()))
            .with_decoder(Some(ByteLevel::default()))
            .with_post_processor(Some(pre_tokenizer()));
        let mut trainer: TrainerWrapper = BpeTrainer::builder()
            .show_progress(false)
            .vocab_size(290)
            .min_frequency(2)
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build()
            .into();
        // The library cuts special tokens out of training texts only when it knows them; it does not here, and neither do we.
        theirs.train(&mut trainer, TEXTS.iter()).unwrap();
        assert_eq!(theirs.to_string(true).unwrap(), std::fs::read_to_string(out).unwrap());
    }

    /// The merges that a reference implementation learns from the same text; it breaks ties towards the greater spelling.
    #[test]
    fn the_learner_agrees_with_a_reference_trainer() {
        let Some(data) = crate::testing::shared_data("the_learner_agrees_with_a_reference_trainer") else { return };
        let data = data.join("tinystories-bpe");
        let text = std::fs::read_to_string(data.join("corpus.en")).unwrap();
        let texts: Vec<String> = text.split(END_OF_TEXT).map(str::to_owned).collect();
        let words = count_words(&texts).unwrap();
        let printable = ByteLevel::alphabet();
        let mut alphabet: Vec<char> = printable.into_iter().collect();
        alphabet.sort_unstable();
        let byte = |c: char| super::super::byte_of(c).unwrap();
        let ids: HashMap<char, u32> = alphabet.iter().copied().zip(0..).collect();
        let base = alphabet.iter().map(|c| vec![byte(*c)]).collect();
        let words = words.iter().map(|(w, n)| (w.chars().map(|c| ids[&c]).collect(), *n)).collect();
        let expected = std::fs::read_to_string(data.join("train-bpe-reference-merges.txt")).unwrap();
        let expected: Vec<Vec<u8>> = expected.lines().map(|line| line.chars().filter(|c| *c != ' ').map(byte).collect()).collect();
        let greater = |pair: Pair, spell: &[Vec<u8>]| std::cmp::Reverse((spell[pair.0 as usize].clone(), spell[pair.1 as usize].clone()));
        let (spellings, _) = Learner::new(base, words).learn(256 + expected.len(), 1, greater);
        assert!(expected.len() > 200);
        assert_eq!(spellings[256..], expected);
    }

    use super::super::bpe::Pair;
}
