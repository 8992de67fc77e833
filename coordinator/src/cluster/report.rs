//! One report of one process. It counts only if it comes from the place and generation that the record names; everything else is
//! fenced: ignored, counted if it would have changed a record, never an error for the agent that passed it on.

use super::finish::Ended;
use super::workers::Workers;
use super::{Cluster, Effects, Run};
use osler_core::ids::{Incarnation, WorkerName};
use osler_core::job::{Damage, Fault, FaultClass, JobKey, JobResult};
use osler_core::process::{Progress, Report};
use osler_core::record::{JobState, RankEnd};
use osler_core::sync::{NumberedReport, Observed};
use osler_core::time::Now;
use std::collections::BTreeSet;
use std::net::SocketAddr;

const MAX_MESSAGE: usize = 4096;
const MAX_LOG_LINES: usize = 50;
const MAX_LOG_LINE: usize = 1024;
const MAX_WORD: usize = 64;
const MAX_ADDRESS: usize = 256;

/// Whether a report belongs to the attempt that the record names.
#[derive(PartialEq, Eq)]
enum Standing {
    Active,
    /// Only a graver fault still matters.
    Ending,
    Over,
}

impl Cluster {
    pub(super) fn report(
        &mut self,
        now: Now,
        worker: &WorkerName,
        incarnation: Incarnation,
        numbered: NumberedReport,
        effects: &mut Effects,
    ) {
        let NumberedReport { process, report, .. } = numbered;
        let key = &process.id.job;
        let Some(run) = self.runs.get_mut(&process.id.run) else {
            self.fenced += 1;
            effects.notes.push(format!("fenced: a report of unknown run {} from {worker}", process.id.run));
            return;
        };
        let standing = standing(run, &process, worker, incarnation);
        let fault = match (standing, report) {
            (Standing::Active, report) => run.take(now, key, process.rank, report, &self.workers, effects),
            (Standing::Ending, Report::Failed { fault }) => Some(fault),
            // A process that is asked to end goes on saying how far it is: of no consequence, and no sign that anything is wrong.
            (_, Report::Progress(_) | Report::Stack { .. }) => None,
            _ => {
                self.fenced += 1;
                effects.notes.push(format!(
                    "fenced: a report of {} generation {} rank {} from {worker}",
                    process.id, process.generation, process.rank
                ));
                None
            }
        };
        if let Some(fault) = fault {
            let fault = bounded(Fault { origin: Some(format!("{worker}/{}", process.rank)), ..fault });
            run.fail(now, key, fault, &self.workers);
        }
    }
}

impl Cluster {
    /// How far processes are, from a call that waits: what they say is no news for anybody else, and not to hear it for as long as the store
    /// takes would look like their silence.
    pub(super) fn hear_progress(&mut self, now: Now, observed: &Observed) {
        for NumberedReport { process, report, .. } in &observed.reports {
            let Report::Progress(progress) = report else { continue };
            let Some(run) = self.runs.get_mut(&process.id.run) else { continue };
            if standing(run, process, &observed.worker, observed.incarnation) == Standing::Active {
                run.hear(now, &process.id.job, process.rank, progress.clone());
            }
        }
    }
}

fn standing(run: &Run, process: &osler_core::sync::ProcessId, worker: &WorkerName, incarnation: Incarnation) -> Standing {
    let Some(job) = run.job(&process.id.job).filter(|_| run.record.state.is_live()) else { return Standing::Over };
    let Some(attempt) = job.status.attempt().filter(|a| a.generation == process.generation) else { return Standing::Over };
    let here = attempt.places.get(process.rank as usize).is_some_and(|p| p.worker == *worker && p.incarnation == incarnation);
    match &job.status {
        JobState::Active { .. } if here => Standing::Active,
        JobState::Ending { .. } if here => Standing::Ending,
        _ => Standing::Over,
    }
}

impl Run {
    fn hear(&mut self, now: Now, key: &JobKey, rank: u32, progress: Progress) {
        if self.active(key).is_some_and(|attempt| !attempt.ended.contains_key(&rank)) {
            self.progress.insert((key.clone(), rank), (bounded_progress(progress), now.moment));
            self.moved = true;
        }
    }

    /// Takes a report of the active attempt; gives the fault that ends it, if any.
    fn take(&mut self, now: Now, key: &JobKey, rank: u32, report: Report, workers: &Workers, effects: &mut Effects) -> Option<Fault> {
        if self.active(key)?.ended.contains_key(&rank) {
            return None; // a repeated report: the rank's last word was heard
        }
        match report {
            Report::Progress(progress) => {
                self.hear(now, key, rank, progress);
                None
            }
            Report::Rendezvous { address } => self.take_rendezvous(key, rank, address, workers),
            Report::Part(part) => self.take_part(now, key, rank, part, effects).err(),
            Report::Done { result } => self.take_done(now, key, rank, result, workers),
            Report::Stopped { step } => {
                self.rank_stopped(now, key, rank, Some(step), workers);
                None
            }
            Report::Rewind { skipped } => match self.take_rewind(key, skipped, workers.limits.rewinds) {
                Ok(then) => {
                    self.end(now, key, then, workers);
                    None
                }
                Err(fault) => Some(fault),
            },
            Report::Stack { lines } => {
                self.stacks.add(key, rank, lines);
                None
            }
            Report::Failed { fault } => Some(fault),
        }
    }

    fn take_rendezvous(&mut self, key: &JobKey, rank: u32, address: String, workers: &Workers) -> Option<Fault> {
        let usable = address.len() <= MAX_ADDRESS
            && address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if rank != 0 || !self.is_train(key) || !usable {
            let shown: String = address.chars().take(MAX_WORD).collect();
            return Some(Fault::new(
                FaultClass::Internal,
                format!("rank {rank} offered {shown:?} as the meeting place; rank 0 gives host:port"),
            ));
        }
        let attempt = self.active(key)?;
        let local = address.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_loopback());
        let hosts: BTreeSet<&str> = attempt.places.iter().filter_map(|place| Some(workers.at(place)?.host.as_str())).collect();
        if local && hosts.len() > 1 {
            let hosts: Vec<&str> = hosts.into_iter().take(4).collect();
            let message = format!(
                "the ranks are on several machines ({}, ...) and rank 0 listens on loopback: start every osler-worker with --gang-address IP",
                hosts.join(", ")
            );
            return Some(Fault::new(FaultClass::User, message));
        }
        if attempt.rendezvous.as_deref() != Some(address.as_str()) {
            self.active_mut(key)?.rendezvous = Some(address);
            self.tell(key);
        }
        None
    }

    fn take_done(&mut self, now: Now, key: &JobKey, rank: u32, result: JobResult, workers: &Workers) -> Option<Fault> {
        let refused = self.refuse_result(key, self.active(key)?.generation, &result);
        if refused.is_some() {
            return refused;
        }
        self.active_mut(key)?.ended.insert(rank, RankEnd::Done { result });
        self.tell(key);
        self.rank_ended(now, key, workers);
        None
    }

    /// After a rank's end was noted: is the attempt over?
    pub(super) fn rank_ended(&mut self, now: Now, key: &JobKey, workers: &Workers) {
        match self.all_ended(now, key) {
            Ok(Ended::NotYet | Ended::Succeeded) => {}
            Ok(Ended::Stopped) => match self.active(key).and_then(|attempt| self.why_leaving(attempt, workers)) {
                Some(cause) if self.is_train(key) => self.requeue(now, key, cause, workers),
                _ => {
                    let fault = Fault::new(FaultClass::Infrastructure, "the ranks stopped although nobody asked them to");
                    self.fail(now, key, fault, workers);
                }
            },
            Err(fault) => self.fail(now, key, fault, workers),
        }
    }
}

fn bounded(fault: Fault) -> Fault {
    let short = |text: &str| text.chars().take(MAX_LOG_LINE).collect::<String>();
    let message = fault.message.chars().take(MAX_MESSAGE).collect();
    let damage = fault.damage.as_ref().map(|damage| Box::new(Damage { path: short(&damage.path), found: short(&damage.found) }));
    Fault { message, log_tail: bounded_log(&fault.log_tail), damage, ..fault }
}

/// The last lines of a log, as much of them as a record should hold.
pub(super) fn bounded_log(lines: &[String]) -> Vec<String> {
    let skipped = lines.len().saturating_sub(MAX_LOG_LINES);
    lines.iter().skip(skipped).map(|line| line.chars().take(MAX_LOG_LINE).collect()).collect()
}

fn bounded_progress(progress: Progress) -> Progress {
    let word = |text: String| text.chars().take(MAX_WORD).collect();
    Progress { phase: word(progress.phase), unit: word(progress.unit), ..progress }
}
