//! An agent and its processes without operating system: same protocol, same order of reports, deaths on demand.
//!
//! Ranks of a gang step together or not at all; [`Gangs`] is the network between them.

use super::results::{part, result};
use osler_core::health::Health;
use osler_core::ids::{Epoch, Generation, Incarnation, LabelKey, LabelValue, WorkerName};
use osler_core::job::{Fault, FaultClass, JobId, JobKind};
use osler_core::process::{Assignment, Progress, Report, exit, phase};
use osler_core::sync::{Desired, NumberedReport, Observed, ProcessId, ProcessPhase, ProcessStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where each gang of ranks stands.
#[derive(Debug, Default)]
pub struct Gangs(BTreeMap<(JobId, Generation), Gang>);

#[derive(Debug, Default)]
struct Gang {
    met: BTreeSet<u32>,
    dead: BTreeSet<u32>,
    step: u64,
    stop_at: Option<u64>,
    rewind: Option<Range<u64>>,
    /// Ranks whose training thread is stuck; they beat on.
    stuck: BTreeSet<u32>,
    /// Ranks that do nothing at all.
    frozen: BTreeSet<u32>,
}

impl Gangs {
    /// A process hangs from now on: `silently`, as one that is stopped, or with its heartbeat going on.
    pub fn hang(&mut self, process: &ProcessId, silently: bool) {
        if let Some(gang) = self.0.get_mut(&(process.id.clone(), process.generation)) {
            let kind = if silently { &mut gang.frozen } else { &mut gang.stuck };
            kind.insert(process.rank);
        }
    }

    /// A process hangs no more.
    pub fn goes_on(&mut self, process: &ProcessId) {
        if let Some(gang) = self.0.get_mut(&(process.id.clone(), process.generation)) {
            gang.frozen.remove(&process.rank);
            gang.stuck.remove(&process.rank);
        }
    }

    /// From its next step on, the gang of a process finds that its last steps were skipped too often.
    pub fn spike(&mut self, process: &ProcessId) {
        if let Some(gang) = self.0.get_mut(&(process.id.clone(), process.generation)).filter(|gang| gang.step > 1 && gang.stop_at.is_none())
        {
            gang.rewind = Some(gang.step - 2..gang.step);
        }
    }

    fn of(&mut self, work: &Assignment) -> &mut Gang {
        let start = work.checkpoint.as_ref().map_or(0, |m| m.step);
        self.0.entry((work.id.clone(), work.generation)).or_insert_with(|| Gang { step: start, ..Gang::default() })
    }
}

#[derive(Debug, Clone)]
struct Process {
    work: Assignment,
    rendezvous: Option<String>,
    stop: bool,
    announced: bool,
    /// Train: the step of its last part, or where it resumed.
    saved: u64,
    /// Other jobs: turns that it still takes.
    left: u64,
    exited: Option<i32>,
}

/// Only the order of an agent's calls matters, so all agents may share one counter.
static CALLS: AtomicU64 = AtomicU64::new(1);

#[derive(Debug, Clone)]
pub struct Agent {
    pub name: WorkerName,
    pub incarnation: Incarnation,
    pub slots: u32,
    pub host: String,
    pub draining: bool,
    pub labels: BTreeMap<LabelKey, LabelValue>,
    pub health: Option<Health>,
    pub skew: i64,
    /// Of the coordinator that it obeys.
    pub epoch: Epoch,
    processes: BTreeMap<ProcessId, Process>,
    reports: Vec<NumberedReport>,
    last_seq: u64,
    /// Turns that a job without a gang takes.
    pub effort: u64,
}

impl Agent {
    pub fn new(name: &str, incarnation: u64, slots: u32) -> Self {
        Self {
            name: WorkerName::new(name).unwrap(),
            incarnation: Incarnation(incarnation),
            slots,
            host: "fake".into(),
            draining: false,
            labels: BTreeMap::new(),
            health: None,
            skew: 0,
            epoch: Epoch(0),
            processes: BTreeMap::new(),
            reports: vec![],
            last_seq: 0,
            effort: 2,
        }
    }

    pub fn observe(&self) -> Observed {
        let phase = |p: &Process| match p.exited {
            None => ProcessPhase::Running,
            Some(code) => ProcessPhase::Exited { code, log_tail: vec![format!("exit {code}")] },
        };
        Observed {
            worker: self.name.clone(),
            incarnation: self.incarnation,
            call: CALLS.fetch_add(1, Ordering::Relaxed),
            epoch: self.epoch,
            host: self.host.clone(),
            slots: self.slots,
            processes: self.processes.iter().map(|(id, p)| ProcessStatus { process: id.clone(), phase: phase(p) }).collect(),
            reports: self.reports.clone(),
            draining: self.draining,
            labels: self.labels.clone(),
            health: self.health.clone(),
            skew: self.skew,
        }
    }

    /// Does what the coordinator said. Gives the assignments of processes that start now.
    pub fn obey(&mut self, desired: Desired, gangs: &mut Gangs) -> Vec<Assignment> {
        self.epoch = desired.epoch;
        self.reports.retain(|r| r.seq > desired.acknowledged);
        let wanted: BTreeSet<ProcessId> = desired.wanted.iter().map(|w| w.process.clone()).collect();
        for id in self.processes.keys().filter(|id| !wanted.contains(id)).cloned().collect::<Vec<_>>() {
            self.kill(&id, 137, gangs);
            self.processes.remove(&id);
        }
        let mut started = vec![];
        for wanted in desired.wanted {
            if let Some(work) = wanted.assignment {
                assert!(!self.processes.contains_key(&wanted.process), "{:?} was assigned twice", wanted.process);
                assert_eq!((&work.id, work.generation, work.rank), (&wanted.process.id, wanted.process.generation, wanted.process.rank));
                let saved = gangs.of(&work).step;
                started.push(work.clone());
                let process = Process { work, rendezvous: None, stop: false, announced: false, saved, left: self.effort, exited: None };
                self.processes.insert(wanted.process.clone(), process);
            }
            if let Some(process) = self.processes.get_mut(&wanted.process) {
                process.rendezvous = wanted.rendezvous;
                process.stop |= wanted.stop;
            }
        }
        assert!(self.running().count() <= self.slots as usize, "more processes than slots on {}", self.name);
        started
    }

    pub fn assignment(&self, id: &ProcessId) -> &Assignment {
        &self.processes[id].work
    }

    pub fn running(&self) -> impl Iterator<Item = &ProcessId> {
        self.processes.iter().filter(|(_, p)| p.exited.is_none()).map(|(id, _)| id)
    }

    /// A process dies without a last word.
    pub fn kill(&mut self, id: &ProcessId, code: i32, gangs: &mut Gangs) {
        if let Some(process) = self.processes.get_mut(id).filter(|p| p.exited.is_none()) {
            process.exited = Some(code);
            gangs.of(&process.work).dead.insert(id.rank);
        }
    }

    /// A process says why it dies, then dies.
    pub fn fail(&mut self, id: &ProcessId, class: FaultClass, gangs: &mut Gangs) {
        if self.processes.get(id).is_some_and(|p| p.exited.is_none()) {
            self.report(id, Report::Failed { fault: Fault::new(class, "told to fail") });
            self.kill(id, exit::FAILED, gangs);
        }
    }

    /// The agent dies, and its processes with it.
    pub fn die(&mut self, gangs: &mut Gangs) {
        for id in self.running().cloned().collect::<Vec<_>>() {
            self.kill(&id, 137, gangs);
        }
    }

    pub fn report(&mut self, id: &ProcessId, report: Report) {
        self.last_seq += 1;
        self.reports.push(NumberedReport { seq: self.last_seq, process: id.clone(), report });
    }

    /// Every running process takes a turn. Gives the parts that were written.
    pub fn work(&mut self, gangs: &mut Gangs) -> Vec<String> {
        let mut written = vec![];
        for id in self.running().cloned().collect::<Vec<_>>() {
            let Some(mut process) = self.processes.get(&id).cloned() else { continue };
            match process.work.kind.clone() {
                JobKind::Train { stage } => self.train(&id, &mut process, &stage, gangs, &mut written),
                _ => {
                    process.left = process.left.saturating_sub(1);
                    let done = self.effort - process.left;
                    let total = self.effort;
                    self.report(
                        &id,
                        Report::Progress(Progress { phase: "working".into(), done, total, unit: "turns".into(), ..Progress::default() }),
                    );
                    if process.left == 0 {
                        self.report(&id, Report::Done { result: result(&process.work) });
                        process.exited = Some(exit::OK);
                    }
                }
            }
            self.processes.insert(id, process);
        }
        written
    }

    fn train(
        &mut self,
        id: &ProcessId,
        process: &mut Process,
        stage: &osler_core::ids::StageName,
        gangs: &mut Gangs,
        written: &mut Vec<String>,
    ) {
        let work = process.work.clone();
        let total = work.spec.stage(stage).unwrap().steps();
        let every = work.spec.checkpoint.every_steps;
        let gang = gangs.of(&work);
        let alone = work.world_size == 1;
        if !process.announced && work.rank == 0 && !alone {
            process.announced = true;
            self.report(id, Report::Rendezvous { address: "127.0.0.1:29500".into() });
            return;
        }
        if process.rendezvous.is_none() && !alone {
            return;
        }
        gang.met.insert(work.rank);
        if !gang.dead.is_empty() && process.saved < gang.stop_at.unwrap_or(total) {
            self.report(id, Report::Failed { fault: Fault::new(FaultClass::Infrastructure, "connection closed by peer") });
            gang.dead.insert(work.rank);
            process.exited = Some(exit::FAILED);
            return;
        }
        if gang.met.len() < work.world_size as usize {
            return;
        }
        if let Some(skipped) = gang.rewind.clone() {
            self.report(id, Report::Rewind { skipped });
            process.exited = Some(exit::STOPPED);
            return;
        }
        if gang.frozen.contains(&work.rank) {
            return;
        }
        let hanging = !gang.frozen.is_empty() || !gang.stuck.is_empty();
        if process.stop && gang.stop_at.is_none() {
            gang.stop_at = Some(gang.step);
        }
        if work.rank == 0 && gang.stop_at.is_none() && gang.dead.is_empty() && !hanging && gang.step < total {
            gang.step += 1;
        }
        let waits = hanging && !gang.stuck.contains(&work.rank);
        let doing = if waits { phase::WAITING } else { phase::TRAINING };
        let (reached, stop_at) = (gang.step, gang.stop_at);
        let mut due: Vec<u64> =
            (process.saved + 1..=reached).filter(|s| s.is_multiple_of(every) || *s == total || Some(*s) == stop_at).collect();
        due.dedup();
        for step in due {
            let part = part(&work, process.saved, step);
            written.push(part.object.path.clone());
            self.report(id, Report::Part(part));
            process.saved = step;
        }
        self.report(
            id,
            Report::Progress(Progress { phase: doing.into(), done: reached, total, unit: "steps".into(), ..Progress::default() }),
        );
        if process.saved == total {
            self.report(id, Report::Done { result: result(&work) });
            process.exited = Some(exit::OK);
        } else if let Some(step) = stop_at.filter(|step| process.saved == *step) {
            self.report(id, Report::Stopped { step });
            process.exited = Some(exit::STOPPED);
        }
    }
}
