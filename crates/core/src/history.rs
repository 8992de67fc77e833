//! What of a record does not change any more lies on *pages*, objects of their own that each version names instead of holding it. So a
//! version is as long as what is going on, however many checkpoints a run has published.
//!
//! In memory a record is whole: `checkpoints` holds what is on the pages too. On its way into the store [`RunRecord::turn_pages`] makes the
//! pages and [`RunRecord::head`] the version; on its way back [`RunRecord::fill`] puts them together.

use crate::checkpoint::ObjectRef;
use crate::digest::Digest;
use crate::ids::StageName;
use crate::json;
use crate::paths;
use crate::record::{Event, Published, RunRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::mem::take;

/// Entries of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageSize {
    pub checkpoints: usize,
    pub events: usize,
}

impl Default for PageSize {
    fn default() -> Self {
        Self { checkpoints: 64, events: 256 }
    }
}

/// Events that a record in memory holds, at least, if there were so many.
pub const EVENTS: u64 = 2_000;

/// The pages of a record.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct History {
    /// Of each stage the oldest checkpoints, retired ones, in order.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checkpoints: BTreeMap<StageName, Vec<Page>>,
    /// The oldest events, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Page>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    pub object: ObjectRef,
    pub entries: usize,
    /// Of its last entry: an event's id, a checkpoint's step.
    pub last: u64,
}

/// A page's object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contents {
    format: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    checkpoints: Vec<Published>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    events: Vec<Event>,
}

impl Contents {
    const FORMAT: u32 = 1;

    fn of(checkpoints: &[Published], events: &[Event]) -> Self {
        Self { format: Self::FORMAT, checkpoints: checkpoints.to_vec(), events: events.to_vec() }
    }

    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let contents: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if contents.format == Self::FORMAT { Ok(contents) } else { Err(format!("format {}, expected {}", contents.format, Self::FORMAT)) }
    }

    pub fn into_events(self) -> Vec<Event> {
        self.events
    }
}

/// An object to be written before a version that names it.
pub type Put = (String, Vec<u8>);

impl History {
    pub fn is_empty(&self) -> bool {
        self.checkpoints.is_empty() && self.events.is_empty()
    }

    /// Checkpoints of a stage that are on pages.
    fn paged(&self, stage: &StageName) -> usize {
        self.checkpoints.get(stage).map_or(0, |pages| pages.iter().map(|page| page.entries).sum())
    }

    fn last_event(&self) -> u64 {
        self.events.last().map_or(0, |page| page.last)
    }

    /// A stage goes back to its first `kept` checkpoints: what pages hold beyond them is on none any more.
    pub fn go_back(&mut self, stage: &StageName, kept: usize) {
        while self.paged(stage) > kept {
            self.checkpoints.get_mut(stage).and_then(Vec::pop);
        }
    }

    /// The pages of all stages, in the order in which [`RunRecord::fill`] takes them.
    pub fn of_checkpoints(&self) -> impl Iterator<Item = &Page> {
        self.checkpoints.values().flatten()
    }

    /// Oldest first.
    pub fn of_events(&self) -> impl Iterator<Item = &Page> {
        self.events.iter()
    }

    /// The pages without which a record is not whole: all checkpoints, and events from the id given on.
    pub fn wanted(&self, from_event: u64) -> Vec<ObjectRef> {
        let events = self.of_events().filter(|page| page.last >= from_event);
        self.of_checkpoints().chain(events).map(|page| page.object.clone()).collect()
    }
}

impl RunRecord {
    /// Moves what will not change any more to new pages, as soon as one is full.
    pub fn turn_pages(&mut self, size: PageSize) -> Vec<Put> {
        let mut puts = vec![];
        for (stage, published) in &self.checkpoints {
            loop {
                let paged = self.history.paged(stage);
                let Some(full) = published.get(paged..paged + size.checkpoints).filter(|all| all.iter().all(|c| c.retired)) else { break };
                let folder = paths::checkpoint_pages(&self.spec.name, stage);
                let page = turn(&folder, self.version, full.last().map_or(0, |c| c.step), Contents::of(full, &[]), &mut puts);
                self.history.checkpoints.entry(stage.clone()).or_default().push(page);
            }
        }
        loop {
            let at = self.events.partition_point(|event| event.id <= self.history.last_event());
            let Some(full) = self.events.get(at..at + size.events) else { break };
            let folder = paths::event_pages(&self.spec.name);
            let page = turn(&folder, self.version, full.last().map_or(0, |event| event.id), Contents::of(&[], full), &mut puts);
            self.history.events.push(page);
        }
        puts
    }

    /// The version as it is written: without what its pages hold.
    pub fn head(&mut self) -> Vec<u8> {
        let mut aside = BTreeMap::new();
        for (stage, published) in &mut self.checkpoints {
            let later = published.split_off(self.history.paged(stage).min(published.len()));
            aside.insert(stage.clone(), std::mem::replace(published, later));
        }
        let later = self.events.split_off(self.events.partition_point(|event| event.id <= self.history.last_event()));
        let events = std::mem::replace(&mut self.events, later);
        let bytes = json::bytes(self);
        self.put_back(aside, events);
        bytes
    }

    /// Puts together what [`RunRecord::head`] took apart: every page of checkpoints, then those of events that are there.
    pub fn fill(&mut self, pages: impl IntoIterator<Item = Contents>) {
        let mut pages = pages.into_iter();
        let (mut aside, mut events) = (BTreeMap::new(), vec![]);
        for (stage, of_stage) in &self.history.checkpoints {
            let checkpoints = pages.by_ref().take(of_stage.len()).flat_map(|page| page.checkpoints).collect();
            aside.insert(stage.clone(), checkpoints);
        }
        pages.for_each(|page| events.extend(page.events));
        self.put_back(aside, events);
    }

    fn put_back(&mut self, checkpoints: BTreeMap<StageName, Vec<Published>>, mut events: Vec<Event>) {
        for (stage, mut before) in checkpoints {
            let published = self.checkpoints.entry(stage).or_default();
            before.append(published);
            *published = before;
        }
        events.append(&mut self.events);
        self.events = take(&mut events);
    }
}

fn turn(folder: &str, version: u64, last: u64, contents: Contents, puts: &mut Vec<Put>) -> Page {
    let entries = contents.checkpoints.len() + contents.events.len();
    let bytes = json::bytes(&contents);
    let digest = Digest::of(&bytes);
    // By its contents too: a stage that went back may fill the same page otherwise.
    let path = paths::page(folder, last, version, &digest);
    let object = ObjectRef { path: path.clone(), bytes: bytes.len() as u64, digest };
    puts.push((path, bytes));
    Page { object, entries, last }
}

#[cfg(test)]
mod tests;
