//! A checkpoint is published or it does not exist.
//!
//! Ranks write immutable parts; when every part of one generation is in, the coordinator writes a [`Manifest`] and then names it in
//! the run's fenced state. That second write is the publication: readers follow the state, never a listing, so a torn checkpoint
//! or one of a fenced coordinator cannot be chosen.

use crate::accounting::Usage;
use crate::digest::Digest;
use crate::guard::Skipped;
use crate::ids::{Generation, Millis, RunName, StageName};
use crate::order::SampleSum;
use serde::{Deserialize, Serialize};

/// An immutable object in the run's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Path below the store's prefix.
    pub path: String,
    pub bytes: u64,
    pub digest: Digest,
}

/// One optimizer update, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The update that makes `step` into `step + 1`.
    pub step: u64,
    /// What the ranks consumed for it. In a part: one rank's share; in a manifest: all of it.
    pub samples: SampleSum,
    /// Mean over the global batch, before the update.
    #[serde(with = "crate::number")]
    pub loss: f64,
    #[serde(with = "crate::number")]
    pub grad_norm: f64,
    pub lr: f64,
    /// The guard did not apply the update: the samples are consumed, weights and moments are as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<Skipped>,
}

/// Wall seconds of one rank since its last checkpoint, by cause.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PhaseSeconds {
    /// From the process' start to the first word with other ranks: loading libraries, opening data.
    pub startup: f64,
    /// Until all ranks have met.
    pub rendezvous: f64,
    /// Making the model, reading weights or a checkpoint.
    pub load: f64,
    pub data: f64,
    pub forward: f64,
    pub backward: f64,
    pub communication: f64,
    pub update: f64,
    /// Saving, as far as training stood still for it.
    pub checkpoint: f64,
    /// Waiting for an earlier checkpoint that was still being written.
    pub checkpoint_wait: f64,
}

impl PhaseSeconds {
    fn each(&self) -> [f64; 10] {
        let Self { startup, rendezvous, load, data, forward, backward, communication, update, checkpoint, checkpoint_wait } = *self;
        [startup, rendezvous, load, data, forward, backward, communication, update, checkpoint, checkpoint_wait]
    }

    fn of([startup, rendezvous, load, data, forward, backward, communication, update, checkpoint, checkpoint_wait]: [f64; 10]) -> Self {
        Self { startup, rendezvous, load, data, forward, backward, communication, update, checkpoint, checkpoint_wait }
    }

    pub fn add(&mut self, other: &Self) {
        let (mut sums, others) = (self.each(), other.each());
        sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
        *self = Self::of(sums);
    }

    pub fn scaled(&self, by: f64) -> Self {
        Self::of(self.each().map(|seconds| seconds * by))
    }

    pub fn total(&self) -> f64 {
        self.each().iter().sum()
    }

    /// Steps alone, without starting and saving.
    pub fn stepping(&self) -> f64 {
        self.data + self.forward + self.backward + self.communication + self.update
    }

    pub fn is_finite(&self) -> bool {
        self.each().iter().all(|seconds| seconds.is_finite())
    }
}

/// What one rank reports when its part of a checkpoint is durable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Part {
    pub rank: u32,
    pub world_size: u32,
    /// Updates that the weights have seen.
    pub step: u64,
    pub object: ObjectRef,
    /// The updates since the previous checkpoint of this attempt (or since the one it resumed from).
    pub ledger: Vec<StepRecord>,
    pub seconds: PhaseSeconds,
    #[serde(default)]
    pub usage: Usage,
}

/// A published checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub run: RunName,
    pub stage: StageName,
    pub step: u64,
    pub generation: Generation,
    pub world_size: u32,
    /// The run file that it belongs to.
    pub spec: Digest,
    /// The previous published checkpoint of the stage, whose ledger this one's continues. None: the ledger starts at step 0.
    pub parent: Option<u64>,
    pub parts: Vec<ObjectRef>,
    /// Every update in `parent..step`, samples summed over all ranks and equal to what the order predicts.
    pub ledger: Vec<StepRecord>,
    /// Summed over ranks.
    pub seconds: PhaseSeconds,
    /// Of all ranks together.
    #[serde(default)]
    pub usage: Usage,
    pub published_at: Millis,
}

impl Manifest {
    pub const FORMAT: u32 = 1;

    /// Steps whose update was not applied.
    pub fn skipped(&self) -> u64 {
        self.ledger.iter().filter(|record| record.skipped.is_some()).count() as u64
    }

    /// Mean training loss of the steps since the checkpoint before: what retention calls a checkpoint's quality.
    pub fn mean_loss(&self) -> Option<f64> {
        let total: f64 = self.ledger.iter().map(|record| record.loss).sum();
        (!self.ledger.is_empty()).then(|| total / self.ledger.len() as f64)
    }
}

/// Why parts do not make a checkpoint.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PartsError {
    #[error("part of rank {rank}: world size {found}, expected {expected}")]
    WorldSize { rank: u32, found: u32, expected: u32 },
    #[error("the parts do not hold ranks 0 to {0} once each")]
    Ranks(u32),
    #[error("part of rank {rank}: its ledger covers steps {found:?}, expected {expected:?}")]
    Ledger { rank: u32, found: Vec<u64>, expected: std::ops::Range<u64> },
    #[error("step {step}: the ranks consumed other samples than the order predicts ({found:?}, expected {expected:?})")]
    Samples { step: u64, found: SampleSum, expected: SampleSum },
    #[error("step {step}: rank {rank} computed another loss than rank 0 ({found}, expected {expected})")]
    Loss { step: u64, rank: u32, found: f64, expected: f64 },
    #[error("part of rank {rank}: its object is empty")]
    EmptyObject { rank: u32 },
}

/// The parts of one checkpoint, put together: what its manifest says of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    pub parts: Vec<ObjectRef>,
    pub ledger: Vec<StepRecord>,
    pub seconds: PhaseSeconds,
    pub usage: Usage,
}

/// Joins the parts of one checkpoint and proves that every update since `from` consumed exactly the predicted samples.
///
/// `expected` gives the order's prediction for a step. The parts come from outside: nothing in them is believed.
pub fn join_parts(
    mut parts: Vec<Part>,
    world_size: u32,
    from: u64,
    step: u64,
    expected: impl Fn(u64) -> SampleSum,
) -> Result<Joined, PartsError> {
    parts.sort_by_key(|p| p.rank);
    if parts.len() != world_size as usize || parts.iter().enumerate().any(|(i, p)| p.rank as usize != i) {
        return Err(PartsError::Ranks(world_size.saturating_sub(1)));
    }
    for part in &parts {
        if part.world_size != world_size {
            return Err(PartsError::WorldSize { rank: part.rank, found: part.world_size, expected: world_size });
        }
        if part.object.bytes == 0 {
            return Err(PartsError::EmptyObject { rank: part.rank });
        }
        if part.step != step || !part.ledger.iter().map(|r| r.step).eq(from..step) {
            let found = part.ledger.iter().map(|r| r.step).take(16).collect();
            return Err(PartsError::Ledger { rank: part.rank, found, expected: from..step });
        }
    }
    let mut ledger = parts[0].ledger.clone();
    for part in &parts[1..] {
        for (total, own) in ledger.iter_mut().zip(&part.ledger) {
            if own.loss.to_bits() != total.loss.to_bits() {
                return Err(PartsError::Loss { step: own.step, rank: part.rank, found: own.loss, expected: total.loss });
            }
            total.samples.merge(own.samples);
        }
    }
    for record in &ledger {
        let expected = expected(record.step);
        if record.samples != expected {
            return Err(PartsError::Samples { step: record.step, found: record.samples, expected });
        }
    }
    let mut seconds = PhaseSeconds::default();
    parts.iter().for_each(|p| seconds.add(&p.seconds));
    let usage = Usage::join(parts.iter().map(|p| &p.usage));
    Ok(Joined { parts: parts.into_iter().map(|p| p.object).collect(), ledger, seconds, usage })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::SampleId;

    fn sum(ids: &[u64]) -> SampleSum {
        let mut sum = SampleSum::default();
        ids.iter().for_each(|i| sum.add(SampleId { component: 0, epoch: 0, sequence: *i }));
        sum
    }

    fn part(rank: u32, steps: std::ops::Range<u64>) -> Part {
        let record =
            |step| StepRecord { step, samples: sum(&[2 * step + u64::from(rank)]), loss: 1.5, grad_norm: 1.0, lr: 0.1, skipped: None };
        let object = ObjectRef { path: format!("p{rank}"), bytes: 1, digest: Digest::of(b"x") };
        let (seconds, usage) = (PhaseSeconds::default(), Usage::default());
        Part { rank, world_size: 2, step: steps.end, object, ledger: steps.map(record).collect(), seconds, usage }
    }

    fn expected(step: u64) -> SampleSum {
        sum(&[2 * step, 2 * step + 1])
    }

    #[test]
    fn complete_parts_join_in_rank_order() {
        let Joined { parts, ledger, .. } = join_parts(vec![part(1, 3..5), part(0, 3..5)], 2, 3, 5, expected).unwrap();
        assert_eq!(parts.iter().map(|o| o.path.as_str()).collect::<Vec<_>>(), ["p0", "p1"]);
        assert_eq!(ledger.iter().map(|r| (r.step, r.samples)).collect::<Vec<_>>(), [(3, expected(3)), (4, expected(4))]);
    }

    #[test]
    fn nothing_in_a_part_is_believed() {
        let join = |parts| join_parts(parts, 2, 3, 5, expected).unwrap_err();
        assert!(matches!(join(vec![part(0, 3..5)]), PartsError::Ranks(1)));
        assert!(matches!(join(vec![part(0, 3..5), part(0, 3..5)]), PartsError::Ranks(1)));
        assert!(matches!(join(vec![part(0, 3..5), part(1, 4..5)]), PartsError::Ledger { rank: 1, .. }));
        assert!(matches!(join(vec![part(0, 3..5), Part { world_size: 3, ..part(1, 3..5) }]), PartsError::WorldSize { .. }));
        let mut repeated = part(1, 3..5);
        repeated.ledger[1].samples = repeated.ledger[0].samples;
        assert!(matches!(join(vec![part(0, 3..5), repeated]), PartsError::Samples { step: 4, .. }));
        let mut diverged = part(1, 3..5);
        diverged.ledger[0].loss = 1.6;
        assert!(matches!(join(vec![part(0, 3..5), diverged]), PartsError::Loss { step: 3, rank: 1, .. }));
    }
}
