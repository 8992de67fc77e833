//! Whether a job is tried again after a fault, and when: budgets by class, forgiveness, and the end of patience.

use super::limits::Limits;
use osler_core::digest::Digest;
use osler_core::job::{Fault, FaultClass};
use osler_core::spec::RetrySpec;

/// Between two looks whether there is room again.
const LONGEST_FOR_ROOM: u64 = 60_000;

/// One attempt that failed, as the budget sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub class: FaultClass,
    pub progressed: bool,
}

/// How many more faults of a class in a row, without progress between them, are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub infrastructure: u32,
    pub internal: u32,
    pub out_of_memory: u32,
}

/// How many more faults like the first of `row`, which has not happened, [`verdict`] would let pass; `total` happened.
pub(super) fn left(row: &[Failure], total: usize, retry: &RetrySpec) -> u32 {
    let Some((next, before)) = row.split_first() else { return 0 };
    let barren = barren(before);
    let alike = before.iter().filter(|f| f.class == next.class).count();
    let less = |limit: u32, used: usize| limit.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
    let in_a_row = less(retry.no_progress.max(1) - 1, barren);
    less(retry.allowed(next.class), alike).min(in_a_row).min(less(retry.total, total))
}

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// After so many milliseconds.
    Again(u64),
    /// The class's own budget is used up.
    Over,
    /// So many attempts in a row have published nothing.
    NoProgress(usize),
    /// So many faults in all, without a healthy time in between.
    TooMany(usize),
}

/// `row` holds the failures since the job last made progress, this one first; `total` counts this one and all that no healthy attempt has
/// forgiven. `draw` spreads the waits of jobs that failed together: it must not depend on the clock.
pub(super) fn verdict(row: &[Failure], total: usize, retry: &RetrySpec, limits: &Limits, draw: Digest) -> Verdict {
    let Some(this) = row.first() else { return Verdict::Over };
    let barren = barren(row);
    let alike = row.iter().filter(|f| f.class == this.class).count();
    match () {
        () if alike > retry.allowed(this.class) as usize => Verdict::Over,
        () if this.class == FaultClass::NoRoom => Verdict::Again(wait_for_room(alike, draw)),
        () if barren >= (retry.no_progress as usize).max(1) => Verdict::NoProgress(barren),
        () if total > retry.total as usize => Verdict::TooMany(total),
        () => Verdict::Again(wait(barren, limits, draw)),
    }
}

/// Attempts that achieved nothing. A full disk says nothing about the job.
fn barren(row: &[Failure]) -> usize {
    row.iter().filter(|f| !f.progressed && f.class != FaultClass::NoRoom).count()
}

/// The first two tries come at once; then waits double, each shortened by up to a quarter.
fn wait(barren: usize, limits: &Limits, draw: Digest) -> u64 {
    let doublings = u32::try_from(barren).unwrap_or(u32::MAX).checked_sub(2);
    let full = doublings.map_or(0, |n| limits.first_backoff.saturating_mul(1 << n.min(20)).min(limits.longest_backoff));
    shortened(full, draw)
}

/// No wait that was decided here is longer.
pub(super) fn longest_wait(limits: &Limits) -> u64 {
    limits.longest_backoff.max(LONGEST_FOR_ROOM)
}

/// Seconds to a minute: whoever makes room does not hurry more for being asked more often.
fn wait_for_room(alike: usize, draw: Digest) -> u64 {
    const FIRST: u64 = 1_000;
    let doublings = u32::try_from(alike).unwrap_or(u32::MAX).saturating_sub(1);
    shortened(FIRST.saturating_mul(1 << doublings.min(20)).min(LONGEST_FOR_ROOM), draw)
}

fn shortened(full: u64, draw: Digest) -> u64 {
    let share = u64::from_str_radix(&draw.to_string()[..8], 16).unwrap_or(0);
    full - full / 4 * share / u64::from(u32::MAX)
}

impl Verdict {
    /// The fault that a job fails with for good.
    pub fn last(self, fault: Fault, published: Option<u64>) -> Fault {
        match self {
            Self::Again(_) | Self::Over => fault,
            Self::NoProgress(n) => {
                let beyond = published.map_or(String::new(), |step| format!(" beyond step {step}"));
                let message = format!("{n} attempts in a row published nothing{beyond}; the last one ended with {fault}");
                Fault { class: FaultClass::NoProgress, message, origin: None, ..fault }
            }
            Self::TooMany(n) => {
                let message = format!("{} ({n} faults in all, and retry.total allows {} retries)", fault.message, n - 1);
                Fault { message, ..fault }
            }
        }
    }
}

/// Which of two faults of one attempt explains it: a rank that fails on its own brings down the others, whose faults then say only
/// that a link broke.
pub(super) fn severity(class: FaultClass) -> u8 {
    match class {
        FaultClass::Infrastructure => 0,
        FaultClass::NoRoom => 1,
        FaultClass::OutOfMemory => 2,
        FaultClass::Internal => 3,
        FaultClass::Divergence => 4,
        FaultClass::User => 5,
        FaultClass::NoProgress => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FaultClass::{Infrastructure as Infra, Internal, OutOfMemory as Oom, User};

    fn barren(classes: &[FaultClass]) -> Vec<Failure> {
        classes.iter().map(|c| Failure { class: *c, progressed: false }).collect()
    }

    fn judge(row: &[Failure], retry: &RetrySpec) -> Verdict {
        verdict(row, row.len(), retry, &Limits::default(), Digest::of(b"x"))
    }

    #[test]
    fn budgets_are_those_of_the_policy() {
        let progressed = |class| Failure { class, progressed: true };
        for (row, longest) in [
            (barren(&[User]), None),
            (barren(&[Internal]), Some(0)),
            (barren(&[Internal, Internal]), None),
            (barren(&[Internal, Infra]), Some(250)),
            (barren(&[Oom]), Some(0)),
            (barren(&[Oom, Infra, Oom]), None),
            (barren(&[Infra]), Some(0)),
            (barren(&[Infra; 2]), Some(250)),
            (barren(&[Infra; 3]), Some(500)),
            (barren(&[Infra; 8]), Some(10_000)),
            (barren(&[Infra; 9]), Some(10_000)),
            (vec![progressed(Infra)], Some(0)),
            (vec![barren(&[Infra])[0], progressed(Infra)], Some(0)),
            (vec![barren(&[Internal])[0], progressed(Internal)], None),
        ] {
            match (judge(&row, &RetrySpec::default()), longest) {
                (Verdict::Over, None) => {}
                (Verdict::Again(wait), Some(longest)) if wait <= longest && wait >= longest - longest / 4 => {}
                (verdict, _) => panic!("{row:?}: {verdict:?}"),
            }
        }
    }

    #[test]
    fn what_is_left_is_what_will_be_tried() {
        let retry = RetrySpec { infrastructure: 6, ..RetrySpec::default() };
        for (happened, class) in [(0, Infra), (2, Infra), (6, Infra), (9, Infra), (0, Internal), (3, Oom), (0, User)] {
            let mut row = barren(&vec![class; happened]);
            let mut tried = 0;
            let next = Failure { class, progressed: false };
            let told = left(&[&[next], &row[..]].concat(), happened, &retry);
            loop {
                row.insert(0, next);
                if !matches!(judge(&row, &retry), Verdict::Again(_)) {
                    break;
                }
                tried += 1;
            }
            assert_eq!(told, tried, "{happened} {class}");
        }
    }

    #[test]
    fn attempts_that_publish_nothing_end_whatever_their_class() {
        let retry = RetrySpec { internal: 100, ..RetrySpec::default() };
        let row: Vec<_> = [Infra, Internal].into_iter().cycle().take(10).flat_map(|class| barren(&[class])).collect();
        assert!(matches!(judge(&row[1..], &retry), Verdict::Again(_)));
        assert_eq!(judge(&row, &retry), Verdict::NoProgress(10));
        let last = Verdict::NoProgress(10).last(Fault::new(Infra, "killed by signal 9"), Some(500));
        let said = "no progress: 10 attempts in a row published nothing beyond step 500; the last one ended with infrastructure: killed by signal 9";
        assert_eq!(last.to_string(), said);
    }

    #[test]
    fn a_full_disk_is_waited_out_and_blames_nobody() {
        let full = barren(&[FaultClass::NoRoom]);
        let waits: Vec<u64> = (1..=60)
            .map(|n| match judge(&full.repeat(n), &RetrySpec::default()) {
                Verdict::Again(wait) => wait,
                verdict => panic!("{n}: {verdict:?}"),
            })
            .collect();
        assert!(waits[0] >= 750 && waits.iter().all(|wait| *wait <= 60_000) && waits[59] >= 45_000, "{waits:?}");
        assert_eq!(judge(&full.repeat(61), &RetrySpec::default()), Verdict::Over);
        // Nine that achieved nothing, and any number of full disks among them: not ten.
        let row = [barren(&[Infra; 5]), full.repeat(20), barren(&[Infra; 4])].concat();
        assert!(matches!(verdict(&row, 9, &RetrySpec::default(), &Limits::default(), Digest::of(b"x")), Verdict::Again(_)));
    }

    #[test]
    fn a_run_file_may_be_more_patient_or_less() {
        let patient = RetrySpec { user: 1, out_of_memory: 3, ..RetrySpec::default() };
        assert!(matches!(judge(&barren(&[User]), &patient), Verdict::Again(_)));
        assert_eq!(judge(&barren(&[User; 2]), &patient), Verdict::Over);
        assert!(matches!(judge(&barren(&[Oom; 3]), &patient), Verdict::Again(_)));
        let strict = RetrySpec { infrastructure: 0, ..RetrySpec::default() };
        assert_eq!(judge(&barren(&[Infra]), &strict), Verdict::Over);
        let bounded = RetrySpec { total: 7, ..RetrySpec::default() };
        let row = [Failure { class: Infra, progressed: true }];
        assert!(matches!(verdict(&row, 7, &bounded, &Limits::default(), Digest::of(b"x")), Verdict::Again(_)));
        assert_eq!(verdict(&row, 8, &bounded, &Limits::default(), Digest::of(b"x")), Verdict::TooMany(8));
    }

    #[test]
    fn jobs_that_fail_together_do_not_come_back_together() {
        let row = barren(&[Infra; 8]);
        let waits: std::collections::BTreeSet<_> =
            (0..50u8).map(|i| format!("{:?}", verdict(&row, 8, &RetrySpec::default(), &Limits::default(), Digest::of(&[i])))).collect();
        assert!(waits.len() > 40, "{waits:?}");
    }

    #[test]
    fn the_gravest_fault_explains_an_attempt() {
        use FaultClass::{Divergence, NoProgress};
        assert!([Infra, FaultClass::NoRoom, Oom, Internal, Divergence, User, NoProgress].map(severity).is_sorted());
    }
}
