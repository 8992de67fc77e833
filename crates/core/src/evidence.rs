//! Whether what a store holds is what coordinators wrote, one version after the other: found from the objects alone.
//!
//! Without a key this finds what was changed or taken out by somebody who did not write everything after it anew; with the public key of
//! the coordinators, that too. What it cannot find: that the newest versions were taken away, all of them, together with what follows from them.

use crate::access::LogEntry;
use crate::digest::Digest;
use crate::ids::Epoch;
use crate::record::RunState;
use crate::seal::{Sealed, Signature};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Whether a signature of a message is by the expected key.
pub type Verify<'a> = &'a dyn Fn(&[u8], &Signature) -> bool;

/// An object that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub path: String,
    pub why: String,
}

/// The objects that were looked at, and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Evidence {
    pub objects: usize,
    /// Of those, how many name the one before them.
    pub chained: usize,
    /// Of those, how many bear a signature; it was verified only where a key was given.
    pub signed: usize,
    pub findings: Vec<Finding>,
}

impl Evidence {
    pub fn is_whole(&self) -> bool {
        self.findings.is_empty()
    }

    pub fn add(&mut self, other: Self) {
        let Self { objects, chained, signed, findings } = other;
        self.objects += objects;
        self.chained += chained;
        self.signed += signed;
        self.findings.extend(findings);
    }

    fn find(&mut self, path: &str, why: impl Into<String>) {
        self.findings.push(Finding { path: path.to_owned(), why: why.into() });
    }

    fn signature(&mut self, path: &str, sealed: &Sealed, verify: Option<Verify>) {
        let (before, signature) = match &sealed.seal {
            Some(seal) => (seal.before.as_ref(), seal.signature.as_ref()),
            None => (None, None),
        };
        self.signed += usize::from(signature.is_some());
        match (verify, signature) {
            (None, _) => {}
            (Some(_), None) => self.find(path, "it is not signed"),
            (Some(verify), Some(signature)) => {
                if !verify(&Sealed::message(path, &sealed.document, before), signature) {
                    self.find(path, "its signature is not by this key, or it was changed since");
                }
            }
        }
    }
}

/// Versions of one record: number, path and bytes of each that the store holds, ascending.
pub fn of_versions(versions: &[(u64, String, Vec<u8>)], verify: Option<Verify>) -> Evidence {
    let mut evidence = Evidence { objects: versions.len(), ..Evidence::default() };
    let mut before: Option<(u64, Digest, bool)> = None;
    let mut removed = false;
    for (number, path, bytes) in versions {
        let sealed = Sealed::open(bytes);
        let named = sealed.seal.as_ref().and_then(|seal| seal.before);
        evidence.chained += usize::from(named.is_some());
        match (before, named) {
            (Some((last, ..)), _) if last + 1 < *number => {
                evidence.find(path, format!("the versions between {last} and {number} are missing"));
            }
            (Some((last, digest, _)), Some(named)) if named != digest => {
                let why = format!("it follows a version {last} with sha256 {}, and the one here has {}", named.short(), digest.short());
                evidence.find(path, why);
            }
            // Once sealed, always sealed; but a run may have the name of one that was removed.
            (Some((last, _, true)), None) if !removed => evidence.find(path, format!("it does not name version {last} before it")),
            _ => {}
        }
        evidence.signature(path, &sealed, verify);
        before = Some((*number, Digest::of(bytes), sealed.seal.is_some()));
        removed = is_of_removed_run(&sealed.document);
    }
    evidence
}

/// Whether it is the last version of a run that was removed.
fn is_of_removed_run(document: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Version {
        state: RunState,
    }
    serde_json::from_slice(document).is_ok_and(|version: Version| version.state == RunState::Removed)
}

/// The log of calls: path and bytes of each entry, by epoch and number.
pub fn of_log(entries: &BTreeMap<(Epoch, u64), (String, Vec<u8>)>, verify: Option<Verify>) -> Evidence {
    let mut evidence = Evidence { objects: entries.len(), ..Evidence::default() };
    let mut links: BTreeMap<(Epoch, u64), (Digest, Digest)> = BTreeMap::new();
    let mut outcomes: BTreeMap<(Epoch, u64), Digest> = BTreeMap::new();
    let mut chained = None;
    for (key, (path, bytes)) in entries {
        let sealed = Sealed::open(bytes);
        evidence.signature(path, &sealed, verify);
        let Ok(entry) = serde_json::from_slice::<LogEntry>(&sealed.document) else {
            evidence.find(path, "it is no entry of the log of calls");
            continue;
        };
        match &entry.follows {
            None if chained.is_some() => evidence.find(path, "it does not name the entry before it"),
            None => {}
            Some(follows) => {
                evidence.chained += 1;
                chained = Some(*key);
                match links.get(&(follows.epoch, follows.number)) {
                    Some((link, _)) if *link == follows.link => {}
                    Some(_) => {
                        evidence.find(&entries[&(follows.epoch, follows.number)].0, "it was changed: the entry after it names another")
                    }
                    None => evidence.find(path, format!("the entry before it, {}/{}, is missing", follows.epoch, follows.number)),
                }
            }
        }
        outcomes.extend(entry.ended.iter().map(|ended| ((key.0, ended.number), ended.outcome)));
        links.insert(*key, (entry.link(), Digest::of(entry.outcome.as_bytes())));
    }
    for (key, outcome) in outcomes {
        if links.get(&key).is_some_and(|(_, found)| *found != outcome) {
            evidence.find(&entries[&key].0, "how the call went was changed: a later entry names another outcome");
        }
    }
    evidence
}

#[cfg(test)]
mod tests;
