//! Which published checkpoints of a stage stay, and why. Pure; the coordinator deletes what has no reason, `osler ckpt list` shows
//! the reasons.
//!
//! Deciding again after every publication keeps the best of all time: the best k of a longer row are among the best k of a shorter
//! one and what came since.

use crate::spec::CheckpointSpec;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A checkpoint whose parts still exist.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    pub step: u64,
    /// Mean training loss of the steps since the checkpoint before; none in records of older versions, which are never among the best.
    pub mean_loss: Option<f64>,
    /// By hand, after the run began.
    pub pinned: bool,
}

/// Why a checkpoint stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The newest: resumes, the stage's export and later stages read it.
    Newest,
    /// Among the `keep_last` newest.
    Last,
    /// Among the `keep_best` with the lowest mean training loss.
    Best,
    /// A multiple of `keep_every`.
    Every,
    /// In the run file's `checkpoint.pinned`.
    Listed,
    /// Pinned by hand.
    Pinned,
    /// Something else of the run begins there.
    Needed,
}

impl Reason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Last => "last",
            Self::Best => "best",
            Self::Every => "every",
            Self::Listed => "listed",
            Self::Pinned => "pinned",
            Self::Needed => "needed",
        }
    }
}

/// The steps that stay, with every reason. `published` ascends; `needed` are steps that something else of the run begins at.
pub fn kept(policy: &CheckpointSpec, published: &[Candidate], needed: &BTreeSet<u64>) -> BTreeMap<u64, BTreeSet<Reason>> {
    let mut best: Vec<(f64, u64)> = published.iter().filter_map(|c| Some((c.mean_loss.filter(|l| l.is_finite())?, c.step))).collect();
    // Of equal ones the older: it does not move again.
    best.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    best.truncate(policy.keep_best as usize);
    let recent = published.len().saturating_sub(policy.keep_last.max(1) as usize);
    let mut kept: BTreeMap<u64, BTreeSet<Reason>> = BTreeMap::new();
    for (i, candidate) in published.iter().enumerate() {
        let step = candidate.step;
        let reasons = [
            (Reason::Newest, i + 1 == published.len()),
            (Reason::Last, i >= recent),
            (Reason::Best, best.iter().any(|(_, best)| *best == step)),
            (Reason::Every, policy.keep_every.is_some_and(|n| n > 0 && step.is_multiple_of(n))),
            (Reason::Listed, policy.pinned.contains(&step)),
            (Reason::Pinned, candidate.pinned),
            (Reason::Needed, needed.contains(&step)),
        ];
        let reasons: BTreeSet<Reason> = reasons.into_iter().filter(|(_, applies)| *applies).map(|(reason, _)| reason).collect();
        if !reasons.is_empty() {
            kept.insert(step, reasons);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(keep_last: u32, keep_every: Option<u64>, keep_best: u32, pinned: &[u64]) -> CheckpointSpec {
        CheckpointSpec { every_steps: 100, keep_last, keep_every, keep_best, pinned: pinned.to_vec() }
    }

    fn row(losses: &[f64]) -> Vec<Candidate> {
        let one = |(i, loss): (usize, &f64)| Candidate { step: 100 * (i as u64 + 1), mean_loss: Some(*loss), pinned: false };
        losses.iter().enumerate().map(one).collect()
    }

    fn steps(policy: &CheckpointSpec, published: &[Candidate], needed: &[u64]) -> Vec<u64> {
        kept(policy, published, &needed.iter().copied().collect()).into_keys().collect()
    }

    #[test]
    fn each_rule_keeps_what_it_says() {
        let four = row(&[4.0, 1.0, 3.0, 2.0]);
        for (policy, needed, expected) in [
            (policy(2, None, 0, &[]), &[][..], &[300, 400][..]),
            (policy(0, None, 0, &[]), &[], &[400]),
            (policy(1, Some(200), 0, &[]), &[], &[200, 400]),
            (policy(1, Some(0), 0, &[]), &[], &[400]),
            (policy(1, None, 1, &[]), &[], &[200, 400]),
            (policy(1, None, 3, &[]), &[], &[200, 300, 400]),
            (policy(1, None, 0, &[100, 777]), &[], &[100, 400]),
            (policy(1, None, 0, &[]), &[300, 555], &[300, 400]),
        ] {
            assert_eq!(steps(&policy, &four, needed), expected, "{policy:?}");
        }
        assert_eq!(steps(&policy(3, Some(1), 3, &[1]), &[], &[1]), [] as [u64; 0]);
        let mut by_hand = four;
        by_hand[0].pinned = true;
        assert_eq!(steps(&policy(1, None, 0, &[]), &by_hand, &[]), [100, 400]);
    }

    #[test]
    fn a_checkpoint_has_every_reason_that_applies() {
        let found = kept(&policy(1, Some(200), 1, &[400]), &row(&[4.0, 3.0, 2.0, 1.0]), &BTreeSet::from([200]));
        assert_eq!(found[&200], BTreeSet::from([Reason::Every, Reason::Needed]));
        assert_eq!(found[&400], BTreeSet::from([Reason::Newest, Reason::Last, Reason::Best, Reason::Every, Reason::Listed]));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn deciding_after_each_publication_keeps_the_best_of_all_time() {
        let losses = [5.0, 2.0, 7.0, 2.0, 9.0, 1.0, f64::NAN, 6.0, 3.0];
        let policy = policy(1, None, 2, &[]);
        let mut held: Vec<Candidate> = vec![];
        for candidate in row(&losses) {
            held.push(candidate);
            let stay = kept(&policy, &held, &BTreeSet::new());
            held.retain(|c| stay.contains_key(&c.step));
        }
        assert_eq!(held.iter().map(|c| c.step).collect::<Vec<_>>(), [200, 600, 900]);
    }

    #[test]
    fn records_without_losses_are_never_among_the_best() {
        let old = [Candidate { step: 100, mean_loss: None, pinned: false }, Candidate { step: 200, mean_loss: None, pinned: false }];
        assert_eq!(steps(&policy(1, None, 5, &[]), &old, &[]), [200]);
    }
}
