//! Simulated agents: the real book and protocol, pretended processes.

use crate::daemon::{Client, Daemon};
use crate::testing::results::result;
use anyhow::{Context, Result, bail};
use osler_core::ids::{Incarnation, WorkerName};
use osler_core::job::JobKind;
use osler_core::process::{Assignment, Progress, Report, exit, phase};
use osler_core::sync::{Desired, ProcessId};
use osler_proto::v1::SyncRequest;
use osler_proto::v1::work_client::WorkClient;
use osler_worker::agent::{Action, Book};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval_at, sleep, sleep_until};
use tonic::Code;

pub const SLOTS: u32 = 2;
/// More would reset more calls at once than HTTP/2 servers let one peer do; a real agent has a connection of its own.
const AGENTS_PER_CONNECTION: usize = 10;
/// One agent of so many is a probe.
const PROBES: usize = 20;
const WAIT: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(100);
const PROGRESS: Duration = Duration::from_secs(1);

/// When the ranks of a generation of a gang were assigned, and where.
#[derive(Debug)]
struct Gang {
    generation: u64,
    agents: BTreeSet<usize>,
    ranks: u32,
    last: Instant,
}

#[derive(Debug, Default)]
struct Seen {
    gangs: BTreeMap<String, Gang>,
    /// When the last job without a gang ended, by run.
    ready: BTreeMap<String, Instant>,
    refused: Option<String>,
    /// Calls that got no answer, as from a connection that broke: agents try again.
    unanswered: u64,
}

/// What the probes measured since somebody asked: calls that are answered at once, and by how much held ones came late.
#[derive(Debug, Clone, Default)]
pub struct Probes(Arc<Mutex<(Vec<Duration>, Vec<Duration>)>>);

impl Probes {
    pub fn take(&self) -> (Vec<Duration>, Vec<Duration>) {
        std::mem::take(&mut *lock(&self.0))
    }
}

pub struct Placed {
    /// Since the time that was given.
    pub all: Duration,
    /// Since the last job before it ended.
    pub since_ready: Duration,
}

pub struct Fleet {
    agents: Vec<JoinHandle<()>>,
    seen: Arc<Mutex<Seen>>,
    pub probes: Probes,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.agents.iter().for_each(JoinHandle::abort);
    }
}

impl Fleet {
    pub async fn start(daemon: &Daemon, count: usize) -> Result<Self> {
        let (seen, probes) = (Arc::<Mutex<Seen>>::default(), Probes::default());
        let mut agents = vec![];
        for first in (0..count).step_by(AGENTS_PER_CONNECTION) {
            let client = WorkClient::new(daemon.dial().await?);
            for number in first..count.min(first + AGENTS_PER_CONNECTION) {
                let agent = Agent::new(number, client.clone(), seen.clone())?;
                agents.push(match number % PROBES {
                    0 => tokio::spawn(agent.probe(probes.clone())),
                    _ => tokio::spawn(agent.live()),
                });
            }
        }
        Ok(Self { agents, seen, probes })
    }

    /// Waits until all ranks of a newer generation are assigned.
    pub async fn assigned(&self, run: &str, after: u64, ranks: u32, since: Instant, patience: Duration) -> Result<Placed> {
        let deadline = Instant::now() + patience;
        loop {
            {
                let seen = lock(&self.seen);
                if let Some(refused) = &seen.refused {
                    bail!("an agent was refused: {refused}");
                }
                if let Some(gang) = seen.gangs.get(run).filter(|gang| gang.generation > after && gang.ranks == ranks) {
                    let since_ready = seen.ready.get(run).map_or(Duration::ZERO, |ready| gang.last.saturating_duration_since(*ready));
                    return Ok(Placed { all: gang.last.saturating_duration_since(since), since_ready });
                }
                if Instant::now() > deadline {
                    bail!("{run} is not assigned after {patience:?}: {:?}", seen.gangs.get(run).map(|gang| (gang.generation, gang.ranks)));
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn unanswered(&self) -> u64 {
        lock(&self.seen).unanswered
    }

    /// Ends agents that a gang runs on, without a word. Gives the gang's generation.
    pub fn lose(&mut self, run: &str, count: usize) -> Result<u64> {
        let seen = lock(&self.seen);
        let gang = seen.gangs.get(run).with_context(|| format!("{run} does not run"))?;
        let lost = gang.agents.iter().filter(|number| **number % PROBES != 0).take(count);
        lost.filter_map(|number| self.agents.get(*number)).for_each(JoinHandle::abort);
        Ok(gang.generation)
    }
}

struct Agent {
    number: usize,
    book: Book,
    client: WorkClient<Client>,
    seen: Arc<Mutex<Seen>>,
    ranks: BTreeMap<ProcessId, u64>,
    calls: u64,
    seen_reply: u64,
}

impl Agent {
    fn new(number: usize, client: WorkClient<Client>, seen: Arc<Mutex<Seen>>) -> Result<Self> {
        let worker = WorkerName::new(format!("agent-{number:05}"))?;
        let slots = if number.is_multiple_of(PROBES) { 0 } else { SLOTS };
        let book = Book::new(worker, Incarnation(1), "simulated".to_owned(), slots);
        Ok(Self { number, book, client, seen, ranks: BTreeMap::new(), calls: 0, seen_reply: 0 })
    }

    /// As the agent's loop: a call is dropped and made anew when a process says something.
    async fn live(mut self) {
        // Real ranks do not speak in step.
        let phase = Duration::from_millis((self.number as u64 * 617) % 1_000);
        let mut progress = interval_at((Instant::now() + phase).into(), PROGRESS);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut not_before = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = progress.tick(), if !self.ranks.is_empty() => self.report_progress(),
                answer = self.sync(not_before, WAIT) => match answer {
                    Some(desired) => {
                        not_before = Instant::now() + PACE;
                        if self.obey(desired) {
                            not_before = Instant::now();
                        }
                    }
                    None => not_before = Instant::now() + WAIT,
                },
            }
        }
    }

    /// Calls that want an answer at once and held ones in turn.
    async fn probe(mut self, probes: Probes) {
        sleep(Duration::from_millis((self.number as u64 * 37) % 1_000)).await;
        loop {
            for wait in [Duration::ZERO, WAIT] {
                let begun = Instant::now();
                if self.sync(begun, wait).await.is_some() {
                    let took = begun.elapsed();
                    let mut felt = lock(&probes.0);
                    if wait.is_zero() { felt.0.push(took) } else { felt.1.push(took.saturating_sub(wait)) }
                }
                sleep(PACE).await;
            }
        }
    }

    async fn sync(&mut self, not_before: Instant, wait: Duration) -> Option<Desired> {
        sleep_until(not_before.into()).await;
        let mut request = SyncRequest::try_from(self.book.observed()).ok()?;
        self.calls += 1;
        (request.call, request.wait_ms, request.seen_reply) = (self.calls, wait.as_millis() as u32, self.seen_reply);
        match self.client.sync(request).await {
            Ok(reply) => {
                let reply = reply.into_inner();
                self.seen_reply = reply.reply;
                Desired::try_from(reply).ok()
            }
            Err(status) => {
                let mut seen = lock(&self.seen);
                match status.code() {
                    // A dropped call arrived after the one that replaced it.
                    Code::Aborted => {}
                    Code::FailedPrecondition | Code::InvalidArgument | Code::Unauthenticated | Code::Internal => {
                        seen.refused.get_or_insert(status.to_string());
                    }
                    _ => seen.unanswered += 1,
                }
                None
            }
        }
    }

    fn report_progress(&mut self) {
        for (process, done) in &mut self.ranks {
            *done += 1;
            let progress = Progress {
                phase: phase::TRAINING.into(),
                done: *done,
                total: 1_000_000,
                unit: "steps".into(),
                busy_ms: Some(900.0),
                ..Progress::default()
            };
            self.book.reported(process.clone(), Report::Progress(progress));
        }
    }

    /// True if there is something to say at once.
    fn obey(&mut self, desired: Desired) -> bool {
        let mut urgent = false;
        for action in self.book.apply(desired) {
            match action {
                Action::Start(process, work, _) => urgent |= self.start(process, &work),
                Action::Kill(process) => {
                    self.ranks.remove(&process);
                    self.book.exited(&process, 137, vec![]);
                    urgent = true;
                }
                Action::Send(process, osler_core::process::Command::Stop) => {
                    if self.ranks.remove(&process).is_some() {
                        self.book.exited(&process, exit::STOPPED, vec![]);
                        urgent = true;
                    }
                }
                Action::Send(..) | Action::Look(_) => {}
            }
        }
        urgent
    }

    fn start(&mut self, process: ProcessId, work: &Assignment) -> bool {
        let mut seen = lock(&self.seen);
        let run = process.id.run.to_string();
        if !matches!(work.kind, JobKind::Train { .. }) {
            self.book.reported(process.clone(), Report::Done { result: result(work) });
            self.book.exited(&process, exit::OK, vec![]);
            seen.ready.insert(run, Instant::now());
            return true;
        }
        let fresh = || Gang { generation: work.generation.0, agents: BTreeSet::new(), ranks: 0, last: Instant::now() };
        let gang = seen.gangs.entry(run).or_insert_with(fresh);
        if gang.generation != work.generation.0 {
            *gang = fresh();
        }
        gang.agents.insert(self.number);
        gang.ranks += 1;
        gang.last = Instant::now();
        self.ranks.insert(process.clone(), 0);
        if work.rank != 0 {
            return false;
        }
        self.book.reported(process, Report::Rendezvous { address: "127.0.0.1:29500".to_owned() })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
