//! What a worker should run, derived from the records alone, and the assignments that its processes start with.

use super::workers::Workers;
use super::{Cluster, Run};
use osler_core::ids::{StageName, WorkerName};
use osler_core::job::{JobKey, JobKind};
use osler_core::process::{Assignment, CheckpointRef};
use osler_core::record::Attempt;
use osler_core::spec::Init;
use osler_core::sync::{Desired, ProcessId, Wanted};

impl Cluster {
    /// For the incarnation that called last. Ask only after all effects so far are durable: this hands out generations.
    pub fn desired(&self, name: &WorkerName) -> Desired {
        let epoch = self.epoch;
        let Some(worker) = self.workers.known.get(name) else { return Desired { epoch, ..Desired::default() } };
        let mut wanted = vec![];
        for (run, key, ranks) in self.on(name) {
            let Some(attempt) = run.active(key) else { continue };
            for rank in ranks.iter().copied() {
                if attempt.places.get(rank as usize).is_none_or(|p| p.incarnation != worker.incarnation) {
                    continue;
                }
                let process = ProcessId { id: run.record.id(key), generation: attempt.generation, rank };
                let listed = worker.listed.contains_key(&process);
                let ended = attempt.ended.contains_key(&rank);
                // A rank that has ended was listed once; a restarted coordinator does not know that, and must not start it again.
                let assignment = if listed || ended { None } else { run.assignment(key, attempt, rank, &self.store) };
                let stop = !ended && run.must_stop(key, attempt, &self.workers);
                let look = !ended && run.asks_for_stacks(key, attempt);
                wanted.push(Wanted { process, assignment, rendezvous: attempt.rendezvous.clone(), stop, look });
            }
        }
        Desired { wanted, acknowledged: worker.acknowledged, check: worker.check, epoch }
    }
}

impl Run {
    /// Gangs checkpoint and end when they are to leave.
    pub fn must_stop(&self, key: &JobKey, attempt: &Attempt, workers: &Workers) -> bool {
        self.is_train(key) && self.is_leaving(attempt, workers)
    }

    fn assignment(&self, key: &JobKey, attempt: &Attempt, rank: u32, store: &str) -> Option<Assignment> {
        let job = self.job(key)?;
        let kind = job.planned.kind.clone();
        let (checkpoint, initial) = self.start_from(&kind);
        Some(Assignment {
            id: self.record.id(key),
            kind,
            generation: attempt.generation,
            rank,
            world_size: attempt.places.len() as u32,
            store: store.to_owned(),
            spec: self.record.spec.clone(),
            inputs: self.record.inputs(key)?,
            checkpoint,
            initial,
            batches: job.planned.kind.stage().map(|stage| self.record.batches(stage)).unwrap_or_default(),
        })
    }

    /// The checkpoint to go on from (or to export), else the one of the earlier stage that this one builds on.
    pub(super) fn start_from(&self, kind: &JobKind) -> (Option<CheckpointRef>, Option<CheckpointRef>) {
        match kind {
            JobKind::Export { stage } => (self.checkpoint(stage, None), None),
            JobKind::Train { stage } => {
                let own = self.checkpoint(stage, None);
                let initial = match self.record.spec.stage(stage).map(|s| &s.from) {
                    Some(Init::Stage(earlier)) if own.is_none() => self.checkpoint(earlier, None),
                    Some(Init::Fork { stage: earlier, step }) if own.is_none() => self.checkpoint(earlier, *step),
                    _ => None,
                };
                (own, initial)
            }
            _ => (None, None),
        }
    }

    fn checkpoint(&self, stage: &StageName, step: Option<u64>) -> Option<CheckpointRef> {
        let published = self.record.checkpoint(stage, step)?;
        Some(CheckpointRef { step: published.step, manifest: published.manifest.clone() })
    }
}
