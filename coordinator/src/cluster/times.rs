//! When a job may start, and since when its attempt runs, by the clock that only runs forward. The record's stamps are the wall clock's
//! and for people; only what an earlier coordinator decided is read from them, and is believed within bounds.

use super::budget::longest_wait;
use super::limits::Limits;
use osler_core::ids::{Millis, StageName};
use osler_core::job::{JobKey, JobKind};
use osler_core::record::{Attempt, JobRecord, JobState, Published, RunRecord, Then};
use osler_core::time::{Moment, Now};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, Default)]
struct Time {
    /// It is not tried before; the time at which it came to the queue, if it may start at once.
    due: Moment,
    /// Its attempt began.
    started: Moment,
    /// That last published a checkpoint, or began.
    saved: Moment,
}

#[derive(Debug, Clone, Default)]
pub struct Times(BTreeMap<JobKey, Time>);

impl Times {
    /// Of a run that an earlier coordinator wrote, by a wall clock that may have been another. No wait is longer than it was decided,
    /// nor than any wait may be, and the record is made to say so.
    pub fn adopt(now: Now, record: &mut RunRecord, limits: &Limits) -> Self {
        let longest = longest_wait(limits);
        let left = |not_before: Millis| not_before.0.saturating_sub(now.wall.0).min(longest);
        let mut times = BTreeMap::new();
        for (key, job) in &mut record.jobs {
            let mut time = Time { due: now.moment, started: now.moment, saved: now.moment };
            match &mut job.status {
                JobState::Pending { since, not_before } => {
                    let wait = left(*not_before).min(not_before.0.saturating_sub(since.0));
                    time.due = now.moment.after(wait);
                    if not_before.0 > now.wall.0.saturating_add(wait) {
                        (*since, *not_before) = (now.wall, Millis(now.wall.0.saturating_add(wait)));
                    }
                }
                JobState::Ending { next: Then::Retry { not_before, .. }, .. } => {
                    let wait = left(*not_before);
                    time.due = now.moment.after(wait);
                    *not_before = Millis((not_before.0).min(now.wall.0.saturating_add(wait)));
                }
                _ => {}
            }
            if let Some(attempt) = job.status.attempt() {
                time.started = now.moment_of(attempt.started_at);
                time.saved = saved_at(&record.checkpoints, job, attempt).map_or(time.started, |at| now.moment_of(at));
            }
            times.insert(key.clone(), time);
        }
        Self(times)
    }

    /// A job's state is another one from now on.
    pub fn note(&mut self, now: Now, key: &JobKey, status: &JobState) {
        let time = self.0.entry(key.clone()).or_default();
        match status {
            JobState::Pending { since, not_before } => time.due = now.moment.after(not_before.0.saturating_sub(since.0)),
            JobState::Active { .. } => (time.started, time.saved) = (now.moment, now.moment),
            JobState::Ending { next, .. } => self.note_next(now, key, next),
            _ => {}
        }
    }

    /// What follows an attempt that is ending was decided.
    pub fn note_next(&mut self, now: Now, key: &JobKey, next: &Then) {
        let wait = if let Then::Retry { not_before, .. } = next { not_before.0.saturating_sub(now.wall.0) } else { 0 };
        self.0.entry(key.clone()).or_default().due = now.moment.after(wait);
    }

    pub fn note_saved(&mut self, now: Now, key: &JobKey) {
        self.0.entry(key.clone()).or_default().saved = now.moment;
    }

    pub fn due(&self, key: &JobKey) -> Moment {
        self.of(key).due
    }

    pub fn started(&self, key: &JobKey) -> Moment {
        self.of(key).started
    }

    pub fn saved(&self, key: &JobKey) -> Moment {
        self.of(key).saved
    }

    fn of(&self, key: &JobKey) -> Time {
        self.0.get(key).copied().unwrap_or_default()
    }
}

/// When an attempt last published.
fn saved_at(checkpoints: &BTreeMap<StageName, Vec<Published>>, job: &JobRecord, attempt: &Attempt) -> Option<Millis> {
    let JobKind::Train { stage } = &job.planned.kind else { return None };
    checkpoints.get(stage)?.iter().rev().find(|c| c.generation == attempt.generation).map(|c| c.at)
}
