//! Reads a store's records, book of tokens and log of calls for [`osler_core::evidence`].

use crate::failure::{Outcome, usage};
use crate::stored;
use osler_core::evidence::{Evidence, of_log, of_versions};
use osler_core::ids::{Epoch, RunName};
use osler_core::paths;
use osler_runtime::sign::PublicKey;
use osler_runtime::store::Store;
use std::collections::BTreeMap;
use std::path::Path;

/// The epoch and the number of an entry of the log of calls, by its name; none: it is no entry's.
pub fn entry(path: &str) -> Option<(Epoch, u64)> {
    let epoch = path.split('/').nth_back(1)?.parse().ok().map(Epoch)?;
    Some((epoch, paths::numbered(path, |number| paths::audit(epoch, number))?))
}

/// What is looked at, and by which key it should be signed.
pub struct Examiner<'a> {
    pub store: &'a Store,
    key: Option<PublicKey>,
}

impl<'a> Examiner<'a> {
    pub fn new(store: &'a Store, key: Option<&Path>) -> Outcome<Self> {
        let key = key.map(PublicKey::load).transpose().map_err(|e| usage(e.to_string()))?;
        Ok(Self { store, key })
    }

    pub async fn run(&self, run: &RunName) -> Outcome<Evidence> {
        self.versions(&paths::states(run), |version| paths::state(run, version)).await
    }

    /// Every run, the cluster's record, the book of tokens and the log of calls. What a coordinator was writing at one look is there at the
    /// next, so only what both find counts.
    pub async fn all(&self) -> Outcome<Evidence> {
        let first = self.look().await?;
        if first.is_whole() {
            return Ok(first);
        }
        let mut second = self.look().await?;
        second.findings.retain(|finding| first.findings.contains(finding));
        Ok(second)
    }

    async fn look(&self) -> Outcome<Evidence> {
        let mut evidence = self.versions(paths::CLUSTER, paths::cluster).await?;
        evidence.add(self.versions(paths::TOKENS, paths::tokens).await?);
        evidence.add(self.log().await?);
        for run in stored::names(self.store).await? {
            evidence.add(self.run(&run).await?);
        }
        Ok(evidence)
    }

    async fn versions(&self, folder: &str, name: impl Fn(u64) -> String) -> Outcome<Evidence> {
        let mut versions = vec![];
        for path in self.store.list(folder).await? {
            let Some(number) = paths::numbered(&path, &name) else { continue };
            // The oldest ones go while a coordinator works; one that is gone from between is found by its neighbours.
            if let Some(bytes) = self.store.get(&path).await? {
                versions.push((number, path, bytes.to_vec()));
            }
        }
        versions.sort_by_key(|(number, ..)| *number);
        Ok(of_versions(&versions, self.verify().as_deref()))
    }

    async fn log(&self) -> Outcome<Evidence> {
        let mut entries = BTreeMap::new();
        for path in self.store.list(paths::AUDIT).await? {
            if let Some(entry) = entry(&path)
                && let Some(bytes) = self.store.get(&path).await?
            {
                entries.insert(entry, (path, bytes.to_vec()));
            }
        }
        Ok(of_log(&entries, self.verify().as_deref()))
    }

    #[allow(clippy::type_complexity)] // the contract of `Verify`, boxed
    fn verify(&self) -> Option<Box<dyn Fn(&[u8], &osler_core::seal::Signature) -> bool + '_>> {
        let key = self.key.as_ref()?;
        Some(Box::new(|message, signature| key.verify(message, signature)))
    }
}
