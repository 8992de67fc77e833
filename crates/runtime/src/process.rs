//! Which process: a number alone may have gone to another one, and means nothing on another machine.

use serde::{Deserialize, Serialize};
use std::fs;

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

#[cfg(test)]
mod tests {
    use super::*;

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
