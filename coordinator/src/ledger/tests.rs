//! What the ledger promises, on a real folder.

use super::*;
use crate::cluster::{Cluster, Event, Limits, NextVersion};
use crate::testing::{spec, stage};
use osler_core::checkpoint::ObjectRef;
use osler_core::digest::Digest;
use osler_core::history::{Page, PageSize};
use osler_core::ids::Generation;
use osler_core::record::{Event as RunEvent, EventKind, Published, RunRecord};
use osler_core::time::{Moment, Now};

const NOW: Millis = Millis(5);
const BOTH: Now = Now { moment: Moment(5), wall: NOW };

fn folder() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    (folder, store)
}

/// A cluster with one run, whose record can be written any number of times.
fn cluster(epoch: Epoch) -> (Cluster, RunName) {
    let mut cluster = Cluster::new(BOTH, epoch, "", Limits::default());
    cluster.apply(BOTH, Event::Submit(Box::new(spec("r").into()))).0.unwrap();
    (cluster, RunName::new("r").unwrap())
}

async fn write_next(ledger: &Ledger, cluster: &mut Cluster, run: &RunName) -> Result<(), LedgerError> {
    let NextVersion { version, pages, bytes } = cluster.next_version(run).unwrap();
    for (path, page) in pages {
        ledger.put(&path, page.into()).await?;
    }
    ledger.write(run, version, bytes.into()).await
}

#[tokio::test]
async fn every_start_is_a_new_epoch() {
    let (_folder, store) = folder();
    let first = Ledger::open(store.clone(), NOW).await.unwrap();
    assert!(first.check_leadership().await.is_ok());
    let second = Ledger::open(store, NOW).await.unwrap();
    assert_eq!((first.epoch(), second.epoch()), (Epoch(1), Epoch(2)));
    assert!(matches!(first.check_leadership().await, Err(LedgerError::Fenced { .. })));
    assert!(second.check_leadership().await.is_ok());
}

#[tokio::test]
async fn an_epoch_whose_object_is_missing_is_not_begun_twice() {
    let (_folder, store) = folder();
    store.put("coordinator/audit/00000006/0000000001.json", Bytes::from_static(b"{}")).await.unwrap();
    for foreign in ["coordinator/audit/.DS_Store", "coordinator/audit/2024/0000000001.json", "coordinator/audit/00000009/notes.txt"] {
        store.put(foreign, Bytes::from_static(b"x")).await.unwrap();
    }
    assert_eq!(Ledger::open(store, NOW).await.unwrap().epoch(), Epoch(7));
}

#[tokio::test]
async fn the_newest_twenty_versions_are_kept_and_the_newest_is_loaded() {
    let (_folder, store) = folder();
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    let (mut cluster, run) = cluster(ledger.epoch());
    for _ in 0..25 {
        write_next(&ledger, &mut cluster, &run).await.unwrap();
    }
    let kept = store.list(&paths::states(&run)).await.unwrap();
    assert_eq!(kept, (6..=25).map(|v| paths::state(&run, v)).collect::<Vec<_>>());
    let loaded = ledger.load().await.unwrap().runs;
    assert_eq!(loaded.iter().collect::<Vec<_>>(), [&cluster.run(&run).unwrap().record]);
}

#[tokio::test]
async fn a_version_that_another_coordinator_wrote_fences() {
    let (_folder, store) = folder();
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    let (mut cluster, run) = cluster(ledger.epoch());
    store.create(&paths::state(&run, 1), Bytes::from_static(b"{}")).await.unwrap();
    let error = write_next(&ledger, &mut cluster, &run).await.unwrap_err();
    assert!(matches!(error, LedgerError::Fenced { .. }), "{error}");
}

#[tokio::test]
async fn a_version_that_was_written_without_our_hearing_of_it_is_ours() {
    let (_folder, store) = folder();
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    let (mut cluster, run) = cluster(ledger.epoch());
    let NextVersion { version, bytes, .. } = cluster.next_version(&run).unwrap();
    let bytes = Bytes::from(bytes);
    ledger.write(&run, version, bytes.clone()).await.unwrap();
    ledger.write(&run, version, bytes).await.unwrap();
}

#[tokio::test]
async fn an_orphaned_manifest_is_replaced_by_the_reigning_coordinator_only() {
    let (_folder, store) = folder();
    let old = Ledger::open(store.clone(), NOW).await.unwrap();
    old.put("runs/r/checkpoints/s/x.json", Bytes::from_static(b"old")).await.unwrap();
    let new = Ledger::open(store.clone(), NOW).await.unwrap();
    new.put("runs/r/checkpoints/s/x.json", Bytes::from_static(b"new")).await.unwrap();
    let late = old.put("runs/r/checkpoints/s/x.json", Bytes::from_static(b"late")).await;
    assert!(matches!(late, Err(LedgerError::Fenced { .. })));
    assert_eq!(store.get("runs/r/checkpoints/s/x.json").await.unwrap().unwrap(), "new");
}

/// A version of run `r`'s record, with a change.
fn version(version: u64, change: fn(&mut RunRecord)) -> Bytes {
    let (cluster, run) = cluster(Epoch(1));
    let mut record = cluster.run(&run).unwrap().record.clone();
    record.version = version;
    change(&mut record);
    serde_json::to_vec(&record).unwrap().into()
}

fn damaged() -> Vec<(&'static str, Bytes)> {
    let half = |bytes: Bytes| bytes.slice(..bytes.len() / 2);
    let flipped = |bytes: Bytes| {
        let mut bytes = bytes.to_vec();
        bytes[7] ^= 0x80;
        Bytes::from(bytes)
    };
    vec![
        ("half-written", half(version(2, |_| {}))),
        ("a changed byte", flipped(version(2, |_| {}))),
        ("empty", Bytes::new()),
        ("another version", version(3, |_| {})),
        ("another run", version(2, |r| r.spec.name = RunName::new("x").unwrap())),
        ("another format", version(2, |r| r.format = 99)),
    ]
}

#[tokio::test]
async fn a_torn_newest_version_costs_that_version_if_nothing_followed_from_it() {
    for (what, bytes) in damaged() {
        let (_folder, store) = folder();
        let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
        store.put("runs/r/state/0000000001.json", version(1, |_| {})).await.unwrap();
        store.put("runs/r/state/0000000002.json", bytes).await.unwrap();
        let Loaded { runs, unreadable, .. } = ledger.load().await.unwrap();
        assert!(unreadable.is_empty(), "{what}: {unreadable:?}");
        let event = runs[0].events.last().unwrap();
        assert!(event.message.contains("0000000002.json") && event.message.contains("goes on from version 1"), "{what}: {}", event.message);
        assert_eq!(runs[0].version, 2, "{what}: its name is taken");
    }
}

#[tokio::test]
async fn a_torn_newest_version_that_was_acted_on_costs_its_run_and_no_other() {
    for (what, bytes) in damaged() {
        for after in ["runs/r/logs/tokenizer/g1/rank-00000.log", "runs/r/checkpoints/general/step-00000004.g1.json"] {
            let (_folder, store) = folder();
            let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
            store.put("runs/r/state/0000000001.json", version(1, |_| {})).await.unwrap();
            store.put("runs/r/state/0000000002.json", bytes.clone()).await.unwrap();
            store.put(after, Bytes::from_static(b"x")).await.unwrap();
            store.put("runs/q/state/0000000001.json", version(1, |r| r.spec.name = RunName::new("q").unwrap())).await.unwrap();
            let Loaded { runs, unreadable, .. } = ledger.load().await.unwrap();
            assert_eq!(runs.iter().map(|run| run.name().as_str()).collect::<Vec<_>>(), ["q"], "{what}");
            let why = &unreadable[&RunName::new("r").unwrap()];
            assert!(why.contains("0000000002.json") && why.contains(after) && why.contains("restore it from a copy"), "{what}: {why}");
        }
    }
}

#[tokio::test]
async fn a_run_whose_newest_versions_are_missing_uses_no_generation_twice() {
    let (_folder, store) = folder();
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    store.put("runs/r/state/0000000001.json", version(1, |_| {})).await.unwrap();
    store.put("runs/r/jobs/tokenizer/g4/tokenizer.json", Bytes::from_static(b"x")).await.unwrap();
    let Loaded { runs, .. } = ledger.load().await.unwrap();
    assert_eq!((runs[0].version, runs[0].next_generation), (1, osler_core::ids::Generation(5)));
    assert!(runs[0].events.last().unwrap().message.contains("newer versions of the record are missing"));
}

#[tokio::test]
async fn what_others_leave_in_the_stores_folders_is_ignored() {
    let (folder, store) = folder();
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    store.put("runs/r/state/0000000001.json", version(1, |_| {})).await.unwrap();
    for stray in [
        "runs/r/state/notes.txt",
        "runs/r/state/2.json",
        "runs/r/state/.nfs0000000000000001",
        "runs/r/.DS_Store",
        "runs/.DS_Store",
        "runs/R!/state/0000000001.json",
        "runs/stray",
        "runs/r/state/0000000009.json/inside",
        "coordinator/epoch/soon.json",
        "coordinator/epoch/.DS_Store",
        "coordinator/cluster/.nfs1",
        "coordinator/tokens/.DS_Store",
        "coordinator/audit/lost+found/x",
        "coordinator/audit/00000001/.DS_Store",
        "lost+found/x",
    ] {
        store.put(stray, Bytes::from_static(b"stray")).await.unwrap();
    }
    std::fs::create_dir(folder.path().join("runs/empty")).unwrap();
    let Loaded { runs, unreadable, .. } = ledger.load().await.unwrap();
    assert_eq!((runs.len(), runs[0].version, unreadable.len()), (1, 1, 0));
    ledger.load_cluster().await.unwrap();
    ledger.tokens().await.unwrap();
    ledger.noted(10).await.unwrap();
    assert_eq!(Ledger::open(store, NOW).await.unwrap().epoch(), Epoch(2));
}

/// Found by the simulation: a coordinator that was frozen while it started went on from what a newer one had written, and fenced it.
#[tokio::test]
async fn an_older_coordinator_does_not_go_on_from_what_a_newer_one_wrote() {
    let (_folder, store) = folder();
    let old = Ledger::open(store.clone(), NOW).await.unwrap();
    let new = Ledger::open(store, NOW).await.unwrap();
    let (mut cluster, run) = cluster(new.epoch());
    write_next(&new, &mut cluster, &run).await.unwrap();
    assert!(matches!(old.load().await, Err(LedgerError::Fenced { .. })));
    assert_eq!(new.load().await.unwrap().runs.len(), 1);
}

#[tokio::test]
async fn the_clusters_own_record_is_created_once_a_version_and_read_back() {
    let (_folder, store) = folder();
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    assert_eq!(ledger.load_cluster().await.unwrap(), Default::default());
    let (mut cluster, _) = cluster(ledger.epoch());
    for slots in 1..=25 {
        let team = osler_core::ids::TeamName::new("nlp").unwrap();
        cluster.apply(BOTH, Event::Quota { team, slots: Some(slots) }).0.unwrap();
        let (version, bytes) = cluster.next_cluster_version();
        ledger.write_cluster(version, bytes.into()).await.unwrap();
    }
    assert_eq!(store.list(paths::CLUSTER).await.unwrap(), (6..=25).map(paths::cluster).collect::<Vec<_>>());
    assert_eq!(ledger.load_cluster().await.unwrap(), *cluster.record());
    store.create(&paths::cluster(26), Bytes::from_static(b"{\"format\":9}")).await.unwrap();
    let (version, bytes) = cluster.next_cluster_version();
    let fenced = ledger.write_cluster(version, bytes.into()).await;
    assert!(matches!(fenced, Err(LedgerError::Fenced { .. })), "another coordinator wrote this version");
    let before = ledger.load_cluster().await.unwrap();
    assert_eq!(before, *cluster.record(), "the version before counts, under a number that is free");
    store.put(&paths::cluster(25), Bytes::from_static(b"{")).await.unwrap();
    let none = ledger.load_cluster().await.unwrap();
    assert!(none.quotas.is_empty() && none.version == 26, "with neither, it is as if there had never been any");
}

/// A run whose record has a page of checkpoints and two of events, as it lies in the store.
async fn paged(store: &Store) -> RunRecord {
    let mut record: RunRecord = serde_json::from_slice(&version(1, |_| {})).unwrap();
    let event =
        |id| RunEvent { id, at: NOW, kind: EventKind::Run, job: None, generation: None, message: format!("event {id}"), reason: None };
    record.events = (1..=5).map(event).collect();
    record.next_event = 6;
    let published = |step| Published {
        step,
        generation: Generation(1),
        manifest: ObjectRef { path: format!("m{step}"), bytes: 1, digest: Digest::of(b"m") },
        at: NOW,
        retired: step < 3,
        mean_loss: None,
        world_size: Some(1),
        pinned: false,
        skipped: 0,
    };
    record.checkpoints.insert(stage("general"), (1..=3).map(published).collect());
    for (path, bytes) in record.turn_pages(PageSize { checkpoints: 2, events: 2 }) {
        store.put(&path, bytes.into()).await.unwrap();
    }
    store.put("runs/r/state/0000000001.json", record.head().into()).await.unwrap();
    record
}

#[tokio::test]
async fn a_damaged_page_of_events_costs_these_events_and_one_of_checkpoints_the_run() {
    for (damaged, of_events) in [(None, false), (Some(0), true), (Some(1), true), (Some(0), false)] {
        let (_folder, store) = folder();
        let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
        let record = paged(&store).await;
        let pages: Vec<&Page> = if of_events { record.history.of_events().collect() } else { record.history.of_checkpoints().collect() };
        if let Some(at) = damaged {
            store.put(&pages[at].object.path, Bytes::from_static(b"x")).await.unwrap();
        }
        let Loaded { runs, unreadable, .. } = ledger.load().await.unwrap();
        let ids = |record: &RunRecord| record.events.iter().map(|event| event.id).collect::<Vec<_>>();
        match damaged {
            None => assert_eq!(runs, [record]),
            Some(at) if of_events => {
                assert_eq!(ids(&runs[0]), [[3, 4, 5], [1, 2, 5]][at]);
                assert_eq!(runs[0].clone().head(), record.clone().head(), "the page is still named: it may be restored");
            }
            Some(_) => {
                let why = &unreadable[record.name()];
                assert!(why.contains("/history/checkpoints/") && why.contains("no version of the record is whole without it"), "{why}");
            }
        }
    }
}
