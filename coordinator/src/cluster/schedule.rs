//! One pass over the queue: for each job that could start, where it starts, or why it waits and who makes room for it. Decides, changes
//! nothing.
//!
//! The queue is ordered by priority, then by submission; within a run train jobs go first, then by key. A job starts whole or not at
//! all. A gang that waits keeps what is free of its workers from everything after it, so that it cannot starve; while nothing tells
//! when it can start, work that may be ended at any time (exports, exams, compression, cleaning) borrows those slots and gives them
//! back. A job that no worker or quota could ever hold keeps nothing.

use super::evict::Running;
use super::slots::{Kept, Layout, Spot, Wish, places};
use super::{Cluster, Run};
use osler_core::ids::{RunName, TeamName};
use osler_core::job::{JobId, JobKey, JobKind};
use osler_core::reason::{Cause, Reason, Unusable};
use osler_core::record::{JobRecord, JobState, Place, RunState};
use osler_core::time::{Moment, Now};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Lower goes first.
pub type Order<'a> = (Reverse<i32>, Moment, &'a RunName, bool);

#[derive(Debug)]
pub enum Outcome {
    Start {
        places: Vec<Place>,
        backfill: bool,
    },
    Wait {
        reason: Reason,
        /// Who has to leave for it, and why.
        evict: Vec<(JobId, Cause)>,
    },
}

/// The state of a pass.
pub(super) struct Pass<'a> {
    pub cluster: &'a Cluster,
    pub now: Now,
    pub spots: Vec<Spot>,
    pub running: Vec<Running<'a>>,
    unusable: Vec<Unusable>,
    /// Slots that teams hold, and those that are kept for their gangs; the first of these gangs.
    held: BTreeMap<&'a TeamName, (u32, Option<JobId>)>,
}

impl Cluster {
    /// In the order of the queue. Those that wait and ask nobody to leave are left out unless `all`.
    pub(super) fn decide(&self, now: Now, all: bool) -> Vec<(JobId, Outcome)> {
        let starts = |run: &&Run| matches!(run.record.state, RunState::Submitted | RunState::Running);
        let pending = |run: &&Run| run.index().waiting().next().is_some();
        let mut runs: Vec<&Run> = self.runs.values().filter(starts).filter(pending).collect();
        if runs.is_empty() {
            return vec![];
        }
        runs.sort_by_key(|run| order(run, true));
        let mut pass = Pass::new(self, now);
        let mut decided = vec![];
        runs.into_iter().for_each(|run| pass.run(run, all, &mut decided));
        decided
    }
}

pub(super) fn order(run: &Run, train: bool) -> Order<'_> {
    (Reverse(run.record.spec.queue.priority), run.came, run.record.name(), !train)
}

/// Whether a job loses little when it is ended: it may use slots that are kept for a gang.
fn may_borrow(kind: &JobKind) -> bool {
    matches!(kind, JobKind::Exam { .. } | JobKind::Quantize { .. } | JobKind::Export { .. } | JobKind::Clean { .. })
}

fn is_open(spot: &Spot) -> u32 {
    if spot.kept.is_none() { spot.free } else { 0 }
}

impl<'a> Pass<'a> {
    fn new(cluster: &'a Cluster, now: Now) -> Self {
        let mut spots = cluster.spots(now);
        let running = Running::all(cluster, now, &mut spots);
        let mut held: BTreeMap<&TeamName, (u32, Option<JobId>)> = BTreeMap::new();
        for (run, _, attempt) in cluster.attempts() {
            if let Some(team) = &run.record.spec.queue.team {
                held.entry(team).or_default().0 += attempt.places.len() as u32;
            }
        }
        Self { cluster, now, spots, running, unusable: cluster.unusable(now), held }
    }

    fn run(&mut self, run: &'a Run, all: bool, decided: &mut Vec<(JobId, Outcome)>) {
        let require = &run.record.spec.resources.require;
        let suits = |spot: &Spot| require.iter().all(|(key, value)| spot.labels.get(key) == Some(value));
        let suitable: Vec<usize> = self.spots.iter().enumerate().filter(|(_, spot)| suits(spot)).map(|(at, _)| at).collect();
        let mut keys: Vec<JobKey> = run.index().waiting().cloned().collect();
        keys.sort_by_key(|key| !run.is_train(key)); // stable: by key within each half
        // What one single process waits for, all after it of the same run wait for: a pass only takes slots.
        let mut stuck: [Option<Reason>; 2] = [None, None];
        for key in keys {
            let Some(job) = run.job(&key) else { continue };
            let JobState::Pending { .. } = job.status else { continue };
            let due = run.times.due(&key);
            let alike =
                (!is_train(job) && job.planned.ranks == 1 && due <= self.now.moment).then(|| usize::from(may_borrow(&job.planned.kind)));
            let known = alike.and_then(|kind| stuck.get(kind)).and_then(Option::as_ref);
            if let Some(reason) = known {
                if all {
                    decided.push((run.record.id(&key), Outcome::Wait { reason: reason.clone(), evict: vec![] }));
                }
                continue;
            }
            let outcome = self.turn(run, &key, job, due, &suitable);
            if let (Some(slot), Outcome::Wait { reason, evict }) = (alike.and_then(|kind| stuck.get_mut(kind)), &outcome)
                && evict.is_empty()
                && !matches!(reason, Reason::MakingRoom { .. })
            {
                *slot = Some(reason.clone());
            }
            if all || !matches!(&outcome, Outcome::Wait { evict, .. } if evict.is_empty()) {
                decided.push((run.record.id(&key), outcome));
            }
        }
    }

    fn turn(&mut self, run: &'a Run, key: &JobKey, job: &JobRecord, due: Moment, suitable: &[usize]) -> Outcome {
        let (id, gang, ranks) = (run.record.id(key), is_train(job), job.planned.ranks);
        let affinity = run.record.spec.resources.affinity.as_ref().filter(|_| gang);
        let of = |ranks| Wish { ranks, affinity, spots: suitable.to_vec() };
        let sizes = run.sizes(key);
        // A gang that may shrink waits for the largest size that its workers could ever hold.
        let ranks =
            sizes.iter().copied().find(|ranks| self.too_large(run, &of(*ranks)).is_none()).or(sizes.last().copied()).unwrap_or(ranks);
        let wish = of(ranks);
        let never = self.too_large(run, &wish);
        if due > self.now.moment {
            // A gang that waits for a retry that is seconds away keeps what it will need, and nobody borrows it.
            if gang && never.is_none() {
                self.keep(run, &id, &wish, false);
            }
            let after = job.past.last().and_then(|past| past.fault.as_ref()).map(ToString::to_string);
            return wait(Reason::Retry { in_ms: due.since(self.now.moment), after });
        }
        if let Some(reason) = never {
            return wait(reason);
        }
        let patience = run.patience_left(self.now, key, self.cluster.workers.limits.shrink_after);
        for ranks in sizes.iter().copied().take(if patience > 0 { 1 } else { usize::MAX }) {
            if self.over_quota(run, ranks).is_none()
                && let Some(layout) = of(ranks).lay(&self.spots, |_, spot| is_open(spot))
            {
                return self.start(run, &layout, ranks, false);
            }
        }
        if let Some(reason) = self.over_quota(run, ranks) {
            if gang {
                self.promise(run, &id, ranks);
            }
            return wait(reason);
        }
        let borrows = |_: usize, spot: &Spot| if spot.kept.as_ref().is_none_or(|kept| kept.lent) { spot.free } else { 0 };
        if let Some(layout) = wish.lay(&self.spots, borrows).filter(|_| may_borrow(&job.planned.kind)) {
            return self.start(run, &layout, ranks, true);
        }
        if let (Some(least), true) = (sizes.last().copied(), patience > 0 && ranks < job.planned.ranks) {
            let (needs, free, unusable) = (job.planned.ranks, self.free(&wish), self.unusable.clone());
            self.keep(run, &id, &wish, true);
            return wait(Reason::Patience { needs, free, least, in_ms: patience, unusable });
        }
        let (reason, evict) = self.make_room(run, &id, &wish, gang);
        let soon = matches!(reason, Reason::MakingRoom { .. });
        if gang {
            self.keep(run, &id, &wish, !soon);
        } else if soon {
            self.promise(run, &id, ranks); // as good as held: the team's next job must not have others leave as well
        }
        Outcome::Wait { reason, evict }
    }

    fn start(&mut self, run: &'a Run, layout: &Layout, ranks: u32, backfill: bool) -> Outcome {
        for (at, n) in layout {
            if let Some(spot) = self.spots.get_mut(*at) {
                spot.free = spot.free.saturating_sub(*n);
            }
        }
        if let Some(team) = &run.record.spec.queue.team {
            self.held.entry(team).or_default().0 += ranks;
        }
        Outcome::Start { places: places(&self.spots, layout), backfill }
    }

    /// Why all suitable workers together could not hold it.
    fn too_large(&self, run: &Run, wish: &Wish<'_>) -> Option<Reason> {
        if self.cluster.workers.known.is_empty() {
            return Some(Reason::NoWorkers);
        }
        let (needs, unusable) = (wish.ranks, self.unusable.clone());
        let slots = wish.spots.iter().filter_map(|at| self.spots.get(*at)).map(|spot| spot.total).sum();
        if needs > slots {
            return Some(Reason::TooLarge { needs, slots, require: run.record.spec.resources.require.clone(), unusable });
        }
        let affinity = wish.affinity.filter(|affinity| affinity.required)?;
        let largest = wish.largest_group(&self.spots);
        (needs > largest).then(|| Reason::TooLargeForLabel { needs, label: affinity.label.clone(), largest, unusable })
    }

    fn over_quota(&self, run: &Run, needs: u32) -> Option<Reason> {
        let team = run.record.spec.queue.team.as_ref()?;
        let quota = *self.cluster.workers.record.quotas.get(team)?;
        let (held, first) = self.held.get(team).cloned().unwrap_or_default();
        (held.saturating_add(needs) > quota).then(|| Reason::Quota { team: team.clone(), quota, held, needs, first })
    }

    /// What a waiting gang needs of its team's quota is not given to the team's jobs after it.
    fn promise(&mut self, run: &'a Run, id: &JobId, ranks: u32) {
        let Some(team) = &run.record.spec.queue.team else { return };
        if self.cluster.workers.record.quotas.get(team).is_none_or(|quota| ranks <= *quota) {
            let (held, first) = self.held.entry(team).or_default();
            *held = held.saturating_add(ranks);
            first.get_or_insert_with(|| id.clone());
        }
    }

    fn keep(&mut self, run: &'a Run, id: &JobId, wish: &Wish<'_>, lent: bool) {
        for at in &wish.spots {
            if let Some(spot) = self.spots.get_mut(*at) {
                spot.kept.get_or_insert_with(|| Kept { by: id.clone(), lent });
            }
        }
        self.promise(run, id, wish.ranks);
    }

    /// Why a job waits that nobody makes room for.
    pub(super) fn full(&self, wish: &Wish<'_>) -> Reason {
        let unusable = self.unusable.clone();
        let first = wish.spots.iter().find_map(|at| self.spots.get(*at)?.kept.as_ref());
        match first {
            Some(kept) => Reason::Behind { first: kept.by.clone(), unusable },
            None => Reason::Slots { needs: wish.ranks, free: self.free(wish), unusable },
        }
    }

    /// Free slots that nobody keeps, at most as many as are needed.
    pub(super) fn free(&self, wish: &Wish<'_>) -> u32 {
        let free: u32 = wish.spots.iter().filter_map(|at| self.spots.get(*at)).map(is_open).sum();
        free.min(wish.ranks)
    }
}

pub(super) fn is_train(job: &JobRecord) -> bool {
    matches!(job.planned.kind, JobKind::Train { .. })
}

fn wait(reason: Reason) -> Outcome {
    Outcome::Wait { reason, evict: vec![] }
}
