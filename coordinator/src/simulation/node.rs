//! A node: the agent's real book, its link's rules, and processes that live on while the agent is frozen and die when it dies.

use super::disk::Disk;
use super::freeze::{Freeze, Until};
use super::law::Life;
use super::network::{Failed, Network};
use super::ranks::{Blow, Gangs, Process, Said};
use osler_core::checkpoint::{Manifest, ObjectRef};
use osler_core::digest::Digest;
use osler_core::health::{Health, LEAST_MEMORY};
use osler_core::ids::WorkerName;
use osler_core::job::{Damage, FaultClass};
use osler_core::process::Assignment;
use osler_core::sync::ProcessId;
use osler_worker::agent::{Action, Book, life};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

const WAIT: Duration = Duration::from_millis(1000);
const PACE: Duration = Duration::from_millis(100);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(4);

#[derive(Clone)]
pub struct Node {
    pub number: usize,
    pub name: WorkerName,
    pub slots: u32,
    pub network: Network,
    pub disk: Disk,
    pub gangs: Rc<RefCell<Gangs>>,
}

/// What reaches an agent from its node.
#[derive(Clone, Default)]
struct Signals {
    /// It is asked to end.
    end: Rc<Notify>,
    /// Its node is unfit until then.
    unfit: Rc<Cell<Option<Instant>>>,
}

type Processes = Rc<RefCell<BTreeMap<ProcessId, Process>>>;
type Events = mpsc::UnboundedSender<(ProcessId, Said)>;

impl Node {
    /// Lives on until the seed is over: whoever looks after the machine starts the agent again.
    pub async fn run(self) {
        let (mut off, mut last) = (0, None);
        loop {
            let incarnation = life::next(last, self.network.world.lock().clock(off));
            last = Some(incarnation);
            self.one_life((self.name.clone(), incarnation), &mut off).await;
            let pause = self.network.world.lock().below(2_000);
            sleep(pause).await;
        }
    }

    async fn one_life(&self, life: Life, off: &mut i64) {
        let world = &self.network.world;
        world.lock().law.born(life.clone());
        world.lock().note(|| format!("agent {}/{}: starts", life.0, life.1));
        let processes = Processes::default();
        let (events, inbox) = mpsc::unbounded_channel();
        let signals = Signals::default();
        let hands = spawn_local(self.clone().work(processes.clone(), events.clone()));
        let (agent, frozen) = Freeze::new(self.clone().agent(life.clone(), processes.clone(), inbox, signals.clone()));
        let agent = spawn_local(agent);
        self.fate(&life, (&agent, &hands), (&frozen, &signals), &processes, &events, off).await;
        if hands.is_finished() {
            world.lock().broken(format!("the processes of {} ended with a panic", life.0));
        }
        agent.abort();
        hands.abort();
        let mut gangs = self.gangs.borrow_mut();
        processes.borrow_mut().values_mut().for_each(|process| process.kill(&mut gangs));
        world.lock().law.died(&life);
    }

    /// Returns when the agent has ended.
    async fn fate(
        &self,
        life: &Life,
        (agent, hands): (&JoinHandle<()>, &JoinHandle<()>),
        (frozen, signals): (&Until, &Signals),
        processes: &Processes,
        events: &Events,
        off: &mut i64,
    ) {
        while !agent.is_finished() && !hands.is_finished() {
            let pause = self.network.world.lock().below(120);
            sleep(pause).await;
            let mut world = self.network.world.lock();
            if world.strikes("agent dies", 450) {
                world.note(|| format!("agent {}/{}: dies", life.0, life.1));
                return;
            }
            if world.strikes("agent freezes", 500) {
                let ms = world.below(16_000);
                world.note(|| format!("agent {}/{}: freezes for {} ms", life.0, life.1, ms.as_millis()));
                frozen.set(Instant::now() + ms);
            }
            if world.strikes("agent is asked to end", 600) {
                world.note(|| format!("agent {}/{}: is asked to end", life.0, life.1));
                signals.end.notify_one();
            }
            if world.strikes("node is unfit", 400) {
                let ms = world.below(8_000);
                world.note(|| format!("agent {}/{}: its node is unfit for {} ms", life.0, life.1, ms.as_millis()));
                signals.unfit.set(Some(Instant::now() + ms));
            }
            if world.strikes("agent's clock jumps", 500) {
                *off += world.rng.below(16_000) as i64 - 8_000;
            }
            let cut = world.strikes("link is cut", 350);
            let blow = world.strikes("process is struck", 120).then(|| match world.rng.below(14) {
                0 => Blow::Fail(FaultClass::Internal),
                1 => Blow::Fail(FaultClass::OutOfMemory),
                2..6 => Blow::Spike,
                _ => Blow::Kill,
            });
            let victim = world.rng.below(8) as usize;
            drop(world);
            if cut {
                self.network.partition(self.number);
            }
            if let Some(blow) = blow {
                self.strike(blow, victim, processes, events);
            }
        }
    }

    fn strike(&self, blow: Blow, victim: usize, processes: &Processes, events: &Events) {
        let mut processes = processes.borrow_mut();
        let count = processes.len().max(1);
        if let Some((id, process)) = processes.iter_mut().nth(victim % count) {
            self.network.world.lock().note(|| format!("process {} g{} r{}: {blow:?}", id.id, id.generation, id.rank));
            if let Some(said) = process.suffer(blow, &mut self.gangs.borrow_mut()) {
                let _agent_ended = events.send((id.clone(), said));
            }
        }
    }

    /// Lets every process work, for as long as the agent lives.
    async fn work(self, processes: Processes, events: Events) {
        loop {
            let pause = Duration::from_millis(40) + self.network.world.lock().below(120);
            sleep(pause).await;
            let ids: Vec<ProcessId> = processes.borrow().keys().cloned().collect();
            for id in ids {
                let turn = processes.borrow_mut().get_mut(&id).map(|process| process.turn(&mut self.gangs.borrow_mut()));
                let (said, written) = turn.unwrap_or_default();
                for (path, bytes) in written {
                    self.disk.put_now(&path, bytes.into()).await;
                }
                for said in said {
                    if let Said::Exited(_) = said {
                        processes.borrow_mut().remove(&id);
                        self.network.world.lock().law.ends(&id);
                    }
                    let _agent_ended = events.send((id.clone(), said));
                }
            }
        }
    }

    /// The agent's loop: a call is dropped and made anew when a process says something.
    async fn agent(self, life: Life, processes: Processes, mut inbox: mpsc::UnboundedReceiver<(ProcessId, Said)>, signals: Signals) {
        let mut book = Book::new(self.name.clone(), life.1, "simulated".into(), self.slots);
        let (mut calls, mut seen, mut retry) = (0, 0, FIRST_RETRY);
        let (mut door, mut not_before) = (None, Instant::now());
        let (mut deadline, mut over) = (None, false);
        loop {
            book.health = Some(self.health(&signals));
            if book.draining() && book.is_empty() {
                let _last_word = self.call(&book, &mut door, &mut calls, seen, Instant::now()).await;
                return;
            }
            tokio::select! {
                biased;
                () = signals.end.notified(), if deadline.is_none() => {
                    deadline = Some(Instant::now() + GRACE);
                    not_before = Instant::now();
                    for action in book.drain() {
                        self.perform(&life, action, &processes).await;
                    }
                }
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() && !over => {
                    over = true;
                    processes.borrow_mut().values_mut().for_each(|process| process.kill(&mut self.gangs.borrow_mut()));
                }
                Some((process, said)) = inbox.recv() => {
                    let urgent = match said {
                        Said::Report(report) => book.reported(process, report),
                        Said::Exited(code) => {
                            book.exited(&process, code, vec![format!("exit {code}")]);
                            true
                        }
                    };
                    if urgent {
                        not_before = Instant::now();
                    }
                }
                answer = self.call(&book, &mut door, &mut calls, seen, not_before) => match answer {
                    Ok(desired) => {
                        (seen, retry) = (osler_proto::reply_number(&desired), FIRST_RETRY);
                        not_before = Instant::now() + PACE;
                        let (by, newest) = (desired.epoch, book.observed().epoch);
                        let actions = book.apply(desired);
                        if by < newest && !actions.is_empty() {
                            self.network.world.lock().broken(format!("{} obeys epoch {by} after epoch {newest}", self.name));
                        }
                        for action in actions {
                            self.perform(&life, action, &processes).await;
                        }
                    }
                    Err(Failed::Superseded) => return,
                    Err(Failed::Away) => {
                        (door, seen) = (None, 0);
                        sleep(retry).await;
                        retry = (retry * 2).min(LAST_RETRY);
                        not_before = Instant::now() + PACE;
                    }
                },
            }
        }
    }

    fn health(&self, signals: &Signals) -> Health {
        let unfit = signals.unfit.get().is_some_and(|until| until > Instant::now());
        let memory_available = unfit.then_some(LEAST_MEMORY - 1);
        Health { at: self.network.world.lock().clock(0), folders: vec![], memory_available, gpus: vec![], ranks: None, overdue_ms: None }
    }

    async fn call(
        &self,
        book: &Book,
        door: &mut Option<super::network::Door>,
        calls: &mut u64,
        seen: u64,
        not_before: Instant,
    ) -> Result<osler_core::sync::Desired, Failed> {
        sleep_until(not_before).await;
        if door.is_none() {
            *door = self.network.find();
        }
        let Some(door) = door.as_ref() else { return Err(Failed::Away) };
        *calls += 1;
        let mut observed = book.observed();
        observed.call = *calls;
        self.network.call(self.number, door, observed, WAIT, seen).await
    }

    async fn perform(&self, life: &Life, action: Action, processes: &Processes) {
        match action {
            Action::Start(id, work, _) => {
                let unusable = self.read_inputs(&work).await;
                let mut world = self.network.world.lock();
                world.note(|| format!("agent {}/{}: starts {} g{} r{}", life.0, life.1, id.id, id.generation, id.rank));
                let judged = world.law.starts(&id, life);
                world.judge(judged);
                processes.borrow_mut().insert(id, Process::new(*work, unusable, &mut self.gangs.borrow_mut()));
                if processes.borrow().len() > self.slots as usize {
                    world.broken(format!("more processes than slots on {}", self.name));
                }
            }
            Action::Send(id, command) => {
                if let Some(process) = processes.borrow_mut().get_mut(&id) {
                    process.send(&command);
                }
            }
            Action::Look(_) => {} // nothing hangs here
            Action::Kill(id) => {
                if let Some(process) = processes.borrow_mut().get_mut(&id) {
                    process.kill(&mut self.gangs.borrow_mut());
                }
            }
        }
    }

    /// What a process is to read must be as it was written, unless misfortune has damaged it, or a part of the same checkpoint, which was
    /// then given up; or another attempt has taken its place meanwhile: that one's checkpoints retire those of before. Gives what it cannot use; now and then that is the node's own fault.
    async fn read_inputs(&self, work: &Assignment) -> Option<Damage> {
        let mut objects: Vec<ObjectRef> = work.inputs.values().flat_map(|result| result.outputs.values().cloned()).collect();
        for checkpoint in work.checkpoint.iter().chain(&work.initial) {
            let bytes = self.disk.look(&checkpoint.manifest.path).await.unwrap_or_default();
            let manifest = serde_json::from_slice::<Manifest>(&bytes);
            objects.extend(manifest.map_or_else(|_| vec![checkpoint.manifest.clone()], |manifest| manifest.parts));
        }
        let mut unusable = None;
        for object in &objects {
            let found = self.disk.look(&object.path).await;
            let is_whole = found.as_ref().is_some_and(|bytes| Digest::of(bytes) == object.digest);
            let mut world = self.network.world.lock();
            let may_be_gone = world.damaged.contains(&object.path) || world.law.is_given_up(&work.id.run, &object.path);
            if !is_whole && !may_be_gone && world.law.is_current(&work.id, work.generation) {
                world.broken(format!("{} g{} is to read {}, which is not there", work.id, work.generation, object.path));
            }
            if !is_whole || world.strikes("node misreads an object", 600) {
                world.note(|| {
                    format!("{} g{} cannot use {}: {:?}", work.id, work.generation, object.path, found.as_ref().map(|bytes| bytes.len()))
                });
                unusable = Some(Damage { path: object.path.clone(), found: "something else".to_owned() });
            }
        }
        unusable
    }
}
