//! Runs that were removed: a note each, beside the runs, so that a sweep that was cut off is gone on with, and a later run of the same name
//! takes nothing for its own that was the other's.

use super::load::newest_generation;
use super::{Ledger, LedgerError};
use bytes::Bytes;
use osler_core::ids::{Generation, RunName};
use osler_core::paths;
use osler_core::removal::Remains;
use osler_runtime::store::StoreError;
use std::collections::BTreeMap;

impl Ledger {
    /// Notes that a run is removed. Its last version, which says so, is durable and ours: the note only repeats it.
    pub async fn note_removed(&self, remains: &Remains) -> Result<(), LedgerError> {
        // The same note of somebody else says the same.
        let _taken = self.create(&remains.note(), Bytes::from_static(b"{}")).await?;
        Ok(())
    }

    /// What was removed, by name; of runs of one name the last.
    pub async fn removed(&self) -> Result<BTreeMap<RunName, Remains>, LedgerError> {
        let mut newest: BTreeMap<RunName, Remains> = BTreeMap::new();
        for path in self.store.list(paths::REMOVED).await? {
            match Remains::of_note(&path) {
                Some(found) if newest.get(&found.run).is_none_or(|known| known.version < found.version) => {
                    newest.insert(found.run.clone(), found);
                }
                Some(_) => {}
                None => tracing::warn!("{path:?} is ignored: it is no object of Osler's"),
            }
        }
        Ok(newest)
    }
}

/// More generations than a run has given away without an object of them in the store.
const UNSEEN: u64 = 1_000;

impl Ledger {
    /// Gives up a run whose record cannot be read: takes the name of its next version, so that nobody else goes on with it, and notes it as
    /// removed. By its objects' names alone: how far it came is what they say.
    pub async fn give_up(&self, run: &RunName) -> Result<Remains, LedgerError> {
        self.check_leadership().await?;
        let listed = self.listed(run).await?;
        let version = listed.versions.iter().max().map_or(1, |newest| newest + 1);
        // A process may run that has written nothing yet.
        let used = newest_generation(listed.others.iter().map(String::as_str)).map_or(0, |used| used.0);
        let next_generation = Generation(used + UNSEEN);
        let version = self.take_version(run, version).await?;
        self.check_leadership().await?;
        let remains = Remains { run: run.clone(), version, next_generation };
        self.note_removed(&remains).await?;
        Ok(remains)
    }

    /// Takes the name of a version, or of a later one where something that is no file has it.
    async fn take_version(&self, run: &RunName, mut version: u64) -> Result<u64, LedgerError> {
        loop {
            match self.create(&paths::state(run, version), Bytes::from_static(b"{}")).await {
                Ok(Ok(())) => return Ok(version),
                Ok(Err(taken)) => return Err(self.fenced(format!("it wrote {taken}"))),
                Err(LedgerError::Store(StoreError::NotAFile { .. })) => version += 1,
                Err(error) => return Err(error),
            }
        }
    }
}
