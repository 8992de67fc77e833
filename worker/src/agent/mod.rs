//! The node agent: keeps exactly the processes running that the coordinator wants on this node, and passes on what they say.
//!
//! One owner: `select -> event -> Book -> actions`. The agent decides nothing about jobs. While the coordinator is away its
//! processes go on and their reports wait here; when the agent dies, its processes die with it.

mod book;
mod child;
mod health;
pub mod life;
mod link;
mod reading;
mod threads;

pub use book::{Action, Book};
pub use link::{Endpoint, LinkError};
pub use reading::Reading;

use child::{Child, ChildEvent};
use health::Doctor;
use link::{Link, Reply};
use osler_core::ids::{Incarnation, LabelKey, LabelValue, WorkerName};
use osler_core::job::{Fault, FaultClass};
use osler_core::process::{Command, Report, exit};
use osler_core::sync::ProcessId;
use osler_runtime::auth::Token;
use osler_runtime::store::lacks_room;
use osler_runtime::tls::ClientTls;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// How long a Sync may be held back by the coordinator; also the heartbeat's interval.
const WAIT: Duration = Duration::from_millis(1000);
/// The shortest time between two Syncs that nothing urgent asked for.
const PACE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub struct Options {
    pub worker: WorkerName,
    pub incarnation: Incarnation,
    pub host: String,
    pub slots: u32,
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// The store, if it is a folder: the node must be able to write it.
    pub store: Option<PathBuf>,
    pub endpoint: Endpoint,
    pub token: Token,
    /// By which it knows the coordinator, and is known by it.
    pub tls: ClientTls,
    /// Runs jobs that need libtorch.
    pub rank_binary: PathBuf,
    /// Runs the others: this binary, with the argument `job`.
    pub job_binary: PathBuf,
    pub scratch: PathBuf,
    /// What jobs may read beside the store.
    pub reading: Reading,
    /// Where ranks here listen for those of other machines.
    pub gang_address: IpAddr,
    /// How long gangs have to save when this agent is asked to end; then everything is killed.
    pub grace: Duration,
    /// None: it waits for a coordinator for ever. Else it ends when it has nothing to do and none has answered for so long.
    pub end_when_alone: Option<Duration>,
}

/// How an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It had nothing to do.
    Idle,
    /// Work was interrupted: it is to be done when this node comes back, or elsewhere.
    Preempted,
}

/// Runs until `stop` resolves and everything has ended in order, or the coordinator has replaced this agent.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<Ended, LinkError> {
    let (events, inbox) = mpsc::channel(1024);
    let mut book = Book::new(options.worker.clone(), options.incarnation, options.host.clone(), options.slots);
    book.labels.clone_from(&options.labels);
    let link = Link::new(options.endpoint.clone(), options.token.clone(), options.tls.clone());
    let folders = options.store.iter().chain([&options.scratch]).cloned().collect();
    let doctor = Doctor::start(folders, Some(options.rank_binary.clone())).await.map_err(LinkError::NoThread)?;
    let mut agent = Agent { options, book, children: BTreeMap::new(), events, doctor };
    let ended = agent.serve(link, inbox, stop).await;
    agent.leave_nothing().await;
    ended
}

struct Agent {
    options: Options,
    book: Book,
    children: BTreeMap<ProcessId, Child>,
    events: mpsc::Sender<(ProcessId, ChildEvent)>,
    doctor: Doctor,
}

impl Agent {
    async fn serve(
        &mut self,
        mut link: Link,
        mut inbox: mpsc::Receiver<(ProcessId, ChildEvent)>,
        stop: impl Future<Output = ()>,
    ) -> Result<Ended, LinkError> {
        tokio::pin!(stop);
        let mut not_before = Instant::now();
        let (mut deadline, mut over, mut ended) = (None, false, Ended::Idle);
        let mut heard = Instant::now();
        loop {
            self.book.health = Some(self.doctor.health());
            // Children may speak at any time; a Sync is dropped and made anew when they say something that cannot wait.
            tokio::select! {
                biased;
                () = &mut stop, if deadline.is_none() => {
                    if !self.book.is_empty() {
                        ended = Ended::Preempted;
                    }
                    deadline = Some(Instant::now() + self.options.grace);
                    not_before = Instant::now();
                    self.drain();
                }
                () = reached(deadline), if !over => {
                    tracing::warn!("the grace is over: killing {} processes", self.children.len());
                    self.children.values_mut().for_each(Child::kill);
                    over = true;
                }
                Some((process, event)) = inbox.recv() => {
                    if !self.on_child(process, event) { continue; }
                    not_before = Instant::now();
                }
                () = self.doctor.next() => not_before = Instant::now(),
                reply = sync(&mut link, &self.book, not_before) => {
                    not_before = Instant::now() + PACE;
                    match reply? {
                        Some(Reply { desired, .. }) => {
                            heard = Instant::now();
                            self.act(desired);
                        }
                        None => {
                            // The coordinator is away: the link waits before it tries again.
                            let alone = self.options.end_when_alone.is_some_and(|limit| heard.elapsed() >= limit);
                            if alone && self.book.is_empty() {
                                tracing::info!("nothing to do, and no coordinator for {:?}: ending", heard.elapsed());
                                return Ok(ended);
                            }
                            continue;
                        }
                    }
                }
            }
            if self.book.draining() && self.book.is_empty() {
                let _last_word = tokio::time::timeout(WAIT, link.sync(self.book.observed(), Duration::ZERO)).await;
                return Ok(ended);
            }
        }
    }

    /// Whether the coordinator should hear of it at once.
    fn on_child(&mut self, process: ProcessId, event: ChildEvent) -> bool {
        match event {
            ChildEvent::Report(report) => self.book.reported(process, report),
            ChildEvent::Exited { code, log_tail } => {
                self.children.remove(&process);
                if self.book.exited(&process, code, log_tail) {
                    tracing::warn!(job = %process.id, generation = %process.generation, rank = process.rank, code, "process died");
                }
                true
            }
        }
    }

    fn act(&mut self, desired: osler_core::sync::Desired) {
        if self.book.check_asked(desired.check) {
            self.doctor.ask();
        }
        let actions = self.book.apply(desired);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(process, assignment, gpu) => {
                    let binary = if assignment.kind.needs_torch() { &self.options.rank_binary } else { &self.options.job_binary };
                    tracing::info!(job = %process.id, generation = %process.generation, rank = process.rank, "starting process");
                    if let Err(why) = self.options.reading.may(&assignment) {
                        tracing::warn!(job = %process.id, "not started: {why}");
                        self.book.reported(process.clone(), Report::Failed { fault: Fault::new(FaultClass::User, why) });
                        self.book.exited(&process, exit::USAGE, vec![]);
                        continue;
                    }
                    let Options { scratch, gang_address, .. } = &self.options;
                    match Child::start(binary, scratch, &process, *assignment, gpu, *gang_address, self.events.clone()) {
                        Ok(child) => drop(self.children.insert(process, child)),
                        Err(e) => {
                            tracing::error!(job = %process.id, error = %e, "cannot start process");
                            let class = if lacks_room(&e) { FaultClass::NoRoom } else { FaultClass::Infrastructure };
                            let fault = Fault::new(class, format!("cannot start {}: {e}", binary.display()));
                            self.book.reported(process.clone(), Report::Failed { fault });
                            self.book.exited(&process, 127, vec![]);
                        }
                    }
                }
                Action::Send(process, command) => self.send(&process, &command),
                Action::Look(process) => self.look(process),
                Action::Kill(process) => {
                    if let Some(child) = self.children.get_mut(&process) {
                        tracing::debug!(job = %process.id, generation = %process.generation, rank = process.rank, "ending process");
                        child.kill();
                    }
                }
            }
        }
    }

    /// What the kernel knows at once, and what the process says itself, if it can.
    fn look(&mut self, process: ProcessId) {
        self.send(&process, &Command::Look);
        if let Some(pid) = self.children.get(&process).and_then(Child::pid) {
            self.book.reported(process, Report::Stack { lines: threads::told(pid) });
        }
    }

    fn send(&mut self, process: &ProcessId, command: &Command) {
        if let Some(child) = self.children.get_mut(process) {
            child.send(command);
        }
    }

    /// Kills what is left, and waits a moment until its scratch folders are gone, which each process's own task removes.
    async fn leave_nothing(&mut self) {
        let folders: Vec<PathBuf> = self.children.values().map(|child| child.folder().to_owned()).collect();
        self.children.clear();
        let deadline = Instant::now() + WAIT;
        while Instant::now() < deadline && folders.iter().any(|folder| folder.exists()) {
            tokio::time::sleep(PACE / 5).await;
        }
        // Only if nobody else keeps anything there.
        let _not_empty = std::fs::remove_dir(&self.options.scratch);
    }

    fn drain(&mut self) {
        let (count, grace) = (self.children.len(), self.options.grace);
        tracing::info!("asked to end: {count} processes have {grace:?}, in which gangs save and other work is given back");
        let actions = self.book.drain();
        self.perform(actions);
    }
}

async fn reached(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn sync(link: &mut Link, book: &Book, not_before: Instant) -> Result<Option<Reply>, LinkError> {
    sleep_until(not_before).await;
    link.sync(book.observed(), WAIT).await
}
