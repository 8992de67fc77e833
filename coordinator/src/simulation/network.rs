//! Links between agents and coordinators: each direction loses, delays, repeats and reorders messages, or lets nothing through for a
//! while. A message that was sent travels on when its author has given up.

use super::law::{Life, Sent};
use super::world::Shared;
use crate::cluster::Refused;
use crate::owner::{Handle, HandleError};
use osler_core::ids::Epoch;
use osler_core::sync::{Desired, Observed};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

/// Beyond the time that a coordinator may hold a call back.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where a coordinator is found.
#[derive(Debug, Clone)]
pub struct Door {
    pub epoch: Epoch,
    pub handle: Handle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Up,
    Down,
}

#[derive(Debug)]
pub enum Failed {
    /// Nothing came back in time, or an error that may pass.
    Away,
    /// The agent must exit.
    Superseded,
}

/// Until when which agent's link to which coordinator is cut, which way.
type Cuts = BTreeMap<(usize, Epoch, Way), Duration>;

#[derive(Clone)]
pub struct Network {
    pub world: Shared,
    /// What the endpoint file says.
    advertised: Rc<RefCell<Option<Door>>>,
    /// The one before, which agents that try addresses in turn may find as well.
    before: Rc<RefCell<Option<Door>>>,
    /// Until when nothing passes, by agent, coordinator and direction.
    cut: Rc<RefCell<Cuts>>,
    /// The number of the newest coordinator that could be cut off.
    known: Rc<Cell<u64>>,
}

impl Network {
    pub fn new(world: Shared) -> Self {
        Self { world, advertised: Rc::default(), before: Rc::default(), cut: Rc::default(), known: Rc::default() }
    }

    /// As leases do: the newest epoch's door is found, whoever comes to write an older one late.
    pub fn advertise(&self, door: Door) {
        self.known.set(self.known.get().max(door.epoch.0));
        let mut advertised = self.advertised.borrow_mut();
        if advertised.as_ref().is_none_or(|known| known.epoch <= door.epoch) {
            if advertised.as_ref().is_some_and(|known| known.epoch < door.epoch) {
                self.before.borrow_mut().clone_from(&advertised);
            }
            *advertised = Some(door);
        }
    }

    /// A coordinator, now and then one that has a successor.
    pub fn find(&self) -> Option<Door> {
        let older = self.world.lock().strikes("an older coordinator is found", 40);
        if older && self.before.borrow().is_some() { self.before.borrow().clone() } else { self.advertised.borrow().clone() }
    }

    /// Cuts a link for a while: one way or both, to one coordinator or to the latest two.
    pub fn partition(&self, agent: usize) {
        let mut world = self.world.lock();
        let until = world.elapsed() + world.below(16_000);
        let ways: &[Way] = [&[Way::Up][..], &[Way::Down], &[Way::Up, Way::Down]][world.rng.below(3) as usize];
        let newest = self.known.get();
        let first = newest.saturating_sub(world.rng.below(2));
        world.note(|| format!("network: {ways:?} of agent {agent} is cut until {} ms", until.as_millis()));
        for (epoch, way) in (first..=newest).flat_map(|epoch| ways.iter().map(move |way| (epoch, *way))) {
            self.cut.borrow_mut().insert((agent, Epoch(epoch), way), until);
        }
    }

    /// How long a message takes; none if it is lost.
    fn passes(&self, agent: usize, epoch: Epoch, way: Way) -> Option<Duration> {
        let mut world = self.world.lock();
        let now = world.elapsed();
        if self.cut.borrow().get(&(agent, epoch, way)).is_some_and(|until| *until > now) || world.strikes("message is lost", 40) {
            return None;
        }
        let late = world.strikes("message is late", 25);
        Some(if late { world.below(2_800) } else { world.below(12) })
    }

    /// One call, as the agent's link makes it.
    pub async fn call(&self, agent: usize, door: &Door, observed: Observed, wait: Duration, seen: u64) -> Result<Desired, Failed> {
        let (answers, mut answer) = mpsc::unbounded_channel();
        let copies = if self.world.lock().strikes("message is repeated", 40) { 2 } else { 1 };
        for _ in 0..copies {
            let (network, door, observed, answers) = (self.clone(), door.clone(), observed.clone(), answers.clone());
            spawn_local(async move { network.exchange(agent, door, observed, wait, seen, answers).await });
        }
        // `answers` stays open here: nobody is told that a message was lost.
        match timeout(wait + PATIENCE, answer.recv()).await {
            Ok(Some(Ok(desired))) => Ok(desired),
            Ok(Some(Err(HandleError::Refused(Refused::Superseded { .. })))) => Err(Failed::Superseded),
            _ => Err(Failed::Away),
        }
    }

    async fn exchange(
        self,
        agent: usize,
        Door { epoch, handle }: Door,
        observed: Observed,
        wait: Duration,
        seen: u64,
        answers: mpsc::UnboundedSender<Result<Desired, HandleError>>,
    ) {
        let Some(up) = self.passes(agent, epoch, Way::Up) else { return };
        sleep(up).await;
        let arrived = self.world.lock().elapsed();
        let (life, call): (Life, u64) = ((observed.worker.clone(), observed.incarnation), observed.call);
        let sent = Sent::all(&observed.reports);
        let answer = handle.sync(observed, None, wait, seen).await;
        {
            let mut world = self.world.lock();
            if !matches!(&answer, Ok(desired) if sent.is_empty() && desired.wanted.iter().all(|w| w.assignment.is_none() && !w.stop)) {
                world.note(|| format!("coordinator {epoch}: answers call {call} of {}/{}: {}", life.0, life.1, in_words(&answer)));
            }
            if let Ok(desired) = &answer {
                let judged = world.law.answered(epoch, &life, arrived, desired, &sent);
                world.judge(judged);
            }
        }
        let Some(down) = self.passes(agent, epoch, Way::Down) else { return };
        sleep(down).await;
        let _gave_up = answers.send(answer);
    }
}

fn in_words(answer: &Result<Desired, HandleError>) -> String {
    let wanted = |w: &osler_core::sync::Wanted| {
        let new = if w.assignment.is_some() { "+" } else { "" };
        format!("{new}{} g{} r{}", w.process.id.job, w.process.generation, w.process.rank)
    };
    match answer {
        Ok(desired) => {
            format!("acknowledged {}, run [{}]", desired.acknowledged, desired.wanted.iter().map(wanted).collect::<Vec<_>>().join(", "))
        }
        Err(error) => error.to_string(),
    }
}
