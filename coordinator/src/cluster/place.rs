//! Placement: which waiting jobs start now, and where. A job starts whole or not at all.
//!
//! Older runs go first; within a run train jobs, then by key. A gang that could start once slots fall free keeps them from everything
//! after it; a gang that is larger than the whole cluster keeps nothing, so exams never starve for it.

use super::{Cluster, Effects, Run, Worker};
use osler_core::ids::{Generation, Incarnation, Millis, RunName, WorkerName};
use osler_core::job::JobKey;
use osler_core::record::{Attempt, EventKind, JobState, Place, RunState};
use osler_core::sync::ProcessId;
use std::collections::BTreeMap;

/// Free and total slots of the workers that take work.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    pub free: BTreeMap<WorkerName, (Incarnation, u32)>,
    pub total: u32,
}

impl Slots {
    pub fn free_in_all(&self) -> u32 {
        self.free.values().map(|(_, n)| n).sum()
    }

    /// Takes `ranks` slots on as few workers as possible: most free slots first, then by name.
    fn take(&mut self, ranks: u32) -> Option<Vec<Place>> {
        if ranks == 0 || self.free_in_all() < ranks {
            return None;
        }
        let mut order: Vec<(&WorkerName, &mut (Incarnation, u32))> = self.free.iter_mut().collect();
        order.sort_by(|(a, (_, x)), (b, (_, y))| y.cmp(x).then(a.cmp(b)));
        let mut places = vec![];
        for (worker, (incarnation, free)) in order {
            let taken = (*free).min(ranks - places.len() as u32);
            *free -= taken;
            places.extend((0..taken).map(|_| Place { worker: worker.clone(), incarnation: *incarnation }));
        }
        Some(places)
    }
}

impl Cluster {
    /// Slots that are taken: by attempts, and by processes that still run although nobody wants them.
    pub(super) fn used_slots(&self) -> BTreeMap<WorkerName, u32> {
        let mut used: BTreeMap<WorkerName, u32> = BTreeMap::new();
        for (name, worker) in &self.workers.known {
            let unwanted = worker.listed.iter().filter(|(process, running)| **running && !self.holds(process, name, worker));
            used.insert(name.clone(), unwanted.count() as u32);
        }
        for place in self.attempts().flat_map(|(_, _, attempt)| &attempt.places) {
            if let Some(used) = used.get_mut(&place.worker).filter(|_| self.workers.at(place).is_some()) {
                *used += 1;
            }
        }
        used
    }

    /// Whether an attempt holds the slot of a process.
    fn holds(&self, process: &ProcessId, name: &WorkerName, worker: &Worker) -> bool {
        let run = self.runs.get(&process.id.run).filter(|run| run.record.state.is_live());
        let attempt = run.and_then(|run| run.job(&process.id.job)?.status.attempt()).filter(|a| a.generation == process.generation);
        let place = attempt.and_then(|attempt| attempt.places.get(process.rank as usize));
        place.is_some_and(|p| p.worker == *name && p.incarnation == worker.incarnation)
    }

    pub(super) fn slots(&self, now: Millis) -> Slots {
        let used = self.used_slots();
        let mut slots = Slots::default();
        for (name, worker) in self.workers.known.iter().filter(|(_, w)| self.workers.takes_work(now, w)) {
            let free = worker.slots.saturating_sub(used.get(name).copied().unwrap_or(0));
            slots.free.insert(name.clone(), (worker.incarnation, free));
            slots.total += worker.slots;
        }
        slots
    }

    /// Jobs that wait for slots (or for a retry's time), in the order in which they may take them.
    pub(super) fn queue(&self) -> Vec<(RunName, JobKey)> {
        let mut runs: Vec<&Run> =
            self.runs.values().filter(|r| matches!(r.record.state, RunState::Submitted | RunState::Running)).collect();
        runs.sort_by_key(|run| (run.record.submitted_at, run.record.name()));
        let mut queue = vec![];
        for run in runs {
            let mut keys: Vec<JobKey> = run.index().waiting().cloned().collect();
            keys.sort_by_key(|key| !run.is_train(key)); // stable: by key within each half
            queue.extend(keys.into_iter().map(|key| (run.record.name().clone(), key)));
        }
        queue
    }

    pub(super) fn place(&mut self, now: Millis, effects: &mut Effects) {
        let queue = self.queue();
        if queue.is_empty() {
            return;
        }
        let mut slots = self.slots(now);
        let shrink_after = self.workers.limits.shrink_after;
        for (name, key) in queue {
            if slots.free_in_all() == 0 {
                break;
            }
            let Some(run) = self.runs.get_mut(&name) else { continue };
            let Some(JobState::Pending { not_before, .. }) = run.job(&key).map(|job| &job.status) else { continue };
            let not_before = *not_before;
            let ranks = if not_before > now { None } else { run.fitting(now, &key, slots.free_in_all(), shrink_after) };
            match ranks.and_then(|ranks| slots.take(ranks)) {
                Some(places) => run.start(now, &key, places, effects),
                // A gang that waits, also for a retry that is seconds away, keeps what it will need.
                None if run.is_train(&key) && run.least_ranks(&key) <= slots.total => break,
                None => {}
            }
        }
    }
}

impl Run {
    fn start(&mut self, now: Millis, key: &JobKey, places: Vec<Place>, effects: &mut Effects) {
        if self.record.state == RunState::Submitted {
            self.record.state = RunState::Running;
            self.happened(now, EventKind::Run, None, "running");
        }
        let generation = self.record.next_generation;
        self.record.next_generation = Generation(generation.0 + 1);
        let published =
            self.job(key).and_then(|job| job.planned.kind.stage()).filter(|_| self.is_train(key)).map(|s| self.record.published_steps(s));
        let published = published.unwrap_or(0);
        let mut ranks: BTreeMap<&WorkerName, u32> = BTreeMap::new();
        places.iter().for_each(|p| *ranks.entry(&p.worker).or_default() += 1);
        let on: Vec<String> =
            ranks.iter().map(|(worker, n)| if *n == 1 { worker.to_string() } else { format!("{worker} ({n} ranks)") }).collect();
        let from = if published > 0 { format!(", from step {published}") } else { String::new() };
        let planned = self.job(key).map_or(0, |job| job.planned.ranks as usize);
        let fewer = if places.len() < planned { format!(" with {} of {planned} ranks", places.len()) } else { String::new() };
        let message = format!("generation {generation} on {}{fewer}{from}", on.join(", "));
        effects.notes.push(format!("{}/{key}: {message}", self.record.name()));
        self.happened(now, EventKind::Started, Some((key, Some(generation))), message);
        let attempt = Attempt {
            generation,
            places,
            started_at: now,
            rendezvous: None,
            ended: BTreeMap::new(),
            parts: BTreeMap::new(),
            published,
            others: BTreeMap::new(),
        };
        self.set(key, JobState::Active { attempt });
    }
}
