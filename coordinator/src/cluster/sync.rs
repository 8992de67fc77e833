//! One call of an agent, taken in: who it is, what its processes reported, how they ended, which are gone.
//!
//! Level-triggered: a call says how things are, not what changed. So one that tells of the past must not be believed: a call of an
//! older incarnation is refused, and so is one that was overtaken by a later call on its way.

use super::heartbeat::same_node;
use super::workers::{Worker, Workers};
use super::{Cluster, Effects, Refused};
use osler_core::ids::{Incarnation, RunName, WorkerName};
use osler_core::job::{Fault, FaultClass, JobKey};
use osler_core::process::exit;
use osler_core::record::{Attempt, JobState, RankEnd};
use osler_core::sync::{Observed, ProcessId, ProcessPhase};
use osler_core::time::Now;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a call said something that jobs or other workers depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Nothing,
    News,
}

struct Admitted {
    /// The last report number that was dealt with.
    acknowledged: u64,
    told: Told,
}

impl Cluster {
    pub(super) fn sync(&mut self, now: Now, observed: Observed, effects: &mut Effects) -> Result<Told, Refused> {
        let Admitted { acknowledged, mut told } = self.admit(now, &observed, effects)?;
        let Observed { worker: name, incarnation, processes, mut reports, .. } = observed;
        let phases: BTreeMap<ProcessId, ProcessPhase> = processes.into_iter().map(|p| (p.process, p.phase)).collect();
        let was_ending = self.ending_on(&name);
        let before = self.workers.known.get_mut(&name).map(|worker| {
            let listed: BTreeMap<ProcessId, bool> =
                phases.iter().map(|(id, phase)| (id.clone(), *phase == ProcessPhase::Running)).collect();
            if worker.listed != listed {
                told = Told::News;
            }
            std::mem::replace(&mut worker.listed, listed)
        });
        reports.sort_by_key(|r| r.seq);
        for report in reports.into_iter().filter(|r| r.seq > acknowledged) {
            let seq = report.seq;
            self.report(now, &name, incarnation, report, effects);
            if let Some(worker) = self.workers.known.get_mut(&name) {
                worker.acknowledged = seq;
            }
        }
        self.see_exits(now, &name, incarnation, &phases, &before.unwrap_or_default());
        let confirmed = self.confirm_gone(&name, incarnation, &phases, &was_ending);
        // No other run listens to this worker.
        let mut runs = self.holders.get(&name).into_iter().flatten().filter_map(|run| self.runs.get(run));
        Ok(if confirmed || runs.any(|run| run.changed) { Told::News } else { told })
    }

    /// Who calls; refused if a newer life of the same worker is known.
    fn admit(&mut self, now: Now, observed: &Observed, effects: &mut Effects) -> Result<Admitted, Refused> {
        let (name, given) = (&observed.worker, observed.incarnation);
        if observed.epoch > self.epoch {
            return Err(Refused::Succeeded { ours: self.epoch, heard: observed.epoch });
        }
        let known = self.workers.known.get(name).map(|w| w.incarnation);
        // Work is placed on known lives only, and none was known that is older than the records: so a known one is the newest.
        let placed = if known.is_some() { None } else { self.newest_placed(name) };
        if let Some(newest) = known.max(placed).filter(|newest| *newest > given) {
            return Err(Refused::Superseded { worker: name.clone(), newest: newest.0, given: given.0 });
        }
        let limit = self.workers.limits.workers;
        if known.is_none() && self.workers.known.len() >= limit {
            return Err(Refused::TooManyWorkers(limit));
        }
        let fresh = || Worker {
            incarnation: given,
            call: 0,
            host: String::new(),
            slots: 0,
            labels: BTreeMap::new(),
            draining: false,
            seen: now.moment,
            health: None,
            skew: [0; 2],
            check: 0,
            acknowledged: 0,
            listed: BTreeMap::new(),
        };
        let worker = self.workers.known.entry(name.clone()).or_insert_with(fresh);
        if worker.incarnation != given {
            self.due = true; // what its older life ran is lost
            *worker = fresh();
        }
        if observed.call <= worker.call {
            return Err(Refused::Overtaken { worker: name.clone(), newest: worker.call, given: observed.call });
        }
        let same = known == Some(given) && same_node(worker, observed);
        let told = if same && now.moment.since(worker.seen) <= self.workers.limits.suspect { Told::Nothing } else { Told::News };
        let turned = worker.draining != observed.draining;
        worker.call = observed.call;
        worker.host.clone_from(&observed.host);
        worker.slots = observed.slots;
        worker.draining = observed.draining;
        worker.labels.clone_from(&observed.labels);
        worker.health.clone_from(&observed.health);
        let known = worker.skew().unsigned_abs() > self.workers.limits.skew_told;
        worker.skew = [observed.skew, worker.skew[0]];
        if !known && worker.skew().unsigned_abs() > self.workers.limits.skew_told {
            let seconds = worker.skew() as f64 / 1e3;
            effects.notes.push(format!("the clock of worker {name} differs from the coordinator's by {seconds:.1} s: run a time service"));
        }
        worker.seen = now.moment;
        let acknowledged = worker.acknowledged;
        self.workers.note_leaving(name);
        if turned {
            for run in self.holders.get(name).into_iter().flatten() {
                self.runs.entry(run.clone()).and_modify(super::Run::tell_all);
            }
        }
        Ok(Admitted { acknowledged, told })
    }

    fn newest_placed(&self, name: &WorkerName) -> Option<Incarnation> {
        let attempts = self.on(name).filter_map(|(run, key, _)| run.job(key)?.status.attempt());
        attempts.flat_map(|attempt| &attempt.places).filter(|place| place.worker == *name).map(|place| place.incarnation).max()
    }

    /// Ending attempts with ranks on a worker.
    fn ending_on(&self, name: &WorkerName) -> BTreeSet<(RunName, JobKey)> {
        let ending = |run: &super::Run, key: &JobKey| matches!(run.job(key).map(|j| &j.status), Some(JobState::Ending { .. }));
        self.on(name).filter(|(run, key, _)| ending(run, key)).map(|(run, key, _)| (run.record.name().clone(), key.clone())).collect()
    }

    /// Processes that ended without a last word, and those that the agent has lost sight of.
    fn see_exits(
        &mut self,
        now: Now,
        name: &WorkerName,
        incarnation: Incarnation,
        phases: &BTreeMap<ProcessId, ProcessPhase>,
        before: &BTreeMap<ProcessId, bool>,
    ) {
        let lost = before.keys().filter(|process| !phases.contains_key(process));
        let ended = phases.iter().filter(|(_, phase)| **phase != ProcessPhase::Running).map(|(process, _)| process);
        let jobs: BTreeSet<(&RunName, &JobKey)> = lost.chain(ended).map(|process| (&process.id.run, &process.id.job)).collect();
        for (run, key) in jobs {
            let Some(run) = self.runs.get_mut(run).filter(|run| run.record.state.is_live()) else { continue };
            let Some(attempt) = run.active(key) else { continue };
            let leaving = run.why_leaving(attempt, &self.workers);
            for (rank, process) in here(attempt, &run.record.id(key), name, incarnation) {
                let fault = match phases.get(&process) {
                    Some(ProcessPhase::Exited { code: exit::STOPPED, .. }) => {
                        run.rank_stopped(now, key, rank, None, &self.workers);
                        continue;
                    }
                    // A scheduler may signal all of a job's processes; one that had not yet come to ignore it has nothing to save.
                    Some(ProcessPhase::Exited { code, log_tail }) => match &leaving {
                        Some(cause) if asked_by_signal(*code) => {
                            run.requeue(now, key, cause.clone(), &self.workers);
                            break;
                        }
                        _ => exited(*code, log_tail),
                    },
                    None if before.contains_key(&process) => {
                        Fault::new(FaultClass::Infrastructure, format!("worker {name} does not know this process any more"))
                    }
                    Some(ProcessPhase::Running) | None => continue,
                };
                let ended = run.active(key).is_none_or(|attempt| attempt.ended.contains_key(&rank));
                if !ended {
                    run.blame(name, key, process.generation, &fault);
                    let fault = Fault { origin: Some(format!("{name}/{rank}")), ..fault };
                    run.fail(now, key, fault, &self.workers);
                }
            }
        }
    }

    /// An ending attempt's process is gone when the agent says that it exited, or when a call that came after the end began does not
    /// list it as running: that call's author has acted on every earlier answer, so it cannot start the process any more.
    fn confirm_gone(
        &mut self,
        name: &WorkerName,
        incarnation: Incarnation,
        phases: &BTreeMap<ProcessId, ProcessPhase>,
        was_ending: &BTreeSet<(RunName, JobKey)>,
    ) -> bool {
        let mut confirmed = false;
        for (name_of_run, key) in self.ending_on(name) {
            let before = was_ending.contains(&(name_of_run.clone(), key.clone()));
            let Some(run) = self.runs.get_mut(&name_of_run) else { continue };
            let Some(attempt) = run.job(&key).and_then(|job| job.status.attempt()) else { continue };
            let gone = |process: &ProcessId| match phases.get(process) {
                Some(ProcessPhase::Exited { .. }) => true,
                Some(ProcessPhase::Running) => false,
                None => before,
            };
            let here = here(attempt, &run.record.id(&key), name, incarnation);
            let ranks: Vec<u32> = here.into_iter().filter(|(_, process)| gone(process)).map(|(rank, _)| rank).collect();
            confirmed |= !ranks.is_empty();
            run.gone.entry(key).or_default().extend(ranks);
        }
        confirmed
    }
}

impl super::Run {
    /// A rank has checkpointed on request, at `step` or where the attempt stands.
    pub(super) fn rank_stopped(&mut self, now: Now, key: &JobKey, rank: u32, step: Option<u64>, workers: &Workers) {
        let Some(attempt) = self.active(key) else { return };
        if attempt.ended.contains_key(&rank) {
            return;
        }
        let step = step.unwrap_or(attempt.published);
        if let Some(attempt) = self.active_mut(key) {
            attempt.ended.insert(rank, RankEnd::Stopped { step });
        }
        self.tell(key);
        self.rank_ended(now, key, workers);
    }
}

/// The ranks of an attempt that are on this life of a worker.
fn here(attempt: &Attempt, id: &osler_core::job::JobId, name: &WorkerName, incarnation: Incarnation) -> Vec<(u32, ProcessId)> {
    let on = attempt.places.iter().enumerate().filter(|(_, p)| p.worker == *name && p.incarnation == incarnation);
    on.map(|(rank, _)| (rank as u32, ProcessId { id: id.clone(), generation: attempt.generation, rank: rank as u32 })).collect()
}

/// SIGTERM, SIGINT or SIGUSR1.
fn asked_by_signal(code: i32) -> bool {
    [15, 2, 10].contains(&(code - 128))
}

/// What an exit without a last word means.
fn exited(code: i32, log_tail: &[String]) -> Fault {
    let (class, message) = match code {
        exit::OK => (FaultClass::Internal, "the process exited with 0 but reported no result".to_owned()),
        exit::USAGE => (FaultClass::User, format!("the process exited with {code}: bad file or usage")),
        exit::NO_REQUEUE => (FaultClass::User, format!("the process exited with {code}: not to be tried again")),
        129.. => (FaultClass::Infrastructure, format!("the process was killed by signal {}", code - 128)),
        _ => (FaultClass::Internal, format!("the process exited with {code} and said nothing")),
    };
    Fault { exit_code: Some(code), log_tail: super::report::bounded_log(log_tail), ..Fault::new(class, message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_say_who_has_to_act() {
        use FaultClass::{Infrastructure, Internal, User};
        for (code, class) in [
            (0, Internal),
            (1, Internal),
            (64, User),
            (93, User),
            (101, Internal),
            (134, Infrastructure),
            (137, Infrastructure),
            (143, Infrastructure),
            (-1, Internal),
        ] {
            assert_eq!(exited(code, &[]).class, class, "{code}");
        }
    }
}
