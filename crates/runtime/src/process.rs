//! Which process: a number alone may have gone to another one, and means nothing on another machine. And whether a binary runs here.

use osler_core::health::RankCheck;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A process of this machine, as long as it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: u32,
    /// Clock ticks since the machine started.
    pub started: u64,
}

impl Identity {
    /// None: there is no such process.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (state, started) = state_and_start(&stat)?;
        // A zombie is over; somebody else will reap it.
        (state != "Z").then_some(Self { pid, started })
    }

    pub fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The third and the 22nd field; the second is the name in parentheses, which may hold anything.
fn state_and_start(stat: &str) -> Option<(&str, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// A process of whatever machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// The start of a machine, and which of its worlds of process numbers: containers have their own.
    machine: String,
    #[serde(flatten)]
    process: Identity,
}

impl Located {
    /// This process; none where the system does not tell.
    pub fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// A process of this machine.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { machine: machine()?, process: Identity::of(pid)? })
    }

    /// Proof that it is gone: it was of this machine, and is not there any more. Of another machine's nothing is known.
    pub fn is_gone(&self) -> bool {
        machine().as_ref() == Some(&self.machine) && !self.process.lives()
    }

    #[cfg(test)]
    fn with_pid(self, pid: u32) -> Self {
        Self { process: Identity { pid, ..self.process }, ..self }
    }
}

fn machine() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let numbers = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), numbers.display()))
}

/// Starts the binary that runs ranks, to hear which build it is and whether it runs here at all.
pub fn about(binary: &Path) -> RankCheck {
    let none = |error: String| RankCheck { build: None, error: Some(error) };
    let output = match Command::new(binary).arg("about").stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(e) => return none(format!("{} cannot be started: {e}", binary.display())),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line: String = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing").chars().take(300).collect();
        let how = output.status.code().map_or_else(|| output.status.to_string(), |code| format!("exit code {code}"));
        return none(format!("{how}: {line}"));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim().strip_prefix("build ") {
        Some(build) => RankCheck { build: Some(build.chars().take(100).collect()), error: None },
        None => none("it does not say which build it is: it is of another version".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_tells_its_build_or_why_it_does_not_run() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let told = |script: &str| {
            let path = folder.path().join("rank");
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            about(&path)
        };
        assert_eq!(told("echo build 0.1.0"), RankCheck { build: Some("0.1.0".into()), error: None });
        let missing = told("echo libtorch_cpu.so: cannot open >&2; exit 127").error.unwrap();
        assert_eq!(missing, "exit code 127: libtorch_cpu.so: cannot open");
        assert!(told("kill -9 $$").error.unwrap().contains("signal: 9"));
        assert!(told("echo hello").error.unwrap().contains("another version"));
        assert!(about(Path::new("/nowhere/rank")).error.unwrap().contains("cannot be started"));
    }

    #[test]
    fn the_start_is_found_behind_any_name() {
        let fields = (4..=52).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(state_and_start(&format!("7 (a) b) S {fields}")), Some(("S", 22)));
        assert_eq!(state_and_start("7 (a"), None);
        assert_eq!(state_and_start("7 (a) S 1 2"), None);
    }

    #[test]
    fn only_a_process_of_this_machine_can_be_proven_gone() {
        let own = Located::own().unwrap();
        assert!(!own.is_gone());
        let dead = own.clone().with_pid(u32::MAX);
        assert!(dead.is_gone());
        assert!(!Located { machine: "another one".into(), ..dead }.is_gone());
        let json = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<Located>(&json).unwrap(), own);
    }
}
