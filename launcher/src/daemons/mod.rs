//! The daemons of one machine: a coordinator and a worker over one store, started, watched, started again, and ended in order.
//!
//! One `osler up` at a time owns a store's daemons, by a file lock that ends with the process. Daemons outlive an `up` that was killed;
//! the next one adopts them, and training does not pause.

mod process;

use crate::binaries;
use crate::client::{Access, Coordinator, Endpoint};
use crate::failure::{Kind, Outcome, failed, io_failed, no_room};
use nix::fcntl::{Flock, FlockArg};
use osler_core::process::exit;
use osler_runtime::files;
use osler_runtime::store::local_folder;
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
/// What a daemon gets between being asked to end and being killed.
const GRACE: Duration = Duration::from_secs(30);

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
    pub async fn own(store: &str, slots: u32) -> Outcome<Option<Self>> {
        let home = local_folder(store)?;
        let folder = home.join("coordinator");
        fs::create_dir_all(&folder).map_err(|e| io_failed(&format!("make {}", folder.display()), &e))?;
        let Some(lock) = lock(&folder.join("up.lock"))? else { return Ok(None) };
        let known: Known = fs::read(folder.join("up.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let access = Access::local(store);
        let adopted = known.coordinator.and_then(Process::adopt);
        let coordinator = match (adopted, access.coordinator().await?) {
            (Some(ours), _) => ours,
            // Started by hand: it stays its starter's.
            (None, Some(_)) => return Ok(None),
            (None, None) => start_coordinator(store, &home).await?,
        };
        let mut daemons =
            Self { home, folder, store: store.to_owned(), slots, coordinator, worker: known.worker.and_then(Process::adopt), _lock: lock };
        daemons.remember()?;
        if let Err(failure) = daemons.ready(&access).await {
            daemons.kill();
            return Err(failure);
        }
        Ok(Some(daemons))
    }

    /// Waits until the coordinator answers, and has a worker.
    async fn ready(&mut self, access: &Access) -> Outcome {
        let mut coordinator = self.answering(access).await?;
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
            if let Some(coordinator) = if ours { access.coordinator().await? } else { None } {
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
                self.coordinator = start_coordinator(&self.store, &self.home).await?;
                self.remember_if_there_is_room()?;
                self.answering(&Access::local(&self.store)).await?;
            }
            Which::Worker => {
                self.worker = Some(self.start_worker()?);
                self.remember_if_there_is_room()?;
            }
        }
        Ok(())
    }

    fn start_worker(&self) -> Outcome<Process> {
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
            .path("--rank-binary", &binaries::find(binaries::RANK)?)
            .text("--slots", &slots)
            .text("--name", WORKER);
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
}

async fn start_coordinator(store: &str, home: &Path) -> Outcome<Process> {
    let folder = home.join("coordinator");
    let spawn = Spawn::new(binaries::find(binaries::COORDINATOR)?)
        .text("--store", store)
        .text("--listen", "127.0.0.1:0")
        .path("--token-file", &token_file(&folder))
        .path("--endpoint-file", &Endpoint::path(home));
    spawn.start(&folder.join("coordinator.log"))
}

fn token_file(folder: &Path) -> PathBuf {
    folder.join("token")
}

fn lock(path: &Path) -> Outcome<Option<Flock<File>>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|e| io_failed(&format!("open {}", path.display()), &e))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(failed(format!("lock {}: {e}", path.display()))),
    }
}
