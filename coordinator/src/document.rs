//! The record as bytes, and back.

use osler_core::cluster::ClusterRecord;
use osler_core::job::JobKey;
use osler_core::json;
use osler_core::record::{JobState, RunRecord};

/// For people and programs that watch: without the ledgers of checkpoints that are still incomplete, which can be long.
pub fn public(record: &RunRecord) -> Vec<u8> {
    let unfinished = |status: &JobState| status.attempt().is_some_and(|a| !a.parts.is_empty());
    let long: Vec<JobKey> = record.jobs.iter().filter(|(_, job)| unfinished(&job.status)).map(|(key, _)| key.clone()).collect();
    if long.is_empty() {
        return write(record);
    }
    let mut record = record.clone();
    for key in long {
        let status = record.jobs.get_mut(&key).map(|job| &mut job.status);
        if let Some(JobState::Active { attempt } | JobState::Ending { attempt, .. }) = status {
            attempt.parts.clear();
        }
    }
    write(&record)
}

/// For the ledger: everything.
pub fn write(record: &RunRecord) -> Vec<u8> {
    json::bytes(record)
}

/// As [`write`].
pub fn write_cluster(record: &ClusterRecord) -> Vec<u8> {
    json::bytes(record)
}

pub fn read(bytes: &[u8]) -> Result<RunRecord, serde_json::Error> {
    serde_json::from_slice(bytes)
}
