//! What people decide about the cluster itself, and what nodes are blamed for: quotas, drained nodes, strikes.
//!
//! A node gets a strike for an infrastructure fault that was seen from outside of its rank: a process that was killed or lost, a
//! restarted or silent agent, a rank that hangs. What a rank says itself (a broken link) tells of a neighbour as often as of its own node.
//! Work that went well there forgives, and so does time. A node with too many strikes is drained, unless work that is under way
//! could not go on without it.

use super::workers::{Worker, Workers};
use super::{Cluster, Effects, Refused, Run};
use osler_core::cluster::{ClusterRecord, Drain, Strike};
use osler_core::ids::{Generation, LabelKey, LabelValue, TeamName, WorkerName};
use osler_core::job::{Fault, FaultClass, JobKey};
use osler_core::record::{Attempt, EventKind};
use osler_core::time::{Aged, Now};
use std::collections::BTreeMap;

/// The cluster's age is written at least so often, in milliseconds.
const AGE_NOTED: u64 = 3_600_000;
/// Words of a person, or of a fault, that are kept.
const MAX_WORDS: usize = 500;

/// What a run's processes did for the good name of their nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    Failed { worker: WorkerName, job: JobKey, generation: Generation, message: String },
    Worked { worker: WorkerName },
}

impl Cluster {
    /// Takes over what an earlier coordinator wrote.
    pub fn adopt_cluster(&mut self, record: ClusterRecord) {
        let now = self.last_event;
        let moments = |strikes: &Vec<Strike>| strikes.iter().map(|strike| now.moment_of(strike.at)).collect();
        self.workers.struck = record.strikes.iter().map(|(worker, strikes)| (worker.clone(), moments(strikes))).collect();
        self.age = (record.aged.taken_over(now.wall), now.moment);
        self.workers.record = record;
        self.workers.changed = true; // its age at the least
    }

    /// By the cluster's age runs at rest grow old: it must not be lost with this coordinator.
    pub(super) fn note_age(&mut self, now: Now) {
        let noted = self.workers.record.aged.age.total();
        self.workers.changed |= self.age(now).total().saturating_sub(noted) >= AGE_NOTED;
    }

    pub fn record(&self) -> &ClusterRecord {
        &self.workers.record
    }

    /// Whether the cluster's own record has to be written.
    pub fn has_changed(&self) -> bool {
        self.workers.changed
    }

    /// The next version of the cluster's own record, to be created under its number.
    pub fn next_cluster_version(&mut self) -> (u64, Vec<u8>) {
        let (now, epoch) = (self.last_event, self.epoch);
        let aged = Aged { age: self.age(now), at: now.wall };
        let record = &mut self.workers.record;
        record.version += 1;
        record.epoch = epoch;
        record.aged = aged;
        self.workers.changed = false;
        (record.version, crate::document::write_cluster(record))
    }

    pub(super) fn set_quota(&mut self, team: TeamName, slots: Option<u32>, effects: &mut Effects) -> Result<(), Refused> {
        let quotas = &mut self.workers.record.quotas;
        let (before, said) = match slots {
            Some(slots) => (quotas.insert(team.clone(), slots), format!("team {team} may hold {slots} slots")),
            None => {
                let before = quotas.remove(&team);
                if before.is_none() {
                    return Err(Refused::NoSuchTeam(team));
                }
                (before, format!("team {team} has no quota any more"))
            }
        };
        if before != slots {
            self.workers.changed = true;
            effects.notes.push(said);
        }
        Ok(())
    }

    pub(super) fn drain(&mut self, now: Now, name: WorkerName, reason: Option<String>, effects: &mut Effects) -> Result<(), Refused> {
        let known = self.workers.known.contains_key(&name) || self.workers.record.drained.contains_key(&name);
        if !known {
            return Err(Refused::NoSuchWorker(name));
        }
        match reason {
            Some(reason) => self.workers.drain(now, &name, false, reason, effects),
            None => {
                let lifted = self.workers.record.drained.remove(&name).is_some();
                // Whoever undrains a node vouches for it.
                let forgiven = self.workers.record.strikes.remove(&name).is_some();
                if lifted || forgiven {
                    self.workers.changed = true;
                    effects.notes.push(format!("worker {name} is undrained"));
                }
            }
        }
        Ok(())
    }

    /// Asks an agent to look at its node.
    pub(super) fn check_node(&mut self, name: WorkerName) -> Result<(), Refused> {
        match self.workers.known.get_mut(&name) {
            Some(worker) => worker.check += 1,
            None => return Err(Refused::NoSuchWorker(name)),
        }
        self.workers.asked.insert(name);
        Ok(())
    }

    /// Settles what runs' processes did for their nodes.
    pub(super) fn judge_nodes(&mut self, now: Now, effects: &mut Effects) {
        if self.workers.changed {
            self.runs.values_mut().for_each(Run::tell_all); // a node that was drained asks its gangs to leave
        }
        let deeds: Vec<(osler_core::ids::RunName, Deed)> = self
            .runs
            .iter_mut()
            .flat_map(|(name, run)| std::mem::take(&mut run.deeds).into_iter().map(|deed| (name.clone(), deed)))
            .collect();
        let mut struck = vec![];
        for (run, deed) in deeds {
            match deed {
                Deed::Worked { worker } => self.workers.changed |= self.workers.record.strikes.remove(&worker).is_some(),
                Deed::Failed { worker, job, generation, message } => {
                    let message = message.chars().take(MAX_WORDS).collect();
                    let id = osler_core::job::JobId { run, job };
                    if self.workers.strike(now, &worker, Strike { at: now.wall, job: id.clone(), generation, message }) {
                        struck.push((worker, id));
                    }
                }
            }
        }
        for (worker, last) in struck {
            let strikes = self.workers.record.strikes.get(&worker).map_or(0, Vec::len);
            if strikes < self.workers.limits.strikes || self.workers.record.drained.contains_key(&worker) {
                continue;
            }
            let minutes = self.workers.limits.strike_window / 60_000;
            let told = if self.can_do_without(now, &worker) {
                let reason = format!("{strikes} strikes within {minutes} min, the last by {last}");
                self.workers.drain(now, &worker, true, reason.clone(), effects);
                format!("worker {worker} is drained: {reason}; `osler node list` tells more")
            } else {
                format!(
                    "worker {worker} has {strikes} strikes within {minutes} min; it is not drained, because work could not go on without it"
                )
            };
            if let Some(run) = self.runs.get_mut(&last.run) {
                run.happened(now, EventKind::Worker, Some((&last.job, None)), told.clone());
            }
            effects.notes.push(told);
        }
    }

    /// Whether all jobs that fit the workers now, this one counted also if it is silent, would still fit without it.
    fn can_do_without(&self, now: Now, worker: &WorkerName) -> bool {
        let usable = |name: &WorkerName, found: &Worker| name == worker || self.workers.takes_work(now, name, found);
        let most = |require: &BTreeMap<LabelKey, LabelValue>, left_out: Option<&WorkerName>| -> u32 {
            let suits = |found: &Worker| require.iter().all(|(key, value)| found.labels.get(key) == Some(value));
            let counts = |(name, found): &(&WorkerName, &Worker)| Some(*name) != left_out && usable(name, found) && suits(found);
            self.workers.known.iter().filter(counts).map(|(_, found)| found.slots).sum()
        };
        let needs = |run: &Run| run.record.jobs.values().filter(|job| job.status.result().is_none()).map(|job| job.planned.ranks).max();
        self.runs.values().filter(|run| run.record.state.is_live()).all(|run| {
            let (require, needs) = (&run.record.spec.resources.require, needs(run).unwrap_or(0));
            needs <= most(require, Some(worker)) || needs > most(require, None)
        })
    }
}

impl Workers {
    fn drain(&mut self, now: Now, name: &WorkerName, automatic: bool, reason: String, effects: &mut Effects) {
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(MAX_WORDS).collect();
        if self.record.drained.get(name).is_some_and(|drain| drain.reason == reason) {
            return;
        }
        effects.notes.push(format!("worker {name} is drained: {reason}"));
        self.record.drained.insert(name.clone(), Drain { at: now.wall, automatic, reason });
        self.changed = true;
    }

    /// Notes an incident, unless it is part of the one before; drops what is too old. Whether it counts.
    fn strike(&mut self, now: Now, worker: &WorkerName, strike: Strike) -> bool {
        let strikes = self.record.strikes.entry(worker.clone()).or_default();
        let moments = self.struck.entry(worker.clone()).or_default();
        if strikes.is_empty() {
            moments.clear(); // forgiven
        }
        let old = moments.iter().take_while(|moment| now.moment.since(**moment) > self.limits.strike_window).count();
        moments.drain(..old);
        strikes.drain(..old.min(strikes.len()));
        if moments.last().is_some_and(|last| now.moment.since(*last) < self.limits.strike_apart) {
            return false;
        }
        moments.push(now.moment);
        strikes.push(strike);
        self.changed = true;
        true
    }
}

impl Run {
    /// A fault that was seen from outside of a rank.
    pub(super) fn blame(&mut self, worker: &WorkerName, key: &JobKey, generation: Generation, fault: &Fault) {
        if fault.class == FaultClass::Infrastructure {
            let (worker, job, message) = (worker.clone(), key.clone(), fault.message.clone());
            self.deeds.push(Deed::Failed { worker, job, generation, message });
        }
    }

    /// An attempt published steps or succeeded.
    pub(super) fn praise(&mut self, attempt: &Attempt) {
        let workers: std::collections::BTreeSet<_> = attempt.places.iter().map(|place| &place.worker).collect();
        self.deeds.extend(workers.into_iter().map(|worker| Deed::Worked { worker: worker.clone() }));
    }
}
