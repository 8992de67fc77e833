//! The record as bytes, and back.
//!
//! What an attempt has not finished (parts of incomplete checkpoints, ranks that have ended) is keyed by numbers. serde cannot read
//! such maps back from inside of tagged states, so they stand in a list of their own, `unfinished`, which other readers skip.

use osler_core::checkpoint::Part;
use osler_core::job::JobKey;
use osler_core::record::{Attempt, JobState, RankEnd, RunRecord};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Unfinished {
    job: JobKey,
    parts: Vec<Part>,
    ended: Vec<(u32, RankEnd)>,
}

#[derive(Deserialize)]
struct Rest {
    #[serde(default)]
    unfinished: Vec<Unfinished>,
}

/// For people and programs that watch: without what is unfinished.
pub fn public(record: &RunRecord) -> Vec<u8> {
    let mut record = record.clone();
    drop(take(&mut record));
    json(&record)
}

/// For the ledger: everything.
pub fn write(record: &mut RunRecord) -> Vec<u8> {
    let unfinished = take(record);
    let mut bytes = json(record);
    if !unfinished.is_empty() && bytes.pop() == Some(b'}') {
        bytes.extend(b",\"unfinished\":");
        bytes.extend(json(&unfinished));
        bytes.push(b'}');
    }
    put_back(record, unfinished);
    bytes
}

pub fn read(bytes: &[u8]) -> Result<RunRecord, serde_json::Error> {
    let mut record: RunRecord = serde_json::from_slice(bytes)?;
    let rest: Rest = serde_json::from_slice(bytes)?;
    put_back(&mut record, rest.unfinished);
    Ok(record)
}

/// Cannot fail: keys are strings, and every number came out of a document or a checked sum.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn take(record: &mut RunRecord) -> Vec<Unfinished> {
    let mut unfinished = vec![];
    for (key, job) in &mut record.jobs {
        let Some(attempt) = attempt_mut(&mut job.status) else { continue };
        let parts: Vec<Part> = std::mem::take(&mut attempt.parts).into_values().flatten().collect();
        let ended: Vec<(u32, RankEnd)> = std::mem::take(&mut attempt.ended).into_iter().collect();
        if !parts.is_empty() || !ended.is_empty() {
            unfinished.push(Unfinished { job: key.clone(), parts, ended });
        }
    }
    unfinished
}

fn put_back(record: &mut RunRecord, unfinished: Vec<Unfinished>) {
    for Unfinished { job, parts, ended } in unfinished {
        if let Some(attempt) = record.jobs.get_mut(&job).and_then(|job| attempt_mut(&mut job.status)) {
            attempt.ended = ended.into_iter().collect();
            attempt.parts = BTreeMap::new();
            parts.into_iter().for_each(|part| attempt.parts.entry(part.step).or_default().push(part));
        }
    }
}

fn attempt_mut(status: &mut JobState) -> Option<&mut Attempt> {
    match status {
        JobState::Active { attempt } | JobState::Ending { attempt, .. } => Some(attempt),
        _ => None,
    }
}
