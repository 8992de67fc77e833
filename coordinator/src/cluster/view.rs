//! What people see of a cluster: lines for lists.

use super::workers::WorkerState;
use super::{Budget, Cluster, Run};
use osler_core::cluster::{Drain, Strike};
use osler_core::health::Health;
use osler_core::ids::{Incarnation, LabelKey, LabelValue, Millis, TeamName, WorkerName};
use osler_core::job::JobKey;
use osler_core::plan::train_key;
use osler_core::record::RunRecord;
use osler_core::rest::Line;
use osler_core::spec::StageSpec;
use osler_core::time::Now;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerLine {
    pub worker: WorkerName,
    pub incarnation: Incarnation,
    pub host: String,
    pub state: WorkerState,
    pub slots: u32,
    pub used: u32,
    pub seen_at: Millis,
    pub labels: BTreeMap<LabelKey, LabelValue>,
    /// Why it takes no work.
    pub why: Option<String>,
    pub drain: Option<Drain>,
    pub strikes: Vec<Strike>,
    pub health: Option<Health>,
    pub skew: i64,
}

/// What a team holds of what it may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuotaLine {
    pub team: TeamName,
    pub slots: Option<u32>,
    pub used: u32,
}

impl Run {
    /// Where training stands.
    pub fn line(&self) -> Line {
        let word = |stage: &StageSpec| self.progress.get(&(train_key(&stage.name), 0)).map(|(word, _)| word);
        self.record.line(|stage| word(stage).filter(|word| word.unit == "steps").map_or(0, |word| word.done))
    }
}

/// What belongs beside a state: why the run fails, or which failed gates somebody let pass; empty if nothing does.
pub fn reason(record: &RunRecord) -> String {
    record.beside_state().unwrap_or_default()
}

impl Cluster {
    pub fn worker_lines(&self, now: Now) -> Vec<WorkerLine> {
        let used = self.used_slots();
        let line = |(name, worker): (&WorkerName, &super::Worker)| {
            let used = used.get(name).copied().unwrap_or(0);
            WorkerLine {
                worker: name.clone(),
                incarnation: worker.incarnation,
                host: worker.host.clone(),
                state: self.workers.state(now, name, worker, used),
                slots: worker.slots,
                used,
                seen_at: now.stamp(worker.seen),
                labels: worker.labels.clone(),
                why: self.workers.why_no_work(now, name, worker),
                drain: self.record().drained.get(name).cloned(),
                strikes: self.record().strikes.get(name).cloned().unwrap_or_default(),
                health: worker.health.clone(),
                skew: worker.skew(),
            }
        };
        self.workers.known.iter().map(line).collect()
    }

    /// Teams that have a quota, and those that hold slots.
    pub fn quota_lines(&self) -> Vec<QuotaLine> {
        let mut used: BTreeMap<&TeamName, u32> = self.record().quotas.keys().map(|team| (team, 0)).collect();
        for (run, _, attempt) in self.attempts() {
            if let Some(team) = &run.record.spec.queue.team {
                *used.entry(team).or_default() += attempt.places.len() as u32;
            }
        }
        let slots = |team| self.record().quotas.get(team).copied();
        used.into_iter().map(|(team, used)| QuotaLine { team: team.clone(), slots: slots(team), used }).collect()
    }

    pub fn budget(&self, run: &Run, key: &JobKey) -> Option<Budget> {
        run.budget(key)
    }
}
