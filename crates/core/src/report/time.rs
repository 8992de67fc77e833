//! A stage's wall time by cause. Attempt by attempt, what its published checkpoints account for is told by cause; the rest was lost if the
//! attempt failed, and idle if it did not. The causes add up to the wall time.

use crate::checkpoint::{Manifest, PhaseSeconds};
use crate::record::JobRecord;
use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct TimeReport {
    /// From the start of the first attempt's processes to the end of the last attempt's that is over.
    pub wall: f64,
    /// Of published work, means over ranks.
    #[serde(flatten)]
    pub phases: PhaseSeconds,
    /// Work that was not published before its attempt failed, and the time until the next attempt started.
    pub lost_to_failures: f64,
    /// Of that, what was inside attempts.
    #[serde(skip)]
    pub lost_inside: f64,
    /// Between a stop on request and the resume.
    pub stopped: f64,
    /// Everything else: starting and ending processes, waiting for acknowledgements.
    pub idle: f64,
    /// What `tokens_per_second` counts: from the first step to the end, restarts included, without the time that the run was stopped.
    pub end_to_end: f64,
    /// Published tokens by `end_to_end`.
    pub tokens_per_second: f64,
    /// The pace while ranks make steps: published tokens by the seconds of their phases.
    pub tokens_per_second_stepping: f64,
}

/// The mean over the ranks of a checkpoint.
pub(super) fn mean(manifest: &Manifest) -> PhaseSeconds {
    manifest.seconds.scaled(1.0 / f64::from(manifest.world_size.max(1)))
}

/// The checkpoints of attempts that are over: those of the active one would count against time that is not counted yet.
pub(super) fn of_ended<'a>(job: &'a JobRecord, manifests: &'a [Manifest]) -> impl Iterator<Item = &'a Manifest> {
    manifests.iter().filter(|m| job.past.iter().any(|attempt| attempt.generation == m.generation))
}

/// Splits a train job's wall time. None until an attempt is over.
pub(super) fn time(job: &JobRecord, manifests: &[Manifest], tokens_per_step: u64) -> Option<TimeReport> {
    let mut report = TimeReport::default();
    let mut before_first_step = 0.0;
    for (i, attempt) in job.past.iter().enumerate() {
        let until_next = job.past.get(i + 1).map_or(0.0, |next| attempt.millis_until(next) as f64 / 1e3);
        let mut told = PhaseSeconds::default();
        manifests.iter().filter(|m| m.generation == attempt.generation).for_each(|m| told.add(&mean(m)));
        let counted = attempt.millis() as f64 / 1e3;
        // Steps that were made while no coordinator was there are measured, and that time is only as good as two wall clocks.
        let length = if attempt.was_alone() { counted.max(told.total()) } else { counted };
        // A rank's clock and the coordinator's may differ by a little; the causes must not exceed what they explain.
        if told.total() > length {
            told = told.scaled(length / told.total());
        }
        let untold = length - told.total();
        match attempt.fault {
            Some(_) => {
                report.lost_inside += untold;
                report.lost_to_failures += untold + until_next;
            }
            None => {
                report.idle += untold;
                report.stopped += until_next;
            }
        }
        if i == 0 {
            before_first_step = told.startup + told.rendezvous + told.load;
        }
        report.phases.add(&told);
        report.wall += length + until_next;
    }
    job.past.first()?;
    let tokens = of_ended(job, manifests).map(|m| m.ledger.len() as u64).sum::<u64>() as f64 * tokens_per_step as f64;
    let per = |seconds: f64| if seconds > 0.0 { tokens / seconds } else { 0.0 };
    report.end_to_end = report.wall - report.stopped - before_first_step;
    report.tokens_per_second = per(report.end_to_end);
    report.tokens_per_second_stepping = per(report.phases.stepping());
    Some(report)
}
