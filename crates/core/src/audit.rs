//! The proof that every sample was consumed once: the published ledgers against what the order predicts.

use crate::checkpoint::Manifest;
use crate::order::SampleSum;
use serde::{Deserialize, Serialize};

/// Samples over the audited steps. All is well when `seen == expected` and the other counts are zero.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Audit {
    pub expected: u64,
    pub seen: u64,
    /// Samples of steps that stand in the ledger twice, or beyond what was predicted.
    pub repeated: u64,
    /// Samples of steps that are missing from the ledger, or short of what was predicted.
    pub skipped: u64,
    /// Steps whose sum differs from the prediction: other samples than the order's were consumed.
    pub mismatched_steps: Vec<u64>,
}

impl Audit {
    pub fn is_clean(&self) -> bool {
        self.expected == self.seen && self.repeated == 0 && self.skipped == 0 && self.mismatched_steps.is_empty()
    }

    pub fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.seen += other.seen;
        self.repeated += other.repeated;
        self.skipped += other.skipped;
        self.mismatched_steps.extend(&other.mismatched_steps);
    }
}

/// Audits one stage up to `step`, from the published manifests in any order.
pub fn audit_stage(manifests: &[Manifest], step: u64, expected: impl Fn(u64) -> SampleSum) -> Audit {
    let mut found: Vec<(u64, SampleSum)> = manifests.iter().flat_map(|m| m.ledger.iter().map(|r| (r.step, r.samples))).collect();
    found.sort_by_key(|(step, _)| *step);
    let mut audit = Audit::default();
    let mut next = 0;
    for (at, sum) in found {
        audit.seen += sum.count;
        if at < next || at >= step {
            audit.repeated += sum.count;
            continue;
        }
        (next..at).for_each(|missing| audit.skipped += expected(missing).count);
        next = at + 1;
        let predicted = expected(at);
        if sum != predicted {
            audit.mismatched_steps.push(at);
            audit.repeated += sum.count.saturating_sub(predicted.count);
            audit.skipped += predicted.count.saturating_sub(sum.count);
        }
    }
    (next..step).for_each(|missing| audit.skipped += expected(missing).count);
    audit.expected = (0..step).map(|s| expected(s).count).sum();
    audit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{PhaseSeconds, StepRecord};
    use crate::digest::Digest;
    use crate::ids::{Generation, Millis, RunName, StageName};
    use crate::order::SampleId;

    fn predicted(step: u64) -> SampleSum {
        let mut sum = SampleSum::default();
        (0..4).for_each(|i| sum.add(SampleId { component: 0, epoch: 0, sequence: 4 * step + i }));
        sum
    }

    fn manifest(steps: &[u64]) -> Manifest {
        let record = |step: &u64| StepRecord { step: *step, samples: predicted(*step), loss: 1.0, grad_norm: 1.0, lr: 0.1, skipped: None };
        Manifest {
            format: Manifest::FORMAT,
            run: RunName::new("r").unwrap(),
            stage: StageName::new("s").unwrap(),
            step: steps.last().map_or(0, |s| s + 1),
            generation: Generation(1),
            world_size: 1,
            spec: Digest::of(b""),
            parent: None,
            parts: vec![],
            ledger: steps.iter().map(record).collect(),
            seconds: PhaseSeconds::default(),
            usage: Default::default(),
            published_at: Millis(0),
        }
    }

    #[test]
    fn an_undisturbed_stage_is_clean() {
        let audit = audit_stage(&[manifest(&[0, 1]), manifest(&[2])], 3, predicted);
        assert!(audit.is_clean(), "{audit:?}");
        assert_eq!((audit.expected, audit.seen), (12, 12));
    }

    #[test]
    fn every_kind_of_damage_is_counted() {
        let skipped = audit_stage(&[manifest(&[0]), manifest(&[2])], 4, predicted);
        assert_eq!((skipped.skipped, skipped.repeated, skipped.is_clean()), (8, 0, false));
        let repeated = audit_stage(&[manifest(&[0, 1]), manifest(&[1, 2])], 3, predicted);
        assert_eq!((repeated.skipped, repeated.repeated, repeated.is_clean()), (0, 4, false));
        let mut wrong = manifest(&[0, 1]);
        wrong.ledger[1].samples = predicted(0);
        assert_eq!(audit_stage(&[wrong], 2, predicted).mismatched_steps, [1]);
    }
}
