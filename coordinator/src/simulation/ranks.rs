//! Processes without an operating system: they say what the real ones say, in the same order, and die on demand.
//!
//! Ranks of a gang step together or not at all; [`Gangs`] is the network between them.

use crate::testing::results::{OUTPUT, PART, part, result};
use osler_core::ids::{Generation, StageName};
use osler_core::job::{Damage, Fault, FaultClass, JobId, JobKind};
use osler_core::process::{Assignment, Command, Progress, Report, exit, phase};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Turns that a job without a gang takes.
const EFFORT: u64 = 2;

#[derive(Debug, Default)]
pub struct Gangs(BTreeMap<(JobId, Generation), Gang>);

#[derive(Debug, Default)]
struct Gang {
    met: BTreeSet<u32>,
    dead: BTreeSet<u32>,
    step: u64,
    stop_at: Option<u64>,
    rewind: Option<Range<u64>>,
}

impl Gangs {
    fn of(&mut self, work: &Assignment) -> &mut Gang {
        let start = work.checkpoint.as_ref().map_or(0, |c| c.step);
        self.0.entry((work.id.clone(), work.generation)).or_insert_with(|| Gang { step: start, ..Gang::default() })
    }

    /// From its next step on, the gang finds that its last steps were skipped too often.
    fn spike(&mut self, work: &Assignment) {
        let gang = self.of(work);
        if gang.step > 1 && gang.stop_at.is_none() {
            gang.rewind = Some(gang.step - 2..gang.step);
        }
    }
}

/// How misfortune meets one process.
#[derive(Debug, Clone, Copy)]
pub enum Blow {
    Kill,
    Fail(FaultClass),
    Spike,
}

#[derive(Debug)]
pub enum Said {
    Report(Report),
    Exited(i32),
}

/// An object and its bytes.
pub type Written = (String, &'static [u8]);

#[derive(Debug)]
pub struct Process {
    work: Assignment,
    meets: bool,
    stop: bool,
    announced: bool,
    /// Train: the step of its last part, or where it resumed.
    saved: u64,
    left: u64,
    /// An object that it was to read and cannot use.
    unusable: Option<Damage>,
    /// Its last word is said; the exit follows.
    exiting: Option<i32>,
}

impl Process {
    pub fn new(work: Assignment, unusable: Option<Damage>, gangs: &mut Gangs) -> Self {
        let saved = if matches!(work.kind, JobKind::Train { .. }) { gangs.of(&work).step } else { 0 };
        Self { work, meets: false, stop: false, announced: false, saved, left: EFFORT, unusable, exiting: None }
    }

    pub fn send(&mut self, command: &Command) {
        match command {
            Command::Rendezvous { .. } => self.meets = true,
            Command::Stop => self.stop = true,
            Command::Look => {}
        }
    }

    /// Dies without a last word; heard of at its next turn.
    pub fn kill(&mut self, gangs: &mut Gangs) {
        if self.exiting.is_none() {
            self.exiting = Some(137);
            gangs.of(&self.work).dead.insert(self.work.rank);
        }
    }

    pub fn suffer(&mut self, blow: Blow, gangs: &mut Gangs) -> Option<Said> {
        if self.exiting.is_some() {
            return None;
        }
        match blow {
            Blow::Kill => self.kill(gangs),
            Blow::Spike => gangs.spike(&self.work),
            Blow::Fail(class) => {
                self.kill(gangs);
                self.exiting = Some(exit::FAILED);
                return Some(Said::Report(Report::Failed { fault: Fault::new(class, "told to fail") }));
            }
        }
        None
    }

    /// Some work. Gives what it says, and the objects that it has written before it says so.
    pub fn turn(&mut self, gangs: &mut Gangs) -> (Vec<Said>, Vec<Written>) {
        if let Some(code) = self.exiting {
            return (vec![Said::Exited(code)], vec![]);
        }
        if let Some(damage) = self.unusable.take() {
            gangs.of(&self.work).dead.insert(self.work.rank);
            let fault = Fault::new(FaultClass::Infrastructure, format!("{} cannot be used: {}", damage.path, damage.found));
            let fault = Fault { damage: Some(Box::new(damage)), ..fault };
            return (vec![self.last(Report::Failed { fault }, exit::FAILED)], vec![]);
        }
        if let JobKind::Train { stage } = self.work.kind.clone() {
            return self.train(&stage, gangs);
        }
        self.left = self.left.saturating_sub(1);
        let progress = |done| Progress { phase: "working".into(), done, total: EFFORT, unit: "turns".into(), ..Progress::default() };
        let mut said = vec![Said::Report(Report::Progress(progress(EFFORT - self.left)))];
        let mut written = vec![];
        if self.left == 0 {
            let result = result(&self.work);
            written.extend(result.outputs.values().map(|output| (output.path.clone(), OUTPUT)));
            said.push(self.last(Report::Done { result }, exit::OK));
        }
        (said, written)
    }

    fn last(&mut self, word: Report, code: i32) -> Said {
        self.exiting = Some(code);
        Said::Report(word)
    }

    fn train(&mut self, stage: &StageName, gangs: &mut Gangs) -> (Vec<Said>, Vec<Written>) {
        let (mut said, mut written) = (vec![], vec![]);
        let rank = self.work.rank;
        if !self.announced && rank == 0 {
            self.announced = true;
            return (vec![Said::Report(Report::Rendezvous { address: "127.0.0.1:29500".into() })], written);
        }
        if !self.meets {
            return (said, written);
        }
        let total = self.work.spec.stage(stage).unwrap().steps();
        let gang = gangs.of(&self.work);
        gang.met.insert(rank);
        if !gang.dead.is_empty() && self.saved < gang.stop_at.unwrap_or(total) {
            gang.dead.insert(rank);
            let fault = Fault::new(FaultClass::Infrastructure, "connection closed by peer");
            return (vec![self.last(Report::Failed { fault }, exit::FAILED)], written);
        }
        if gang.met.len() < self.work.world_size as usize {
            return (said, written);
        }
        if let Some(skipped) = gang.rewind.clone() {
            return (vec![self.last(Report::Rewind { skipped }, exit::STOPPED)], written);
        }
        if self.stop && gang.stop_at.is_none() {
            gang.stop_at = Some(gang.step);
        }
        if rank == 0 && gang.stop_at.is_none() && gang.dead.is_empty() && gang.step < total {
            gang.step += 1;
        }
        let (reached, stop_at) = (gang.step, gang.stop_at);
        let every = self.work.spec.checkpoint.every_steps;
        for step in (self.saved + 1..=reached).filter(|s| s.is_multiple_of(every) || *s == total || Some(*s) == stop_at) {
            let part = part(&self.work, self.saved, step);
            written.push((part.object.path.clone(), PART));
            said.push(Said::Report(Report::Part(part)));
            self.saved = step;
        }
        let progress = Progress { phase: phase::TRAINING.into(), done: reached, total, unit: "steps".into(), ..Progress::default() };
        said.push(Said::Report(Report::Progress(progress)));
        if self.saved == total {
            said.push(self.last(Report::Done { result: result(&self.work) }, exit::OK));
        } else if let Some(step) = stop_at.filter(|step| self.saved == *step) {
            said.push(self.last(Report::Stopped { step }, exit::STOPPED));
        }
        (said, written)
    }
}
