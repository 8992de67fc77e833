//! The one task that owns the cluster: take events, decide, make it durable, answer. No locks; channels stay inside this module.
//!
//! Events that arrive while a decision is being written are decided together and written once (group commit). Nobody hears of a
//! decision before it is durable.

mod handle;
mod parked;
mod watch;

pub use handle::{Handle, HandleError};
pub use watch::Watcher;

use crate::cluster::{Answer, Cluster, Event, Limits, Refused, leftovers};
use crate::ledger::{Ledger, LedgerError};
use crate::metrics;
use crate::view;
use futures::future::try_join_all;
use handle::Request;
use osler_core::ids::{Epoch, RunName};
use osler_runtime::clock::Clock;
use parked::{Call, Parked};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use watch::Watched;

const TICK: Duration = Duration::from_millis(100);
const REIGN_CHECK: Duration = Duration::from_secs(2);
/// Events that are decided together at most.
const BATCH: usize = 256;
const QUEUE: usize = 1024;

pub struct Owner {
    cluster: Cluster,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    requests: mpsc::Receiver<Request>,
    parked: Parked,
    watched: Watched,
    /// How long an agent's call is held back at most: silence must not be our doing.
    longest_wait: Duration,
    reign_checked: Instant,
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
        let (sender, requests) = mpsc::channel(QUEUE);
        let longest_wait = Duration::from_millis(limits.suspect / 3);
        let (parked, watched) = (Parked::default(), Watched::default());
        let handle = Handle::new(sender, clock.clone());
        let owner = Self { cluster, ledger, clock, requests, parked, watched, longest_wait, reign_checked: Instant::now() };
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
                () = &mut shutdown => return Ok(()),
                _ = tick.tick() => self.tick().await?,
                first = self.requests.recv() => match first {
                    Some(first) => self.take(first).await?,
                    None => return Ok(()),
                },
            }
        }
    }

    async fn tick(&mut self) -> Result<(), LedgerError> {
        if self.reign_checked.elapsed() >= REIGN_CHECK {
            self.ledger.check_reign().await?;
            self.reign_checked = Instant::now();
        }
        let mut turn = Turn::default();
        drop(self.decide(Event::Tick, &mut turn)); // a tick asks for nothing, so nothing is refused
        self.finish(turn).await
    }

    async fn take(&mut self, first: Request) -> Result<(), LedgerError> {
        let mut turn = Turn::default();
        let mut next = Some(first);
        while let Some(request) = next {
            self.accept(request, &mut turn);
            next = if turn.size < BATCH { self.requests.try_recv().ok() } else { None };
        }
        self.finish(turn).await
    }

    fn accept(&mut self, request: Request, turn: &mut Turn) {
        turn.size += 1;
        match request {
            Request::Control { event, reply } => {
                let answer = self.decide(event, turn);
                turn.replies.push(Box::new(move || drop(reply.send(answer))));
            }
            Request::Sync { observed, wait, seen, reply } => {
                let worker = observed.worker.clone();
                match self.decide(Event::Sync(observed), turn) {
                    Ok(_) => turn.calls.push(Call { worker, until: Instant::now() + wait.min(self.longest_wait), seen, reply }),
                    Err(refused) => turn.replies.push(Box::new(move || drop(reply.send(Err(refused))))),
                }
            }
            question => turn.questions.push(question),
        }
    }

    fn decide(&mut self, event: Event, turn: &mut Turn) -> Result<Answer, Refused> {
        let effects = self.cluster.apply(self.clock.now(), event);
        turn.puts.extend(effects.puts);
        turn.persist.extend(effects.persist);
        turn.cluster |= effects.cluster;
        turn.deletes.extend(effects.deletes);
        effects.notes.iter().for_each(|note| tracing::info!("{note}"));
        effects.answer
    }

    /// Makes the turn's decisions durable, then tells everybody.
    async fn finish(&mut self, turn: Turn) -> Result<(), LedgerError> {
        let changed = turn.persist;
        if !changed.is_empty() || turn.cluster {
            self.ledger.check_reign().await?; // before, too: a run that is new has no earlier version whose successor could be taken
        }
        commit(&mut self.cluster, &self.ledger, turn.puts, &changed).await?;
        turn.replies.into_iter().for_each(|reply| reply());
        let news = self.cluster.take_news();
        self.parked.release(&self.cluster, turn.calls, news);
        self.publish(&changed);
        turn.questions.into_iter().for_each(|question| self.answer(question));
        for path in turn.deletes {
            self.ledger.delete(&path).await;
        }
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
            Request::Runs { reply } => drop(reply.send(self.cluster.runs().map(view::run_line).collect())),
            Request::Workers { reply } => drop(reply.send(view::worker_lines(&self.cluster, now))),
            Request::Queue { reply } => drop(reply.send(view::queue(&self.cluster, now))),
            Request::Metrics { reply } => drop(reply.send(metrics::text(&self.cluster, now))),
            Request::Watch { run, reply } => drop(reply.send(self.watched.watch(&self.cluster, now, &run))),
            Request::Control { .. } | Request::Sync { .. } => {} // decided in `accept`
        }
    }
}

/// What one round of decisions needs done.
#[derive(Default)]
struct Turn {
    size: usize,
    puts: Vec<(String, Vec<u8>)>,
    persist: BTreeSet<RunName>,
    /// The cluster's own record changed.
    cluster: bool,
    deletes: Vec<String>,
    replies: Vec<Box<dyn FnOnce() + Send>>,
    calls: Vec<Call>,
    questions: Vec<Request>,
}

/// Objects first, then the records that name them; different objects side by side. Then a look whether we still reign: a version that
/// could be created fences only while its name is taken, and the names of old ones are free again. A write that was stalled for long
/// enough would succeed, and its author would tell agents what another coordinator has long decided otherwise.
async fn commit(
    cluster: &mut Cluster,
    ledger: &Ledger,
    puts: Vec<(String, Vec<u8>)>,
    changed: &BTreeSet<RunName>,
) -> Result<(), LedgerError> {
    try_join_all(puts.into_iter().map(|(path, bytes)| async move { ledger.put(&path, bytes.into()).await })).await?;
    let versions: Vec<_> =
        changed.iter().filter_map(|run| cluster.next_version(run).map(|(version, bytes)| (run, version, bytes))).collect();
    if versions.is_empty() && !cluster.has_changed() {
        return Ok(());
    }
    if cluster.has_changed() {
        let (version, bytes) = cluster.next_cluster_version();
        ledger.write_cluster(version, bytes.into()).await?;
    }
    try_join_all(versions.into_iter().map(|(run, version, bytes)| ledger.write(run, version, bytes.into()))).await?;
    ledger.check_reign().await
}

/// Loads every run and writes a version of each under the new epoch. An older coordinator may write once more in between; then what
/// it wrote is loaded again.
async fn take_over(ledger: &Ledger, url: &str, clock: &dyn Clock, limits: Limits) -> Result<Cluster, LedgerError> {
    const TRIES: usize = 5;
    let mut tries = 0;
    loop {
        let mut cluster = Cluster::new(clock.now(), ledger.epoch(), url, limits);
        cluster.adopt_cluster(ledger.load_cluster().await?);
        for record in ledger.load().await? {
            cluster.adopt(record);
        }
        let all = cluster.runs().map(|run| run.record.name().clone()).collect();
        tries += 1;
        match commit(&mut cluster, ledger, vec![], &all).await {
            Err(LedgerError::Fenced { .. }) if tries < TRIES => ledger.check_reign().await?,
            Err(e) => return Err(e),
            Ok(()) => {
                for path in cluster.runs().filter(|run| run.record.state.is_live()).flat_map(leftovers).collect::<Vec<_>>() {
                    ledger.delete(&path).await;
                }
                return Ok(cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests;
