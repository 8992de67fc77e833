//! Reading the ledger back: the highest version of each run, or an error that names the file.

use super::{KEPT_VERSIONS, Ledger, LedgerError};
use crate::document;
use osler_core::cluster::ClusterRecord;
use osler_core::ids::RunName;
use osler_core::paths;
use osler_core::record::RunRecord;
use serde::Deserialize;
use std::collections::BTreeMap;

impl Ledger {
    /// Every run of the store.
    pub async fn load(&self) -> Result<Vec<RunRecord>, LedgerError> {
        let mut versions: BTreeMap<RunName, Vec<u64>> = BTreeMap::new();
        for path in self.store.list(paths::RUNS).await? {
            if let Some((run, version)) = version_of(&path)? {
                versions.entry(run).or_default().push(version);
            }
        }
        let mut runs = vec![];
        for (run, versions) in versions {
            let newest = versions.iter().copied().max().unwrap_or(0);
            let record = self.record(&run, newest).await?;
            for old in versions.into_iter().filter(|v| v + KEPT_VERSIONS <= newest) {
                self.delete(&paths::state(&run, old)).await;
            }
            runs.push(record);
        }
        Ok(runs)
    }

    /// The cluster's own record; an empty one where none was written.
    pub async fn load_cluster(&self) -> Result<ClusterRecord, LedgerError> {
        let mut newest = 0;
        for path in self.store.list(paths::CLUSTER).await? {
            let version = paths::number_of(&path).filter(|v| paths::cluster(*v) == path);
            newest = newest.max(version.ok_or(LedgerError::Foreign { path })?);
        }
        if newest == 0 {
            return Ok(ClusterRecord::default());
        }
        let path = paths::cluster(newest);
        let unreadable = |why: String| LedgerError::Unreadable { path: path.clone(), why };
        let Some(bytes) = self.store.get(&path).await? else {
            self.check_reign().await?; // as below
            return Err(unreadable("it vanished".to_owned()));
        };
        check_format(&bytes, ClusterRecord::FORMAT).map_err(unreadable)?;
        let record: ClusterRecord = serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
        if record.version != newest {
            return Err(unreadable(format!("it holds version {}", record.version)));
        }
        Ok(record)
    }

    async fn record(&self, run: &RunName, version: u64) -> Result<RunRecord, LedgerError> {
        let path = paths::state(run, version);
        let unreadable = |why: String| LedgerError::Unreadable { path: path.clone(), why };
        let Some(bytes) = self.store.get(&path).await? else {
            // A newer coordinator wrote so many versions since the listing that this one was cleaned away.
            self.check_reign().await?;
            return Err(unreadable("it vanished".to_owned()));
        };
        check_format(&bytes, RunRecord::FORMAT).map_err(unreadable)?;
        let record = document::read(&bytes).map_err(|e| unreadable(e.to_string()))?;
        if record.version != version || record.name() != run {
            return Err(unreadable(format!("it holds version {} of run {}", record.version, record.name())));
        }
        if record.epoch > self.epoch() {
            return Err(self.fenced(format!("epoch {} wrote {path}", record.epoch))); // else we would write after it
        }
        Ok(record)
    }
}

fn check_format(bytes: &[u8], known: u32) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if format == known { Ok(()) } else { Err(format!("format {format}, this version of Osler reads {known}")) }
}

/// The run and version of a state object; none for other objects of runs.
fn version_of(path: &str) -> Result<Option<(RunName, u64)>, LedgerError> {
    let foreign = || LedgerError::Foreign { path: path.to_owned() };
    let below = path.strip_prefix(paths::RUNS).and_then(|rest| rest.strip_prefix('/'));
    let Some((run, rest)) = below.and_then(|below| below.split_once('/')) else { return Err(foreign()) };
    if !rest.starts_with("state/") {
        return Ok(None);
    }
    let run = RunName::new(run).map_err(|_| foreign())?;
    let version = paths::number_of(path).filter(|v| paths::state(&run, *v) == path).ok_or_else(foreign)?;
    Ok(Some((run, version)))
}
