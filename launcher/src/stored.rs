//! Reading runs straight from a store, without a coordinator: the newest version of each record, as whoever wrote it last left it.

use crate::client::RunLine;
use crate::failure::{Outcome, failed};
use osler_core::checkpoint::ObjectRef;
use osler_core::history::{Contents, Page};
use osler_core::ids::{Millis, RunName};
use osler_core::paths;
use osler_core::record::{RunRecord, RunState};
use osler_core::removal::Remains;
use osler_core::rest::Line;
use osler_runtime::store::Store;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The names of the runs of a store, sorted.
pub async fn names(store: &Store) -> Outcome<Vec<RunName>> {
    let removed = removed(store, paths::REMOVED).await?;
    let found: BTreeSet<RunName> = store.folders(paths::RUNS).await?.into_iter().filter_map(|name| RunName::new(name).ok()).collect();
    let mut named = vec![];
    for name in found {
        if newest_after(store, &name, removed.get(&name)).await?.is_some() {
            named.push(name);
        }
    }
    Ok(named)
}

/// A run's record; None if the store has no such run. Where the newest version cannot be read the one before is shown: a coordinator
/// decides whether the run can go on from it.
pub async fn record(store: &Store, run: &RunName) -> Outcome<Option<RunRecord>> {
    // The coordinator deletes old versions: what was newest at the listing may be gone at the reading.
    for _ in 0..5 {
        let Some(version) = newest(store, run).await? else { return Ok(None) };
        match read(store, run, version).await {
            Ok(None) => {}
            Ok(Some(record)) if record.state == RunState::Removed => return Ok(None),
            Err(torn) => return read(store, run, version.saturating_sub(1)).await.ok().flatten().map(Some).ok_or(torn),
            found => return found,
        }
    }
    Err(failed(format!("the record of run {run} changes faster than it can be read: try again")))
}

/// The newest version and no other; None if it is being replaced.
pub async fn newest_record(store: &Store, run: &RunName) -> Outcome<Option<RunRecord>> {
    match newest(store, run).await? {
        Some(version) => read(store, run, version).await,
        None => Ok(None),
    }
}

async fn read(store: &Store, run: &RunName, version: u64) -> Outcome<Option<RunRecord>> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let path = paths::state(run, version);
    let Some(bytes) = store.get(&path).await? else { return Ok(None) };
    let broken = |e: serde_json::Error| failed(format!("{path} cannot be read: {e}"));
    let Format { format } = serde_json::from_slice(&bytes).map_err(broken)?;
    if format != RunRecord::FORMAT {
        return Err(failed(format!(
            "{path} has format {format}; this version of osler reads {}: use the one that wrote it",
            RunRecord::FORMAT
        )));
    }
    let mut record: RunRecord = serde_json::from_slice(&bytes).map_err(broken)?;
    let mut pages = vec![];
    for page in record.history.of_checkpoints() {
        pages.push(contents(store, &page.object).await?);
    }
    // As a coordinator does: events on a damaged page are missing, and the run is not.
    for page in record.history.of_events() {
        pages.extend(contents(store, &page.object).await.ok());
    }
    record.fill(pages);
    Ok(Some(record))
}

async fn contents(store: &Store, page: &ObjectRef) -> Outcome<Contents> {
    let bytes = store.read(page).await?;
    Contents::read(&bytes).map_err(|e| failed(format!("{} cannot be read: {e}", page.path)))
}

/// Puts the events before those that a coordinator has in memory into a record that came from it.
pub async fn add_older_events(store: &Store, record: &mut RunRecord) -> Outcome {
    let first = record.events.first().map_or(record.next_event, |event| event.id);
    let mut older = vec![];
    let before = |page: &&Page| page.last < first;
    for page in record.history.of_events().filter(before) {
        older.extend(contents(store, &page.object).await?.into_events());
    }
    older.append(&mut record.events);
    record.events = older;
    Ok(())
}

pub async fn newest(store: &Store, run: &RunName) -> Outcome<Option<u64>> {
    let removed = removed(store, &paths::removals(run)).await?;
    newest_after(store, run, removed.get(run)).await
}

/// What an earlier run of that name left is nobody's.
async fn newest_after(store: &Store, run: &RunName, removed: Option<&Remains>) -> Outcome<Option<u64>> {
    let versions = store.list(&paths::states(run)).await?;
    let left = |version: &u64| removed.is_none_or(|removed| !removed.has_version(*version));
    Ok(versions.iter().filter_map(|path| paths::numbered(path, |version| paths::state(run, version))).filter(left).max())
}

/// Of the runs that were removed, the last of each name.
pub async fn removed(store: &Store, below: &str) -> Outcome<BTreeMap<RunName, Remains>> {
    let mut notes: Vec<Remains> = store.list(below).await?.iter().filter_map(|path| Remains::of_note(path)).collect();
    notes.sort_by_key(|note| note.version);
    Ok(notes.into_iter().map(|note| (note.run.clone(), note)).collect())
}

/// All runs, as a coordinator would list them.
pub async fn lines(store: &Store) -> Outcome<Vec<RunLine>> {
    let mut lines = vec![];
    for name in names(store).await? {
        let record = match record(store, &name).await {
            Ok(Some(record)) => record,
            Ok(None) => continue,
            Err(failure) => {
                lines.push(unreadable(&name, failure.message()));
                continue;
            }
        };
        let Line { stage, step, planned_steps } = record.line(|_| 0);
        lines.push(RunLine {
            run: name.to_string(),
            state: record.state.to_string(),
            reason: record.beside_state().unwrap_or_default(),
            stage: stage.map(|name| name.to_string()).unwrap_or_default(),
            step,
            planned_steps,
            submitted_at: record.submitted_at,
        });
    }
    Ok(lines)
}

/// One record that cannot be read hides one run.
fn unreadable(run: &RunName, why: &str) -> RunLine {
    let (stage, step, planned_steps) = (String::new(), 0, 0);
    RunLine {
        run: run.to_string(),
        state: "unreadable".to_owned(),
        reason: why.to_owned(),
        stage,
        step,
        planned_steps,
        submitted_at: Millis(0),
    }
}
