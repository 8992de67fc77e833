//! What becomes of each record, decided from ids and digests alone.
//!
//! First pass: [`Plan::observe`] sees every record in order. Then [`Plan::decide`] finds the duplicates among those that are still
//! current. Second pass: [`Decided::fate`] is asked for the same documents in the same order.

use super::lines::Record;
use crate::clean::{CleanDocument, Rule};
use crate::error::{Error, Result};
use osler_core::spec::{CorpusFormat, CorpusSpec};
use std::collections::{HashMap, HashSet};

/// `(source_index, ordinal)`: the order in which records count as later.
type Place = (u32, u32);

/// The newest record of a PMID: its version, where it is, and the rule that left only a tombstone of it.
struct Newest {
    version: u32,
    place: Place,
    rule: Option<Rule>,
}

pub(super) struct Plan {
    /// Whether a later record of an id replaces an earlier one: PubMed's rule. Elsewhere ids need not be unique.
    replaces: bool,
    dedup: bool,
    newest: HashMap<u64, Newest>,
    /// Each document in order: its PMID (0 where ids do not matter), place, and half of its text's digest.
    documents: Vec<(u64, Place, u128)>,
}

impl Plan {
    pub(super) fn new(corpus: &CorpusSpec) -> Self {
        Self { replaces: corpus.format == CorpusFormat::PubmedXml, dedup: corpus.rules.dedup, newest: HashMap::new(), documents: vec![] }
    }

    pub(super) fn observe(&mut self, record: &Record) -> Result<()> {
        let (id, version, place, rule) = match record {
            Record::Document(d) => (&d.id, d.version, (d.source_index, d.ordinal), None),
            Record::Tombstone(t) => (&t.id, t.version, (t.source_index, t.ordinal), Some(t.rule)),
        };
        let pmid = if self.replaces { pmid(id)? } else { 0 };
        if self.replaces {
            // The higher version, wherever it stands; of one version the later record.
            let newest = self.newest.entry(pmid).or_insert(Newest { version, place, rule });
            if version >= newest.version {
                *newest = Newest { version, place, rule };
            }
        }
        if let (Record::Document(d), true) = (record, self.dedup) {
            self.documents.push((pmid, place, half(d)));
        }
        Ok(())
    }

    /// Among current documents with one text the earliest stays.
    pub(super) fn decide(self) -> Decided {
        let mut first: HashMap<u128, (Place, bool)> = HashMap::new();
        let mut duplicates = HashSet::new();
        for (pmid, place, text) in self.documents {
            if self.replaces && self.newest.get(&pmid).is_some_and(|n| n.place != place) {
                continue;
            }
            match first.entry(text) {
                std::collections::hash_map::Entry::Vacant(entry) => {
                    entry.insert((place, false));
                }
                std::collections::hash_map::Entry::Occupied(mut entry) => {
                    entry.get_mut().1 = true;
                    duplicates.insert(place);
                }
            }
        }
        let repeated = first.into_iter().filter(|(_, (_, repeated))| *repeated).map(|(text, _)| (text, String::new())).collect();
        Decided { replaces: self.replaces, newest: self.newest, duplicates, repeated }
    }
}

pub(super) enum Fate {
    Stays,
    Goes(Rule, String),
}

pub(super) struct Decided {
    replaces: bool,
    newest: HashMap<u64, Newest>,
    duplicates: HashSet<Place>,
    /// Texts that occur more than once, with the id of the document that stays once it has been seen.
    repeated: HashMap<u128, String>,
}

impl Decided {
    pub(super) fn fate(&mut self, document: &CleanDocument) -> Result<Fate> {
        let place = (document.source_index, document.ordinal);
        let newest = if self.replaces { self.newest.get(&pmid(&document.id)?) } else { None };
        if let Some(newest) = newest.filter(|n| n.place != place) {
            let (source, ordinal) = newest.place;
            return Ok(match newest.rule {
                Some(Rule::Deleted) => Fate::Goes(Rule::Deleted, format!("withdrawn in source {source}")),
                Some(rule) => Fate::Goes(Rule::Superseded, format!("by source {source} record {ordinal}, itself removed: {rule}")),
                None => Fate::Goes(Rule::Superseded, format!("by source {source} record {ordinal}")),
            });
        }
        if self.duplicates.contains(&place) {
            let kept = self.repeated.get(&half(document)).map(String::as_str).unwrap_or_default();
            return Ok(Fate::Goes(Rule::Duplicate, format!("of {kept}")));
        }
        if let Some(kept) = self.repeated.get_mut(&half(document)) {
            kept.clone_from(&document.id);
        }
        Ok(Fate::Stays)
    }
}

/// 128 bits of SHA-256 tell any number of documents apart that a disk can hold.
fn half(document: &CleanDocument) -> u128 {
    let bytes = document.text_digest.as_bytes();
    bytes.iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

fn pmid(id: &str) -> Result<u64> {
    id.parse().map_err(|_| Error::Unusable(format!("the id {id:?} of a cleaned PubMed record is not a PMID")))
}
