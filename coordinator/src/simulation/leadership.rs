//! Coordinators: the real owner over the simulated store, with its lease. Somebody keeps one running, or two of which one waits for the
//! other's end; misfortune kills them between or within writes, freezes them, turns their clocks, asks one to end, or starts another one
//! beside them.

use super::disk::Disk;
use super::freeze::{Freeze, Until};
use super::network::{Door, Network};
use super::plan::Plan;
use super::world::Shared;
use crate::cluster::Limits;
use crate::leadership::{self, Terms, stand_by};
use crate::ledger::{Ledger, LedgerError};
use crate::owner::Owner;
use osler_core::ids::{Epoch, Millis};
use osler_core::time::Moment;
use osler_runtime::clock::Clock;
use osler_runtime::store::{Patience, Store};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep};

/// A wall clock that jumps, beside one that does not.
struct Wall {
    world: Shared,
    off: Arc<AtomicI64>,
}

impl Clock for Wall {
    fn now(&self) -> Millis {
        self.world.lock().clock(self.off.load(Ordering::Relaxed))
    }

    fn moment(&self) -> Moment {
        Moment(self.world.lock().elapsed().as_millis() as i64)
    }
}

struct Coordinator {
    task: JoinHandle<Result<(), LedgerError>>,
    frozen: Until,
    off: Arc<AtomicI64>,
    /// None until it leads.
    epoch: Rc<Cell<Option<Epoch>>>,
    end: Rc<Notify>,
    asked: Cell<bool>,
}

pub struct Leadership {
    network: Network,
    store: Store,
    alive: Vec<Coordinator>,
    off: i64,
    limits: Limits,
    standby: bool,
}

impl Leadership {
    pub fn new(network: Network, disk: Disk, plan: &Plan) -> Self {
        let seconds = Duration::from_secs;
        let remote = Patience { first: Duration::from_millis(100), longest: seconds(1), total: seconds(12), ..Patience::default() };
        let patience = if network.world.lock().rng.once_in(2) { Patience::none() } else { remote };
        let store = Store::over("sim://", Arc::new(disk), patience);
        Self { network, store, alive: vec![], off: 0, limits: plan.limits, standby: plan.standby }
    }

    pub async fn run(mut self) {
        loop {
            if self.alive.len() < 1 + usize::from(self.standby) {
                let pause = self.network.world.lock().below(1_500);
                sleep(pause).await;
                self.start();
            }
            let pause = self.network.world.lock().below(60);
            sleep(pause).await;
            self.bury().await;
            self.strike();
        }
    }

    fn start(&mut self) {
        let off = Arc::new(AtomicI64::new(self.off));
        let epoch = Rc::new(Cell::new(None));
        let (network, store) = (self.network.clone(), self.store.clone());
        let clock = Arc::new(Wall { world: network.world.clone(), off: off.clone() });
        let (leads, end) = (epoch.clone(), Rc::new(Notify::new()));
        let (limits, standby, asked) = (self.limits, self.standby, end.clone());
        let (task, frozen) = Freeze::new(async move {
            let terms = Terms::default();
            let ledger = match standby {
                false => Ledger::open(store.clone(), clock.now()).await?,
                true => tokio::select! { ledger = stand_by(&store, &*clock, terms) => ledger?, () = asked.notified() => return Ok(()) },
            };
            let mut lease = leadership::Leadership::begin(store, ledger.epoch(), "simulated:7070".into(), None).await?;
            let (handle, owner) = Owner::start(ledger, clock, limits).await?;
            leads.set(Some(owner.epoch()));
            network.world.lock().note(|| format!("coordinator {}: leads", owner.epoch()));
            let door = Door { epoch: owner.epoch(), handle };
            let keep = async {
                loop {
                    network.advertise(door.clone()); // as the binary restores its endpoint file
                    sleep(Duration::from_secs(2)).await;
                }
            };
            let ended = tokio::select! {
                biased;
                ended = owner.run(asked.notified()) => ended,
                () = keep => Ok(()),
                never = lease.renew(terms) => match never {},
            };
            if ended.is_ok() {
                lease.release(terms).await;
            }
            ended
        });
        self.alive.push(Coordinator { task: spawn_local(task), frozen, off, epoch, end, asked: Cell::new(false) });
    }

    /// Those that ended by themselves: fenced, or given up by the store. A panic is nobody's misfortune.
    async fn bury(&mut self) {
        for at in (0..self.alive.len()).rev().filter(|at| self.alive[*at].task.is_finished()).collect::<Vec<_>>() {
            let dead = self.alive.remove(at);
            let name = dead.name();
            let end = dead.task.await;
            let mut world = self.network.world.lock();
            match end {
                Ok(Err(error @ LedgerError::Fenced { .. })) => {
                    *world.struck.entry("coordinator is fenced").or_default() += 1;
                    world.note(|| format!("coordinator {name}: {error}"));
                }
                Ok(Err(LedgerError::Store(error))) => {
                    world.note(|| format!("coordinator {name}: {error}"));
                    if !world.misfortune() && world.struck.is_empty() {
                        world.broken(format!("coordinator {name} gave up a store that works: {error}"));
                    }
                }
                Ok(Ok(())) if dead.asked.get() => world.note(|| format!("coordinator {name}: has ended")),
                other => world.broken(format!("coordinator {name} ended with {other:?}")),
            }
        }
    }

    fn strike(&mut self) {
        let mut world = self.network.world.lock();
        let at = world.rng.below(self.alive.len() as u64) as usize;
        let rival = world.strikes("another coordinator starts", 600);
        let dies = world.strikes("coordinator dies", 400);
        let freezes = world.strikes("coordinator freezes", 600);
        let jumps = world.strikes("coordinator's clock jumps", 500);
        let ends = world.strikes("coordinator is asked to end", 600);
        if let Some(found) = self.alive.get(at) {
            if ends {
                world.note(|| format!("coordinator {}: is asked to end", found.name()));
                found.asked.set(true);
                found.end.notify_one();
            }
            if freezes {
                let ms = world.below(14_000);
                world.note(|| format!("coordinator {}: freezes for {} ms", found.name(), ms.as_millis()));
                found.frozen.set(Instant::now() + ms);
            }
            if jumps {
                let off = found.off.load(Ordering::Relaxed);
                // Whoever turned it may put it right again, in this coordinator's life or in the next one's.
                let by = if off != 0 && world.rng.once_in(2) { -off } else { jump(&mut world.rng) };
                world.note(|| format!("coordinator {}: its clock jumps by {by} ms", found.name()));
                self.off = off + by;
                found.off.store(self.off, Ordering::Relaxed);
            }
        }
        if dies && at < self.alive.len() {
            world.note(|| format!("coordinator {}: dies", self.alive[at].name()));
            self.alive.remove(at).task.abort();
        }
        drop(world);
        if rival {
            self.start();
        }
    }
}

impl Coordinator {
    fn name(&self) -> String {
        self.epoch.get().map_or_else(|| "(starting)".to_owned(), |epoch| epoch.to_string())
    }
}

/// Seconds either way, now and then an hour or 400 days.
fn jump(rng: &mut crate::testing::rng::Rng) -> i64 {
    let ms = match rng.below(4) {
        0 => 3_600_000,
        1 => 400 * 24 * 3_600_000,
        _ => rng.below(15_000) as i64,
    };
    if rng.once_in(2) { -ms } else { ms }
}
