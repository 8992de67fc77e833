//! The one task that owns the cluster: take events, decide, make it durable, answer. No locks; channels stay inside this module.
//!
//! Events that arrive while a decision is being written are decided together and written once (group commit). Nobody hears of a
//! decision before it is durable. Heartbeats go on meanwhile, see [`heartbeats`].

mod chores;
mod handle;
mod heartbeats;
mod parked;
mod wake;
mod watch;

pub use handle::{Handle, HandleError};
pub use watch::Watcher;

use crate::cluster::{Answer, Cluster, Effects, Event, Limits, NextVersion, Refused};
use crate::ledger::{Ledger, LedgerError, Loaded};
use crate::metrics;
use crate::view;
use chores::Chores;
use futures::future::{ready, try_join_all};
use handle::{AgentCall, Request};
use heartbeats::Undecided;
use osler_core::ids::{Epoch, RunName, WorkerName};
use osler_core::paths;
use osler_core::removal::Remains;
use osler_proto::v1;
use osler_runtime::clock::Clock;
use osler_runtime::store::StoreError;
use parked::{Call, Parked};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use watch::Watched;

const TICK: Duration = Duration::from_millis(100);
const LEADERSHIP_CHECK: Duration = Duration::from_secs(2);
/// Events that are decided together at most, and for how long they are taken in, so that an agent's call does not wait for a crowd
/// of others.
const BATCH: usize = 2048;
const TAKING_IN: Duration = Duration::from_millis(20);
/// While agents wait, people's requests have no more than one part in so many of the time in which events are taken in.
const SHARE: u32 = 4;
/// Of each kind. An agent's call waits for its place for as long as the agent does; a person's request that finds none is refused.
const QUEUE: usize = 1024;

pub struct Owner {
    cluster: Cluster,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    calls: mpsc::Receiver<AgentCall>,
    requests: mpsc::Receiver<Request>,
    /// Calls that came during a write and say more than that all is as it was. One per worker: one that calls again has given up the
    /// earlier call.
    deferred: BTreeMap<WorkerName, AgentCall>,
    /// Requests whose runs were at rest and have been read since.
    woken: VecDeque<Request>,
    parked: Parked,
    watched: Watched,
    /// How long an agent's call is held back at most: silence must not be our doing.
    longest_wait: Duration,
    leadership_checked: Instant,
    /// An agent has heard of a newer coordinator.
    leadership_doubted: bool,
    chores: Chores,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owner").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

impl Owner {
    /// Takes over a store under an epoch that has just begun: every run of it, and a version of each that fences the coordinator before.
    pub async fn start(ledger: Ledger, clock: Arc<dyn Clock>, limits: Limits) -> Result<(Handle, Self), LedgerError> {
        let url = ledger.store().url().to_owned();
        let cluster = take_over(&ledger, &url, clock.as_ref(), limits).await?;
        let (to_calls, calls) = mpsc::channel(QUEUE);
        let (to_requests, requests) = mpsc::channel(QUEUE);
        let longest_wait = Duration::from_millis(limits.suspect / 3);
        let (deferred, woken, parked, watched) = (BTreeMap::new(), VecDeque::new(), Parked::default(), Watched::default());
        let handle = Handle::new(to_calls, to_requests, clock.clone(), ledger.store().clone());
        let (leadership_checked, leadership_doubted, chores) = (Instant::now(), false, Chores::default());
        let owner = Self {
            cluster,
            ledger,
            clock,
            calls,
            requests,
            deferred,
            woken,
            parked,
            watched,
            longest_wait,
            leadership_checked,
            leadership_doubted,
            chores,
        };
        Ok((handle, owner))
    }

    pub fn epoch(&self) -> Epoch {
        self.ledger.epoch()
    }

    /// Under whose right it writes.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Works until `shutdown` resolves, or the ledger cannot be written any more.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), LedgerError> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                biased; // so that a simulated seed is the same every time; no branch is ready long enough to starve another
                () = &mut shutdown => break,
                _ = tick.tick() => self.tick().await?,
                done = self.chores.next() => self.chore_done(done).await?,
                () = ready(()), if !self.deferred.is_empty() || !self.woken.is_empty() => self.take(None).await?,
                Some(call) = self.calls.recv() => self.take(Some(Next::Call(call))).await?,
                request = self.requests.recv() => match request {
                    Some(request) => self.take(Some(Next::Request(request))).await?,
                    None => break,
                },
            }
        }
        self.chores.end(self.ledger.store()).await;
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), LedgerError> {
        if self.leadership_doubted || self.leadership_checked.elapsed() >= LEADERSHIP_CHECK {
            let ledger = self.ledger.clone();
            self.meanwhile(&mut Undecided::default(), ledger.check_leadership()).await?;
            (self.leadership_checked, self.leadership_doubted) = (Instant::now(), false);
        }
        let mut turn = Turn::default();
        if let Some(waited) = self.ledger.store().take_wait() {
            drop(self.take_in(Event::StoreWaited(waited), &mut turn));
        }
        drop(self.take_in(Event::Tick, &mut turn)); // a tick asks for nothing, so nothing is refused
        self.finish(turn).await
    }

    async fn chore_done(&mut self, event: Event) -> Result<(), LedgerError> {
        let mut turn = Turn::default();
        drop(self.take_in(event, &mut turn)); // nobody asked for it, so nothing is refused
        self.finish(turn).await
    }

    async fn take(&mut self, first: Option<Next>) -> Result<(), LedgerError> {
        let (mut turn, begun) = (Turn::default(), Instant::now());
        let mut next = first.or_else(|| self.next(false));
        while let Some(found) = next {
            turn.size += 1;
            match found {
                Next::Call(call) => self.accept_call(call, &mut turn),
                Next::Request(request) if self.sleeper(&request).is_some() => turn.sleepers.push(request),
                Next::Request(request) => {
                    let at = Instant::now();
                    self.accept(request, &mut turn);
                    turn.on_requests += at.elapsed();
                }
            }
            let taken = begun.elapsed();
            next = if turn.size < BATCH && taken < TAKING_IN && turn.sleepers.len() < wake::AT_ONCE {
                self.next(turn.on_requests * SHARE < taken)
            } else {
                None
            };
        }
        self.finish(turn).await
    }

    /// Agents' calls first, unless requests have not had their share: then neither waits for all of the other.
    fn next(&mut self, requests_first: bool) -> Option<Next> {
        let request = |owner: &mut Self| owner.woken.pop_front().or_else(|| owner.requests.try_recv().ok()).map(Next::Request);
        let first = if requests_first { request(self) } else { None };
        let deferred = |owner: &mut Self| owner.deferred.pop_first().map(|(_, call)| call);
        let call = |owner: &mut Self| deferred(owner).or_else(|| owner.calls.try_recv().ok()).map(Next::Call);
        first.or_else(|| call(self)).or_else(|| request(self))
    }

    fn accept_call(&mut self, call: AgentCall, turn: &mut Turn) {
        let AgentCall { observed, wait, seen, reply } = call;
        if reply.is_closed() {
            // Its author has given up, and says all of it again in its next call. To answer nobody would keep others waiting.
            return self.cluster.heard_of(self.clock.both(), &observed);
        }
        let worker = observed.worker.clone();
        match self.take_in(Event::Sync(observed), turn) {
            Ok(_) => turn.calls.push(Call { worker, until: Instant::now() + wait.min(self.longest_wait), seen, reply }),
            Err(refused) => {
                // The agent may be wrong, the store is not.
                self.leadership_doubted |= matches!(refused, Refused::Succeeded { .. });
                turn.replies.push(Box::new(move || drop(reply.send(Err(refused)))));
            }
        }
    }

    fn accept(&mut self, request: Request, turn: &mut Turn) {
        match request {
            Request::Control { event, reply } => {
                let answer = self.take_in(event, turn);
                turn.replies.push(Box::new(move || drop(reply.send(answer))));
            }
            question if question.is_abandoned() => {}
            question => turn.questions.push(question),
        }
    }

    fn take_in(&mut self, event: Event, turn: &mut Turn) -> Result<Answer, Refused> {
        self.cluster.take_in(self.clock.both(), event, &mut turn.effects)
    }

    /// Decides what follows from the turn's events, makes it durable, then tells everybody.
    async fn finish(&mut self, turn: Turn) -> Result<(), LedgerError> {
        let Turn { mut effects, calls, replies, questions, sleepers, .. } = turn;
        self.cluster.settle(&mut effects);
        let Effects { puts, persist: changed, cluster, deletes, notes } = effects;
        notes.iter().for_each(|note| tracing::info!("{note}"));
        let ledger = self.ledger.clone();
        let mut undecided = Undecided::of(calls, self.cluster.take_news());
        if !changed.is_empty() || cluster || !puts.is_empty() || self.cluster.any_unnoted() {
            let write = Write::of(&mut self.cluster, puts, &changed);
            self.meanwhile(&mut undecided, write.perform(&ledger)).await?;
            self.cluster.bury();
        }
        replies.into_iter().for_each(|reply| reply());
        let Undecided { calls, news, .. } = undecided;
        self.parked.release(&self.cluster, calls, news);
        self.parked.expire(&self.cluster, &BTreeSet::new());
        self.publish(&changed);
        questions.into_iter().for_each(|question| self.answer(question));
        self.chores.doom(deletes);
        self.wake_all(sleepers).await?;
        self.chores.begin(&mut self.cluster, ledger.store());
        Ok(())
    }

    fn publish(&mut self, changed: &BTreeSet<RunName>) {
        let now = self.cluster.now();
        let moved = self.cluster.take_moved();
        self.watched.publish(&self.cluster, now, changed, &moved);
    }

    fn answer(&mut self, question: Request) {
        let now = self.cluster.now();
        match question {
            Request::Runs { reply } => {
                let unreadable = self.cluster.put_aside_runs().map(|(run, why)| view::unreadable_line(run, why));
                let at_rest = self.cluster.at_rest().map(|(run, at_rest)| view::line_at_rest(run, at_rest));
                let mut runs: Vec<v1::RunLine> = self.cluster.runs().map(view::run_line).chain(at_rest).collect();
                runs.sort_by(|a, b| a.run.cmp(&b.run));
                runs.extend(unreadable);
                let removing = self.cluster.being_removed().map(ToString::to_string).collect();
                drop(reply.send(v1::ListRunsReply { runs, removing, alarm: String::new() }));
            }
            Request::Workers { reply } => drop(reply.send(view::worker_lines(&self.cluster, now))),
            Request::Queue { reply } => drop(reply.send(view::queue(&self.cluster, now))),
            Request::Here { reply } => drop(reply.send(())),
            Request::Metrics { reply } => drop(reply.send(metrics::text(&self.cluster, now))),
            Request::Watch { run, reply } => {
                drop(reply.send(self.watched.watch(&self.cluster, now, &run).ok_or_else(|| self.cluster.missing(&run))))
            }
            Request::Control { .. } => {} // taken in by `accept`
        }
    }
}

/// What one round of decisions needs done.
#[derive(Default)]
struct Turn {
    size: usize,
    on_requests: Duration,
    effects: Effects,
    replies: Vec<Box<dyn FnOnce() + Send>>,
    calls: Vec<Call>,
    questions: Vec<Request>,
    /// About runs at rest.
    sleepers: Vec<Request>,
}

enum Next {
    Call(AgentCall),
    Request(Request),
}

/// What is to be written, as it was when the decisions were made.
struct Write {
    puts: Vec<(String, Vec<u8>)>,
    cluster: Option<(u64, Vec<u8>)>,
    runs: Vec<(RunName, u64, Vec<u8>)>,
    removed: Vec<Remains>,
}

impl Write {
    fn of(cluster: &mut Cluster, mut puts: Vec<(String, Vec<u8>)>, changed: &BTreeSet<RunName>) -> Self {
        let own = cluster.has_changed().then(|| cluster.next_cluster_version());
        let mut runs = vec![];
        for run in changed {
            let Some(NextVersion { version, pages, bytes }) = cluster.next_version(run) else { continue };
            puts.extend(pages);
            runs.push((run.clone(), version, bytes));
        }
        Self { puts, cluster: own, runs, removed: cluster.to_note() }
    }

    /// Objects first, then the records that name them, then notes of what was removed; different objects side by side. A look whether we still lead comes before: a
    /// run that is new has no earlier version whose successor could be taken. And after: a version that could be created fences only
    /// while its name is taken, and the names of old ones are free again. A write that was stalled for long enough would succeed, and
    /// its author would tell agents what another coordinator has long decided otherwise.
    async fn perform(self, ledger: &Ledger) -> Result<(), LedgerError> {
        ledger.check_leadership().await?;
        try_join_all(self.puts.into_iter().map(|(path, bytes)| async move { ledger.put(&path, bytes.into()).await })).await?;
        if self.runs.is_empty() && self.cluster.is_none() && self.removed.is_empty() {
            return Ok(());
        }
        if let Some((version, bytes)) = self.cluster {
            ledger.write_cluster(version, bytes.into()).await?;
        }
        let write = |(run, version, bytes): (RunName, u64, Vec<u8>)| async move { ledger.write(&run, version, bytes.into()).await };
        try_join_all(self.runs.into_iter().map(write)).await?;
        ledger.check_leadership().await?;
        // Only now is it decided: the note must not exist where another coordinator goes on with the run.
        try_join_all(self.removed.iter().map(|remains| ledger.note_removed(remains))).await?;
        Ok(())
    }
}

/// Loads every run and writes a version of each under the new epoch, but for finished ones at rest: nobody hears what an older coordinator
/// may still write of these, and whoever wakes one reads it again. An older coordinator may write once more in between; then what
/// it wrote is loaded again.
async fn take_over(ledger: &Ledger, url: &str, clock: &dyn Clock, limits: Limits) -> Result<Cluster, LedgerError> {
    const TRIES: usize = 5;
    let (mut tries, mut aside) = (0, BTreeMap::new());
    loop {
        let mut cluster = Cluster::new(clock.both(), ledger.epoch(), url, limits);
        cluster.adopt_cluster(ledger.load_cluster().await?);
        let Loaded { runs, at_rest, unreadable, removed, unswept } = ledger.load().await?;
        cluster.adopt_removed(removed, unswept);
        runs.into_iter().filter(|record| !aside.contains_key(record.name())).for_each(|record| cluster.adopt(record));
        cluster.adopt_at_rest(at_rest);
        unreadable.into_iter().chain(aside.clone()).for_each(|(run, why)| cluster.put_aside(run, why));
        let all = cluster.runs().map(|run| run.record.name().clone()).collect();
        tries += 1;
        match Write::of(&mut cluster, vec![], &all).perform(ledger).await {
            Err(LedgerError::Fenced { .. }) if tries < TRIES => ledger.check_leadership().await?,
            // Something that is no file has the name of a run's next version: that costs this run, not all.
            Err(LedgerError::Store(StoreError::NotAFile { path, what })) => {
                match paths::run_of(&path).filter(|run| !aside.contains_key(run)) {
                    Some(run) => {
                        let why = StoreError::NotAFile { path, what }.to_string();
                        tracing::error!(%run, "the run is left out: {why}");
                        (tries, _) = (0, aside.insert(run, why));
                    }
                    None => return Err(StoreError::NotAFile { path, what }.into()),
                }
            }
            Err(e) => return Err(e),
            Ok(()) => {
                cluster.bury();
                return Ok(cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests;
