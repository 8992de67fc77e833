//! Trains BERT's WordPiece vocabulary and reads it from `vocab.txt`.
//!
//! As in the `tokenizers` crate, pieces are learned as byte-pair merges within words; ties and the order of ids are those of our [`Learner`], so
//! the vocabulary is a function of the counted words alone, which that crate's is not. Texts are then cut by the longest piece that fits.

use super::bpe::Learner;
use crate::error::{Error, Result};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use tokenizers::decoders::wordpiece::WordPiece as Decoder;
use tokenizers::models::bpe::Vocab;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, NormalizedString, Normalizer, PreTokenizedString, PreTokenizer, Tokenizer};

pub(super) const PAD: &str = "[PAD]";
pub(super) const UNK: &str = "[UNK]";
pub(super) const CLS: &str = "[CLS]";
pub(super) const SEP: &str = "[SEP]";
pub(super) const MASK: &str = "[MASK]";
/// In BERT's order; the padding is id 0.
const SPECIAL: [&str; 5] = [PAD, UNK, CLS, SEP, MASK];
/// Begins a piece that goes on with a word.
pub(super) const PREFIX: &str = "##";
/// Characters beyond the most frequent ones become [UNK] with their word.
const MAX_ALPHABET: usize = 1000;
/// BERT's own limit.
const MAX_WORD_CHARS: usize = 100;
/// In the learner's spellings: before a piece that begins a word. No text has it, because the normalizer removes control characters.
const START: u8 = 0;

/// Words of texts as BERT splits them, with their counts.
pub(super) fn count_words(texts: &[String], lowercase: bool) -> Result<HashMap<String, u64>> {
    let normalizer = normalizer(lowercase);
    super::train::count(texts, |text| {
        let mut normal = NormalizedString::from(text);
        normalizer.normalize(&mut normal)?;
        let mut split = PreTokenizedString::from(normal.get());
        BertPreTokenizer.pre_tokenize(&mut split)?;
        Ok(split)
    })
}

fn normalizer(lowercase: bool) -> BertNormalizer {
    BertNormalizer::new(true, true, None, lowercase)
}

/// The `tokenizer.json` and the number of pieces that were learned.
pub(super) fn build(words: &HashMap<String, u64>, vocab_size: u32, min_frequency: u32, lowercase: bool) -> Result<(String, u32)> {
    let sorted: BTreeMap<&String, u64> = words.iter().filter(|(word, _)| usable(word)).map(|(word, count)| (word, *count)).collect();
    let alphabet = alphabet(&sorted);
    let mut letters: BTreeSet<(bool, char)> = BTreeSet::new();
    for word in sorted.keys() {
        letters.extend(word.chars().enumerate().filter(|(_, c)| alphabet.contains(c)).map(|(i, c)| (i > 0, c)));
    }
    let spelling = |(inside, c): &(bool, char)| {
        let mut bytes = if *inside { vec![] } else { vec![START] };
        bytes.extend(c.to_string().into_bytes());
        bytes
    };
    let special = SPECIAL.iter().map(|token| [&[START], token.as_bytes()].concat());
    let base: Vec<Vec<u8>> = special.chain(letters.iter().map(spelling)).collect();
    if base.len() > vocab_size as usize {
        let least = base.len();
        return Err(Error::Unusable(format!(
            "vocab_size is {vocab_size}; the special tokens and letters of these texts alone are {least}"
        )));
    }
    let ids: HashMap<(bool, char), u32> = letters.iter().copied().zip(SPECIAL.len() as u32..).collect();
    let as_ids = |word: &str| word.chars().enumerate().map(|(i, c)| ids.get(&(i > 0, c)).copied()).collect::<Option<Vec<u32>>>();
    // A word with a rare letter is unknown as a whole, and teaches nothing.
    let counted = sorted.iter().filter_map(|(word, count)| as_ids(word).map(|word| (word, *count))).collect();
    let (spellings, merges) = Learner::new(base, counted).learn(vocab_size as usize, u64::from(min_frequency), |pair, _| pair);
    let pieces: Vec<String> = spellings.iter().map(|bytes| piece(bytes)).collect();
    let learned = u32::try_from(merges.len()).map_err(|_| Error::Unusable("too many pieces".into()))?;
    Ok((json(&pieces, lowercase)?, learned))
}

fn usable(word: &str) -> bool {
    word.chars().nth(MAX_WORD_CHARS).is_none() && !word.contains('\0')
}

/// The most frequent characters; among equals the smaller code points.
fn alphabet(words: &BTreeMap<&String, u64>) -> BTreeSet<char> {
    let mut counts: BTreeMap<char, u64> = BTreeMap::new();
    for (word, count) in words {
        for c in word.chars() {
            let total = counts.entry(c).or_default();
            *total = total.saturating_add(*count);
        }
    }
    let mut order: Vec<(Reverse<u64>, char)> = counts.into_iter().map(|(c, n)| (Reverse(n), c)).collect();
    order.sort_unstable();
    order.into_iter().take(MAX_ALPHABET).map(|(_, c)| c).collect()
}

/// From the learner's spelling to the vocabulary's.
fn piece(spelling: &[u8]) -> String {
    match spelling.strip_prefix(&[START]) {
        Some(start) => String::from_utf8_lossy(start).into_owned(),
        None => format!("{PREFIX}{}", String::from_utf8_lossy(spelling)),
    }
}

/// A `tokenizer.json` as BERT's, from its pieces in the order of their ids.
fn json(pieces: &[String], lowercase: bool) -> Result<String> {
    let failed = |e: tokenizers::Error| Error::Unusable(format!("building the tokenizer: {e}"));
    let vocab: Vocab = pieces.iter().cloned().zip(0..).collect();
    let id = |token: &str| vocab.get(token).copied().ok_or_else(|| Error::Unusable(format!("the vocabulary has no {token}")));
    let (sep, cls) = (id(SEP)?, id(CLS)?);
    let model = WordPiece::builder()
        .vocab(vocab.clone())
        .unk_token(UNK.to_owned())
        .continuing_subword_prefix(PREFIX.to_owned())
        .max_input_chars_per_word(MAX_WORD_CHARS)
        .build()
        .map_err(failed)?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(normalizer(lowercase)))
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(BertProcessing::new((SEP.to_owned(), sep), (CLS.to_owned(), cls))))
        .with_decoder(Some(Decoder::default()));
    for token in SPECIAL {
        id(token)?;
        tokenizer.add_special_tokens(&[AddedToken::from(token, true)]);
    }
    tokenizer.to_string(true).map_err(failed)
}

/// The `tokenizer.json` of a `vocab.txt`, a piece a line. Whether texts are put into lower case is the `do_lower_case` of a
/// `tokenizer_config.json` beside it, or else true, as in BERT's own code.
pub(super) fn from_vocab(path: &Path, text: &str) -> Result<String> {
    let pieces: Vec<String> = text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect();
    let mut seen = BTreeSet::new();
    if let Some((line, twice)) = pieces.iter().enumerate().find(|(_, piece)| !seen.insert(piece.as_str())) {
        return Err(Error::file(path, format!("line {}: {twice:?} is there twice; each piece has one id", line + 1)));
    }
    let config = path.with_file_name("tokenizer_config.json");
    let lowercase = super::config_value(&config, "do_lower_case")?.and_then(|value| value.as_bool()).unwrap_or(true);
    json(&pieces, lowercase).map_err(|e| Error::file(path, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(pairs: &[(&str, u64)]) -> HashMap<String, u64> {
        pairs.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    }

    fn vocabulary(json: &str) -> Vec<String> {
        let tokenizer = Tokenizer::from_bytes(json).unwrap();
        (0..tokenizer.get_vocab_size(true) as u32).map(|id| tokenizer.id_to_token(id).unwrap()).collect()
    }

    #[test]
    fn the_most_frequent_pairs_become_pieces_and_ties_go_to_the_smaller_ids() {
        let (json, learned) = build(&words(&[("abab", 5), ("cd", 5), ("xb", 1)]), 100, 2, true).unwrap();
        let found = vocabulary(&json);
        assert_eq!(found[..5], SPECIAL);
        assert_eq!(found[5..12], ["a", "c", "x", "##a", "##b", "##d", "ab"]);
        assert_eq!(found[12..], ["cd", "##ab", "abab"]);
        assert_eq!(learned, 4, "a pair that occurs once is below the minimum");
    }

    #[test]
    fn the_same_words_give_the_same_bytes_in_any_order_of_a_map() {
        let pairs: Vec<(String, u64)> = (0..400u64).map(|i| (format!("w{:x}", i * 2_654_435_761 % 65_536), i % 7 + 1)).collect();
        let build = |pairs: &mut dyn Iterator<Item = &(String, u64)>| build(&pairs.cloned().collect(), 300, 1, true).unwrap().0;
        assert_eq!(build(&mut pairs.iter()), build(&mut pairs.iter().rev()));
    }

    #[test]
    fn a_vocabulary_too_small_for_the_letters_is_refused() {
        let error = build(&words(&[("abc", 1)]), 7, 1, true).unwrap_err().to_string();
        assert!(error.contains("alone are 8"), "{error}");
    }

    #[test]
    fn texts_are_split_as_bert_splits_them() {
        let texts = ["Naïve T-cells\u{0} (CD4+), 中文".to_owned()];
        let mut found: Vec<String> = count_words(&texts, true).unwrap().into_keys().collect();
        found.sort();
        assert_eq!(found, ["(", ")", "+", ",", "-", "cd4", "cells", "naive", "t", "中", "文"]);
        assert!(count_words(&texts, false).unwrap().contains_key("Naïve"));
    }

    #[test]
    fn a_vocab_txt_is_read_with_the_case_that_its_config_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocab.txt");
        let text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\ncell\nCell\n##s\n";
        let ids = || {
            let tokenizer = Tokenizer::from_bytes(from_vocab(&path, text).unwrap()).unwrap();
            tokenizer.encode("Cells", false).unwrap().get_ids().to_vec()
        };
        assert_eq!(ids(), [5, 7]);
        std::fs::write(folder.path().join("tokenizer_config.json"), r#"{"do_lower_case": false}"#).unwrap();
        assert_eq!(ids(), [6, 7]);
        assert!(from_vocab(&path, "a\nb\na\n").unwrap_err().to_string().contains("line 3"));
        assert!(from_vocab(&path, "a\n").unwrap_err().to_string().contains("[SEP]"));
    }
}
