//! Looks at the node: its disks, its memory, its GPUs, and whether its ranks can start. What the findings mean is decided in `osler_core::health`.
//!
//! A thread of its own does it, because a broken disk or driver may never answer; then that is what the agent reports.

mod gpus;

use gpus::Gpus;
use nvml_wrapper::Nvml;
use osler_core::BUILD;
use osler_core::health::{FolderCheck, Health, RankCheck};
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::memory;
use osler_runtime::process::about;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// So often by itself.
const EVERY: Duration = Duration::from_secs(60);
/// The same while the node takes no work: what was wrong may pass.
const SOON: Duration = Duration::from_secs(5);
/// A look that takes longer is told of.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an agent waits for its first look before it calls the coordinator without.
const FIRST: Duration = Duration::from_secs(5);
/// The name that drivers install; the one without a version comes with development packages only.
const NVML: &str = "libnvidia-ml.so.1";

/// The newest look, and the thread that makes the next one. The thread ends with it, once its look ends.
pub struct Doctor {
    looks: mpsc::Receiver<Health>,
    ask: Sender<()>,
    latest: Option<Health>,
    /// When it came, or when the first one was asked for.
    since: Instant,
}

impl Doctor {
    /// Waits a little for the first look.
    pub async fn start(folders: Vec<PathBuf>, rank_binary: Option<PathBuf>) -> io::Result<Self> {
        let (found, looks) = mpsc::channel(1);
        let (ask, asked) = channel();
        let work = move || {
            let nvml = Nvml::builder().lib_path(OsStr::new(NVML)).init().ok();
            let mut gpus = nvml.as_ref().map(|nvml| Gpus::watch(nvml, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()));
            let mut ranks: Option<RankCheck> = None;
            loop {
                // Once, as long as it runs: loading libtorch costs a second.
                if ranks.as_ref().is_none_or(|ranks| ranks.error.is_some()) {
                    ranks = rank_binary.as_deref().map(about);
                }
                let health = Health { ranks: ranks.clone(), ..look(&folders, gpus.as_mut()) };
                let pause = if health.unfit_for(BUILD).is_some() { SOON } else { EVERY };
                if found.blocking_send(health).is_err() || asked.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("health".to_owned()).spawn(work)?;
        let mut doctor = Self { looks, ask, latest: None, since: Instant::now() };
        let _told_as_overdue = tokio::time::timeout(FIRST, doctor.next()).await;
        Ok(doctor)
    }

    /// The next look is made at once.
    pub fn ask(&self) {
        let _thread_is_gone = self.ask.send(());
    }

    /// Waits for the next look. Safe to drop.
    pub async fn next(&mut self) {
        match self.looks.recv().await {
            Some(health) => {
                let before = self.latest.as_ref().and_then(|latest| latest.unfit_for(BUILD));
                if let (Some(why), None) = (health.unfit_for(BUILD), before) {
                    tracing::warn!("this node takes no work: {why}");
                }
                (self.latest, self.since) = (Some(health), Instant::now());
            }
            None => std::future::pending().await, // the thread is gone: what was found last grows old
        }
    }

    /// What was found last; if the look after it does not end, that too.
    pub fn health(&self) -> Health {
        let overdue_ms = overdue(self.since.elapsed(), self.latest.is_some());
        let none =
            || Health { at: SystemClock.now(), folders: vec![], memory_available: None, gpus: vec![], ranks: None, overdue_ms: None };
        Health { overdue_ms, ..self.latest.clone().unwrap_or_else(none) }
    }
}

/// Milliseconds that a look hangs, if it does: the first one begins with the agent, the others a while after the one before.
fn overdue(silent: Duration, looked: bool) -> Option<u64> {
    let begun = if looked { EVERY } else { Duration::ZERO };
    let hangs = silent.checked_sub(begun).filter(|hangs| !looked || *hangs > PATIENCE)?;
    Some(u64::try_from(hangs.as_millis()).unwrap_or(u64::MAX))
}

fn look(folders: &[PathBuf], gpus: Option<&mut Gpus<'_>>) -> Health {
    Health {
        at: SystemClock.now(),
        folders: folders.iter().map(|folder| check(folder)).collect(),
        memory_available: memory::available(),
        gpus: gpus.map(Gpus::look).unwrap_or_default(),
        ranks: None,
        overdue_ms: None,
    }
}

/// A folder that is not there yet is made where its nearest ancestor is.
fn check(folder: &Path) -> FolderCheck {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()); // the first ancestor of "scratch" is ""
    let there = absolute.ancestors().find(|folder| folder.is_dir()).unwrap_or(&absolute);
    let started = Instant::now();
    let error = write_and_read(there).err().map(|e| e.to_string());
    let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let free_bytes = nix::sys::statvfs::statvfs(there).ok().map(|fs| fs.blocks_available().saturating_mul(fs.fragment_size()));
    FolderCheck { path: there.display().to_string(), free_bytes, ms, error }
}

/// Leaves nothing behind, also if it fails.
fn write_and_read(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".osler-check-{}", std::process::id()));
    let pattern: Vec<u8> = (0..4096_u32).map(|i| (i % 251) as u8).collect();
    let written = (|| {
        let mut file = File::create(&path)?;
        file.write_all(&pattern)?;
        file.sync_all()?;
        let mut back = vec![];
        File::open(&path)?.take(pattern.len() as u64 + 1).read_to_end(&mut back)?;
        if back == pattern { Ok(()) } else { Err(io::Error::other("what was written is not what is read back")) }
    })();
    let removed = fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_folder_is_written_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let found = check(&folder.path().join("not/there/yet"));
        assert_eq!((found.error.as_deref(), found.path.as_str()), (None, folder.path().to_str().unwrap()));
        assert!(found.free_bytes.is_some_and(|free| free > 0));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_named_from_here_that_is_not_there_yet_is_looked_for_here() {
        let found = check(Path::new("not-there-yet"));
        assert_eq!((found.error, found.path), (None, std::env::current_dir().unwrap().display().to_string()));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        // A folder of that name is in the way of the file.
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(format!(".osler-check-{}", std::process::id()))).unwrap();
        let health = look(&[folder.path().to_owned()], None);
        assert!(health.folders[0].error.is_some());
        assert!(health.unfit().unwrap().contains("cannot be written"));
    }

    #[tokio::test]
    async fn a_look_is_made_at_the_start_and_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut doctor = Doctor::start(vec![folder.path().to_owned()], None).await.unwrap();
        let first = doctor.health();
        assert_eq!((first.overdue_ms, first.folders.len()), (None, 1));
        doctor.ask();
        doctor.next().await;
        assert!(doctor.health().at >= first.at);
    }

    #[test]
    fn a_look_that_does_not_end_is_reported() {
        let seconds = Duration::from_secs;
        assert_eq!(overdue(seconds(7), false), Some(7_000), "the first look hangs");
        assert_eq!(overdue(seconds(90), true), None);
        assert_eq!(overdue(seconds(91), true), Some(31_000));
    }
}
