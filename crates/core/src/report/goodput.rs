//! Where a run's wall time went, from submission to its last job's end: a partition, so the causes add up to the whole.
//!
//! At each moment the first of these that applies has it: a train job's attempt, preparing (corpora, tokenizer), what comes after a stage
//! (exports, exams, compression), a failed train job that is not running again, a stop, and waiting for slots.

use super::time::TimeReport;
use crate::ids::Millis;
use crate::job::JobKind;
use crate::record::{EventKind, JobRecord, RunRecord, RunState};
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Goodput {
    /// Seconds from the submission to the end of the last attempt that is over.
    pub wall: f64,
    /// Seconds by cause; sums to `wall`.
    pub causes: Vec<(&'static str, f64)>,
    /// Published steps (data, forward, backward, communication, update) as a share of `wall`.
    pub goodput: f64,
}

/// Sorted, disjoint spans of time.
#[derive(Debug, Clone, Default)]
struct Spans(Vec<(u64, u64)>);

impl Spans {
    fn new(mut spans: Vec<(u64, u64)>) -> Self {
        spans.retain(|(from, to)| from < to);
        spans.sort_unstable();
        let mut merged: Vec<(u64, u64)> = vec![];
        for (from, to) in spans {
            match merged.last_mut().filter(|last| last.1 >= from) {
                Some(last) => last.1 = last.1.max(to),
                None => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    fn without(&self, other: &Self) -> Self {
        let mut left = vec![];
        for &(start, to) in &self.0 {
            let mut from = start;
            for &(begin, end) in other.0.iter().filter(|(begin, end)| *begin < to && *end > start) {
                if begin > from {
                    left.push((from, begin));
                }
                from = from.max(end);
            }
            left.push((from, to));
        }
        Self::new(left)
    }

    fn seconds(&self) -> f64 {
        self.0.iter().map(|(from, to)| to - from).sum::<u64>() as f64 / 1e3
    }
}

/// `times` are those of the run's stages, in any order. None until an attempt is over.
pub(super) fn goodput<'a>(record: &RunRecord, times: impl Iterator<Item = &'a TimeReport>) -> Option<Goodput> {
    let ended = record.jobs.values().flat_map(|job| job.past.iter().map(|past| past.ended_at.0)).max()?;
    let whole = Spans::new(vec![(record.submitted_at.0, ended)]);
    let of = |wanted: fn(&JobKind) -> bool| {
        let jobs = record.jobs.values().filter(|job| wanted(&job.planned.kind));
        Spans::new(jobs.flat_map(|job| job.past.iter().map(|a| (a.started_at.0, a.ended_at.0.min(ended)))).collect())
    };
    let mut rest = whole.clone();
    let mut take = |spans: &Spans| {
        let taken = rest.clone().without(&rest.without(spans));
        rest = rest.without(spans);
        taken.seconds()
    };
    let training = take(&of(|kind| matches!(kind, JobKind::Train { .. })));
    let preparing =
        take(&of(|kind| matches!(kind, JobKind::Clean { .. } | JobKind::Merge { .. } | JobKind::Tokenizer | JobKind::Pack { .. })));
    let after = take(&of(|kind| matches!(kind, JobKind::Export { .. } | JobKind::Exam { .. } | JobKind::Quantize { .. })));
    let recovering = take(&Spans::new(record.jobs.values().flat_map(gaps_after_faults).collect()));
    let stopped = take(&Spans::new(stops(record, Millis(ended))));
    let waiting = rest.seconds();

    let mut sum = TimeReport::default();
    for time in times {
        sum.phases.add(&time.phases);
        sum.lost_inside += time.lost_inside;
        sum.idle += time.idle;
    }
    let phases = &sum.phases;
    // Attempts of one stage follow each other, and stages too; what clocks or overlaps leave over is told as idle.
    let told = phases.total() + sum.lost_inside;
    let by = if told > training && told > 0.0 { training / told } else { 1.0 };
    let stepping = phases.stepping() * by;
    let starting = (phases.startup + phases.rendezvous + phases.load) * by;
    let saving = (phases.checkpoint + phases.checkpoint_wait) * by;
    let lost = sum.lost_inside * by;
    let idle = (training - stepping - starting - saving - lost).max(0.0);
    let wall = whole.seconds();
    let causes = vec![
        ("steps", stepping),
        ("starting", starting),
        ("checkpoints", saving),
        ("lost to failures", lost),
        ("recovering", recovering),
        ("idle", idle),
        ("preparing", preparing),
        ("after stages", after),
        ("stopped", stopped),
        ("waiting for slots", waiting),
    ];
    Some(Goodput { wall, causes, goodput: if wall > 0.0 { stepping / wall } else { 0.0 } })
}

/// From the end of an attempt that failed to the beginning of the next one.
fn gaps_after_faults(job: &JobRecord) -> Vec<(u64, u64)> {
    let pairs = job.past.iter().zip(job.past.iter().skip(1));
    pairs.filter(|(failed, _)| failed.fault.is_some()).map(|(failed, next)| (failed.ended_at.0, next.started_at.0)).collect()
}

/// From a stop (or a failure) of the run to its resume, as far back as the record's events go.
fn stops(record: &RunRecord, end: Millis) -> Vec<(u64, u64)> {
    let (stopped, failed) = (RunState::Stopped, RunState::Failed(String::new()));
    let mut spans = vec![];
    let mut since = None;
    for event in record.events.iter().filter(|event| event.kind == EventKind::Run && event.job.is_none()) {
        if event.message == stopped.as_str() || event.message == failed.as_str() {
            since = Some(event.at.0);
        } else if event.message == "resumed"
            && let Some(from) = since.take()
        {
            spans.push((from, event.at.0));
        }
    }
    spans.extend(since.map(|from| (from, end.0)));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_cut_out_of_each_other() {
        let spans = |list: &[(u64, u64)]| Spans::new(list.to_vec());
        assert_eq!(spans(&[(5, 9), (0, 3), (2, 4), (7, 7)]).0, [(0, 4), (5, 9)]);
        assert_eq!(spans(&[(0, 10)]).without(&spans(&[(2, 3), (5, 20)])).0, [(0, 2), (3, 5)]);
        assert_eq!(spans(&[(0, 10)]).without(&spans(&[(0, 10)])).0, []);
        assert_eq!(spans(&[(4, 6)]).without(&spans(&[(0, 5)])).0, [(5, 6)]);
    }
}
