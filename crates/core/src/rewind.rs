//! Going back after repeated spikes: a stage returns to a published checkpoint and leaves out the batches that it could not digest.
//!
//! Steps and batches are counted apart. A batch is what the order deals for one number; a step is one update. Step `s` reads the `s`-th
//! batch that is not left out, so a stage has its planned number of steps whatever it left out, and every rank, the coordinator's
//! prediction and the audit compute the same mapping from the ranges alone. A range that is left out begins at or after the batch of the
//! step that the stage goes back to: what earlier steps read never changes.

use crate::ids::{Generation, Millis};
use crate::record::Published;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Which batch of the order each step reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Range<u64>>", into = "Vec<Range<u64>>")]
pub struct Batches {
    /// Ascending, apart from each other, none empty.
    left_out: Vec<Range<u64>>,
}

impl From<Vec<Range<u64>>> for Batches {
    fn from(mut ranges: Vec<Range<u64>>) -> Self {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_by_key(|range| range.start);
        let mut left_out: Vec<Range<u64>> = vec![];
        for range in ranges {
            match left_out.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => left_out.push(range),
            }
        }
        Self { left_out }
    }
}

impl From<Batches> for Vec<Range<u64>> {
    fn from(batches: Batches) -> Self {
        batches.left_out
    }
}

impl Batches {
    /// The batch that `step` reads.
    pub fn of(&self, step: u64) -> u64 {
        let passed = |batch: u64, range: &Range<u64>| if batch >= range.start { batch + (range.end - range.start) } else { batch };
        // Ascending, so a range that is not reached is followed by others that are not.
        self.left_out.iter().fold(step, passed)
    }

    /// The batches from the one of the first to the one of the last of these steps.
    pub fn span(&self, steps: &Range<u64>) -> Range<u64> {
        self.of(steps.start)..self.of(steps.end.saturating_sub(1)) + 1
    }

    /// Every step reads the batch of its own number.
    pub fn is_whole(&self) -> bool {
        self.left_out.is_empty()
    }

    /// How many batches are left out that the first `steps` steps passed over.
    pub fn left_out_before(&self, steps: u64) -> u64 {
        steps.checked_sub(1).map_or(0, |last| self.of(last) - last)
    }
}

/// One return of a stage. The record keeps all of them; nothing about an abandoned step is forgotten but its tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewind {
    pub at: Millis,
    /// The attempt that asked for it; none: a person did.
    pub generation: Option<Generation>,
    /// The published step that the stage goes on from; 0: its beginning.
    pub to: u64,
    /// By number in the stage's order; empty if nothing is.
    pub left_out: Range<u64>,
    /// Checkpoints beyond `to`. Their manifests stay, their parts are deleted.
    pub abandoned: Vec<Published>,
    pub reason: String,
    /// The object of an abandoned checkpoint that was found damaged, if that is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<String>,
}

/// Where a stage goes back to because of the skipped steps `skipped`: the newest checkpoint before the first of them, else the oldest
/// one before the last, else its beginning. `kept`: published steps whose parts still exist, ascending.
pub fn target(kept: &[u64], skipped: &Range<u64>) -> u64 {
    let before = kept.iter().rev().find(|step| **step <= skipped.start);
    let within = || kept.iter().find(|step| **step < skipped.end);
    before.or_else(within).copied().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // lists of ranges are what this is about
mod tests {
    use super::*;

    fn batches(ranges: &[Range<u64>]) -> Batches {
        ranges.to_vec().into()
    }

    #[test]
    fn steps_read_the_batches_that_are_not_left_out_in_order() {
        for ranges in [&[][..], &[3..5], &[0..2], &[5..6, 3..4], &[3..5, 5..8], &[3..7, 4..5, 9..9, 20..22]] {
            let found = batches(ranges);
            let expected: Vec<u64> = (0..60).filter(|batch| !ranges.iter().any(|range| range.contains(batch))).take(40).collect();
            assert_eq!((0..40).map(|step| found.of(step)).collect::<Vec<_>>(), expected, "{ranges:?}");
            assert_eq!(found.left_out_before(40), expected[39] - 39, "{ranges:?}");
        }
        assert!(batches(&[4..4]).is_whole());
        assert_eq!(batches(&[]).left_out_before(0), 0);
    }

    #[test]
    fn leaving_out_what_a_later_step_read_changes_no_earlier_step() {
        let first = batches(&[3..5]);
        let second: Batches = [Vec::from(first.clone()), vec![first.span(&(6..9))]].concat().into();
        assert_eq!(first.span(&(6..9)), 8..11);
        assert!((0..6).all(|step| first.of(step) == second.of(step)));
        assert_eq!(second.of(6), 11);
        // A span over what is left out already takes it in.
        assert_eq!(first.span(&(2..4)), 2..6);
    }

    #[test]
    fn a_stage_goes_back_to_before_the_first_skipped_step_if_it_can() {
        for (kept, skipped, expected) in [
            (&[100, 200, 300][..], 250..261, 200),
            (&[100, 200], 200..201, 200),
            (&[300], 290..310, 300),
            (&[300, 305], 290..310, 300),
            (&[300], 250..260, 0),
            (&[], 5..9, 0),
        ] {
            assert_eq!(target(kept, &skipped), expected, "{kept:?} {skipped:?}");
        }
    }

    #[test]
    fn ranges_survive_json_and_are_put_in_order() {
        let read: Batches = serde_json::from_str(r#"[{"start":5,"end":6},{"start":1,"end":3}]"#).unwrap();
        assert_eq!(read, batches(&[1..3, 5..6]));
        assert_eq!(serde_json::from_str::<Batches>(&serde_json::to_string(&read).unwrap()).unwrap(), read);
    }
}
