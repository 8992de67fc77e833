//! One daemon's process: our child, or one that an earlier `osler up` left behind, known by its number and its start.

use crate::failure::{Outcome, failed};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
pub use osler_runtime::process::Identity;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const POLL: Duration = Duration::from_millis(100);

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// In words.
    pub how: String,
    /// None: it was killed, or nobody knows.
    pub code: Option<i32>,
}

impl Ended {
    fn gone() -> Self {
        Self { how: "it is gone".to_owned(), code: None }
    }
}

#[derive(Debug)]
pub enum Process {
    Child { child: Child, pid: u32 },
    Adopted(Identity),
}

impl Process {
    /// None if it is gone.
    pub fn adopt(identity: Identity) -> Option<Self> {
        identity.lives().then_some(Self::Adopted(identity))
    }

    pub fn pid(&self) -> u32 {
        match self {
            Self::Child { pid, .. } => *pid,
            Self::Adopted(identity) => identity.pid,
        }
    }

    pub fn identity(&self) -> Option<Identity> {
        Identity::of(self.pid())
    }

    /// Whether this process started it.
    pub fn is_child(&self) -> bool {
        matches!(self, Self::Child { .. })
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Ended> {
        match self {
            Self::Child { child, .. } => child.try_wait().ok().flatten().map(how),
            Self::Adopted(identity) => (!identity.lives()).then(Ended::gone),
        }
    }

    pub async fn wait(&mut self) -> Ended {
        match self {
            Self::Child { child, .. } => match child.wait().await {
                Ok(status) => how(status),
                Err(e) => Ended { how: format!("waiting for it failed: {e}"), code: None },
            },
            Self::Adopted(identity) => {
                while identity.lives() {
                    sleep(POLL).await;
                }
                Ended::gone()
            }
        }
    }

    /// Asks it to end, and kills it when it has not by then.
    pub async fn end(&mut self, grace: Duration) {
        if self.ended().is_some() {
            return;
        }
        self.signal(Signal::SIGTERM);
        if timeout(grace, self.wait()).await.is_err() {
            self.kill();
            self.wait().await;
        }
    }

    pub fn kill(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::SIGKILL);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Ok(pid) = i32::try_from(self.pid()) {
            let _already_gone = kill(Pid::from_raw(pid), signal);
        }
    }
}

fn how(status: ExitStatus) -> Ended {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("it exited with code {code}"),
        (None, Some(signal)) => format!("it was killed by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    };
    Ended { how, code: status.code() }
}

/// A daemon about to be started.
pub struct Spawn {
    binary: PathBuf,
    command: Command,
}

impl Spawn {
    pub fn new(binary: PathBuf) -> Self {
        Self { command: Command::new(&binary), binary }
    }

    pub fn text(mut self, flag: &str, value: &str) -> Self {
        self.command.args([flag, value]);
        self
    }

    pub fn path(mut self, flag: &str, value: &Path) -> Self {
        self.command.arg(flag).arg(value);
        self
    }

    pub fn flag(mut self, flag: &str) -> Self {
        self.command.arg(flag);
        self
    }

    /// In a process group of its own: Ctrl-C at the terminal is for `osler`, which then ends its daemons in order.
    pub fn start(mut self, log: &Path) -> Outcome<Process> {
        let open = || File::options().create(true).append(true).open(log);
        let io = |e: std::io::Error| failed(format!("start {}: {e}", self.binary.display()));
        let (out, err) = (open().map_err(io)?, open().map_err(io)?);
        let started = self.command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
        let child = started.map_err(io)?;
        let pid = child.id().ok_or_else(|| failed(format!("start {}: it ended at once", self.binary.display())))?;
        Ok(Process::Child { child, pid })
    }
}

/// The last lines of a log.
pub fn tail(path: &Path) -> String {
    const BYTES: u64 = 4096;
    const LINES: usize = 12;
    let read = || {
        let mut file = File::open(path)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(end.saturating_sub(BYTES)))?;
        let mut bytes = vec![];
        file.take(BYTES).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(LINES)).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_adopted_only_while_it_is_the_same() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let identity = Identity::of(child.id().unwrap()).unwrap();
        assert!(Process::adopt(Identity { started: identity.started + 1, ..identity }).is_none());
        let mut adopted = Process::adopt(identity).unwrap();
        assert_eq!(adopted.ended(), None);
        adopted.kill();
        adopted.wait().await;
        assert!(Process::adopt(identity).is_none());
        child.wait().await.unwrap();
    }
}
