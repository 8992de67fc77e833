//! The end of a run that nobody needs any more, by a person or by the cluster's policy for finished ones.
//!
//! Its last version says that it is removed; once that is durable the owner notes it beside the runs ([`Remains`]), nobody is shown the run
//! any more and its name is free. What it left is deleted after that, by whoever leads.

use super::{Cluster, Effects, Refused};
use osler_core::ids::RunName;
use osler_core::record::{EventKind, RunRecord, RunState};
use osler_core::removal::Remains;
use osler_core::time::{Moment, Now};
use std::collections::{BTreeMap, BTreeSet};

/// Between two looks at what is kept of finished runs.
const LOOK: u64 = 1_000;

/// A person's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveRequest {
    pub run: RunName,
    pub by: String,
}

/// Runs that were removed.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// By the names that they had, which are free.
    gone: BTreeMap<RunName, Remains>,
    /// Whose objects are to be deleted, and of these those that nobody deletes at the moment.
    unswept: BTreeSet<RunName>,
    waiting: BTreeSet<RunName>,
    /// Swept in this coordinator's life: whoever is out of touch may still write.
    swept: BTreeSet<RunName>,
    /// Their last version is durable, the note is not known to be.
    unnoted: BTreeMap<RunName, Remains>,
    /// When finished runs were looked at.
    looked_at: Option<Moment>,
}

impl Removals {
    /// Where a new run of this name goes on, if there was one.
    pub fn before(&self, name: &RunName) -> Option<&Remains> {
        self.gone.get(name)
    }

    /// Whether a run of this name was removed, and the note of it is due: the name is not free before.
    pub fn is_unnoted(&self, name: &RunName) -> bool {
        self.unnoted.contains_key(name)
    }

    fn bury(&mut self, remains: Remains) {
        self.unswept.insert(remains.run.clone());
        self.waiting.insert(remains.run.clone());
        self.gone.insert(remains.run.clone(), remains);
    }

    /// An earlier coordinator removed it and may not have come to note that.
    pub fn adopt(&mut self, record: &RunRecord) {
        self.unnoted.insert(record.name().clone(), Remains::of(record));
    }
}

impl Cluster {
    /// A run that lives is stopped first; what another run still reads stays. Asking twice is harmless.
    pub(super) fn remove(&mut self, now: Now, request: RemoveRequest, effects: &mut Effects) -> Result<RunState, Refused> {
        let RemoveRequest { run: name, by } = request;
        if self.removals.is_unnoted(&name) {
            return Ok(RunState::Removed);
        }
        let decided = self.runs.get(&name).map(|run| run.record.state == RunState::Removed);
        if decided.unwrap_or_else(|| self.removals.unswept.contains(&name)) {
            return Ok(RunState::Removed);
        }
        let run = self.run_mut(&name)?;
        if run.record.state.is_live() {
            return Err(Refused::StillLive { run: name, state: run.record.state.to_string() });
        }
        if let Some((reader, path)) = self.reader_of(&name) {
            return Err(Refused::StillRead { run: name, reader, path });
        }
        self.end_for_good(now, &name, &format!("by {by}"), effects);
        Ok(RunState::Removed)
    }

    fn end_for_good(&mut self, now: Now, name: &RunName, how: &str, effects: &mut Effects) {
        let Some(run) = self.runs.get_mut(name) else { return };
        run.record.state = RunState::Removed;
        run.happened(now, EventKind::Run, None, format!("removed {how}"));
        effects.notes.push(format!("run {name} is removed {how}"));
    }

    /// Removes finished runs that the policy does not keep; failed and stopped ones stay, for people to look at and go on with.
    pub(super) fn retire_finished(&mut self, now: Now, effects: &mut Effects) {
        let limits = &self.workers.limits;
        let (most, longest) = (limits.keep_finished, limits.keep_finished_for);
        if (most, longest) == (None, None) || self.removals.looked_at.is_some_and(|at| now.moment.since(at) < LOOK) {
            return;
        }
        self.removals.looked_at = Some(now.moment);
        // By the runs' ages: a clock that jumps by a year must not delete what finished yesterday.
        let (finished, age) = (self.runs.iter().filter(|(_, run)| run.record.state == RunState::Finished), self.age(now).total());
        let finished = finished.map(|(name, run)| (run.finished_ago(now), name.clone(), run.record.has_pins()));
        let at_rest = self.at_rest().map(|(name, run)| (run.finished_ago(age), name.clone(), run.pinned));
        let mut finished: Vec<(u64, RunName, bool)> = finished.chain(at_rest).collect();
        finished.sort();
        for (newer, (ago, name, pinned)) in finished.into_iter().enumerate() {
            let why = match (most, longest) {
                (Some(most), _) if newer >= most => format!("{newer} finished after it, and {most} are kept (--keep-finished)"),
                (_, Some(longest)) if ago > longest => {
                    format!("it finished more than {} h ago (--keep-finished-for)", longest / 3_600_000)
                }
                _ => continue,
            };
            if pinned || self.reader_of(&name).is_some() {
                continue;
            }
            match self.rests(&name) {
                true => self.want(now, name), // its last version is made of the whole record, at the next look
                false => self.end_for_good(now, &name, &format!("by itself: {why}"), effects),
            }
        }
    }

    /// Another run that is not finished and whose run file names something of this one, for example a folder that a stage goes on from.
    pub fn reader_of(&self, name: &RunName) -> Option<(RunName, String)> {
        let root = self.store.strip_prefix("file://")?.trim_end_matches('/');
        let folder = format!("{root}/{}/", osler_core::paths::run(name));
        let others = self.runs.iter().filter(|(other, run)| *other != name && run.record.state != RunState::Finished);
        others
            .filter(|(_, run)| run.record.state != RunState::Removed)
            .find_map(|(other, run)| Some((other.clone(), run.record.spec.paths().into_iter().find(|p| p.starts_with(&folder))?.clone())))
    }

    /// Removed runs whose last version is durable, or is about to be: each is to be noted after that.
    pub fn to_note(&self) -> Vec<Remains> {
        let removed = self.runs.values().filter(|run| run.record.state == RunState::Removed).map(|run| Remains::of(&run.record));
        removed.chain(self.removals.unnoted.values().cloned()).collect()
    }

    /// Whether an earlier coordinator removed runs whose notes are due.
    pub fn any_unnoted(&self) -> bool {
        !self.removals.unnoted.is_empty()
    }

    /// All notes are durable: nobody is shown these runs any more, and their names are free.
    pub fn bury(&mut self) {
        let removed: Vec<Remains> = self.to_note();
        for remains in removed {
            // A later run of that name would not be the one that was removed.
            if self.runs.get(&remains.run).is_some_and(|run| run.record.state == RunState::Removed) {
                self.runs.remove(&remains.run);
            }
            self.removals.unnoted.remove(&remains.run);
            self.removals.bury(remains);
        }
    }

    /// What an earlier coordinator has noted; `unswept`: those that left something.
    pub fn adopt_removed(&mut self, removed: BTreeMap<RunName, Remains>, unswept: BTreeSet<RunName>) {
        self.removals.gone.extend(removed);
        self.removals.waiting.extend(unswept.iter().cloned());
        self.removals.unswept.extend(unswept);
    }

    /// A run whose record cannot be read is given up, and that is durable.
    pub fn bury_unreadable(&mut self, remains: Remains) {
        self.unreadable.remove(&remains.run);
        self.removals.bury(remains);
    }

    /// Runs that are being deleted.
    pub fn being_removed(&self) -> impl Iterator<Item = &RunName> {
        self.removals.unswept.iter()
    }

    /// The remains of a run that are to be deleted; told once, until [`Event::Swept`](super::Event::Swept).
    pub fn take_remains(&mut self) -> Option<Remains> {
        let name = self.removals.waiting.pop_first()?;
        self.removals.gone.get(&name).cloned()
    }

    pub(super) fn swept(&mut self, remains: &Remains, whole: bool) {
        let Removals { gone, unswept, waiting, swept, .. } = &mut self.removals;
        // A later run of that name may have been removed since.
        if gone.get(&remains.run) != Some(remains) {
            return;
        }
        if whole {
            unswept.remove(&remains.run);
            swept.insert(remains.run.clone());
        } else {
            waiting.insert(remains.run.clone());
        }
    }

    /// Somebody who is out of touch may have written since: once more, though nobody waits for it.
    pub(super) fn sweep_again(&mut self) {
        self.removals.waiting.extend(std::mem::take(&mut self.removals.swept));
    }
}
