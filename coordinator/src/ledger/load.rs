//! Reading the ledger back: the highest version of each run. What cannot be read costs as little as it can: one version if nothing that
//! depends on it was told to anybody, else one run.

use super::{KEPT_VERSIONS, Ledger, LedgerError, numbered};
use crate::document;
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use osler_core::cluster::ClusterRecord;
use osler_core::history::{Contents, EVENTS, Page};
use osler_core::ids::{Generation, RunName};
use osler_core::leftover::Claims;
use osler_core::paths;
use osler_core::record::{Event, EventKind, RunRecord};
use osler_core::removal::Remains;
use osler_core::rest::AtRest;
use osler_core::way_out;
use osler_runtime::store::StoreError;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Records are read side by side: a bucket takes as long for many as for one.
const READ_AT_ONCE: usize = 16;

/// The runs of a store.
#[derive(Debug, Default)]
pub struct Loaded {
    pub runs: Vec<RunRecord>,
    /// Finished ones that nobody touches: a few words of each.
    pub at_rest: BTreeMap<RunName, AtRest>,
    /// Those whose records cannot be read: why, with the way out.
    pub unreadable: BTreeMap<RunName, String>,
    /// Runs that were removed, by the names that they had.
    pub removed: BTreeMap<RunName, Remains>,
    /// Of these, those that have left something.
    pub unswept: BTreeSet<RunName>,
}

/// The objects of one run, as they were listed.
#[derive(Default)]
pub(super) struct Listed {
    pub versions: Vec<u64>,
    pub others: Vec<String>,
}

/// One run, as the store has it.
#[derive(Debug)]
pub enum Found {
    /// `changed`: it is not as it was written, so a version of it is due.
    Whole {
        record: Box<RunRecord>,
        changed: bool,
    },
    AtRest(AtRest),
    /// Why, with the way out.
    Unreadable(String),
    /// No version of it.
    Nothing,
}

impl Listed {
    fn push(&mut self, run: &RunName, path: String) {
        let states = format!("{}/", paths::states(run));
        let version = if path.starts_with(&states) { numbered(&path, |v| paths::state(run, v)) } else { 0 };
        // No record ever has a version beyond these: such an object is foreign.
        match version {
            1..FAR => self.versions.push(version),
            _ => self.others.push(path),
        }
    }
}

impl Ledger {
    /// Every run of the store.
    pub async fn load(&self) -> Result<Loaded, LedgerError> {
        let mut listed: BTreeMap<RunName, Listed> = BTreeMap::new();
        for path in self.store.list(paths::RUNS).await? {
            match paths::run_of(&path) {
                Some(run) => listed.entry(run.clone()).or_default().push(&run, path),
                None => tracing::warn!("{path:?} is ignored: it is no object of Osler's"),
            }
        }
        let mut loaded = Loaded { removed: self.removed().await?, ..Loaded::default() };
        for (run, Listed { versions, others }) in &mut listed {
            let Some(remains) = loaded.removed.get(run) else { continue };
            let all = versions.len() + others.len();
            versions.retain(|version| !remains.has_version(*version));
            others.retain(|path| !remains.holds(path));
            if versions.len() + others.len() < all {
                loaded.unswept.insert(run.clone());
            }
        }
        let read = |(run, listed): (RunName, Listed)| async move { self.read(&run, listed, true).await.map(|found| (run, found)) };
        let mut found = stream::iter(listed).map(read).buffered(READ_AT_ONCE);
        while let Some((run, found)) = found.try_next().await? {
            match found {
                Found::Whole { record, .. } => loaded.runs.push(*record),
                Found::AtRest(at_rest) => drop(loaded.at_rest.insert(run, at_rest)),
                Found::Unreadable(why) => {
                    tracing::error!(%run, "the run is left out: {why}");
                    loaded.unreadable.insert(run, why);
                }
                Found::Nothing => {}
            }
        }
        Ok(loaded)
    }

    /// One run, whole, whether it is at rest or not.
    pub async fn load_run(&self, run: &RunName) -> Result<Found, LedgerError> {
        self.read(run, self.listed(run).await?, false).await
    }

    pub(super) async fn listed(&self, run: &RunName) -> Result<Listed, LedgerError> {
        let mut listed = Listed::default();
        self.store.list(&paths::run(run)).await?.into_iter().for_each(|path| listed.push(run, path));
        Ok(listed)
    }

    /// A run by its objects. Of one at rest, where that is enough, no more than one object is read.
    async fn read(&self, run: &RunName, listed: Listed, may_rest: bool) -> Result<Found, LedgerError> {
        let Listed { versions, others } = listed;
        let Some(newest) = versions.iter().copied().max() else { return Ok(Found::Nothing) };
        let head = self.head(run, newest).await;
        if let Ok(head) = &head
            && let Some(at_rest) = AtRest::of(head).filter(|_| may_rest && unknown_generation(head, &others).is_none())
        {
            return Ok(Found::AtRest(at_rest));
        }
        let (mut record, before) = match self.record_or_before(run, newest, head, &versions, &others).await {
            Ok(found) => found,
            // Whatever is left of it may be needed.
            Err(unreadable @ LedgerError::Unreadable { .. }) => {
                return Ok(Found::Unreadable(way_out::of_run(&unreadable.to_string(), run.as_str())));
            }
            Err(e) => return Err(e),
        };
        let changed = know_generations(&mut record, &others) || before;
        for old in versions.into_iter().filter(|v| v + KEPT_VERSIONS <= newest) {
            self.delete(&paths::state(run, old)).await;
        }
        Ok(Found::Whole { record: Box::new(record), changed })
    }

    /// The newest version, or the one before (`true`) if that cannot be read and nothing in the store follows from it: no attempt that it
    /// began, no checkpoint that it published.
    async fn record_or_before(
        &self,
        run: &RunName,
        newest: u64,
        head: Result<RunRecord, LedgerError>,
        versions: &[u64],
        others: &[String],
    ) -> Result<(RunRecord, bool), LedgerError> {
        let whole = match head {
            Ok(head) => self.fill(head).await,
            Err(error) => Err(error),
        };
        let torn = match whole {
            Err(error @ LedgerError::Unreadable { .. }) => error,
            other => return other.map(|record| (record, false)),
        };
        let before = newest.saturating_sub(1);
        if !versions.contains(&before) {
            return Err(torn);
        }
        let Ok(mut record) = self.record(run, before).await else { return Err(torn) };
        let claims = Claims::of(&record);
        if let Some(after) = others.iter().find(|path| claims.is_beyond(path)) {
            let LedgerError::Unreadable { path, why, way_out } = torn else { return Err(torn) };
            let why = format!("{why}; the version before does not know of {after:?}, so something has followed from it");
            return Err(LedgerError::Unreadable { path, why, way_out });
        }
        let message = format!("{torn}; nothing followed from it, so the run goes on from version {before}");
        tracing::warn!(%run, "{message}");
        tell(&mut record, message);
        record.version = newest; // its name is taken
        Ok((record, true))
    }

    /// The cluster's own record; an empty one where none was written.
    pub async fn load_cluster(&self) -> Result<ClusterRecord, LedgerError> {
        let paths = self.store.list(paths::CLUSTER).await?;
        let newest = paths.iter().map(|path| numbered(path, paths::cluster)).max().unwrap_or(0);
        if newest == 0 {
            return Ok(ClusterRecord::default());
        }
        match self.cluster_record(newest).await {
            // Quotas, drained nodes and strikes: one change of them is lost, and told.
            Err(torn @ LedgerError::Unreadable { .. }) => match self.cluster_record(newest - 1).await {
                Ok(record) => {
                    tracing::error!("{torn}; going on from the version before: look at `osler quota list` and `osler node list`");
                    Ok(ClusterRecord { version: newest, ..record })
                }
                // As if it had been deleted. Better than a cluster that nobody can lead.
                Err(LedgerError::Unreadable { .. }) => {
                    tracing::error!("{torn}; the version before is of no use either, so quotas, drained nodes and strikes are forgotten");
                    Ok(ClusterRecord { version: newest, ..ClusterRecord::default() })
                }
                Err(error) => Err(error),
            },
            other => other,
        }
    }

    async fn cluster_record(&self, version: u64) -> Result<ClusterRecord, LedgerError> {
        let path = paths::cluster(version);
        let unreadable = |why: String| LedgerError::Unreadable { path: path.clone(), why, way_out: way_out::CLUSTER };
        let Some(bytes) = self.object(&path, way_out::CLUSTER).await? else {
            self.check_leadership().await?; // as below
            return Err(unreadable("it vanished".to_owned()));
        };
        self.chains.read(paths::CLUSTER, version, &bytes);
        check_format(&bytes, ClusterRecord::FORMAT).map_err(unreadable)?;
        let record: ClusterRecord = serde_json::from_slice(&bytes).map_err(|e| unreadable(e.to_string()))?;
        if record.version != version {
            return Err(unreadable(format!("it holds version {}", record.version)));
        }
        Ok(record)
    }

    async fn record(&self, run: &RunName, version: u64) -> Result<RunRecord, LedgerError> {
        let head = self.head(run, version).await?;
        self.fill(head).await
    }

    /// Without what is on its pages.
    async fn head(&self, run: &RunName, version: u64) -> Result<RunRecord, LedgerError> {
        let path = paths::state(run, version);
        let unreadable = |why: String| LedgerError::Unreadable { path: path.clone(), why, way_out: way_out::RUN };
        let Some(bytes) = self.object(&path, way_out::RUN).await? else {
            // A newer coordinator wrote so many versions since the listing that this one was cleaned away.
            self.check_leadership().await?;
            return Err(unreadable("it vanished".to_owned()));
        };
        self.chains.read(&paths::states(run), version, &bytes);
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

impl Ledger {
    /// Puts what is on its pages back into a record. Events on a page that is damaged are lost, which is no reason to lose the run.
    async fn fill(&self, mut record: RunRecord) -> Result<RunRecord, LedgerError> {
        let mut pages = vec![];
        for page in record.history.of_checkpoints() {
            pages.push(self.page(page, way_out::PAGE).await?);
        }
        let from = record.next_event.saturating_sub(EVENTS);
        for page in record.history.of_events().filter(|page| page.last >= from) {
            match self.page(page, way_out::EVENTS).await {
                Err(damaged @ LedgerError::Unreadable { .. }) => {
                    tracing::error!(run = %record.name(), "{damaged}; until then its events are not shown");
                }
                found => pages.push(found?),
            }
        }
        record.fill(pages);
        Ok(record)
    }

    /// An object, or none. What is no file is as good as one that cannot be read.
    pub(super) async fn object(&self, path: &str, way_out: &'static str) -> Result<Option<Bytes>, LedgerError> {
        self.store.get(path).await.map_err(|e| match e {
            StoreError::NotAFile { what, .. } => {
                LedgerError::Unreadable { path: path.to_owned(), why: format!("it is {what}, not a file"), way_out }
            }
            other => other.into(),
        })
    }

    async fn page(&self, page: &Page, way_out: &'static str) -> Result<Contents, LedgerError> {
        let unreadable = |why: String| LedgerError::Unreadable { path: page.object.path.clone(), why, way_out };
        let bytes = self.persevere(|| self.store.read(&page.object)).await.map_err(|e| match e {
            StoreError::Missing { .. } | StoreError::Corrupt { .. } => unreadable(e.to_string()),
            other => other.into(),
        })?;
        Contents::read(&bytes).map_err(unreadable)
    }
}

/// Versions and generations that no run ever comes to.
const FAR: u64 = 1 << 48;

/// Of the attempts that these objects are of. Names of corpora and stages may look like generations, too.
pub(super) fn newest_generation<'a>(paths: impl Iterator<Item = &'a str>) -> Option<Generation> {
    paths.filter_map(paths::generation_of).filter(|generation| generation.0 < FAR).max()
}

/// A generation of which the store has objects and the record knows nothing: versions of it are gone that had given some away.
fn unknown_generation(record: &RunRecord, others: &[String]) -> Option<Generation> {
    let manifests = format!("{}/", paths::manifests(record.name()));
    let of_attempts = others.iter().filter(|path| !path.starts_with(&manifests));
    let used = newest_generation(of_attempts.map(String::as_str));
    used.filter(|used| *used >= record.next_generation)
}

/// No generation is used twice. Gives whether the record had to be changed.
fn know_generations(record: &mut RunRecord, others: &[String]) -> bool {
    let Some(used) = unknown_generation(record, others) else { return false };
    let message = format!(
        "the store holds objects of generation {used}: newer versions of the record are missing, and the run goes on from this one"
    );
    tracing::warn!(run = %record.name(), "{message}");
    record.next_generation = Generation(used.0 + 1);
    tell(record, message);
    true
}

fn tell(record: &mut RunRecord, message: String) {
    let (id, at) = (record.next_event, record.events.last().map_or(record.submitted_at, |event| event.at));
    record.events.push(Event { id, at, kind: EventKind::Store, job: None, generation: None, message, reason: None });
    record.next_event += 1;
}

fn check_format(bytes: &[u8], known: u32) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if format == known { Ok(()) } else { Err(format!("format {format}, this version of Osler reads {known}")) }
}
