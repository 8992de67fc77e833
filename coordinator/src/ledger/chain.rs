//! Seals what the ledger writes: each version names the digest of the one before, and is signed where there is a key.

use super::Ledger;
use osler_core::digest::Digest;
use osler_core::seal::{Seal, Sealed, sealed};
use osler_runtime::sign::SigningKey;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The newest version of each record that this coordinator has read or written, by the folder of its versions.
#[derive(Debug, Clone, Default)]
pub(super) struct Chains(Arc<Mutex<BTreeMap<String, (u64, Digest)>>>);

impl Chains {
    /// It stands in the store as the newest.
    fn wrote(&self, folder: &str, version: u64, bytes: &[u8]) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.insert(folder.to_owned(), (version, Digest::of(bytes)));
    }

    /// It stands in the store, whether it can be understood or not.
    pub fn read(&self, folder: &str, version: u64, bytes: &[u8]) {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if newest.get(folder).is_none_or(|(known, _)| *known <= version) {
            newest.insert(folder.to_owned(), (version, Digest::of(bytes)));
        }
    }

    fn before(&self, folder: &str, version: u64) -> Option<Digest> {
        let newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(folder).filter(|(known, _)| known + 1 == version).map(|(_, digest)| *digest)
    }
}

impl Ledger {
    /// As it is, with a key that signs what it writes.
    pub fn signing(self, key: Option<Arc<SigningKey>>) -> Self {
        Self { key, ..self }
    }

    /// The version of a record as it is to be written below `folder`.
    pub(super) fn seal_version(&self, folder: &str, version: u64, path: &str, document: &[u8]) -> Vec<u8> {
        self.seal(path, document, self.chains.before(folder, version))
    }

    pub(super) fn wrote_version(&self, folder: &str, version: u64, bytes: &[u8]) {
        self.chains.wrote(folder, version, bytes);
    }

    pub(super) fn seal(&self, path: &str, document: &[u8], before: Option<Digest>) -> Vec<u8> {
        let signature = self.key.as_ref().map(|key| key.sign(&Sealed::message(path, document, before.as_ref())));
        sealed(document, &Seal { before, signature })
    }
}
