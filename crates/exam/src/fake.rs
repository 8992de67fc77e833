//! Stand-ins for a model and its tokenizer, for tests of this crate and its users: deterministic, without tensors, and strict about
//! the [`Scorer`] contract, so that a caller's mistake shows in a fast test.

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use crate::error::ExamError;
use crate::scorer::{Request, Score, Scorer, ScorerError};
use crate::tokenizer::ExamTokenizer;

/// How a fake model predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FakeRule {
    /// Every token has probability 1 / vocabulary, so any perplexity is exactly the vocabulary's size.
    Uniform { vocabulary: u32 },
    /// A token's probability follows from it, the token before it and a seed: a bigram model. It sees one token of context, so
    /// windows and truncation must not change its answers.
    Bigram { seed: u64 },
}

#[derive(Debug, Clone)]
pub struct FakeScorer {
    pub rule: FakeRule,
    pub max_length: usize,
    /// Sizes of the batches so far.
    pub batches: Vec<usize>,
    /// Fails at this batch, counted from 0.
    pub fail_at: Option<usize>,
}

impl FakeScorer {
    pub fn new(rule: FakeRule, max_length: usize) -> Self {
        Self { rule, max_length, batches: Vec::new(), fail_at: None }
    }

    fn token(&self, before: u32, token: u32) -> (f64, bool) {
        match self.rule {
            FakeRule::Uniform { vocabulary } => (-f64::from(vocabulary.max(1)).ln(), token == 0),
            FakeRule::Bigram { seed } => {
                let bits = mix(seed ^ (u64::from(before) << 32 | u64::from(token)));
                // Between -8 and 0, in steps of 2^-17: sums of any order are exact.
                (-((bits >> 44) as f64) / f64::from(1 << 17), bits.is_multiple_of(4))
            }
        }
    }
}

impl Scorer for FakeScorer {
    fn max_length(&self) -> usize {
        self.max_length
    }

    fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>, ScorerError> {
        if self.fail_at == Some(self.batches.len()) {
            return Err(ScorerError::new("told to fail here"));
        }
        self.batches.push(requests.len());
        if requests.is_sorted_by_key(|r| std::cmp::Reverse(r.tokens.len())) && !requests.is_empty() {
            requests.iter().map(|request| self.one(request)).collect()
        } else {
            Err(ScorerError::new("a batch is empty or not sorted by length"))
        }
    }
}

impl FakeScorer {
    fn one(&self, request: &Request) -> Result<Score, ScorerError> {
        let legal = request.scored >= 1 && request.scored < request.tokens.len() && request.input().len() <= self.max_length;
        if !legal {
            let (tokens, scored, max) = (request.tokens.len(), request.scored, self.max_length);
            return Err(ScorerError::new(format!("{tokens} tokens, {scored} of them scored, do not fit length {max}")));
        }
        let pairs = request.tokens.windows(2).rev().take(request.scored);
        let mut sum = Score { log_likelihood: 0.0, greedy: true };
        for pair in pairs {
            if let [before, token] = pair {
                let (log_likelihood, greedy) = self.token(*before, *token);
                sum.log_likelihood += log_likelihood;
                sum.greedy &= greedy;
            }
        }
        Ok(sum)
    }
}

/// A byte-level BPE tokenizer without merges but those given ("a b" pairs of already known tokens; a space is written `Ġ`): 256 bytes,
/// then the merges, then `<s>` (BOS) and `</s>` (EOS). BOS is added as told.
pub fn byte_tokenizer(merges: &[(&str, &str)], add_bos: bool) -> Result<ExamTokenizer, ExamError> {
    let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    bytes.sort_unstable();
    let mut tokens: Vec<String> = bytes.into_iter().map(String::from).collect();
    tokens.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    let (bos, eos) = (tokens.len() as u32, tokens.len() as u32 + 1);
    let vocab: Map<String, Value> = tokens.into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect();
    let special = |id: u32, content: &str| json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true });
    let level = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(bos, "<s>"), special(eos, "</s>")],
        "pre_tokenizer": level, "decoder": level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
            "merges": merges.iter().map(|(a, b)| format!("{a} {b}")).collect::<Vec<_>>(),
        },
    });
    let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes())
        .map_err(|e| ExamError::Tokenizer { file: "fake".into(), message: e.to_string() })?;
    ExamTokenizer::new(tokenizer, Some(bos), Some(eos), add_bos)
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
