//! What the agent knows: its processes and the reports that the coordinator has not acknowledged. Pure; says what to do, does nothing.

use osler_core::health::Health;
use osler_core::ids::{Epoch, Incarnation, LabelKey, LabelValue, WorkerName};
use osler_core::job::JobKind;
use osler_core::process::{Assignment, Command, Report};
use osler_core::spec::DeviceKind;
use osler_core::sync::{Desired, NumberedReport, Observed, ProcessId, ProcessPhase, ProcessStatus};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Debug)]
pub enum Action {
    /// With the number of its GPU among those of this agent, if it needs one.
    Start(ProcessId, Box<Assignment>, Option<u32>),
    Send(ProcessId, Command),
    /// Find out where its threads stand.
    Look(ProcessId),
    Kill(ProcessId),
}

#[derive(Debug)]
struct Entry {
    phase: ProcessPhase,
    /// A rank of a gang: it can save before it ends.
    trains: bool,
    /// Held until the process has ended.
    gpu: Option<u32>,
    rendezvous_sent: bool,
    stop_sent: bool,
    looked: bool,
    kill_sent: bool,
    /// It has said how it ended; whatever its exit code is now says nothing new.
    finished: bool,
}

#[derive(Debug)]
pub struct Book {
    worker: WorkerName,
    incarnation: Incarnation,
    host: String,
    slots: u32,
    processes: BTreeMap<ProcessId, Entry>,
    reports: VecDeque<NumberedReport>,
    next_seq: u64,
    draining: bool,
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// The newest look at the node.
    pub health: Option<Health>,
    /// The highest number of a look that was asked for.
    checked: u64,
    /// Of the newest coordinator that was obeyed.
    epoch: Epoch,
}

impl Book {
    pub fn new(worker: WorkerName, incarnation: Incarnation, host: String, slots: u32) -> Self {
        let (processes, reports) = (BTreeMap::new(), VecDeque::new());
        Self {
            worker,
            incarnation,
            host,
            slots,
            processes,
            reports,
            next_seq: 1,
            draining: false,
            labels: BTreeMap::new(),
            health: None,
            checked: 0,
            epoch: Epoch(0),
        }
    }

    pub fn observed(&self) -> Observed {
        let status = |(process, entry): (&ProcessId, &Entry)| ProcessStatus { process: process.clone(), phase: entry.phase.clone() };
        Observed {
            worker: self.worker.clone(),
            incarnation: self.incarnation,
            call: 0, // the link numbers its calls
            epoch: self.epoch,
            host: self.host.clone(),
            slots: self.slots,
            processes: self.processes.iter().map(status).collect(),
            reports: self.reports.iter().cloned().collect(),
            draining: self.draining,
            labels: self.labels.clone(),
            health: self.health.clone(),
            skew: 0, // the coordinator compares the clocks
        }
    }

    /// Whether the coordinator asks for a look that was not made for it yet. Its count begins anew with it.
    pub fn check_asked(&mut self, check: u64) -> bool {
        let asked = check > self.checked;
        self.checked = check;
        asked
    }

    /// Takes no more work. Gangs are asked to save at once, without waiting for the coordinator, which asks them too and ends what
    /// cannot save.
    pub fn drain(&mut self) -> Vec<Action> {
        self.draining = true;
        let unasked = |entry: &Entry| entry.trains && entry.phase == ProcessPhase::Running && !entry.stop_sent;
        let ask = |(process, entry): (&ProcessId, &mut Entry)| {
            entry.stop_sent = true;
            Action::Send(process.clone(), Command::Stop)
        };
        self.processes.iter_mut().filter(|(_, entry)| unasked(entry)).map(ask).collect()
    }

    pub fn draining(&self) -> bool {
        self.draining
    }

    /// Whether nothing runs any more.
    pub fn is_empty(&self) -> bool {
        self.running().next().is_none()
    }

    /// Takes in what a process said; true if it should reach the coordinator at once. Of progress only the latest is kept.
    pub fn reported(&mut self, process: ProcessId, report: Report) -> bool {
        let progress = matches!(report, Report::Progress(_));
        if progress {
            self.reports.retain(|r| r.process != process || !matches!(r.report, Report::Progress(_)));
        }
        if matches!(report, Report::Done { .. } | Report::Stopped { .. } | Report::Failed { .. })
            && let Some(entry) = self.processes.get_mut(&process)
        {
            entry.finished = true;
        }
        self.reports.push_back(NumberedReport { seq: self.next_seq, process, report });
        self.next_seq += 1;
        !progress
    }

    /// Notes an end. True if it is news: the process had not said how it ended, and nobody asked for it.
    pub fn exited(&mut self, process: &ProcessId, code: i32, log_tail: Vec<String>) -> bool {
        let Some(entry) = self.processes.get_mut(process) else { return false };
        entry.phase = ProcessPhase::Exited { code, log_tail };
        !entry.finished && !entry.kill_sent
    }

    /// Turns what is wanted into what to do. Applying the same wish twice does nothing the second time. What a coordinator wishes that
    /// has a successor is not done: it has decided on what is no longer so.
    pub fn apply(&mut self, desired: Desired) -> Vec<Action> {
        if desired.epoch < self.epoch {
            return vec![];
        }
        self.epoch = desired.epoch;
        self.reports.retain(|r| r.seq > desired.acknowledged);
        let wanted: BTreeSet<ProcessId> = desired.wanted.iter().map(|w| w.process.clone()).collect();
        let mut actions = vec![];
        self.processes.retain(|process, entry| {
            if wanted.contains(process) {
                return true;
            }
            if entry.phase != ProcessPhase::Running {
                return false; // ended and unwanted: forgotten
            }
            if !entry.kill_sent {
                entry.kill_sent = true;
                actions.push(Action::Kill(process.clone()));
            }
            true
        });
        for want in desired.wanted {
            if !self.processes.contains_key(&want.process) {
                // What is being killed still has its slot. Whoever asked has to ask again: the next call does not list the process.
                let room = self.running().count() < self.slots as usize;
                let Some(assignment) = want.assignment.filter(|_| room && !self.draining) else { continue };
                let gpu = needs_gpu(&assignment).then(|| self.free_gpu());
                let (phase, trains) = (ProcessPhase::Running, matches!(assignment.kind, JobKind::Train { .. }));
                let entry = Entry {
                    phase,
                    trains,
                    gpu,
                    rendezvous_sent: false,
                    stop_sent: false,
                    looked: false,
                    kill_sent: false,
                    finished: false,
                };
                self.processes.insert(want.process.clone(), entry);
                actions.push(Action::Start(want.process.clone(), Box::new(assignment), gpu));
            }
            let Some(entry) = self.processes.get_mut(&want.process) else { continue };
            if entry.phase != ProcessPhase::Running {
                continue;
            }
            if let Some(address) = want.rendezvous.filter(|_| !entry.rendezvous_sent) {
                entry.rendezvous_sent = true;
                actions.push(Action::Send(want.process.clone(), Command::Rendezvous { address }));
            }
            if want.stop && !entry.stop_sent {
                entry.stop_sent = true;
                actions.push(Action::Send(want.process.clone(), Command::Stop));
            }
            if want.look && !entry.looked {
                actions.push(Action::Look(want.process));
            }
            entry.looked = want.look;
        }
        actions
    }
}

impl Book {
    fn running(&self) -> impl Iterator<Item = &Entry> {
        self.processes.values().filter(|entry| entry.phase == ProcessPhase::Running)
    }

    /// The lowest number that no running process holds. Whether there is such a GPU, only the process can tell.
    fn free_gpu(&self) -> u32 {
        let held: BTreeSet<u32> = self.running().filter_map(|entry| entry.gpu).collect();
        (0..=u32::MAX).find(|number| !held.contains(number)).unwrap_or(u32::MAX)
    }
}

fn needs_gpu(assignment: &Assignment) -> bool {
    matches!(assignment.kind, JobKind::Train { .. }) && assignment.spec.resources.device == DeviceKind::Cuda
}

#[cfg(test)]
mod tests;
