//! Which tokens of a sequence a bert has to guess, and what it sees in their place: BERT's masking, whole words together.
//!
//! A pure function of seed, stage, step and slot, as the order of samples is: a resumed run and any number of ranks mask alike, nothing
//! about it is saved, and a sequence that comes again is masked anew. (A stage that leaves batches out counts batches here, not steps.)
//!
//! Specification, version 1 (test vectors below; changing any of it changes every run, so a change is a new version):
//! 1. *Draws.* SplitMix64, whose state begins as the first eight bytes (little-endian) of SHA-256(version, seed, stage, step, slot). A draw below
//!    `n` is the high 64 bits of the next output times `n`.
//! 2. *Words.* Special tokens belong to no word. Any other token begins one, unless it is a continuation right behind a token of a word
//!    and words are kept whole.
//! 3. *Choice.* Words are shuffled (Fisher and Yates, from the end) and taken in that order, each that still fits into the budget: the
//!    probability times the tokens of all words, rounded half up, at least 1. So does Google's code.
//! 4. *Replacement.* For each token of a chosen word, in order, a draw below 10: under 8 it becomes the mask; 8 a token that is not special, by a
//!    draw over those in the order of their ids; 9 it stays.

use crate::digest::Digest;
use crate::ids::StageName;
use crate::spec::MlmSpec;
use crate::splitmix::SplitMix64;

const VERSION: &[u8] = b"osler-mlm-1";
/// A target that does not count, as PyTorch's losses have it.
pub const IGNORED: i64 = -100;

/// What a token is to masking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Never chosen and never put in a chosen token's place.
    Special,
    /// Begins a word.
    Start,
    /// Goes on with the word of the token before.
    Continuation,
}

/// The vocabulary as masking needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pieces {
    /// By token id.
    kinds: Vec<Piece>,
    /// Ids that are not special.
    ordinary: Vec<u32>,
    mask: u32,
}

impl Pieces {
    /// None when no token could ever be chosen, or `mask` is not in the vocabulary.
    pub fn new(kinds: Vec<Piece>, mask: u32) -> Option<Self> {
        let ordinary: Vec<u32> = (0u32..).zip(&kinds).filter(|(_, kind)| **kind != Piece::Special).map(|(id, _)| id).collect();
        (!ordinary.is_empty() && (mask as usize) < kinds.len()).then_some(Self { kinds, ordinary, mask })
    }

    fn kind(&self, id: u32) -> Piece {
        self.kinds.get(id as usize).copied().unwrap_or(Piece::Special)
    }
}

/// What the model sees, and what it has to guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    pub inputs: Vec<u32>,
    /// The token that was there, or [`IGNORED`].
    pub targets: Vec<i64>,
}

/// Masks the sequences of one stage.
#[derive(Debug, Clone)]
pub struct Masking {
    seed: u64,
    stage: StageName,
    spec: MlmSpec,
    pieces: Pieces,
}

impl Masking {
    pub fn new(seed: u64, stage: StageName, spec: MlmSpec, pieces: Pieces) -> Self {
        Self { seed, stage, spec, pieces }
    }

    /// The sequence of `slot` in `step`.
    pub fn mask(&self, step: u64, slot: u32, tokens: &[u32]) -> Masked {
        let mut draws = self.draws(step, slot);
        let mut masked = Masked { inputs: tokens.to_vec(), targets: vec![IGNORED; tokens.len()] };
        let mut words = self.words(tokens);
        let candidates: usize = words.iter().map(|word| word.len()).sum();
        if candidates == 0 {
            return masked;
        }
        let budget = ((candidates as f64 * self.spec.probability).round() as usize).max(1);
        // Fisher and Yates, from the end.
        for last in (1..words.len()).rev() {
            words.swap(last, draws.below(last as u64 + 1) as usize);
        }
        let mut chosen = 0;
        for word in words {
            if chosen + word.len() > budget {
                continue;
            }
            chosen += word.len();
            for place in word {
                self.hide(place, &mut masked, &mut draws);
            }
        }
        masked
    }

    /// Positions of tokens that may be chosen, in groups that are chosen together.
    fn words(&self, tokens: &[u32]) -> Vec<Vec<usize>> {
        let mut words: Vec<Vec<usize>> = vec![];
        let mut open = false;
        for (place, id) in tokens.iter().enumerate() {
            match (self.pieces.kind(*id), words.last_mut()) {
                (Piece::Special, _) => open = false,
                (Piece::Continuation, Some(word)) if open && self.spec.whole_word => word.push(place),
                // A window may begin within a word.
                (Piece::Start | Piece::Continuation, _) => {
                    words.push(vec![place]);
                    open = true;
                }
            }
        }
        words
    }

    fn hide(&self, place: usize, masked: &mut Masked, draws: &mut Draws) {
        let (Some(input), Some(target)) = (masked.inputs.get_mut(place), masked.targets.get_mut(place)) else { return };
        *target = i64::from(*input);
        match draws.below(10) {
            0..8 => *input = self.pieces.mask,
            8 => {
                let drawn = draws.below(self.pieces.ordinary.len() as u64) as usize;
                *input = self.pieces.ordinary.get(drawn).copied().unwrap_or(*input);
            }
            _ => {}
        }
    }

    fn draws(&self, step: u64, slot: u32) -> Draws {
        let (seed, step, slot) = (self.seed.to_le_bytes(), step.to_le_bytes(), slot.to_le_bytes());
        let digest = Digest::of_parts([VERSION, &seed, self.stage.as_str().as_bytes(), &step, &slot]);
        let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
        Draws(SplitMix64(u64::from_le_bytes([a, b, c, d, e, f, g, h])))
    }
}

struct Draws(SplitMix64);

impl Draws {
    /// Below `n`, which is at least 1. The high half of a product: what bias is left is below n / 2^64.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.0.draw()) * u128::from(n)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests;
