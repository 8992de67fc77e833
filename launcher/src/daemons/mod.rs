//! The daemons of one machine: a coordinator and a worker over one store, started, watched, started again, and ended in order.
//!
//! One `osler up` at a time owns a store's daemons, by a file lock that ends with the process. Daemons outlive an `up` that was killed;
//! the next one adopts them, and training does not pause.

mod alone;
mod process;

use crate::binaries;
use crate::client::{Access, Coordinator, Endpoint};
use crate::failure::{Kind, Outcome, failed, io_failed, no_room, usage};
pub use alone::Alone;
use nix::fcntl::{Flock, FlockArg};
use osler_core::process::exit;
use osler_runtime::files;
use osler_runtime::process::about;
use osler_runtime::store::{Store, local_folder};
pub use process::Ended;
use process::{Process, Spawn};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The name of the worker that `osler up` starts.
const WORKER: &str = "local";
/// A coordinator reads every run of the store before it listens.
const STARTUP: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Daemons that nobody needs end by themselves after so long: no run that is not over, nobody who asks.
const IDLE_SECONDS: &str = "300";
/// What a daemon gets between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(30);

/// How daemons are started, if they have to be.
#[derive(Debug, Clone, Copy)]
pub struct Start {
    pub slots: u32,
    /// Also where another coordinator leads.
    pub take_over: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Coordinator,
    Worker,
}

impl Which {
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        }
    }
}

/// What the next owner needs to know to adopt them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    coordinator: Option<process::Identity>,
    worker: Option<process::Identity>,
}

pub struct Daemons {
    /// Where their files are; the store's own folder, if it is one.
    home: PathBuf,
    folder: PathBuf,
    store: String,
    slots: u32,
    coordinator: Process,
    /// None when the coordinator already had workers that are not ours.
    worker: Option<Process>,
    _lock: Flock<File>,
}

impl Daemons {
    /// Starts or adopts the daemons of a store. None: somebody else runs a coordinator there, or another `osler up` does.
    ///
    /// A coordinator that leads the store from elsewhere, or for another user, is left alone, unless it is to be replaced.
    pub async fn own(store: &str, Start { slots, take_over }: Start) -> Outcome<Option<Self>> {
        let home = local_folder(store)?;
        let folder = home.join("coordinator");
        let access = Access::local(store);
        let lock = match lock(&home, &folder) {
            Ok(Some(lock)) => lock,
            Ok(None) => return Ok(None),
            // Who leads a store that is not ours to write says more than that it is not.
            Err(failure) => return Err(access.find_before_start(&Store::open(store)?).await.err().unwrap_or(failure)),
        };
        let known = known(&home);
        let adopted = known.coordinator.and_then(Process::adopt);
        let coordinator = match (adopted, access.living().await?) {
            (Some(ours), _) => ours,
            // Started by hand: it stays its starter's.
            (None, Some(_)) => return Ok(None),
            (None, None) if !take_over && access.find_before_start(&Store::open(store)?).await?.is_some() => return Ok(None),
            (None, None) => start_coordinator(store, &home, take_over)?,
        };
        let mut daemons =
            Self { home, folder, store: store.to_owned(), slots, coordinator, worker: known.worker.and_then(Process::adopt), _lock: lock };
        daemons.begin(&access).await?;
        Ok(Some(daemons))
    }

    /// Makes them known and ready. If that fails, what was started for it is ended: nobody would know of it.
    async fn begin(&mut self, access: &Access) -> Outcome {
        let begun = match self.remember() {
            Ok(()) => self.ready(access).await,
            // Nothing new that somebody has to know of.
            Err(failure) if failure.kind() == Kind::NoRoom && !self.coordinator.is_child() => self.ready(access).await,
            Err(failure) => Err(failure),
        };
        if begun.is_err() {
            self.kill_started();
        }
        begun
    }

    /// Waits until the coordinator answers, and has a worker.
    async fn ready(&mut self, access: &Access) -> Outcome {
        let mut coordinator = match self.answering(access).await {
            Ok(coordinator) => coordinator,
            Err(failure) => {
                // Adopted or not, one that does not answer is of no use to whoever comes next.
                self.kill();
                return Err(failure);
            }
        };
        if self.worker.is_none() {
            let others = coordinator.workers().await?;
            // Of an earlier `local` the coordinator may not know yet that it is gone.
            if others.iter().any(|w| w.worker != WORKER && matches!(w.state.as_str(), "idle" | "busy")) {
                return Ok(());
            }
            self.worker = Some(self.start_worker()?);
            self.remember()?;
        }
        Ok(())
    }

    async fn answering(&mut self, access: &Access) -> Outcome<Coordinator> {
        let deadline = Instant::now() + STARTUP;
        loop {
            let ours = Endpoint::read(&self.home).is_some_and(|endpoint| endpoint.pid == self.coordinator.pid());
            if let Some(coordinator) = if ours { access.living().await? } else { None } {
                return Ok(coordinator);
            }
            if let Some(how) = self.coordinator.ended() {
                return Err(self.did_not_start(how));
            }
            if Instant::now() > deadline {
                return Err(self.did_not_start(Ended { how: format!("it did not answer within {} s", STARTUP.as_secs()), code: None }));
            }
            sleep(POLL).await;
        }
    }

    fn did_not_start(&self, Ended { how, code }: Ended) -> crate::failure::Failure {
        let log = self.log(Which::Coordinator);
        let message = format!("the coordinator did not start: {how}; the end of {}:\n{}", log.display(), process::tail(&log));
        if code == Some(exit::STOPPED) { no_room(message) } else { failed(message) }
    }

    fn access(&self) -> Access {
        Access::local(&self.store)
    }

    pub fn log(&self, which: Which) -> PathBuf {
        self.folder.join(format!("{}.log", which.name()))
    }

    /// Resolves when one of them is gone, with how it ended. Safe to drop.
    pub async fn died(&mut self) -> (Which, Ended) {
        let worker = async {
            match &mut self.worker {
                Some(worker) => worker.wait().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            how = self.coordinator.wait() => (Which::Coordinator, how),
            how = worker => (Which::Worker, how),
        }
    }

    /// Puts a new one in the place of one that died.
    pub async fn restart(&mut self, which: Which) -> Outcome {
        match which {
            Which::Coordinator => {
                // One that lives and does not answer must not stand beside its successor.
                self.coordinator.kill();
                // If another leads, it took the place.
                self.access().find_before_start(&Store::open(&self.store)?).await?;
                self.coordinator = start_coordinator(&self.store, &self.home, false)?;
                self.remember_if_there_is_room()?;
                self.answering(&self.access()).await?;
            }
            Which::Worker => {
                // As above: one that was started and not remembered may live.
                self.worker.iter_mut().for_each(Process::kill);
                self.worker = Some(self.start_worker()?);
                self.remember_if_there_is_room()?;
            }
        }
        Ok(())
    }

    fn start_worker(&self) -> Outcome<Process> {
        let rank_binary = binaries::find(binaries::RANK)?;
        // Its agent would find the same and take no work: a run would wait for a node that is never fit.
        if let Some(why) = about(&rank_binary).unfit_for(osler_core::BUILD) {
            return Err(usage(why));
        }
        let scratch = self.home.join("scratch").join(WORKER);
        // Left by a worker that was killed; its processes died with it.
        if scratch.exists() {
            fs::remove_dir_all(&scratch).map_err(|e| failed(format!("clear {}: {e}", scratch.display())))?;
        }
        let slots = self.slots.to_string();
        let spawn = Spawn::new(binaries::find(binaries::WORKER)?)
            .path("--endpoint-file", &Endpoint::path(&self.home))
            .path("--token-file", &token_file(&self.folder))
            .path("--scratch", &scratch)
            .path("--state", &self.home.join("state"))
            // It is the caller's own run: it reads what the caller may.
            .text("--may-read", "/")
            .path("--rank-binary", &rank_binary)
            .text("--slots", &slots)
            .text("--name", WORKER)
            .text("--end-when-alone", IDLE_SECONDS);
        spawn.start(&self.log(Which::Worker))
    }

    fn remember(&self) -> Outcome {
        let known = Known { coordinator: self.coordinator.identity(), worker: self.worker.as_ref().and_then(Process::identity) };
        let path = self.folder.join("up.json");
        files::replace(&path, &serde_json::to_vec(&known)?, 0o644).map_err(|e| io_failed(&format!("write {}", path.display()), &e))
    }

    /// On a full disk a new daemon is not worth less: only an `up` that comes after this one would not know it for its own.
    fn remember_if_there_is_room(&self) -> Outcome {
        match self.remember() {
            Err(failure) if failure.kind() == Kind::NoRoom => Ok(()),
            other => other,
        }
    }

    /// Ends the worker, then the coordinator, so that the last reports are still heard.
    pub async fn end(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.end(GRACE).await;
        }
        self.coordinator.end(GRACE).await;
        let _only_saves_the_next_owner_a_look = fs::remove_file(self.folder.join("up.json"));
    }

    /// Ends both at once. Processes of jobs die with their worker.
    pub fn kill(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.kill();
        }
        self.coordinator.kill();
    }

    /// Ends those that this process started. Adopted ones go on with what they do.
    fn kill_started(&mut self) {
        let started = |process: &&mut Process| process.is_child();
        self.worker.iter_mut().chain([&mut self.coordinator]).filter(started).for_each(Process::kill);
    }
}

/// What `osler up` started on this machine for a store and what still runs, for whoever ends it.
pub struct Started {
    home: PathBuf,
    coordinator: Option<Process>,
    worker: Option<Process>,
}

impl Started {
    pub fn of(store: &str) -> Outcome<Self> {
        let home = local_folder(store)?;
        let Known { coordinator, worker } = known(&home);
        Ok(Self { home, coordinator: coordinator.and_then(Process::adopt), worker: worker.and_then(Process::adopt) })
    }

    /// Whether its coordinator is the one that answers on this machine.
    pub fn leads(&self) -> bool {
        Endpoint::read(&self.home).is_some_and(|endpoint| self.coordinator.as_ref().is_some_and(|ours| ours.pid() == endpoint.pid))
    }

    /// Waits until nothing of what `osler up` started for a store lives, and none watches over it. False: something still does.
    pub async fn are_gone(store: &str) -> Outcome<bool> {
        let deadline = Instant::now() + GRACE * 2;
        loop {
            let Self { home, coordinator, worker } = Self::of(store)?;
            if coordinator.is_none() && worker.is_none() && lock(&home, &home.join("coordinator"))?.is_some() {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            sleep(POLL).await;
        }
    }

    /// Ends them in order, and tells which. An `osler up` that watches over them does that itself when its run is stopped: then it is
    /// waited for, because a daemon takes a second signal as an order to drop everything.
    pub async fn end(&mut self) -> Outcome<Vec<&'static str>> {
        let pairs = [(Which::Worker, self.worker.take()), (Which::Coordinator, self.coordinator.take())];
        let mut ours: Vec<(Which, Process)> = pairs.into_iter().filter_map(|(which, process)| Some((which, process?))).collect();
        let names = ours.iter().map(|(which, _)| which.name()).collect();
        if ours.is_empty() {
            return Ok(names);
        }
        let deadline = Instant::now() + GRACE * 2;
        let _lock = loop {
            if let Some(lock) = lock(&self.home, &self.home.join("coordinator"))? {
                break lock;
            }
            if Instant::now() > deadline {
                return Err(failed("an `osler up` watches over these daemons and does not end: end it with Ctrl-C"));
            }
            sleep(POLL).await;
        };
        for (_, process) in &mut ours {
            process.end(GRACE).await;
        }
        let _only_saves_the_next_owner_a_look = fs::remove_file(self.home.join("coordinator/up.json"));
        Ok(names)
    }
}

fn known(home: &Path) -> Known {
    fs::read(home.join("coordinator/up.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn start_coordinator(store: &str, home: &Path, take_over: bool) -> Outcome<Process> {
    let folder = home.join("coordinator");
    let spawn = Spawn::new(binaries::find(binaries::COORDINATOR)?)
        .text("--store", store)
        .text("--listen", "127.0.0.1:0")
        .path("--token-file", &token_file(&folder))
        .path("--endpoint-file", &Endpoint::path(home))
        .text("--end-when-idle", IDLE_SECONDS);
    let spawn = if take_over { spawn.flag("--take-over") } else { spawn };
    spawn.start(&folder.join("coordinator.log"))
}

fn token_file(folder: &Path) -> PathBuf {
    folder.join("token")
}

/// Of the one `osler up` that owns the daemons of a folder; none while another does.
fn lock(home: &Path, folder: &Path) -> Outcome<Option<Flock<File>>> {
    let made = files::make_folder(home).and_then(|()| {
        files::keep_private(Some(home));
        files::make_folder(folder)
    });
    made.map_err(|e| io_failed(&format!("make {}", folder.display()), &e))?;
    let path = folder.join("up.lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| io_failed(&format!("open {}", path.display()), &e))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(failed(format!("lock {}: {e}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// As they are when a disk is full: what was started cannot be noted.
    #[tokio::test]
    async fn what_was_started_and_cannot_be_remembered_is_ended_and_what_was_adopted_is_not() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("coordinator");
        let lock = lock(home.path(), &folder).unwrap().unwrap();
        let coordinator = Spawn::new("sleep".into()).flag("60").start(&home.path().join("log")).unwrap();
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let worker = Process::adopt(process::Identity::of(other.id()).unwrap());
        fs::remove_dir_all(&folder).unwrap();
        let store = home.path().display().to_string();
        let access = Access::local(&store);
        let mut daemons = Daemons { home: home.path().to_owned(), folder, store, slots: 1, coordinator, worker, _lock: lock };
        assert!(daemons.begin(&access).await.is_err());
        let how = tokio::time::timeout(Duration::from_secs(20), daemons.coordinator.wait()).await.unwrap();
        assert_eq!(how.how, "it was killed by signal 9");
        assert_eq!(daemons.worker.as_mut().unwrap().ended(), None);
        other.kill().unwrap();
        other.wait().unwrap();
    }

    #[tokio::test]
    async fn daemons_are_gone_when_none_lives_and_nobody_watches_over_them() {
        let home = tempfile::tempdir().unwrap();
        let store = home.path().display().to_string();
        assert!(Started::are_gone(&store).await.unwrap(), "there never were any");
        let mut worker = Command::new("sleep").arg("60").spawn().unwrap();
        let known = Known { coordinator: None, worker: process::Identity::of(worker.id()) };
        fs::write(home.path().join("coordinator/up.json"), serde_json::to_vec(&known).unwrap()).unwrap();
        let waiting = tokio::spawn(async move { Started::are_gone(&store).await });
        sleep(POLL * 4).await;
        assert!(!waiting.is_finished());
        worker.kill().unwrap();
        worker.wait().unwrap();
        assert!(waiting.await.unwrap().unwrap());
    }
}
