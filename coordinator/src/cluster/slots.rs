//! The slots of the workers that take work, and how a job's ranks are laid over them.

use super::{Cluster, Worker};
use osler_core::ids::{Incarnation, LabelKey, LabelValue, WorkerName};
use osler_core::job::JobId;
use osler_core::record::Place;
use osler_core::spec::Affinity;
use osler_core::sync::ProcessId;
use osler_core::time::Now;
use std::collections::BTreeMap;

/// One worker that takes work.
#[derive(Debug, Clone)]
pub struct Spot {
    pub worker: WorkerName,
    pub incarnation: Incarnation,
    pub labels: BTreeMap<LabelKey, LabelValue>,
    pub total: u32,
    pub free: u32,
    /// Of attempts that are on their way out, as far as nobody counts on them yet.
    pub leaving: u32,
    /// The first waiting gang that keeps what is free here.
    pub kept: Option<Kept>,
}

#[derive(Debug, Clone)]
pub struct Kept {
    pub by: JobId,
    /// Nothing tells when it can start, so jobs that can be ended at any time may use the slots until then.
    pub lent: bool,
}

/// What a job asks for. `spots` are the indices of those that it may use at all.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    pub ranks: u32,
    pub affinity: Option<&'a Affinity>,
    pub spots: Vec<usize>,
}

/// How many ranks go to which spot.
pub type Layout = Vec<(usize, u32)>;

impl Wish<'_> {
    /// On one worker if one has room, else within one value of the label, else, if that is not required, on as few as possible.
    pub fn lay(&self, spots: &[Spot], room: impl Fn(usize, &Spot) -> u32) -> Option<Layout> {
        let mut with_room: Vec<(usize, u32)> =
            self.spots.iter().filter_map(|at| Some((*at, room(*at, spots.get(*at)?)))).filter(|(_, n)| *n > 0).collect();
        with_room.sort_by_key(|(at, n)| (std::cmp::Reverse(*n), *at)); // spots are in the order of their names
        if self.ranks == 0 {
            return None;
        }
        if let Some(one) = with_room.first().filter(|(_, n)| *n >= self.ranks) {
            return Some(vec![(one.0, self.ranks)]);
        }
        let Some(affinity) = self.affinity else { return fill(&with_room, self.ranks) };
        let mut groups: BTreeMap<&LabelValue, Layout> = BTreeMap::new();
        for (at, n) in &with_room {
            if let Some(value) = spots.get(*at).and_then(|spot| spot.labels.get(&affinity.label)) {
                groups.entry(value).or_default().push((*at, *n));
            }
        }
        let within = groups.values().filter_map(|group| fill(group, self.ranks)).min_by_key(Vec::len);
        within.or_else(|| if affinity.required { None } else { fill(&with_room, self.ranks) })
    }

    /// The most slots within one value of its label, or on one worker.
    pub fn largest_group(&self, spots: &[Spot]) -> u32 {
        let mut sums: BTreeMap<Option<&LabelValue>, u32> = BTreeMap::new();
        let mut largest = 0;
        for spot in self.spots.iter().filter_map(|at| spots.get(*at)) {
            largest = largest.max(spot.total);
            if let Some(value) = self.affinity.and_then(|affinity| spot.labels.get(&affinity.label)) {
                let sum = sums.entry(Some(value)).or_default();
                *sum = sum.saturating_add(spot.total);
                largest = largest.max(*sum);
            }
        }
        largest
    }
}

/// The most room first, so that few workers are used.
fn fill(room: &[(usize, u32)], ranks: u32) -> Option<Layout> {
    let mut left = ranks;
    let mut layout = vec![];
    for (at, n) in room {
        let taken = left.min(*n);
        if taken > 0 {
            layout.push((*at, taken));
            left -= taken;
        }
    }
    (left == 0).then_some(layout)
}

/// One place a rank.
pub fn places(spots: &[Spot], layout: &Layout) -> Vec<Place> {
    let place = |(at, n): &(usize, u32)| {
        let spot = spots.get(*at)?;
        Some((0..*n).map(|_| Place { worker: spot.worker.clone(), incarnation: spot.incarnation }))
    };
    layout.iter().filter_map(place).flatten().collect()
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

    /// In the order of their names.
    pub(super) fn spots(&self, now: Now) -> Vec<Spot> {
        let used = self.used_slots();
        let usable = self.workers.known.iter().filter(|(name, worker)| self.workers.takes_work(now, name, worker));
        let spot = |(name, worker): (&WorkerName, &Worker)| Spot {
            worker: name.clone(),
            incarnation: worker.incarnation,
            labels: worker.labels.clone(),
            total: worker.slots,
            free: worker.slots.saturating_sub(used.get(name).copied().unwrap_or(0)),
            leaving: 0,
            kept: None,
        };
        usable.map(spot).collect()
    }
}
