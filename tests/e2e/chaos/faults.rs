//! What can happen to a lab, and how it is undone.

use super::lab::{HOSTS, Lab};
use crate::cluster::signal;
use crate::rng::Rng;
use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP};
use nix::unistd::Pid;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    KillRank,
    StopRank,
    KillAgent,
    StopAgent,
    KillCoordinator,
    StopCoordinator,
    KillStandby,
    CutHost,
    CutOneWay,
    FullDisk,
}

pub const ALL: [Fault; 10] = [
    Fault::KillRank,
    Fault::StopRank,
    Fault::KillAgent,
    Fault::StopAgent,
    Fault::KillCoordinator,
    Fault::StopCoordinator,
    Fault::KillStandby,
    Fault::CutHost,
    Fault::CutOneWay,
    Fault::FullDisk,
];

/// A fault that has struck; `undo` ends it.
pub struct Struck {
    pub lasts: Duration,
    pub what: String,
    undo: Undo,
}

enum Undo {
    Nothing,
    Wake(Vec<Pid>),
    Heal(u8),
    Hear(u8, u8),
    FreeDisk,
}

impl Fault {
    pub fn strike(self, lab: &Lab, rng: &mut Rng) -> Struck {
        let any = |rng: &mut Rng| 1 + rng.below(HOSTS.into()) as u8;
        // A host with something to lose, if there is one.
        let first = any(rng);
        let busy = (0..HOSTS).map(|i| 1 + (first - 1 + i) % HOSTS).find(|host| !lab.jobs(*host).is_empty()).unwrap_or(first);
        let (leading, standby) = lab.leading();
        let struck = |seconds: u64, what: String, undo| Struck { lasts: Duration::from_secs(seconds), what, undo };
        let send = |pids: Vec<Pid>, which| {
            pids.iter().for_each(|pid| signal(*pid, which));
            pids
        };
        match self {
            Self::KillRank => {
                send(lab.jobs(busy), SIGKILL);
                struck(0, format!("the rank on h{busy} is killed"), Undo::Nothing)
            }
            Self::StopRank => {
                let stopped = send(lab.jobs(busy), SIGSTOP);
                struck(25, format!("the rank on h{busy} freezes for 25 s"), Undo::Wake(stopped))
            }
            Self::KillAgent => {
                send(lab.agent(busy).into_iter().collect(), SIGKILL);
                struck(0, format!("the agent on h{busy} is killed"), Undo::Nothing)
            }
            Self::StopAgent => {
                let stopped = send(lab.agent(busy).into_iter().collect(), SIGSTOP);
                struck(15, format!("the agent on h{busy} freezes for 15 s"), Undo::Wake(stopped))
            }
            Self::KillCoordinator => {
                send(lab.coordinator(leading).into_iter().collect(), SIGKILL);
                struck(0, format!("the coordinator on h{leading} is killed"), Undo::Nothing)
            }
            Self::StopCoordinator => {
                let stopped = send(lab.coordinator(leading).into_iter().collect(), SIGSTOP);
                struck(15, format!("the coordinator on h{leading} freezes for 15 s"), Undo::Wake(stopped))
            }
            Self::KillStandby => {
                send(lab.coordinator(standby).into_iter().collect(), SIGKILL);
                struck(0, format!("the standby on h{standby} is killed"), Undo::Nothing)
            }
            Self::CutHost => {
                lab.cut(busy, true);
                struck(15, format!("h{busy} is cut off for 15 s"), Undo::Heal(busy))
            }
            Self::CutOneWay => {
                let to = 1 + busy % HOSTS;
                lab.deafen(busy, to, true);
                struck(15, format!("h{to} does not hear h{busy} for 15 s"), Undo::Hear(busy, to))
            }
            Self::FullDisk => {
                lab.fill_disk(true);
                struck(6, "the store is full for 6 s".into(), Undo::FreeDisk)
            }
        }
    }
}

impl Struck {
    pub fn undo(self, lab: &Lab) {
        match self.undo {
            Undo::Nothing => {}
            Undo::Wake(pids) => pids.into_iter().for_each(|pid| signal(pid, SIGCONT)),
            Undo::Heal(host) => lab.cut(host, false),
            Undo::Hear(from, to) => lab.deafen(from, to, false),
            Undo::FreeDisk => lab.fill_disk(false),
        }
    }
}
