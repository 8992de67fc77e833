//! Where a run stands, computed from its record and the latest words of its processes. Pure; shown by `status`, `ps` and `up`.

use crate::client::Seen;
use crate::source::as_of;
use osler_core::ids::Millis;
use osler_core::job::JobKey;
use osler_core::plan::train_key;
use osler_core::reason::Reason;
use osler_core::record::{JobState, RunRecord, RunState};
use osler_core::spec::StageSpec;
use osler_core::stop::Stop;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    pub run: String,
    pub state: String,
    pub reason: Option<String>,
    /// Of a run that is stopping or stopped: who did it, and whether only `osler resume` goes on.
    pub stop: Option<Stop>,
    /// Gates that failed and that somebody let pass.
    pub waived: Option<String>,
    /// Whether a coordinator says so; otherwise it is what the store last recorded.
    pub coordinator: bool,
    pub as_of: Millis,
    /// What everybody waits for.
    pub alarm: Option<String>,
    pub stages: Vec<StageLine>,
    pub running: Vec<Running>,
    pub waiting: Vec<Waiting>,
    /// Number of jobs by state.
    pub jobs: BTreeMap<&'static str, usize>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageLine {
    pub name: String,
    pub state: &'static str,
    /// Computed, which may be more than is published.
    pub step: u64,
    pub planned_steps: u64,
    pub loss: Option<f64>,
    pub tokens_per_second: Option<f64>,
    pub eta_seconds: Option<f64>,
    /// The newest published step.
    pub last_checkpoint: Option<u64>,
    /// Published steps whose updates the guard did not apply.
    pub skipped_steps: u64,
    /// How often it went back to an earlier step.
    pub rewinds: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Running {
    pub job: String,
    pub generation: u64,
    pub workers: Vec<String>,
    pub phase: String,
    pub done: u64,
    pub total: u64,
    pub unit: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Waiting {
    pub job: String,
    pub reason: String,
    /// The same for programs.
    pub detail: Reason,
}

impl Status {
    pub fn of(seen: &Seen, live: bool) -> Self {
        let record = &seen.record;
        let mut jobs = BTreeMap::new();
        for job in record.jobs.values() {
            *jobs.entry(job.status.as_str()).or_default() += 1;
        }
        Self {
            run: record.name().to_string(),
            state: record.state.to_string(),
            reason: reason(record),
            stop: record.stop.clone().filter(|_| record.stopped_by().is_some()),
            waived: record.waived(),
            coordinator: live,
            as_of: as_of(record),
            alarm: seen.alarm.clone(),
            stages: record.spec.stages.iter().map(|stage| stage_line(seen, stage)).collect(),
            running: running(seen),
            waiting: seen
                .waiting
                .iter()
                .map(|(job, reason)| Waiting { job: job.to_string(), reason: reason.to_string(), detail: reason.clone() })
                .collect(),
            jobs,
        }
    }

    /// Of a record alone: nothing is said to move.
    pub fn of_record(record: &RunRecord) -> Self {
        Self::of(&Seen::of_record(record.clone()), false)
    }

    /// The stage that is being trained, or the last one that was.
    pub fn current_stage(&self) -> Option<&StageLine> {
        let begun = |s: &&StageLine| s.step > 0 || matches!(s.state, "running" | "succeeded" | "failed");
        self.stages.iter().rev().find(begun).or(self.stages.first())
    }
}

pub fn reason(record: &RunRecord) -> Option<String> {
    match &record.state {
        RunState::Failing(why) | RunState::Failed(why) => Some(why.clone()),
        _ => None,
    }
}

fn stage_line(seen: &Seen, stage: &StageSpec) -> StageLine {
    let record = &seen.record;
    let key = train_key(&stage.name);
    let published = record.published_steps(&stage.name);
    let trains = matches!(record.jobs.get(&key).map(|job| &job.status), Some(JobState::Active { .. }));
    let word = seen.words.iter().find(|w| trains && w.job == key && w.rank == 0 && w.progress.unit == "steps").map(|w| &w.progress);
    let planned = stage.steps();
    let step = word.map_or(0, |p| p.done).max(published).min(planned);
    let speed = word.and_then(|p| p.tokens_per_second).filter(|s| *s > 0.0);
    StageLine {
        name: stage.name.to_string(),
        state: record.stage_state(&stage.name),
        step,
        planned_steps: planned,
        loss: word.and_then(|p| p.loss),
        tokens_per_second: speed,
        eta_seconds: speed.map(|s| (planned - step) as f64 * stage.tokens_per_step() as f64 / s),
        last_checkpoint: Some(published).filter(|step| *step > 0),
        skipped_steps: record.skipped_steps(&stage.name),
        rewinds: record.rewinds.get(&stage.name).map_or(0, Vec::len),
    }
}

fn running(seen: &Seen) -> Vec<Running> {
    let active = seen.record.jobs.iter().filter_map(|(key, job)| match &job.status {
        JobState::Active { attempt } => Some((key, attempt)),
        _ => None,
    });
    let line = |(key, attempt): (&JobKey, &osler_core::record::Attempt)| {
        let word = seen.words.iter().find(|w| w.job == *key && w.rank == 0).map(|w| w.progress.clone()).unwrap_or_default();
        let mut workers: Vec<String> = attempt.places.iter().map(|p| p.worker.to_string()).collect();
        workers.dedup();
        Running {
            job: key.to_string(),
            generation: attempt.generation.0,
            workers,
            phase: word.phase,
            done: word.done,
            total: word.total,
            unit: word.unit,
        }
    };
    active.map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_running_stage_shows_what_its_first_rank_said_last() {
        let status = Status::of(&fixture::running(), true);
        let stage = status.current_stage().unwrap();
        assert_eq!((stage.name.as_str(), stage.state, stage.step, stage.planned_steps), ("domain", "running", 7, 10));
        assert_eq!((stage.loss, stage.last_checkpoint), (Some(2.5), Some(5)));
        // Three steps of 4 x 8 tokens at 32 tokens a second.
        assert_eq!(stage.eta_seconds, Some(3.0));
        assert_eq!(status.running.iter().map(|r| r.job.as_str()).collect::<Vec<_>>(), ["train/domain"]);
    }

    #[test]
    fn a_step_beyond_the_plan_is_not_believed() {
        let mut seen = fixture::running();
        seen.words[0].progress.done = u64::MAX;
        assert_eq!(Status::of(&seen, true).stages[1].step, 10);
    }

    #[test]
    fn without_words_the_published_steps_count() {
        let status = Status::of_record(&fixture::running().record);
        let stage = status.current_stage().unwrap();
        assert_eq!((stage.step, stage.loss, stage.eta_seconds), (5, None, None));
    }
}
