//! The order of samples as a pure function: `sample(step, slot)` follows from seed, stage, dataset fingerprints and global batch.
//!
//! Specification, version 1 (test vectors below; changing any of it changes every run, so a change is a new version):
//! 1. *Mixture.* A period has as many slots as the parts of all components add up to. Slots are dealt by largest deficit
//!    (`parts * dealt_total - total_parts * dealt_to_it`, ties to the first component). Global sample `g = step * global_batch + slot`
//!    belongs to the component at `g mod period`; it is that component's `j`-th sample, counted from 0 over the whole stage.
//! 2. *Epochs.* `epoch = j / n`, `position = j mod n` for a component of `n` sequences.
//! 3. *Permutation.* `sequence = P(position)`: a balanced Feistel network of eight rounds over the smallest even number of bits that
//!    holds `n`, walked until the value is below `n`. Round keys derive from SHA-256(version, seed, stage, corpus, fingerprint) and epoch.
//!
//! So nothing about data is sent per step, nothing is replayed on resume, and every world size reads the same samples.

use crate::digest::Digest;
use crate::ids::{CorpusName, StageName};
use serde::{Deserialize, Serialize};
use std::ops::Range;

const VERSION: &[u8] = b"osler-order-1";
const ROUNDS: usize = 8;
/// The longest period of a mixture; bounds the table, not the run.
pub const MAX_PERIOD: u32 = 10_000;

/// One packed corpus of a stage's mixture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    pub corpus: CorpusName,
    /// Packed sequences in it.
    pub sequences: u64,
    pub parts: u32,
    /// The packed dataset's identity.
    pub fingerprint: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("a stage's mixture is empty: name at least one corpus")]
    NoComponents,
    #[error("corpus {0} has no packed sequences: it is too short for this sequence length")]
    EmptyComponent(CorpusName),
    #[error("the mixture's parts add up to {0}: use 1 to {MAX_PERIOD} in all, and at least 1 each")]
    BadParts(u64),
    #[error("a global batch of {batch} sequences cannot be divided evenly among {world} ranks")]
    UnevenBatch { batch: u32, world: u32 },
}

/// Which sequence a slot trains on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleId {
    /// Index into the components.
    pub component: u16,
    pub epoch: u64,
    /// Sequence within the component.
    pub sequence: u64,
}

/// What a set of samples adds up to, whatever the order and whoever consumed which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SampleSum {
    pub count: u64,
    #[serde(with = "hex_u64")]
    low: u64,
    #[serde(with = "hex_u64")]
    high: u64,
}

impl SampleSum {
    pub fn add(&mut self, id: SampleId) {
        let word = mix(mix(id.sequence ^ 0x6f73_6c65_7231) ^ mix(id.epoch.wrapping_add(0x9e37)).rotate_left(17) ^ u64::from(id.component));
        self.count += 1;
        self.low = self.low.wrapping_add(mix(word));
        self.high = self.high.wrapping_add(mix(word ^ 0xa5a5_5a5a_c3c3_3c3c));
    }

    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.low = self.low.wrapping_add(other.low);
        self.high = self.high.wrapping_add(other.high);
    }
}

/// The order of one stage.
#[derive(Debug, Clone)]
pub struct SampleOrder {
    components: Vec<Component>,
    keys: Vec<[u64; 4]>,
    global_batch: u32,
    /// Slot of the period to (component, how many earlier slots of the period are the same component's).
    period: Vec<(u16, u32)>,
}

impl SampleOrder {
    pub fn new(seed: u64, stage: &StageName, global_batch: u32, components: Vec<Component>) -> Result<Self, OrderError> {
        if components.is_empty() {
            return Err(OrderError::NoComponents);
        }
        if let Some(empty) = components.iter().find(|c| c.sequences == 0) {
            return Err(OrderError::EmptyComponent(empty.corpus.clone()));
        }
        let total: u64 = components.iter().map(|c| u64::from(c.parts)).sum();
        if total == 0 || total > u64::from(MAX_PERIOD) || components.iter().any(|c| c.parts == 0) {
            return Err(OrderError::BadParts(total));
        }
        let keys = components.iter().map(|c| component_key(seed, stage, c)).collect();
        let period = deal(&components, total);
        Ok(Self { components, keys, global_batch, period })
    }

    pub fn components(&self) -> &[Component] {
        &self.components
    }

    pub fn global_batch(&self) -> u32 {
        self.global_batch
    }

    /// The sample of `slot` (below the global batch) in the update that makes `step` into `step + 1`.
    pub fn sample(&self, step: u64, slot: u32) -> SampleId {
        let g = u128::from(step) * u128::from(self.global_batch) + u128::from(slot);
        let length = self.period.len() as u128;
        let (component, earlier) = self.period[(g % length) as usize];
        let Component { parts, sequences, .. } = self.components[usize::from(component)];
        let j = (g / length) * u128::from(parts) + u128::from(earlier);
        let epoch = (j / u128::from(sequences)) as u64;
        let position = (j % u128::from(sequences)) as u64;
        SampleId { component, epoch, sequence: permute(self.keys[usize::from(component)], epoch, sequences, position) }
    }

    /// What all ranks together must report for this step.
    pub fn expected(&self, step: u64) -> SampleSum {
        let mut sum = SampleSum::default();
        (0..self.global_batch).for_each(|slot| sum.add(self.sample(step, slot)));
        sum
    }

    /// How often the first `steps` steps go through each component: samples drawn and whole or broken epochs.
    pub fn epochs(&self, steps: u64) -> Vec<f64> {
        let drawn = steps as f64 * f64::from(self.global_batch);
        let period = self.period.len() as f64;
        self.components.iter().map(|c| drawn * f64::from(c.parts) / period / c.sequences as f64).collect()
    }
}

/// The slots of one rank: the same contiguous share of every global batch.
pub fn rank_slots(global_batch: u32, rank: u32, world: u32) -> Result<Range<u32>, OrderError> {
    if world == 0 || rank >= world || !global_batch.is_multiple_of(world) {
        return Err(OrderError::UnevenBatch { batch: global_batch, world });
    }
    let share = global_batch / world;
    Ok(rank * share..(rank + 1) * share)
}

fn component_key(seed: u64, stage: &StageName, component: &Component) -> [u64; 4] {
    let digest = Digest::of_parts([
        VERSION,
        &seed.to_le_bytes()[..],
        stage.as_str().as_bytes(),
        component.corpus.as_str().as_bytes(),
        component.fingerprint.as_bytes(),
    ]);
    let bytes = digest.as_bytes();
    std::array::from_fn(|i| u64::from_le_bytes(std::array::from_fn(|k| bytes[8 * i + k])))
}

fn deal(components: &[Component], total: u64) -> Vec<(u16, u32)> {
    let mut dealt = vec![0u32; components.len()];
    let mut period = Vec::with_capacity(total as usize);
    for slot in 1..=total {
        let deficit = |i: usize| i64::from(components[i].parts) * slot as i64 - total as i64 * i64::from(dealt[i]);
        // `max_by_key` keeps the last of equals; walking backwards makes that the first component.
        let chosen = (0..components.len()).rev().max_by_key(|i| deficit(*i)).unwrap_or(0);
        period.push((chosen as u16, dealt[chosen]));
        dealt[chosen] += 1;
    }
    period
}

/// A permutation of `0..n` for one key and epoch.
fn permute(key: [u64; 4], epoch: u64, n: u64, position: u64) -> u64 {
    let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let round_keys: [u64; ROUNDS] =
        std::array::from_fn(|r| mix(key[r % 4] ^ mix(epoch.wrapping_mul(ROUNDS as u64).wrapping_add(r as u64))));
    let mut value = position;
    loop {
        let (mut left, mut right) = (value >> half, value & mask);
        for k in round_keys {
            (left, right) = (right, left ^ (mix(right ^ k) & mask));
        }
        value = (left << half) | right;
        if value < n {
            return value;
        }
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

mod hex_u64 {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&format!("{value:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
        let text = String::deserialize(d)?;
        u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
