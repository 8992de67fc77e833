//! Durable state: one immutable object per version of a run's record, created once, by the newest coordinator only.
//!
//! A coordinator takes the next epoch when it starts and then writes a version of every run, so the next version that an older one
//! tries to create is taken: it finds that it is fenced and ends. Readers start from the highest version; nothing is chosen by time.

mod access;
mod chain;
mod load;
mod removed;

pub use load::{Found, Loaded};

use bytes::Bytes;
use chain::Chains;
use osler_core::ids::{Epoch, Millis, RunName};
use osler_core::json;
use osler_core::paths;
use osler_runtime::lease;
use osler_runtime::sign::SigningKey;
use osler_runtime::store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Versions of a record that are kept, for people who ask what happened.
const KEPT_VERSIONS: u64 = 20;
/// A store that fails so often in a row is given up.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(100);

#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another coordinator has taken over this store ({what}, ours is epoch {epoch}): this one ends; there may be only one")]
    Fenced { epoch: Epoch, what: String },
    #[error("{path:?} cannot be read: {why}; {way_out}")]
    Unreadable { path: String, why: String, way_out: &'static str },
}

/// Who led since when; contents of an epoch's object.
#[derive(Debug, Serialize, Deserialize)]
struct Leadership {
    epoch: Epoch,
    since: Millis,
}

/// The right to write under one epoch, for as long as no higher one exists. Clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    store: Store,
    epoch: Epoch,
    chains: Chains,
    key: Option<Arc<SigningKey>>,
}

impl Ledger {
    /// Begins the next leadership of the store.
    pub async fn open(store: Store, now: Millis) -> Result<Self, LedgerError> {
        loop {
            let newest = lease::newest_epoch(&store).await?;
            // Somebody else may start at the same time: then take the one after.
            if let Some(ledger) = Self::succeed(store.clone(), newest, now).await? {
                return Ok(ledger);
            }
        }
    }

    /// Starts the leadership right after `before`. None: somebody else was first.
    pub async fn succeed(store: Store, before: Epoch, now: Millis) -> Result<Option<Self>, LedgerError> {
        let epoch = Epoch(before.0 + 1);
        let leadership = json::bytes(&Leadership { epoch, since: now });
        match store.create(&paths::epoch(epoch), leadership.into()).await {
            Ok(()) => Ok(Some(Self { store, epoch, chains: Chains::default(), key: None })),
            Err(StoreError::AlreadyExists(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether this coordinator still is the newest. Epochs have no gaps, so the next one's object tells.
    pub async fn check_leadership(&self) -> Result<(), LedgerError> {
        let next = Epoch(self.epoch.0 + 1);
        match self.store.get(&paths::epoch(next)).await {
            // A folder or a pipe of that name is nobody's beginning.
            Ok(None) | Err(StoreError::NotAFile { .. }) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(Some(_)) => Err(self.fenced(format!("epoch {next} has begun"))),
        }
    }

    /// Creates the next version of a run's record.
    pub async fn write(&self, run: &RunName, version: u64, bytes: Bytes) -> Result<(), LedgerError> {
        self.write_version(&paths::states(run), version, bytes, |version| paths::state(run, version)).await
    }

    /// Creates the next version of the cluster's own record.
    pub async fn write_cluster(&self, version: u64, bytes: Bytes) -> Result<(), LedgerError> {
        self.write_version(paths::CLUSTER, version, bytes, paths::cluster).await
    }

    /// Creates a version of a record below `folder`, sealed, and deletes the one that is kept no longer.
    async fn write_version(&self, folder: &str, version: u64, document: Bytes, name: impl Fn(u64) -> String) -> Result<(), LedgerError> {
        let path = name(version);
        let bytes = Bytes::from(self.seal_version(folder, version, &path, &document));
        if let Err(taken) = self.create(&path, bytes.clone()).await? {
            return Err(self.fenced(format!("it wrote {taken}")));
        }
        self.wrote_version(folder, version, &bytes);
        if let Some(old) = version.checked_sub(KEPT_VERSIONS).filter(|old| *old > 0) {
            self.delete(&name(old)).await;
        }
        Ok(())
    }

    /// Writes an object that a later version of a record will name.
    ///
    /// A coordinator that died between the object and the record leaves the object behind; the leading one replaces it. An older one
    /// finds here that it does not lead any more, so it cannot replace what the record of another names.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), LedgerError> {
        if self.create(path, bytes.clone()).await?.is_err() {
            self.check_leadership().await?;
            self.persevere(|| self.store.put(path, bytes.clone())).await?;
        }
        Ok(())
    }

    /// Deletes what nothing names any more. A failure costs space, not truth, so it is logged and forgotten.
    pub async fn delete(&self, path: &str) {
        if let Err(error) = self.store.delete(path).await {
            tracing::warn!(%error, "delete old object");
        }
    }

    /// Creates an object, also if an earlier try succeeded without our hearing of it. `Err` gives the path that somebody else took.
    async fn create(&self, path: &str, bytes: Bytes) -> Result<Result<(), String>, LedgerError> {
        let created = self.persevere(|| self.store.create(path, bytes.clone())).await;
        match created {
            Ok(()) => Ok(Ok(())),
            Err(StoreError::AlreadyExists(path)) => {
                let ours = self.persevere(|| self.store.get(&path)).await?.is_some_and(|found| found == bytes);
                Ok(if ours { Ok(()) } else { Err(path) })
            }
            Err(e) => Err(e.into()),
        }
    }

    /// Repeats a call that failed for a reason that may pass.
    async fn persevere<T, F: Future<Output = Result<T, StoreError>>>(&self, call: impl Fn() -> F) -> Result<T, StoreError> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            match call().await {
                Err(error @ (StoreError::Io { .. } | StoreError::Backend { .. })) => {
                    tracing::warn!(%error, "store failed; trying again in {} ms", wait.as_millis());
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                other => return other,
            }
        }
        call().await
    }

    fn fenced(&self, what: String) -> LedgerError {
        LedgerError::Fenced { epoch: self.epoch, what }
    }
}

/// The number of an object of the ledger; 0 for what somebody else left in its folder, which is ignored: file systems and their users do.
fn numbered(path: &str, name: impl Fn(u64) -> String) -> u64 {
    let number = paths::numbered(path, name);
    if number.is_none() {
        tracing::warn!("{path:?} is ignored: it is no object of Osler's");
    }
    number.unwrap_or(0)
}

#[cfg(test)]
mod tests;
