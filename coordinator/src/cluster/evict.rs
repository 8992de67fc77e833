//! Who leaves its slots to whom. Work of a higher priority preempts work of a lower one, never of the same; a gang takes back what
//! others borrowed while it waited. Nobody is asked to leave unless all that are asked make enough room.

use super::schedule::{Order, Pass, is_train, order};
use super::slots::{Spot, Wish};
use super::{Cluster, Run};
use osler_core::job::{JobId, JobKey};
use osler_core::reason::{Cause, Reason};
use osler_core::record::{EventKind, JobState};
use osler_core::time::Now;
use std::collections::BTreeMap;

/// An attempt that holds slots.
pub struct Running<'a> {
    id: JobId,
    order: Order<'a>,
    priority: i32,
    backfill: bool,
    /// Milliseconds of work that are lost if it is ended: since its last published checkpoint, or since it began.
    lost: u64,
    /// It may not be preempted for so long: a gang that never gets to its next checkpoint would only thrash.
    hold: u64,
    /// Spots, and how many of its ranks are there.
    on: Vec<(usize, u32)>,
    leaving: bool,
}

impl<'a> Running<'a> {
    /// All of them; the slots of those that are on their way out are counted at their spots.
    pub fn all(cluster: &'a Cluster, now: Now, spots: &mut [Spot]) -> Vec<Self> {
        let mut all = vec![];
        for (run, key, attempt) in cluster.attempts() {
            let Some(job) = run.job(key) else { continue };
            let mut on: BTreeMap<usize, u32> = BTreeMap::new();
            for place in &attempt.places {
                // In the order of their names: looking through them all for each place made a pass quadratic.
                let at = spots.binary_search_by(|spot| spot.worker.cmp(&place.worker)).ok();
                if let Some(at) = at.filter(|at| spots.get(*at).is_some_and(|spot| spot.incarnation == place.incarnation)) {
                    *on.entry(at).or_default() += 1;
                }
            }
            let leaving = matches!(job.status, JobState::Ending { .. }) || run.is_leaving(attempt, &cluster.workers);
            let gang = is_train(job);
            let held = now.moment.since(run.times.started(key));
            let running = Self {
                id: run.record.id(key),
                order: order(run, gang),
                priority: run.record.spec.queue.priority,
                backfill: attempt.backfill,
                lost: now.moment.since(run.times.saved(key)),
                hold: if gang { cluster.workers.limits.least_hold.saturating_sub(held) } else { 0 },
                on: on.into_iter().collect(),
                leaving,
            };
            if leaving {
                running.leave(spots);
            }
            all.push(running);
        }
        all
    }

    fn leave(&self, spots: &mut [Spot]) {
        for (at, n) in &self.on {
            if let Some(spot) = spots.get_mut(*at) {
                spot.leaving += n;
            }
        }
    }
}

impl Pass<'_> {
    /// Who has to leave so that a job can start that cannot start now.
    pub(super) fn make_room(&mut self, run: &Run, id: &JobId, wish: &Wish<'_>, gang: bool) -> (Reason, Vec<(JobId, Cause)>) {
        let (needs, free) = (wish.ranks, self.free(wish));
        if self.claim(wish) {
            let here = |running: &&Running<'_>| running.leaving && running.on.iter().any(|(at, _)| wish.spots.contains(at));
            let leaving = self.running.iter().filter(here).map(|running| running.id.clone()).collect();
            return (Reason::MakingRoom { needs, free, leaving }, vec![]);
        }
        let (mine, priority) = (order(run, gang), run.record.spec.queue.priority);
        let open = |at: &usize| wish.spots.contains(at) && self.spots.get(*at).is_some_and(|spot| spot.kept.is_none());
        let lent = |running: &Running<'_>| gang && running.backfill && mine < running.order;
        let yields = |running: &Running<'_>| {
            !running.leaving && running.on.iter().any(|(at, _)| open(at)) && (lent(running) || priority > running.priority)
        };
        let mut candidates: Vec<usize> = (0..self.running.len()).filter(|at| self.running.get(*at).is_some_and(yields)).collect();
        candidates.sort_by_key(|at| self.running.get(*at).map(|r| (!lent(r), r.lost, r.priority)));
        let ready: Vec<usize> = candidates.iter().copied().filter(|at| self.running.get(*at).is_some_and(|r| r.hold == 0)).collect();
        if let Some(chosen) = self.enough(wish, &ready) {
            let mut evict = vec![];
            for running in chosen.iter().filter_map(|at| self.running.get(*at)) {
                let cause = if lent(running) { Cause::GaveWay { to: id.clone() } } else { Cause::Preempted { by: id.clone(), priority } };
                evict.push((running.id.clone(), cause));
            }
            for at in chosen {
                if let Some(running) = self.running.get_mut(at) {
                    running.leaving = true;
                    running.leave(&mut self.spots);
                }
            }
            self.claim(wish);
            let leaving = evict.iter().map(|(id, _)| id.clone()).collect();
            return (Reason::MakingRoom { needs, free, leaving }, evict);
        }
        let held = self.enough(wish, &candidates).unwrap_or_default();
        match held.iter().filter_map(|at| self.running.get(*at)).max_by_key(|running| running.hold) {
            Some(last) => (Reason::Hold { needs, free, gang: last.id.clone(), in_ms: last.hold }, vec![]),
            None => (self.full(wish), vec![]),
        }
    }

    /// Counts on slots that fall free by themselves, if they are enough; then nobody else does.
    fn claim(&mut self, wish: &Wish<'_>) -> bool {
        let soon = |_: usize, spot: &Spot| if spot.kept.is_none() { spot.free.saturating_add(spot.leaving) } else { 0 };
        let Some(layout) = wish.lay(&self.spots, soon) else { return false };
        for (at, n) in layout {
            if let Some(spot) = self.spots.get_mut(at) {
                let free = spot.free.min(n);
                spot.free -= free;
                spot.leaving = spot.leaving.saturating_sub(n - free);
            }
        }
        true
    }

    /// The first few of the candidates that are enough, without those among them that are not needed.
    fn enough(&self, wish: &Wish<'_>, candidates: &[usize]) -> Option<Vec<usize>> {
        let fits = |chosen: &[usize]| {
            let gained = |at: usize| -> u32 {
                let on = chosen.iter().filter_map(|running| self.running.get(*running)).flat_map(|running| &running.on);
                on.filter(|(spot, _)| *spot == at).map(|(_, n)| n).sum()
            };
            let room = |at: usize, spot: &Spot| if spot.kept.is_none() { spot.free + spot.leaving + gained(at) } else { 0 };
            wish.lay(&self.spots, room).is_some()
        };
        if !fits(candidates) {
            return None;
        }
        let mut chosen = vec![];
        for candidate in candidates {
            chosen.push(*candidate);
            if fits(&chosen) {
                for dearest in chosen.clone().into_iter().rev() {
                    let without: Vec<usize> = chosen.iter().copied().filter(|at| *at != dearest).collect();
                    if fits(&without) {
                        chosen = without;
                    }
                }
                return Some(chosen);
            }
        }
        None
    }
}

impl Run {
    /// Asks an attempt to save, if it can, and to leave its slots.
    pub(super) fn ask_to_leave(&mut self, now: Now, key: &JobKey, cause: Cause) {
        let Some(attempt) = self.active_mut(key).filter(|attempt| attempt.leave.is_none()) else { return };
        attempt.leave = Some(cause.clone());
        let generation = attempt.generation;
        self.tell(key);
        self.happened_because(now, EventKind::Preempted, Some((key, Some(generation))), format!("is to leave: {cause}"), Some(cause));
    }
}
