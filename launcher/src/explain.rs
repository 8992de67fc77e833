//! Why a run or a job is as it is: one sentence first, then the evidence. Pure; shown by `osler explain`.

use crate::client::{Budget, QueueLine, QuotaLine, Seen, WorkerLine};
use osler_core::ids::Millis;
use osler_core::job::JobKey;
use osler_core::reason::{Cause, Reason};
use osler_core::record::{JobRecord, JobState, PastAttempt, RunRecord, RunState};
use serde::Serialize;

/// Of a run, or of one of its jobs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    pub run: String,
    pub job: Option<String>,
    pub state: String,
    /// The answer.
    pub sentence: String,
    pub priority: i32,
    pub team: Option<String>,
    /// The job that was asked for, or the run's jobs that are neither done nor merely blocked.
    pub jobs: Vec<Explained>,
    /// Who goes before the first of them.
    pub ahead: Vec<QueueLine>,
    pub quota: Option<QuotaLine>,
    pub workers: Vec<WorkerLine>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explained {
    pub job: String,
    pub state: &'static str,
    pub sentence: String,
    pub reason: Option<Reason>,
    /// Oldest first.
    pub attempts: Vec<Past>,
    /// Tries that are left; none: it has not failed, or is over.
    pub budget: Option<Budget>,
    /// When the next try comes, if a time is set for it.
    pub next_try: Option<Millis>,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Past {
    pub generation: u64,
    pub workers: Vec<String>,
    pub started_at: Millis,
    pub ended_at: Millis,
    /// By clocks that do not jump, unless an older version began the run.
    pub took_ms: u64,
    pub steps_published: u64,
    /// Who has to act on its fault; none: it succeeded, or was ended on request.
    pub class: Option<String>,
    pub message: String,
    pub origin: Option<String>,
    pub exit_code: Option<i32>,
    pub cause: Option<Cause>,
    pub log: Vec<String>,
}

/// What a coordinator knows beside the run; empty without one.
#[derive(Debug, Default)]
pub struct Around {
    pub live: bool,
    pub workers: Vec<WorkerLine>,
    pub queue: Vec<QueueLine>,
    pub quotas: Vec<QuotaLine>,
}

impl Explanation {
    /// None if the run has no such job.
    pub fn of(seen: &Seen, around: Around, job: Option<&JobKey>) -> Option<Self> {
        let record = &seen.record;
        let shown: Vec<(&JobKey, &JobRecord)> = match job {
            Some(key) => vec![record.jobs.get_key_value(key)?],
            None => record.jobs.iter().filter(|(_, job)| !matches!(job.status, JobState::Blocked | JobState::Succeeded { .. })).collect(),
        };
        let jobs: Vec<Explained> = shown.into_iter().map(|(key, job)| explained(seen, key, job)).collect();
        let (state, sentence) = match (job, jobs.first()) {
            (Some(_), Some(only)) => (only.state.to_owned(), format!("{}/{} {}", record.name(), only.job, only.sentence)),
            _ => (record.state.to_string(), of_run(record, &jobs, around.live)),
        };
        let queue = &record.spec.queue;
        let mine = |line: &QueueLine| line.run == record.name().as_str() && jobs.iter().any(|job| job.job == line.job);
        let first = around.queue.iter().position(mine).unwrap_or(0);
        let team = queue.team.as_ref().map(ToString::to_string);
        let quota = around.quotas.into_iter().find(|quota| Some(&quota.team) == team.as_ref());
        let ahead = around.queue.into_iter().take(first).collect();
        let (run, priority, workers) = (record.name().to_string(), queue.priority, around.workers);
        Some(Self { run, job: job.map(ToString::to_string), state, sentence, priority, team, jobs, ahead, quota, workers })
    }
}

fn explained(seen: &Seen, key: &JobKey, job: &JobRecord) -> Explained {
    let reason = seen.waiting.iter().find(|(waiting, _)| waiting == key).map(|(_, reason)| reason.clone());
    let sentence = match (&job.status, &reason) {
        (JobState::Active { attempt }, _) => {
            let mut workers: Vec<&str> = attempt.places.iter().map(|place| place.worker.as_str()).collect();
            workers.dedup();
            let leaves = attempt.leave.as_ref().map(|cause| format!("; it is to leave: {cause}")).unwrap_or_default();
            format!("runs as generation {} on {}{leaves}", attempt.generation, workers.join(", "))
        }
        (JobState::Succeeded { generation, .. }, _) => format!("succeeded in generation {generation}"),
        (JobState::Failed { fault, .. }, _) => format!("failed: {fault}; `osler resume {}` tries it again", seen.record.name()),
        (_, Some(reason)) => format!("waits: {reason}"),
        (status, None) => format!("was {} when its coordinator was last heard", status.as_str()),
    };
    let next_try = match &job.status {
        JobState::Pending { since, not_before } if not_before > since => Some(*not_before),
        JobState::Ending { next: osler_core::record::Then::Retry { not_before, .. }, .. } => Some(*not_before),
        _ => None,
    };
    let attempts = job.past.iter().map(past).collect();
    Explained {
        job: key.to_string(),
        state: job.status.as_str(),
        sentence,
        reason,
        attempts,
        budget: seen.budgets.get(key).copied(),
        next_try,
    }
}

fn past(past: &PastAttempt) -> Past {
    let fault = past.fault.as_ref();
    let message = match (fault, &past.cause) {
        (Some(fault), _) => fault.message.clone(),
        (None, Some(cause)) => cause.to_string(),
        (None, None) => "ended in order".to_owned(),
    };
    Past {
        generation: past.generation.0,
        workers: past.workers.iter().map(ToString::to_string).collect(),
        started_at: past.started_at,
        ended_at: past.ended_at,
        took_ms: past.millis(),
        steps_published: past.steps_published,
        class: fault.map(|fault| fault.class.to_string()),
        message,
        origin: fault.and_then(|fault| fault.origin.clone()),
        exit_code: fault.and_then(|fault| fault.exit_code),
        cause: past.cause.clone(),
        log: fault.map(|fault| fault.log_tail.clone()).unwrap_or_default(),
    }
}

fn of_run(record: &RunRecord, jobs: &[Explained], live: bool) -> String {
    let name = record.name();
    let (running, waiting): (Vec<&Explained>, Vec<&Explained>) = jobs.iter().partition(|job| job.state == "active");
    // A gang says more than the many small jobs.
    let first = |jobs: &[&Explained]| jobs.iter().find(|job| job.job.starts_with("train/")).or(jobs.first()).map(|job| (*job).clone());
    match &record.state {
        state if state.is_live() && !live => {
            format!("run {name} was {state}, and no coordinator is running: `osler resume {name}` goes on")
        }
        RunState::Finished => format!("run {name} is finished"),
        RunState::Removed => format!("run {name} was removed"),
        RunState::Stopped => {
            let how = record.stopped_by().unwrap_or_else(|| "was stopped".to_owned());
            format!("run {name} is stopped ({how}): `osler resume {name}` goes on")
        }
        RunState::Failed(why) => format!("run {name} failed: {why}; mend that, then `osler resume {name}` tries again"),
        RunState::Failing(why) => format!("run {name} fails: {why}; {} of its jobs are still being ended", jobs.len()),
        RunState::Stopping => format!("run {name} is stopping: {} of its jobs save or are being ended", running.len()),
        RunState::Submitted | RunState::Running => match (first(&running), first(&waiting)) {
            (Some(job), _) => format!("run {name} is running: {} {}", job.job, job.sentence),
            (None, Some(job)) => format!("run {name} is not running: {} {}", job.job, job.sentence),
            (None, None) => format!("run {name} is {}", record.state),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_run_is_explained_in_one_sentence() {
        let seen = fixture::running();
        let around = || Around { live: true, ..Around::default() };
        let live = Explanation::of(&seen, around(), None).unwrap();
        assert_eq!(live.sentence, "run tiny is running: train/domain runs as generation 25 on local");
        let stored = Explanation::of(&seen, Around::default(), None).unwrap();
        assert!(stored.sentence.ends_with("no coordinator is running: `osler resume tiny` goes on"), "{}", stored.sentence);
        let mut failed = fixture::finished().0;
        failed.state = RunState::Failed("gate".into());
        let failed = Seen::of_record(failed);
        assert!(Explanation::of(&failed, around(), None).unwrap().sentence.starts_with("run tiny failed: gate; mend that"));
    }

    #[test]
    fn a_job_that_waits_shows_who_is_ahead_and_what_its_attempts_died_of() {
        let mut seen = fixture::running();
        let key = JobKey::from("train/domain");
        seen.record.jobs = fixture::finished().0.jobs;
        let job = seen.record.jobs.get_mut(&key).unwrap();
        job.status = JobState::Pending { since: Millis(5), not_before: Millis(9) };
        seen.waiting = vec![(key.clone(), Reason::Slots { needs: 2, free: 1, unusable: vec![] })];
        let budget = Budget { infrastructure: 9, internal: 1, out_of_memory: 1 };
        seen.budgets.insert(key.clone(), budget);
        let line = |run: &str, job: &str| QueueLine {
            run: run.into(),
            job: job.into(),
            ranks: 2,
            priority: 0,
            team: String::new(),
            reason: String::new(),
        };
        let queue = vec![line("older", "train/x"), line("tiny", "train/domain"), line("younger", "train/x")];
        let found = Explanation::of(&seen, Around { live: true, queue, ..Around::default() }, Some(&key)).unwrap();
        assert_eq!(found.sentence, "tiny/train/domain waits: 1 of 2 slots free");
        assert_eq!(found.ahead.iter().map(|line| line.run.as_str()).collect::<Vec<_>>(), ["older"]);
        let job = &found.jobs[0];
        assert_eq!((job.budget, job.next_try), (Some(budget), Some(Millis(9))));
        let first = &job.attempts[0];
        assert_eq!((first.class.as_deref(), first.message.as_str()), (Some("infrastructure"), "killed by signal 9 <b>"));
        assert_eq!(first.origin.as_deref(), Some("local/1"));
        assert!(Explanation::of(&seen, Around::default(), Some(&JobKey::from("train/none"))).is_none());
    }
}
