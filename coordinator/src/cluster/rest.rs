//! Finished runs at rest: of these only [`AtRest`] is in memory. The owner reads the whole record before it takes in an event about one,
//! and hands it to [`Cluster::wake`]; after a while in which nobody asks for anything the run rests again.

use super::run::Run;
use super::{Cluster, Event};
use osler_core::ids::RunName;
use osler_core::leftover::Claims;
use osler_core::record::{RunRecord, RunState};
use osler_core::rest::AtRest;
use osler_core::time::{Age, Moment, Now};
use std::collections::{BTreeMap, BTreeSet};

/// A run that was read again stays in memory for so long, in milliseconds.
const AWAKE: u64 = 60_000;
/// Between two tries to read a run that is to be removed, in milliseconds.
const TRIED_AGAIN: u64 = 600_000;
/// So many runs are swept one after the other before the next pause.
const SWEPT_TOGETHER: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Resting {
    runs: BTreeMap<RunName, AtRest>,
    /// Those that have to be read again although nobody asks for them.
    wanted: BTreeSet<RunName>,
    /// When such a one was last wanted: what cannot be read is not tried all the time.
    tried: BTreeMap<RunName, Moment>,
}

/// What the newest version of a run's record says about objects.
#[derive(Debug)]
pub struct Untidy {
    pub claims: Claims,
    pub version: u64,
}

impl Event {
    /// The run that a person's event is about.
    fn run(&self) -> Option<&RunName> {
        match self {
            Self::Submit(submission) => Some(&submission.spec.name),
            Self::Stop(request) => Some(&request.run),
            Self::Waive(request) => Some(&request.run),
            Self::Rewind(request) => Some(&request.run),
            Self::Doubt(doubt) => Some(&doubt.run),
            Self::Remove(request) => Some(&request.run),
            Self::Resume { run, .. } | Self::Pin { run, .. } => Some(run),
            Self::Quota { .. } | Self::Drain { .. } | Self::CheckNode(_) | Self::Sync(_) | Self::Tick => None,
            Self::StoreWaited(_) | Self::Looked { .. } | Self::Swept { .. } | Self::Tidied { .. } => None,
        }
    }
}

impl Cluster {
    /// Runs that an earlier coordinator left at rest.
    pub fn adopt_at_rest(&mut self, runs: BTreeMap<RunName, AtRest>) {
        self.resting.runs.extend(runs);
    }

    pub fn at_rest(&self) -> impl Iterator<Item = (&RunName, &AtRest)> {
        self.resting.runs.iter()
    }

    pub fn rests(&self, run: &RunName) -> bool {
        self.resting.runs.contains_key(run)
    }

    /// The run at rest that an event is about: it is to be read before.
    pub fn sleeper(&self, event: &Event) -> Option<RunName> {
        event.run().filter(|run| self.rests(run)).cloned()
    }

    /// Runs at rest that are to be read because something is decided about them, a few at a time.
    pub fn take_wanted(&mut self, most: usize) -> Vec<RunName> {
        let wanted = &mut self.resting.wanted;
        std::iter::from_fn(|| wanted.pop_first()).take(most).collect()
    }

    /// The record of a run at rest, as it was read; `changed`: it is not as it was written, so a version of it is due.
    pub fn wake(&mut self, record: RunRecord, changed: bool) {
        self.resting.runs.remove(record.name());
        if record.state != RunState::Finished {
            return self.adopt(record); // an earlier coordinator's last write came after ours had read it
        }
        let alone = self.age(self.last_event).total().saturating_sub(record.cluster_age);
        let age = record.aged.age;
        let mut run = Run::new(self.last_event, record, &self.workers.limits);
        run.aged_since(self.last_event, Age { alone: age.alone.saturating_add(alone), ..age });
        (run.changed, run.untidy) = (changed, false);
        self.runs.insert(run.record.name().clone(), run);
    }

    /// Nothing of a run at rest is left: somebody deleted it.
    pub fn forget_at_rest(&mut self, run: &RunName) {
        self.resting.runs.remove(run);
    }

    pub(super) fn want(&mut self, now: Now, run: RunName) {
        let Resting { wanted, tried, runs } = &mut self.resting;
        tried.retain(|run, at| runs.contains_key(run) && now.moment.since(*at) < TRIED_AGAIN);
        if !tried.contains_key(&run) {
            tried.insert(run.clone(), now.moment);
            wanted.insert(run);
        }
    }

    /// Lets finished runs rest that nobody has asked for lately, and has others swept for the last time.
    pub(super) fn let_rest(&mut self, now: Now) {
        let rest_after = self.workers.limits.rest_after;
        let mut tired = vec![];
        for (name, run) in self.runs.iter_mut().filter(|(_, run)| run.record.state == RunState::Finished) {
            if !run.record.swept {
                let lately = run.tidied.is_some_and(|at| now.moment.since(at) < rest_after);
                run.untidy |= run.finished_ago(now) >= rest_after && !lately;
            } else if !run.is_busy() && run.since(now) >= AWAKE.min(rest_after) {
                tired.push(name.clone());
            }
        }
        for name in tired {
            let Some(at_rest) = self.runs.get(&name).and_then(|run| AtRest::of(&run.record)) else { continue };
            self.runs.remove(&name);
            self.resting.runs.insert(name, at_rest);
        }
    }

    /// What runs whose attempts may have left something say about objects, a few at a time, each once. Only while all that was decided is
    /// durable.
    pub fn take_untidy(&mut self) -> Vec<Untidy> {
        let (live, over): (Vec<_>, Vec<_>) = self.runs.values_mut().filter(|run| run.untidy).partition(|run| run.record.state.is_live());
        let now = self.last_event.moment;
        let chosen = live.into_iter().chain(over).take(SWEPT_TOGETHER);
        chosen
            .map(|run| {
                (run.untidy, run.tidied) = (false, Some(now));
                Untidy { claims: Claims::of(&run.record), version: run.record.version }
            })
            .collect()
    }

    /// All that a version of a record leaves to nobody was deleted. For the last time, if the run had been over for long enough.
    pub(super) fn tidied(&mut self, now: Now, name: &RunName, version: u64) {
        let rest_after = self.workers.limits.rest_after;
        let Some(run) = self.runs.get_mut(name).filter(|run| run.record.version == version && !run.changed) else { return };
        if run.record.state == RunState::Finished && !run.record.swept && run.finished_ago(now) >= rest_after {
            (run.record.swept, run.changed, run.untidy) = (true, true, false);
        }
    }

    /// How old the cluster is.
    pub(super) fn age(&self, now: Now) -> Age {
        let (age, since) = self.age;
        age.watched_for(now.moment.since(since))
    }
}

impl Run {
    /// How long ago it finished, in milliseconds.
    pub(super) fn finished_ago(&self, now: Now) -> u64 {
        self.record.finished.map_or(0, |age| self.age(now).total().saturating_sub(age.total()))
    }

    /// Something is going on with it, though it is finished.
    fn is_busy(&self) -> bool {
        self.changed || !(self.doubted.is_empty() && self.looks.is_empty() && self.suspects.is_empty())
    }
}
