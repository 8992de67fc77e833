//! Where a run's wall time went, from submission to its last job's end: a partition, so the causes add up to the whole.
//!
//! At each moment the first of these that applies has it: a train job's attempt, preparing (corpora, tokenizer), what comes after a stage
//! (exports, exams, compression), a failed train job that is not running again, a stop, and waiting for slots.

use super::time::TimeReport;
use crate::ids::Millis;
use crate::job::JobKind;
use crate::record::{EventKind, JobRecord, PastAttempt, RunRecord, RunState};
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

/// The line of time that a run's spans lie on: its age, so that no jump of a wall clock counts; of runs that an older version began, the
/// wall clock.
struct Line {
    begin: u64,
    /// Stamps and the ages that go with them; none if stamps are all that is known.
    known: Option<Vec<(u64, u64)>>,
}

impl Line {
    fn of(record: &RunRecord) -> Self {
        let past = || record.jobs.values().flat_map(|job| &job.past);
        let ends = |past: &PastAttempt| {
            let span = past.span?;
            Some([(past.started_at.0, span.from.total()), (past.ended_at.0, span.to.total())])
        };
        let known: Option<Vec<_>> = past().map(ends).collect();
        let begin = if known.is_some() { 0 } else { record.submitted_at.0 };
        Self { begin, known: known.map(|ends| ends.into_iter().flatten().collect()) }
    }

    fn span(&self, past: &PastAttempt) -> (u64, u64) {
        match past.span {
            Some(span) if self.known.is_some() => (span.from.total(), span.to.total()),
            _ => (past.started_at.0, past.ended_at.0),
        }
    }

    /// Of a stamp, by what happened next to it: stamps that were made close to each other were made by the same clock.
    fn at(&self, stamp: Millis) -> u64 {
        let Some(known) = &self.known else { return stamp.0 };
        let Some((near, age)) = known.iter().min_by_key(|(near, _)| near.abs_diff(stamp.0)) else { return 0 };
        let apart = near.abs_diff(stamp.0);
        if *near <= stamp.0 {
            let next = known.iter().map(|(_, other)| *other).filter(|other| other > age).min().unwrap_or(u64::MAX);
            age.saturating_add(apart).min(next)
        } else {
            let before = known.iter().map(|(_, other)| *other).filter(|other| other < age).max().unwrap_or(0);
            age.saturating_sub(apart).max(before)
        }
    }
}

/// `times` are those of the run's stages, in any order. None until an attempt is over.
pub(super) fn goodput<'a>(record: &RunRecord, times: impl Iterator<Item = &'a TimeReport>) -> Option<Goodput> {
    let line = Line::of(record);
    let ended = record.jobs.values().flat_map(|job| job.past.iter().map(|past| line.span(past).1)).max()?;
    let whole = Spans::new(vec![(line.begin, ended)]);
    let of = |wanted: fn(&JobKind) -> bool| {
        let jobs = record.jobs.values().filter(|job| wanted(&job.planned.kind));
        Spans::new(jobs.flat_map(|job| job.past.iter().map(|past| line.span(past))).collect())
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
    let recovering = take(&Spans::new(record.jobs.values().flat_map(|job| gaps_after_faults(job, &line)).collect()));
    let stopped = take(&Spans::new(stops(record, ended, &line)));
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
fn gaps_after_faults(job: &JobRecord, line: &Line) -> Vec<(u64, u64)> {
    let pairs = job.past.iter().zip(job.past.iter().skip(1));
    pairs.filter(|(failed, _)| failed.fault.is_some()).map(|(failed, next)| (line.span(failed).1, line.span(next).0)).collect()
}

/// From a stop (or a failure) of the run to its resume, as far back as the record's events go.
fn stops(record: &RunRecord, end: u64, line: &Line) -> Vec<(u64, u64)> {
    let (stopped, failed) = (RunState::Stopped, RunState::Failed(String::new()));
    let mut spans = vec![];
    let mut since = None;
    for event in record.events.iter().filter(|event| event.kind == EventKind::Run && event.job.is_none()) {
        if event.message == stopped.as_str() || event.message == failed.as_str() {
            since = Some(line.at(event.at));
        } else if event.message == "resumed"
            && let Some(from) = since.take()
        {
            spans.push((from, line.at(event.at)));
        }
    }
    spans.extend(since.map(|from| (from, end)));
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Generation;
    use crate::job::{Fault, FaultClass};
    use crate::record::Event;
    use crate::time::{Age, Span};

    #[test]
    fn spans_are_cut_out_of_each_other() {
        let spans = |list: &[(u64, u64)]| Spans::new(list.to_vec());
        assert_eq!(spans(&[(5, 9), (0, 3), (2, 4), (7, 7)]).0, [(0, 4), (5, 9)]);
        assert_eq!(spans(&[(0, 10)]).without(&spans(&[(2, 3), (5, 20)])).0, [(0, 2), (3, 5)]);
        assert_eq!(spans(&[(0, 10)]).without(&spans(&[(0, 10)])).0, []);
        assert_eq!(spans(&[(4, 6)]).without(&spans(&[(0, 5)])).0, [(5, 6)]);
    }

    /// (generation, begin and end by the run's age in seconds, failed); the stamps are off by what is given for each end.
    fn run(attempts: &[(u64, u64, u64, bool)], off: &[i64], aged: bool) -> RunRecord {
        let mut record = crate::leftover::tests::record();
        let stamp = |seconds: u64, n: usize| Millis((DAWN + seconds * 1000).saturating_add_signed(off.get(n).copied().unwrap_or(0)));
        record.submitted_at = stamp(0, 0);
        let age = |seconds: u64| Age { watched: seconds * 1000, alone: 0 };
        let past = attempts.iter().enumerate().map(|(i, (generation, from, to, failed))| PastAttempt {
            generation: Generation(*generation),
            workers: Default::default(),
            started_at: stamp(*from, 2 * i),
            ended_at: stamp(*to, 2 * i + 1),
            fault: failed.then(|| Fault::new(FaultClass::Infrastructure, "killed")),
            steps_published: 0,
            others: Default::default(),
            cause: None,
            span: aged.then(|| Span { from: age(*from), to: age(*to) }),
        });
        let past: Vec<PastAttempt> = past.collect();
        // It stopped with the second attempt and was resumed just before the third.
        let event = |id, at, message: &str| Event {
            id,
            at,
            kind: EventKind::Run,
            job: None,
            generation: None,
            message: message.into(),
            reason: None,
        };
        let resumed = Millis(past[2].started_at.0 - 100);
        record.events = vec![event(1, past[1].ended_at, "stopped"), event(2, resumed, "resumed")];
        let train = record.jobs.values_mut().find(|job| matches!(job.planned.kind, JobKind::Train { .. })).unwrap();
        train.past = past;
        record
    }

    const DAWN: u64 = 1_795_410_000_000;

    #[test]
    fn no_jump_of_a_clock_is_a_cause() {
        const FAR: i64 = 400 * 24 * 3_600_000;
        let attempts = [(1, 5, 15, true), (2, 17, 26, false), (3, 126, 134, false)];
        let of = |record: RunRecord| goodput(&record, std::iter::empty()).unwrap();
        let right = of(run(&attempts, &[], false));
        let cause = |goodput: &Goodput, name: &str| goodput.causes.iter().find(|(cause, _)| *cause == name).unwrap().1;
        assert_eq!((right.wall, cause(&right, "recovering"), cause(&right, "stopped")), (134.0, 2.0, 99.9));
        assert_eq!(of(run(&attempts, &[], true)), right);
        for off in [[0, FAR, FAR, FAR, FAR, FAR], [FAR, FAR, 0, 0, 0, 0], [0, 0, FAR, 0, 0, 0], [0, 0, 0, 0, -FAR, 0]] {
            assert_eq!(of(run(&attempts, &off, true)), right, "{off:?}");
        }
    }
}
