//! Runs that were removed: a note each, beside the runs, so that a sweep that was cut off is gone on with, and a later run of the same name
//! takes nothing for its own that was the other's.

use super::{Ledger, LedgerError};
use bytes::Bytes;
use osler_core::ids::RunName;
use osler_core::paths;
use osler_core::removal::Remains;
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
