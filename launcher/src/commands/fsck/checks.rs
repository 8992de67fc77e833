//! What is looked at: the cluster's own records, each run's record and objects, and names that are nobody's.

use super::objects;
use super::{Check, Finding, Kind, Mend};
use crate::evidence::entry;
use crate::failure::Outcome;
use crate::stored;
use osler_core::access::{LogEntry, TokenBook};
use osler_core::cluster::ClusterRecord;
use osler_core::ids::{Epoch, Generation, RunName};
use osler_core::leftover::Claims;
use osler_core::paths;
use osler_core::record::{RunRecord, RunState};
use osler_core::removal::Remains;
use osler_core::seal::Sealed;
use osler_runtime::store::{Store, StoreError};
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// Every run of which the store holds anything.
pub(super) async fn runs(store: &Store) -> Outcome<Vec<RunName>> {
    Ok(store.folders(paths::RUNS).await?.into_iter().filter_map(|name| RunName::new(name).ok()).collect())
}

pub(super) async fn whole_store(store: &Store, quick: bool, led: bool, check: &mut Check) -> Outcome {
    cluster_record(store, check).await?;
    tokens(store, check).await?;
    if !quick {
        call_log(store, check).await?;
    }
    foreign_names(store, led, check).await
}

async fn newest(store: &Store, folder: &str, name: fn(u64) -> String) -> Outcome<u64> {
    let found = store.list(folder).await?;
    Ok(found.iter().filter_map(|path| paths::numbered(path, name)).max().unwrap_or(0))
}

/// What is wrong with a document.
async fn unreadable<T: DeserializeOwned>(store: &Store, path: &str, fits: impl Fn(&T) -> bool) -> Outcome<Option<String>> {
    let bytes = match store.get(path).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Some("is missing".to_owned())),
        Err(StoreError::NotAFile { what, .. }) => return Ok(Some(format!("is {what}, not a file"))),
        Err(error) => return Err(error.into()),
    };
    Ok(match serde_json::from_slice::<T>(&Sealed::open(&bytes).document) {
        Err(error) => Some(format!("cannot be read: {error}")),
        Ok(document) if !fits(&document) => Some("holds another version, or is in another form".to_owned()),
        Ok(_) => None,
    })
}

async fn cluster_record(store: &Store, check: &mut Check) -> Outcome {
    let version = newest(store, paths::CLUSTER, paths::cluster).await?;
    let fits = |version| move |record: &ClusterRecord| (record.format, record.version) == (ClusterRecord::FORMAT, version);
    if version == 0 {
        return Ok(());
    }
    check.objects += 1;
    let path = paths::cluster(version);
    let Some(found) = unreadable(store, &path, fits(version)).await? else { return Ok(()) };
    let finding = Finding::new(Kind::ClusterRecord, None, &path, found);
    let before = version - 1;
    let is_there = before > 0 && unreadable(store, &paths::cluster(before), fits(before)).await?.is_none();
    let (costs, goes_on) = match is_there {
        true => ("the newest change of quotas, drained nodes or strikes", "from the version before"),
        false => ("all quotas, drained nodes and strikes", "without any"),
    };
    let way_out = format!("restore it from a copy; a coordinator that starts goes on {goes_on}, and `osler fsck --repair` starts one");
    check.findings.push(finding.costs(costs).way_out(Mend::Start, way_out));
    Ok(())
}

async fn tokens(store: &Store, check: &mut Check) -> Outcome {
    let version = newest(store, paths::TOKENS, paths::tokens).await?;
    if version == 0 {
        return Ok(());
    }
    check.objects += 1;
    let path = paths::tokens(version);
    let fits = |book: &TokenBook| (book.format, book.version) == (TokenBook::FORMAT, version);
    if let Some(found) = unreadable(store, &path, fits).await? {
        let way_out = "restore it from a copy; or `osler fsck --repair --forget-tokens` puts an empty book in its place: then all tokens but \
                       the owner's have to be made again, and one of the --tls folder counts again although it was revoked";
        let finding = Finding::new(Kind::Tokens, None, &path, found);
        check.findings.push(finding.costs("every run: the next coordinator cannot start").way_out(Mend::Forget, way_out));
    }
    Ok(())
}

async fn call_log(store: &Store, check: &mut Check) -> Outcome {
    for path in store.list(paths::AUDIT).await? {
        // Other names are looked at in `foreign_names`.
        let Some(named) = entry(&path) else { continue };
        check.objects += 1;
        let fits = |entry: &LogEntry| (entry.epoch, entry.number) == named;
        if let Some(found) = unreadable(store, &path, fits).await? {
            let finding = Finding::new(Kind::CallLog, None, &path, found);
            check
                .findings
                .push(finding.costs("what `osler cluster log` shows").way_out(Mend::ByHand, "restore it from a copy, or delete it"));
        }
    }
    Ok(())
}

/// Names in the coordinator's folders that it does not make.
async fn foreign_names(store: &Store, led: bool, check: &mut Check) -> Outcome {
    let ours = |path: &str| {
        let number = paths::number_of(path).unwrap_or(0);
        [paths::epoch(Epoch(number)), paths::lease(Epoch(number)), paths::tokens(number), paths::cluster(number)].iter().any(|p| p == path)
            || entry(path).is_some()
            || Remains::of_note(path).is_some()
    };
    for folder in [paths::EPOCHS, "coordinator/lease", paths::TOKENS, paths::AUDIT, paths::CLUSTER, paths::REMOVED] {
        for path in store.list_all(folder).await?.into_iter().filter(|path| !ours(path)) {
            check.findings.push(foreign(None, &path, led));
        }
    }
    for path in store.folders(paths::RUNS).await?.into_iter().filter(|name| RunName::new(name.as_str()).is_err()) {
        check.findings.push(foreign(None, &format!("{}/{path}", paths::RUNS), led));
    }
    Ok(())
}

fn is_temporary(path: &str) -> bool {
    path.contains('#') || path.contains(".partial-")
}

/// Whatever a run may ever write.
fn everything(run: &RunName) -> Remains {
    Remains { run: run.clone(), version: u64::MAX, next_generation: Generation(u64::MAX) }
}

/// A temporary belongs to a writer, who may be at work while the store is led.
fn foreign(run: Option<&RunName>, path: &str, led: bool) -> Finding {
    if is_temporary(path) {
        let mend = if led { Mend::ByHand } else { Mend::Delete };
        return Finding::new(Kind::Temporary, run, path, "of a write that was cut off").harmless(mend);
    }
    Finding::new(Kind::Foreign, run, path, "not of Osler's making").harmless(Mend::ByHand)
}

pub(super) async fn run(store: &Store, run: &RunName, quick: bool, check: &mut Check) -> Outcome {
    let mut there = store.list_all(&paths::run(run)).await?;
    let removed = stored::removed(store, &paths::removals(run)).await?.remove(run);
    let of_removed = |path: &String| removed.as_ref().is_some_and(|removed| removed.holds(path));
    for path in there.extract_if(.., |path| of_removed(path)) {
        let found = "of a run that was removed";
        check.findings.push(Finding::new(Kind::Removed, Some(run), &path, found).harmless(Mend::Delete));
    }
    let record = match stored::newest_record(store, run).await {
        Ok(Some(record)) => record,
        Ok(None) => {
            without_record(run, &there, check);
            return Ok(());
        }
        Err(torn) => return unreadable_record(store, run, torn.message(), &there, check).await,
    };
    if record.state == RunState::Removed {
        return Ok(()); // and about to be noted as such
    }
    check.runs += 1;
    objects::of_run(store, &record, quick, check).await?;
    nobodys(run, &Claims::of(&record), there, check);
    Ok(())
}

/// Of a run there may be no more than what file systems and their users left in its folder.
fn without_record(run: &RunName, there: &[String], check: &mut Check) {
    let own = everything(run);
    let Some(path) = there.iter().find(|path| own.holds(path) && !is_temporary(path)) else {
        check.findings.extend(there.iter().map(|path| foreign(Some(run), path, true)));
        return;
    };
    let finding = Finding::new(Kind::Record, Some(run), &paths::states(run), format!("has no version, though there is {path}"));
    let way_out = "restore the record from a copy, or delete the run's folder";
    check.findings.push(finding.costs(format!("run {run}")).way_out(Mend::ByHand, way_out));
}

/// By the rule by which a coordinator goes on from the version before: nothing in the store follows from the newest one.
async fn unreadable_record(store: &Store, run: &RunName, why: &str, there: &[String], check: &mut Check) -> Outcome {
    check.runs += 1;
    let path = paths::state(run, stored::newest(store, run).await?.unwrap_or(0));
    let finding = Finding::new(Kind::Record, Some(run), &path, format!("cannot be used ({why})"));
    let before: Option<RunRecord> = stored::record(store, run).await.ok().flatten();
    let follows = before.as_ref().map(Claims::of).map(|claims| there.iter().find(|path| claims.is_beyond(path)).cloned());
    check.findings.push(match follows {
        Some(None) => finding.costs("the newest change of the run").way_out(
            Mend::Start,
            "a coordinator that starts goes on from the version before, because nothing followed from this one; `osler fsck --repair` starts one",
        ),
        Some(Some(later)) => finding.costs(format!("run {run}, whose name stays taken")).way_out(
            Mend::ByHand,
            format!("restore it from a copy; the version before does not know of {later}, and if that may be lost, delete both"),
        ),
        None => finding
            .costs(format!("run {run}, whose name stays taken"))
            .way_out(Mend::ByHand, "restore it from a copy; the version before is of no use either"),
    });
    Ok(())
}

/// What no record needs, and what is no object of ours.
fn nobodys(run: &RunName, claims: &Claims, there: Vec<String>, check: &mut Check) {
    let own = everything(run);
    let known: BTreeSet<&str> = check.findings.iter().map(|finding| finding.object.as_str()).collect();
    let mut found = vec![];
    for path in there.iter().filter(|path| !known.contains(path.as_str()) && !claims.names(path)) {
        if claims.leaves(path) {
            let why = "of an attempt that is over, needed by no record";
            found.push(Finding::new(Kind::Leftover, Some(run), path, why).harmless(Mend::Delete));
        } else if !own.holds(path) {
            found.push(foreign(Some(run), path, true));
        }
    }
    check.findings.extend(found);
}
