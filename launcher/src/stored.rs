//! Reading runs straight from a store, without a coordinator: the newest version of each record, as whoever wrote it last left it.

use crate::client::RunLine;
use crate::failure::{Outcome, failed};
use osler_core::checkpoint::ObjectRef;
use osler_core::history::Contents;
use osler_core::ids::{Millis, RunName};
use osler_core::paths;
use osler_core::record::{RunRecord, RunState};
use osler_core::removal::Remains;
use osler_core::rest::Line;
use osler_core::way_out;
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
    let broken = |e: serde_json::Error| failed(format!("{path} cannot be read: {e}")).hint(way_out::of_run(way_out::RUN, run.as_str()));
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
        let found = contents(store, &page.object).await;
        pages.push(found.map_err(|damaged| damaged.hint(way_out::of_run(way_out::PAGE, run.as_str())))?);
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

/// Puts the events before those that a coordinator has in memory into a record that came from it. Those on a damaged page are missing, see
/// [`lost_events`].
pub async fn add_older_events(store: &Store, record: &mut RunRecord) {
    let first = record.events.first().map_or(record.next_event, |event| event.id);
    let (mut older, mut from) = (vec![], 1);
    for page in record.history.of_events() {
        if from < first
            && let Ok(found) = contents(store, &page.object).await
        {
            older.extend(found.into_events().into_iter().filter(|event| event.id < first));
        }
        from = page.last.saturating_add(1);
    }
    older.append(&mut record.events);
    record.events = older;
}

/// The objects of the pages whose events a record lacks: damaged ones, once all pages have been read.
pub fn lost_events(record: &RunRecord) -> Vec<&str> {
    let before = |id: u64| record.events.partition_point(|event| event.id < id);
    let (mut lost, mut from) = (vec![], 1);
    for page in record.history.of_events() {
        if before(page.last.saturating_add(1)).saturating_sub(before(from)) < page.entries {
            lost.push(page.object.path.as_str());
        }
        from = page.last.saturating_add(1);
    }
    lost
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
                lines.push(unreadable(&name, failure.to_string()));
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
fn unreadable(run: &RunName, reason: String) -> RunLine {
    let (stage, step, planned_steps) = (String::new(), 0, 0);
    RunLine { run: run.to_string(), state: RunLine::UNREADABLE.to_owned(), reason, stage, step, planned_steps, submitted_at: Millis(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use osler_core::history::PageSize;

    /// The finished run of the fixture with two pages of events and one of checkpoints, as it lies in the store.
    async fn paged(folder: &tempfile::TempDir) -> (Store, RunRecord) {
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let (mut record, _) = fixture::finished();
        let event = record.events[0].clone();
        record.events = (1..=5).map(|id| osler_core::record::Event { id, ..event.clone() }).collect();
        record.next_event = 6;
        for (path, bytes) in record.turn_pages(PageSize { checkpoints: 1, events: 2 }) {
            store.put(&path, bytes.into()).await.unwrap();
        }
        store.put(&paths::state(record.name(), record.version), record.head().into()).await.unwrap();
        (store, record)
    }

    fn ids(record: &RunRecord) -> Vec<u64> {
        record.events.iter().map(|event| event.id).collect()
    }

    #[tokio::test]
    async fn a_damaged_page_of_events_costs_its_events_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (store, whole) = paged(&folder).await;
        let run = whole.name().clone();
        // As a coordinator sends it that has the newest events in memory, from the middle of a page on.
        let mut sent = RunRecord { events: whole.events[3..].to_vec(), ..whole.clone() };
        add_older_events(&store, &mut sent).await;
        assert_eq!((ids(&sent), lost_events(&sent)), (vec![1, 2, 3, 4, 5], vec![]));

        let first = whole.history.events[0].object.path.clone();
        store.delete(&first).await.unwrap();
        let mut stored = record(&store, &run).await.unwrap().unwrap();
        assert_eq!((ids(&stored), lost_events(&stored)), (vec![3, 4, 5], vec![first.as_str()]));
        add_older_events(&store, &mut stored).await;
        assert_eq!((ids(&stored), lost_events(&stored)), (vec![3, 4, 5], vec![first.as_str()]));
    }

    #[tokio::test]
    async fn what_cannot_be_read_comes_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let (store, whole) = paged(&folder).await;
        let run = whole.name().clone();
        let page = whole.history.of_checkpoints().next().unwrap().object.path.clone();
        store.put(&page, "{".into()).await.unwrap();
        let failure = record(&store, &run).await.unwrap_err();
        assert!(failure.message().contains(&page) && failure.hint_text().unwrap().contains("`osler rm tiny`"), "{failure}");

        store.put(&paths::state(&run, whole.version), "".into()).await.unwrap();
        let failure = record(&store, &run).await.unwrap_err();
        for part in ["0000000040.json cannot be read", "restore it from a copy", "`osler rm tiny` removes the run"] {
            assert!(failure.to_string().contains(part), "{part} is missing from {failure}");
        }
        let lines = lines(&store).await.unwrap();
        assert_eq!(lines[0].state, RunLine::UNREADABLE);
        assert!(lines[0].reason.contains("`osler rm tiny`"), "{}", lines[0].reason);
    }
}
