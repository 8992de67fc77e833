//! One run: its durable record, and what is remembered beside it only while this coordinator lives.

use super::hang::Pace;
use super::index::Index;
use super::limits::Limits;
use super::mend::{Look, Suspect};
use super::nodes::Deed;
use super::pulse::Pulses;
use super::stacks::Stacks;
use super::times::Times;
use osler_core::history::{PageSize, Put};
use osler_core::ids::{Epoch, Generation, Millis, StageName, WorkerName};
use osler_core::job::{JobKey, JobKind};
use osler_core::order::SampleOrder;
use osler_core::process::Progress;
use osler_core::reason::Cause;
use osler_core::record::{Attempt, Event, EventKind, JobRecord, JobState, NoOrder, RunRecord, RunState};
use osler_core::spec::StageSpec;
use osler_core::time::{Age, Aged, Moment, Now};
use std::collections::{BTreeMap, BTreeSet};

/// A version of a record, as it is to be written.
#[derive(Debug)]
pub struct NextVersion {
    pub version: u64,
    /// New pages that it names, to be written before it.
    pub pages: Vec<Put>,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub struct Run {
    pub record: RunRecord,
    /// The latest word of each process, and when it came.
    pub progress: BTreeMap<(JobKey, u32), (Progress, Moment)>,
    /// How fast each gang is.
    pub paces: BTreeMap<JobKey, Pace>,
    /// Whose silence counts, and since when.
    pub pulses: Pulses,
    /// What ranks of gangs without steps said of themselves.
    pub stacks: Stacks,
    /// Since when there has been room for gangs that run with fewer ranks than planned.
    pub roomy_since: BTreeMap<JobKey, Moment>,
    /// Ranks of ending attempts whose processes are confirmed gone.
    pub gone: BTreeMap<JobKey, BTreeSet<u32>>,
    /// The record differs from the newest written version.
    pub changed: bool,
    /// Objects that processes could not use, by the job that complained, until the coordinator has read them; see `mend`.
    pub suspects: BTreeMap<JobKey, Suspect>,
    /// Objects that somebody else doubts, until the coordinator has read them; see `doubt`.
    pub doubted: BTreeSet<String>,
    /// Of all these, what nobody has begun to read.
    pub looks: Vec<Look>,
    /// Attempts may have left objects that nobody needs.
    pub untidy: bool,
    /// When it was last swept, or that was tried.
    pub tidied: Option<Moment>,
    /// For the good name of nodes, not yet counted.
    pub deeds: Vec<Deed>,
    /// Progress came in that watchers have not seen.
    pub moved: bool,
    /// Workers that may have to do something else than they were told last.
    pub news: BTreeSet<WorkerName>,
    pub times: Times,
    /// When it was submitted: its place in the queue.
    pub came: Moment,
    /// How old it was when this coordinator first had it.
    age: (Age, Moment),
    index: Index,
    orders: BTreeMap<StageName, SampleOrder>,
    events_kept: usize,
}

/// A job that may start after so many milliseconds.
pub fn pending(now: Now, wait: u64) -> JobState {
    JobState::Pending { since: now.wall, not_before: Millis(now.wall.0.saturating_add(wait)) }
}

impl Run {
    /// One that is new, or that an earlier coordinator wrote.
    pub fn new(now: Now, mut record: RunRecord, limits: &Limits) -> Self {
        Self {
            times: Times::adopt(now, &mut record, limits),
            came: now.moment_of(record.submitted_at),
            age: (record.aged.taken_over(now.wall), now.moment),
            index: Index::of(&record),
            news: BTreeSet::new(),
            record,
            progress: BTreeMap::new(),
            paces: BTreeMap::new(),
            pulses: Pulses::default(),
            stacks: Stacks::default(),
            roomy_since: BTreeMap::new(),
            gone: BTreeMap::new(),
            changed: true,
            suspects: BTreeMap::new(),
            doubted: BTreeSet::new(),
            looks: vec![],
            untidy: true,
            tidied: None,
            deeds: vec![],
            moved: false,
            orders: BTreeMap::new(),
            events_kept: limits.events,
        }
    }

    /// The next version of the record, as it will be written, and the pages that it names and none before it did.
    pub fn next_version(&mut self, now: Now, epoch: Epoch, cluster_age: u64, size: PageSize) -> NextVersion {
        self.record.version += 1;
        self.record.epoch = epoch;
        self.record.cluster_age = cluster_age;
        self.record.swept &= self.record.state == RunState::Finished;
        self.record.aged = Aged { age: self.age(now), at: now.wall };
        self.changed = false;
        let pages = self.record.turn_pages(size);
        NextVersion { version: self.record.version, pages, bytes: self.record.head() }
    }

    pub fn happened(&mut self, now: Now, kind: EventKind, job: Option<(&JobKey, Option<Generation>)>, message: impl Into<String>) {
        self.happened_because(now, kind, job, message, None);
    }

    /// With the reason for programs.
    pub fn happened_because(
        &mut self,
        now: Now,
        kind: EventKind,
        job: Option<(&JobKey, Option<Generation>)>,
        message: impl Into<String>,
        reason: Option<Cause>,
    ) {
        let record = &mut self.record;
        let (job, generation) = job.map_or((None, None), |(key, generation)| (Some(key.clone()), generation));
        record.events.push(Event { id: record.next_event, at: now.wall, kind, job, generation, message: message.into(), reason });
        record.next_event += 1;
        let surplus = record.events.len().saturating_sub(self.events_kept);
        record.events.drain(..surplus);
        self.changed = true;
    }

    pub fn age(&self, now: Now) -> Age {
        let (age, since) = self.age;
        age.watched_for(now.moment.since(since))
    }

    /// Its age from now on, as somebody knows it better than the record.
    pub fn aged_since(&mut self, now: Now, age: Age) {
        self.age = (age, now.moment);
    }

    /// For how long this coordinator has had it.
    pub fn since(&self, now: Now) -> u64 {
        now.moment.since(self.age.1)
    }

    /// For how long coordinators have seen an attempt. What an older version's coordinator saw of it is not known.
    pub fn watched(&self, now: Now, key: &JobKey, attempt: &Attempt) -> u64 {
        let (_, since) = self.age;
        let known = attempt.began.map(|began| self.age(now).watched.saturating_sub(began.watched));
        known.unwrap_or_else(|| now.moment.since(self.times.started(key).max(since)))
    }

    pub fn job(&self, key: &JobKey) -> Option<&JobRecord> {
        self.record.jobs.get(key)
    }

    pub fn active(&self, key: &JobKey) -> Option<&Attempt> {
        match &self.job(key)?.status {
            JobState::Active { attempt } => Some(attempt),
            _ => None,
        }
    }

    /// The attempt, to change it; the record counts as changed.
    pub fn active_mut(&mut self, key: &JobKey) -> Option<&mut Attempt> {
        match &mut self.record.jobs.get_mut(key)?.status {
            JobState::Active { attempt } => {
                self.changed = true;
                Some(attempt)
            }
            _ => None,
        }
    }

    /// Replaces the state of a job, and gives back the one before.
    pub fn set(&mut self, now: Now, key: &JobKey, status: JobState) -> Option<JobState> {
        let job = self.record.jobs.get_mut(key)?;
        self.times.note(now, key, &status);
        let before = std::mem::replace(&mut job.status, status);
        self.index.remove(key, &before);
        self.index.insert(key, &job.status);
        let places = [&before, &job.status].into_iter().filter_map(JobState::attempt).flat_map(|attempt| &attempt.places);
        self.news.extend(places.map(|place| place.worker.clone()));
        self.changed = true;
        Some(before)
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The workers of a job may have to be told something else.
    pub fn tell(&mut self, key: &JobKey) {
        let places = self.job(key).and_then(|job| job.status.attempt()).map_or(&[][..], |attempt| &attempt.places);
        let workers: Vec<WorkerName> = places.iter().map(|place| place.worker.clone()).collect();
        self.news.extend(workers);
    }

    /// All workers of the run may have to be told something else.
    pub fn tell_all(&mut self) {
        self.news.extend(self.index.workers().cloned());
    }

    pub fn keys(&self, wanted: impl Fn(&JobRecord) -> bool) -> Vec<JobKey> {
        self.record.jobs.iter().filter(|(_, job)| wanted(job)).map(|(key, _)| key.clone()).collect()
    }

    /// Jobs with an attempt in the states that are wanted.
    pub fn held(&self, wanted: impl Fn(&JobRecord) -> bool) -> Vec<JobKey> {
        self.index.held().filter(|key| self.job(key).is_some_and(&wanted)).cloned().collect()
    }

    pub fn has_attempts(&self) -> bool {
        self.index.any_held()
    }

    pub fn is_train(&self, key: &JobKey) -> bool {
        self.job(key).is_some_and(|job| matches!(job.planned.kind, JobKind::Train { .. }))
    }

    /// Steps that an attempt published beyond where it started.
    pub fn steps_published(&self, key: &JobKey, attempt: &Attempt) -> u64 {
        let Some(JobKind::Train { stage }) = self.job(key).map(|job| &job.planned.kind) else { return 0 };
        let published = self.record.checkpoints.get(stage).map_or(&[][..], Vec::as_slice);
        let before = published.iter().rev().find(|c| c.generation != attempt.generation).map_or(0, |c| c.step);
        attempt.published.saturating_sub(before)
    }

    /// The order of a stage's samples, built once.
    pub fn order(&mut self, stage: &StageSpec) -> Result<&SampleOrder, NoOrder> {
        if !self.orders.contains_key(&stage.name) {
            let order = self.record.order(stage)?;
            self.orders.insert(stage.name.clone(), order);
        }
        self.orders.get(&stage.name).ok_or_else(|| NoOrder::NotPacked(osler_core::plan::train_key(&stage.name)))
    }
}
