//! Workers as the coordinator knows them: soft state, learned from their calls and forgotten with the process.
//!
//! ```text
//! (first call) -> Idle <-> Busy -> Suspect -> Lost      (silence; a call brings it back to Idle or Busy)
//!                 Idle, Busy -> Draining -> Gone         (asked for no more work; silent after that)
//!                 Idle, Busy <-> Drained, Unfit          (no new work: somebody said so, or its node is not sound)
//! ```
//! A restarted agent is a new incarnation under the same name: what the old one ran is gone at once.

use super::Effects;
use super::limits::Limits;
use osler_core::BUILD;
use osler_core::cluster::ClusterRecord;
use osler_core::health::Health;
use osler_core::ids::{Incarnation, LabelKey, LabelValue, WorkerName};
use osler_core::record::{Attempt, Place};
use osler_core::sync::ProcessId;
use osler_core::time::{Moment, Now};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

#[derive(Debug, Clone)]
pub struct Worker {
    pub incarnation: Incarnation,
    /// Number of its latest call.
    pub call: u64,
    pub host: String,
    pub slots: u32,
    pub labels: BTreeMap<LabelKey, LabelValue>,
    pub draining: bool,
    pub seen: Moment,
    /// What it found when it last looked at its node; none of an agent that does not look.
    pub health: Option<Health>,
    /// Milliseconds that its clock is behind ours, as its latest two calls say; a slow call makes one of them too large.
    pub skew: [i64; 2],
    /// Counts the looks at its node that people asked for.
    pub check: u64,
    /// The highest report number that has been dealt with.
    pub acknowledged: u64,
    /// What its latest call listed: true while the process runs, false once it is confirmed gone.
    pub listed: BTreeMap<ProcessId, bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerState {
    Idle,
    Busy,
    Draining,
    /// It should take no work until somebody says otherwise.
    Drained,
    /// Something is wrong with its node.
    Unfit,
    Suspect,
    Lost,
    Gone,
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Unfit => "unfit",
            Self::Suspect => "suspect",
            Self::Lost => "lost",
            Self::Gone => "gone",
        })
    }
}

impl Worker {
    /// The smaller of the latest two: time on the way only ever adds.
    pub fn skew(&self) -> i64 {
        self.skew.into_iter().min_by_key(|skew| skew.unsigned_abs()).unwrap_or(0)
    }
}

/// All workers, and since when silence counts for those that have not called yet.
#[derive(Debug, Clone)]
pub struct Workers {
    pub known: BTreeMap<WorkerName, Worker>,
    /// Those of them that want to go: `draining`, again, because it is asked of every rank.
    leaving: BTreeSet<WorkerName>,
    /// Those that people asked something of, which they have not been told yet.
    pub asked: BTreeSet<WorkerName>,
    /// Start of this coordinator; moved when it stood still.
    pub since: Moment,
    pub limits: Limits,
    /// Quotas, drained nodes and strikes: durable.
    pub record: ClusterRecord,
    /// When the nodes got the strikes of the record, in the same order.
    pub struck: BTreeMap<WorkerName, Vec<Moment>>,
    /// Milliseconds that most workers' clocks are behind ours: then it is ours that is wrong. 0 while they are not.
    own_skew: i64,
    /// The record differs from the newest written version.
    pub changed: bool,
}

impl Workers {
    pub fn new(since: Moment, limits: Limits) -> Self {
        let record = ClusterRecord::default();
        Self {
            known: BTreeMap::new(),
            leaving: BTreeSet::new(),
            asked: BTreeSet::new(),
            since,
            limits,
            record,
            struck: BTreeMap::new(),
            own_skew: 0,
            changed: true,
        }
    }

    /// The coordinator stood still for `gap`: nobody could have been heard.
    pub fn forgive(&mut self, gap: u64) {
        self.since = self.since.after(gap);
        self.known.values_mut().for_each(|w| w.seen = w.seen.after(gap));
    }

    /// Why the processes of a place cannot be alive any more, or none if they may be.
    pub fn why_gone(&self, now: Now, place: &Place) -> Option<String> {
        let name = &place.worker;
        let seconds = self.limits.lost / 1000;
        match self.known.get(name) {
            Some(worker) if worker.incarnation > place.incarnation => Some(format!("worker {name} was restarted")),
            Some(worker) if worker.incarnation == place.incarnation && self.silence(now, worker) > self.limits.lost => {
                Some(format!("worker {name} lost: not heard of for {seconds} s"))
            }
            Some(_) => None,
            None if now.moment.since(self.since) > self.limits.lost => {
                Some(format!("worker {name} lost: not heard of for {seconds} s since the coordinator started"))
            }
            None => None,
        }
    }

    /// The worker of a place, if it still is the incarnation that the place names.
    pub fn at(&self, place: &Place) -> Option<&Worker> {
        self.known.get(&place.worker).filter(|w| w.incarnation == place.incarnation)
    }

    /// A worker that an attempt is on and that wants to go, or was drained.
    pub fn draining<'a>(&self, attempt: &'a Attempt) -> Option<&'a WorkerName> {
        if self.leaving.is_empty() && self.record.drained.is_empty() {
            return None;
        }
        let leaves = |place: &&Place| {
            let drained = self.record.drained.contains_key(&place.worker);
            let leaving = || self.leaving.contains(&place.worker) && self.at(place).is_some_and(|worker| worker.draining);
            self.at(place).is_some() && drained || leaving()
        };
        attempt.places.iter().find(leaves).map(|place| &place.worker)
    }

    /// Notes whether a worker wants to go, after a call of it was taken in.
    pub fn note_leaving(&mut self, name: &WorkerName) {
        if self.known.get(name).is_some_and(|worker| worker.draining) {
            self.leaving.insert(name.clone());
        } else {
            self.leaving.remove(name);
        }
    }

    pub fn state(&self, now: Now, name: &WorkerName, worker: &Worker, used: u32) -> WorkerState {
        let silence = self.silence(now, worker);
        match () {
            () if silence > self.limits.suspect && worker.draining && used == 0 => WorkerState::Gone,
            () if silence > self.limits.lost => WorkerState::Lost,
            () if silence > self.limits.suspect => WorkerState::Suspect,
            () if worker.draining => WorkerState::Draining,
            () if self.record.drained.contains_key(name) => WorkerState::Drained,
            () if self.unfit(worker).is_some() => WorkerState::Unfit,
            () if used > 0 => WorkerState::Busy,
            () => WorkerState::Idle,
        }
    }

    /// Whether new work may go there.
    pub fn takes_work(&self, now: Now, name: &WorkerName, worker: &Worker) -> bool {
        matches!(self.state(now, name, worker, 0), WorkerState::Idle)
    }

    /// Why no new work goes there, in words that follow "worker a is".
    pub fn why_no_work(&self, now: Now, name: &WorkerName, worker: &Worker) -> Option<String> {
        match self.state(now, name, worker, 1) {
            WorkerState::Idle | WorkerState::Busy => None,
            WorkerState::Drained => {
                let reason = self.record.drained.get(name).map_or("", |drain| drain.reason.as_str());
                Some(format!("drained ({reason}): `osler node undrain {name}`"))
            }
            WorkerState::Unfit => Some(format!("unfit: {}", self.unfit(worker).unwrap_or_default())),
            other => Some(other.to_string()),
        }
    }

    /// Most clocks are right: if ours differs from those of most workers, no node is to blame.
    pub fn judge_own_clock(&mut self, effects: &mut Effects) {
        const ENOUGH: usize = 3;
        let mut skews: Vec<i64> = self.known.values().map(Worker::skew).collect();
        let middle = skews.len() / 2;
        let median = if skews.len() < ENOUGH { 0 } else { *skews.select_nth_unstable(middle).1 };
        let skew = if median.unsigned_abs() > self.limits.skew_told { median } else { 0 };
        if skew != 0 && self.own_skew == 0 {
            let seconds = skew as f64 / 1e3;
            effects.notes.push(format!("the coordinator's clock differs from most workers' by {seconds:.1} s: run a time service"));
        }
        self.own_skew = skew;
    }

    /// Milliseconds that a worker's clock is behind the right time, as far as one can tell.
    pub fn skew(&self, worker: &Worker) -> i64 {
        worker.skew().saturating_sub(self.own_skew)
    }

    /// What is wrong with a worker's node.
    fn unfit(&self, worker: &Worker) -> Option<String> {
        let skew = self.skew(worker);
        let clock = (skew.unsigned_abs() > self.limits.skew_refused).then(|| {
            format!("its clock differs from the coordinator's by {:.1} s: set it, or run a time service", worker.skew() as f64 / 1e3)
        });
        worker.health.as_ref().and_then(|health| health.unfit_for(BUILD)).or(clock)
    }

    pub fn any_to_forget(&self, now: Now) -> bool {
        self.known.values().any(|w| now.moment.since(w.seen) > self.limits.forgotten)
    }

    /// Forgets workers that have been silent for very long; `busy` still have work in some record.
    pub fn forget(&mut self, now: Now, busy: &BTreeSet<WorkerName>) {
        let limit = self.limits.forgotten;
        self.known.retain(|name, w| busy.contains(name) || now.moment.since(w.seen) <= limit);
        self.leaving.retain(|name| self.known.contains_key(name));
    }

    fn silence(&self, now: Now, worker: &Worker) -> u64 {
        now.moment.since(worker.seen)
    }
}
