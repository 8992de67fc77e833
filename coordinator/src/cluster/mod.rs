//! The pure heart of the coordinator: events in, effects out. No I/O, no clock, no randomness.
//!
//! Events are taken in one by one; what follows from all that came together is decided once, by [`Cluster::settle`]. The caller
//! persists the effects before it answers anybody, in this order: puts, new versions of the changed records, deletes. What a worker
//! should do is not an effect but a question, [`Cluster::desired`], asked after that.

mod budget;
mod desired;
mod doubt;
mod elastic;
mod evict;
mod finish;
mod hang;
mod heartbeat;
mod index;
mod limits;
mod mend;
mod nodes;
mod phases;
mod place;
mod publish;
mod pulse;
mod recover;
mod remove;
mod report;
mod rest;
mod rewind;
mod run;
mod schedule;
mod slots;
mod stacks;
mod submit;
mod sync;
mod times;
mod view;
mod waiting;
mod workers;

pub use budget::Budget;
pub use doubt::Doubt;
pub use limits::Limits;
pub use mend::{Found, Look, Whole};
pub use remove::RemoveRequest;
pub use rest::Untidy;
pub use rewind::RewindRequest;
pub use run::{NextVersion, Run};
pub use submit::{StopRequest, WaiveRequest};
pub use view::{QuotaLine, WorkerLine, reason};
pub use waiting::QueueLine;
pub use workers::{Worker, WorkerState};

use osler_core::identity::Submission;
use osler_core::ids::{Epoch, RunName, StageName, TeamName, WorkerName};
use osler_core::job::JobKey;
use osler_core::record::{EventKind, RunRecord, RunState};
use osler_core::removal::Remains;
use osler_core::sync::Observed;
use osler_core::time::{Age, Moment, Now};
use osler_runtime::store::Waited;
use remove::Removals;
use rest::Resting;
use std::collections::{BTreeMap, BTreeSet};
use sync::Told;
use workers::Workers;

/// Everything that can happen to a cluster.
#[derive(Debug, Clone)]
pub enum Event {
    Submit(Box<Submission>),
    Stop(StopRequest),
    Waive(WaiveRequest),
    /// With another number of ranks, if one is given.
    Resume {
        run: RunName,
        ranks: Option<u32>,
    },
    Rewind(RewindRequest),
    /// Somebody found an object damaged.
    Doubt(Doubt),
    /// Of a run that does not live.
    Remove(RemoveRequest),
    /// How many slots a team may hold; none: as many as there are.
    Quota {
        team: TeamName,
        slots: Option<u32>,
    },
    /// A node takes no more work, for a reason; none: it takes work again.
    Drain {
        worker: WorkerName,
        reason: Option<String>,
    },
    CheckNode(WorkerName),
    /// Keep a checkpoint whatever the rules of retention say, or leave it to them again.
    Pin {
        run: RunName,
        stage: StageName,
        step: u64,
        pinned: bool,
    },
    Sync(Box<Observed>),
    /// The store had no room or did not answer for a while, and does again.
    StoreWaited(Waited),
    /// The coordinator has read an object that a process could not use.
    Looked {
        look: Box<Look>,
        found: Found,
    },
    /// What a removed run left was deleted, or not all of it.
    Swept {
        remains: Remains,
        whole: bool,
    },
    /// What a version of a run's record leaves to nobody was deleted.
    Tidied {
        run: RunName,
        version: u64,
    },
    /// Time passed. Comes several times a second, so that silence is noticed.
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Submitted {
        created: bool,
        state: RunState,
    },
    State(RunState),
    /// The cluster is as it was asked to be.
    Set,
    /// The call was taken in; ask [`Cluster::desired`] once the effects are durable.
    Synced,
    Ticked,
}

/// What to do, in this order.
#[derive(Debug, Default)]
pub struct Effects {
    /// Manifests: path and bytes, written before the records that name them.
    pub puts: Vec<(String, Vec<u8>)>,
    /// Runs whose records changed; each needs a new version.
    pub persist: BTreeSet<RunName>,
    /// Objects that no record names any more; deleted after the records are written.
    pub deletes: Vec<String>,
    /// The cluster's own record changed; it needs a new version.
    pub cluster: bool,
    /// For the log.
    pub notes: Vec<String>,
}

/// A request that cannot be met, with the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("run {run} exists already, and is another one: {differences}; choose another name, for example with --set name={run}-2")]
    AlreadyExists { run: RunName, differences: String },
    #[error("there is no run {0:?}: `osler ps` lists them")]
    NoSuchRun(String),
    #[error("run {run} cannot be used: {why}")]
    Unreadable { run: RunName, why: String },
    #[error("the run file cannot be used: {0}")]
    InvalidSpec(String),
    #[error(
        "run {run} has no checkpoint of stage {stage:?} at step {step} whose parts are still there: `osler ckpt list {run}` shows them"
    )]
    NoSuchCheckpoint { run: RunName, stage: StageName, step: u64 },
    #[error("stage {stage:?} of run {run} cannot go back: {why}")]
    NotRewound { run: RunName, stage: StageName, why: String },
    #[error("run {run} cannot go on with {ranks} ranks: {why}")]
    UnfitRanks { run: RunName, ranks: u32, why: String },
    #[error("the record of run {run} names no object {path:?} that anything may still read")]
    NotNamed { run: RunName, path: String },
    #[error("run {run} cannot be read at this moment: {why}; try again")]
    AtRest { run: RunName, why: String },
    #[error("run {0} is being removed at this moment: try again")]
    BeingRemoved(RunName),
    #[error("run {run} is {state}: `osler stop {run}` first, and remove it when it has ended")]
    StillLive { run: RunName, state: String },
    #[error("run {reader} is not finished and reads {path}, which is run {run}'s: let it finish, or remove it first")]
    StillRead { run: RunName, reader: RunName, path: String },
    #[error("run {run} is still {state}: wait until it has ended, then resume it")]
    StillEnding { run: RunName, state: String },
    #[error(
        "run {run} failed at gate {gate}, and would pass it unseen: `osler resume {run} --waive-gate {gate} --reason WHY` lets it pass, for all to see"
    )]
    ShutGate { run: RunName, gate: String },
    #[error("no gate of run {run} that failed is named {gate:?}; those that did: {failed}")]
    NoSuchGate { run: RunName, gate: String, failed: String },
    #[error("there is no worker {0}: `osler node list` lists them")]
    NoSuchWorker(WorkerName),
    #[error("team {0} has no quota: `osler quota list` lists them")]
    NoSuchTeam(TeamName),
    #[error("worker {worker} was started again since (incarnation {newest}, this one is {given}): this agent must exit")]
    Superseded { worker: WorkerName, newest: u64, given: u64 },
    #[error(
        "{0} workers are known, and no more are taken: `osler node list` shows them, and those that are silent for an hour are forgotten"
    )]
    TooManyWorkers(usize),
    #[error("a coordinator of epoch {heard} has been heard of, this one is of epoch {ours}: look for that one")]
    Succeeded { ours: Epoch, heard: Epoch },
    #[error("call {given} of worker {worker} arrived after its call {newest}: it tells of the past")]
    Overtaken { worker: WorkerName, newest: u64, given: u64 },
}

/// All runs and workers. One owner; nothing else changes it.
#[derive(Debug)]
pub struct Cluster {
    runs: BTreeMap<RunName, Run>,
    workers: Workers,
    epoch: Epoch,
    /// Where ranks find the objects.
    store: String,
    /// What the clocks showed at the latest event.
    last_event: Now,
    /// Reports of attempts that are over; counted, because many of them mean that something is wrong.
    fenced: u64,
    /// Something was taken in whose consequences are not decided.
    unsettled: bool,
    /// Time has passed since losses and hangs were last looked for, or a worker was found restarted.
    due: bool,
    /// Runs with ranks on a worker, whatever its life. Follows from the runs' own indexes: `settle` keeps it.
    holders: BTreeMap<WorkerName, BTreeSet<RunName>>,
    /// Runs of the store whose records cannot be read, and why. Their names are taken.
    unreadable: BTreeMap<RunName, String>,
    removals: Removals,
    resting: Resting,
    /// How old the cluster was when this coordinator began.
    age: (Age, Moment),
}

impl Cluster {
    pub fn new(now: Now, epoch: Epoch, store: impl Into<String>, limits: Limits) -> Self {
        let workers = Workers::new(now.moment, limits);
        let (runs, holders) = (BTreeMap::new(), BTreeMap::new());
        Self {
            runs,
            workers,
            epoch,
            store: store.into(),
            last_event: now,
            fenced: 0,
            unsettled: false,
            due: true,
            holders,
            unreadable: BTreeMap::new(),
            removals: Removals::default(),
            resting: Resting::default(),
            age: (Age::default(), now.moment),
        }
    }

    /// Takes over a run that an earlier coordinator wrote, perhaps by another clock.
    pub fn adopt(&mut self, record: RunRecord) {
        if record.state == RunState::Removed {
            return self.removals.adopt(&record);
        }
        let (name, run) = (record.name().clone(), Run::new(self.last_event, record, &self.workers.limits));
        for worker in run.index().workers() {
            self.holders.entry(worker.clone()).or_default().insert(name.clone());
        }
        self.runs.insert(name, run);
    }

    /// One event and all that follows from it.
    pub fn apply(&mut self, clock: Now, event: Event) -> (Result<Answer, Refused>, Effects) {
        let mut effects = Effects::default();
        let answer = self.take_in(clock, event, &mut effects);
        self.settle(&mut effects);
        (answer, effects)
    }

    /// One event by itself. Whoever calls this settles before anything is written or told.
    pub fn take_in(&mut self, clock: Now, event: Event, effects: &mut Effects) -> Result<Answer, Refused> {
        let now = self.advance(clock);
        if let Some(run) = self.sleeper(&event) {
            return Err(Refused::AtRest { run, why: "it is at rest".to_owned() }); // whoever asks has it read first
        }
        let mut heartbeat = false;
        let answer = match event {
            Event::Submit(submission) => self.submit(now, *submission),
            Event::Stop(request) => self.stop(now, request).map(Answer::State),
            Event::Waive(request) => self.waive(now, request).map(Answer::State),
            Event::Resume { run, ranks } => self.resume(now, &run, ranks).map(Answer::State),
            Event::Doubt(doubt) => self.doubt(now, doubt).map(Answer::State),
            Event::Remove(request) => self.remove(now, request, effects).map(Answer::State),
            Event::Rewind(request) => self.rewind(now, request, effects).map(Answer::State),
            Event::Quota { team, slots } => self.set_quota(team, slots, effects).map(|()| Answer::Set),
            Event::Drain { worker, reason } => self.drain(now, worker, reason, effects).map(|()| Answer::Set),
            Event::CheckNode(worker) => self.check_node(worker).map(|()| Answer::Set),
            Event::Pin { run, stage, step, pinned } => self.pin(now, &run, &stage, step, pinned, effects).map(Answer::State),
            Event::Sync(observed) => {
                let synced = self.sync(now, *observed, effects);
                // Most calls say nothing that another job or worker depends on; what only time brings, the next tick sees.
                heartbeat = matches!(synced, Ok(Told::Nothing) | Err(_));
                synced.map(|_| Answer::Synced)
            }
            Event::StoreWaited(waited) => {
                self.note_wait(now, &waited);
                Ok(Answer::Ticked)
            }
            Event::Looked { look, found } => {
                self.looked(now, &look, &found, effects);
                Ok(Answer::Ticked)
            }
            Event::Swept { remains, whole } => {
                self.swept(&remains, whole);
                Ok(Answer::Ticked)
            }
            Event::Tidied { run, version } => {
                self.tidied(now, &run, version);
                Ok(Answer::Ticked)
            }
            Event::Tick => {
                self.due = true;
                self.workers.judge_own_clock(effects);
                Ok(Answer::Ticked)
            }
        };
        self.unsettled |= !heartbeat;
        answer
    }

    /// Decides what follows from all that was taken in since the last time, as of the last event. A pass over the queue costs time
    /// with the size of the cluster, so it is made once for events that come together.
    pub fn settle(&mut self, effects: &mut Effects) {
        if std::mem::take(&mut self.unsettled) {
            let due = std::mem::take(&mut self.due);
            self.follow(self.last_event, due, effects);
            self.note_holders();
        }
        effects.cluster = self.workers.changed;
        effects.persist = self.runs.iter().filter(|(_, run)| run.changed).map(|(name, _)| name.clone()).collect();
    }

    /// A pause of our own is not the workers' silence; a jump of the wall clock is no pause.
    fn advance(&mut self, clock: Now) -> Now {
        let now = self.time(clock);
        let gap = now.moment.since(self.last_event.moment);
        if gap > self.workers.limits.pause {
            self.workers.forgive(gap);
            for run in self.runs.values_mut() {
                run.forget_paces();
                run.pulses.wake(now.moment);
            }
        }
        self.last_event = now;
        now
    }

    /// Moments never go back here, stamps may.
    fn time(&self, clock: Now) -> Now {
        Now { moment: clock.moment.max(self.last_event.moment), ..clock }
    }

    /// Brings everything that follows from the facts up to date.
    ///
    /// What only time brings (`due`) looks at every rank of every gang, and is therefore left to the ticks: among thousands of ranks
    /// it costs milliseconds, and in a crowd there are many decisions between two ticks.
    fn follow(&mut self, now: Now, due: bool, effects: &mut Effects) {
        for run in self.runs.values_mut().filter(|run| run.record.state.is_live()) {
            if due {
                run.fail_lost(now, &self.workers);
                run.watch_gangs(now, &self.workers);
                run.watch_processes(now, &self.workers);
            }
            run.end_unwanted(now, &self.workers);
            run.finish_endings(now, &self.workers, effects);
            run.end_unwanted(now, &self.workers);
            if run.changed {
                run.unblock(now);
                run.conclude(now);
            }
        }
        self.judge_nodes(now, effects);
        self.place(now, effects);
        self.grow(now);
        if due {
            self.retire_finished(now, effects);
            self.let_rest(now);
            self.note_age(now);
        }
        if due && self.workers.any_to_forget(now) {
            let busy = self.attempts().flat_map(|(_, _, attempt)| attempt.places.iter().map(|p| p.worker.clone())).collect();
            self.workers.forget(now, &busy);
        }
    }

    /// People who look later should find why nothing moved.
    fn note_wait(&mut self, now: Now, waited: &Waited) {
        let what = if waited.no_room { "had no room" } else { "did not answer" };
        let message = format!("the store {what} for {:.1} s, and everything waited for it: {}", waited.time.as_secs_f64(), waited.why);
        for run in self.runs.values_mut().filter(|run| run.record.state.is_live()) {
            run.happened(now, EventKind::Store, None, message.clone());
        }
    }

    /// A run whose ranks came to a worker or left it has news for that worker.
    fn note_holders(&mut self) {
        for (name, run) in &self.runs {
            for worker in &run.news {
                if run.index().on(worker).next().is_some() {
                    self.holders.entry(worker.clone()).or_default().insert(name.clone());
                } else if let Some(runs) = self.holders.get_mut(worker) {
                    runs.remove(name);
                    if runs.is_empty() {
                        self.holders.remove(worker);
                    }
                }
            }
        }
    }

    /// Jobs with ranks on a worker, whatever its life, and these ranks.
    fn on<'a>(&'a self, worker: &'a WorkerName) -> impl Iterator<Item = (&'a Run, &'a JobKey, &'a [u32])> {
        let runs = self.holders.get(worker).into_iter().flatten().filter_map(|name| self.runs.get(name));
        let live = runs.filter(|run| run.record.state.is_live());
        live.flat_map(move |run| run.index().on(worker).map(move |(key, ranks)| (run, key, ranks)))
    }

    /// Every attempt that holds slots.
    fn attempts(&self) -> impl Iterator<Item = (&Run, &JobKey, &osler_core::record::Attempt)> {
        let live = self.runs.values().filter(|run| run.record.state.is_live());
        live.flat_map(|run| run.index().held().filter_map(move |key| Some((run, key, run.job(key)?.status.attempt()?))))
    }

    /// A run of the store that is out, and why.
    pub fn put_aside(&mut self, run: RunName, why: String) {
        self.forget_at_rest(&run);
        self.unreadable.insert(run, why);
    }

    pub fn is_put_aside(&self, run: &RunName) -> bool {
        self.unreadable.contains_key(run)
    }

    pub fn put_aside_runs(&self) -> impl Iterator<Item = (&RunName, &String)> {
        self.unreadable.iter()
    }

    /// Why a run that was asked for is not there.
    pub fn missing(&self, name: &RunName) -> Refused {
        match self.unreadable.get(name) {
            Some(why) => Refused::Unreadable { run: name.clone(), why: why.clone() },
            None => Refused::NoSuchRun(name.to_string()),
        }
    }

    pub fn run(&self, name: &RunName) -> Option<&Run> {
        self.runs.get(name)
    }

    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.runs.values()
    }

    /// The next version of a run's record, to be created under its number.
    pub fn next_version(&mut self, name: &RunName) -> Option<NextVersion> {
        let (now, epoch, page) = (self.last_event, self.epoch, self.workers.limits.page);
        let cluster_age = self.age(now).total();
        self.runs.get_mut(name).map(|run| run.next_version(now, epoch, cluster_age, page))
    }

    /// Runs with progress that watchers have not seen, and forgets that.
    pub fn take_moved(&mut self) -> Vec<RunName> {
        let moved = self.runs.iter_mut().filter_map(|(name, run)| std::mem::take(&mut run.moved).then(|| name.clone()));
        moved.collect()
    }

    /// Workers for whom [`Self::desired`] may say something new since this was last asked. Those that called since know themselves.
    pub fn take_news(&mut self) -> BTreeSet<WorkerName> {
        let asked = std::mem::take(&mut self.workers.asked);
        self.runs.values_mut().flat_map(|run| std::mem::take(&mut run.news)).chain(asked).collect()
    }

    /// Somebody who is out of touch may have written since.
    pub fn all_untidy(&mut self) {
        self.runs.values_mut().filter(|run| run.record.state.is_live()).for_each(|run| run.untidy = true);
        self.sweep_again();
    }

    /// What the clocks showed at the latest event.
    pub fn now(&self) -> Now {
        self.last_event
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Reports that came from attempts that are over.
    pub fn fenced(&self) -> u64 {
        self.fenced
    }
}

#[cfg(test)]
mod tests;
