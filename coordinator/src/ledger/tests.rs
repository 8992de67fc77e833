//! What the ledger promises, on a real folder.

use super::*;
use crate::cluster::{Cluster, Event, Limits};
use crate::testing::spec;
use osler_core::record::RunRecord;

const NOW: Millis = Millis(5);

fn folder() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    (folder, store)
}

/// A cluster with one run, whose record can be written any number of times.
fn cluster(epoch: Epoch) -> (Cluster, RunName) {
    let mut cluster = Cluster::new(NOW, epoch, "", Limits::default());
    cluster.apply(NOW, Event::Submit(Box::new(spec("r").into()))).0.unwrap();
    (cluster, RunName::new("r").unwrap())
}

async fn write_next(ledger: &Ledger, cluster: &mut Cluster, run: &RunName) -> Result<(), LedgerError> {
    let (version, bytes) = cluster.next_version(run).unwrap();
    ledger.write(run, version, bytes.into()).await
}

#[tokio::test]
async fn every_start_is_a_new_epoch() {
    let (_folder, store) = folder();
    let first = Ledger::open(store.clone(), NOW).await.unwrap();
    assert!(first.check_reign().await.is_ok());
    let second = Ledger::open(store, NOW).await.unwrap();
    assert_eq!((first.epoch(), second.epoch()), (Epoch(1), Epoch(2)));
    assert!(matches!(first.check_reign().await, Err(LedgerError::Fenced { .. })));
    assert!(second.check_reign().await.is_ok());
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
    let loaded = ledger.load().await.unwrap();
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
    let (version, bytes) = cluster.next_version(&run).unwrap();
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

#[tokio::test]
async fn what_cannot_be_trusted_is_named_and_nothing_older_is_taken_instead() {
    let whole = |version: u64, change: fn(&mut RunRecord)| {
        let (cluster, run) = cluster(Epoch(1));
        let mut record = cluster.run(&run).unwrap().record.clone();
        record.version = version;
        change(&mut record);
        serde_json::to_vec(&record).unwrap()
    };
    let half = |mut bytes: Vec<u8>| {
        bytes.truncate(bytes.len() / 2);
        bytes
    };
    let state = |name: &str| format!("runs/r/state/{name}");
    for (what, path, bytes) in [
        ("half-written", state("0000000002.json"), half(whole(2, |_| {}))),
        ("empty", state("0000000002.json"), vec![]),
        ("another version", state("0000000002.json"), whole(3, |_| {})),
        ("another run", state("0000000002.json"), whole(2, |r| r.spec.name = RunName::new("x").unwrap())),
        ("another format", state("0000000002.json"), whole(2, |r| r.format = 99)),
        ("no number", state("notes.txt"), b"hello".to_vec()),
        ("number without zeros", state("2.json"), whole(2, |_| {})),
        ("no run's name", "runs/R!/state/0000000001.json".to_owned(), whole(1, |_| {})),
        ("not a run's folder", "runs/stray".to_owned(), vec![1]),
    ] {
        let (_folder, store) = folder();
        let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
        store.put(&state("0000000001.json"), whole(1, |_| {}).into()).await.unwrap();
        assert_eq!(ledger.load().await.unwrap().len(), 1);
        store.put(&path, bytes.into()).await.unwrap();
        let error = ledger.load().await.expect_err(what).to_string();
        assert!(error.contains(&path), "{what}: {error}");
    }
    let (_folder, store) = folder();
    store.put("coordinator/epoch/soon.json", Bytes::new()).await.unwrap();
    assert!(matches!(Ledger::open(store, NOW).await, Err(LedgerError::Foreign { .. })));
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
    assert_eq!(new.load().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_clusters_own_record_is_created_once_a_version_and_read_back() {
    let (_folder, store) = folder();
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    assert_eq!(ledger.load_cluster().await.unwrap(), Default::default());
    let (mut cluster, _) = cluster(ledger.epoch());
    for slots in 1..=25 {
        let team = osler_core::ids::TeamName::new("nlp").unwrap();
        cluster.apply(NOW, Event::Quota { team, slots: Some(slots) }).0.unwrap();
        let (version, bytes) = cluster.next_cluster_version();
        ledger.write_cluster(version, bytes.into()).await.unwrap();
    }
    assert_eq!(store.list(paths::CLUSTER).await.unwrap(), (6..=25).map(paths::cluster).collect::<Vec<_>>());
    assert_eq!(ledger.load_cluster().await.unwrap(), *cluster.record());
    store.create(&paths::cluster(26), Bytes::from_static(b"{\"format\":9}")).await.unwrap();
    let (version, bytes) = cluster.next_cluster_version();
    let fenced = ledger.write_cluster(version, bytes.into()).await;
    assert!(matches!(fenced, Err(LedgerError::Fenced { .. })), "another coordinator wrote this version");
    let unread = ledger.load_cluster().await.unwrap_err().to_string();
    assert!(unread.contains("format 9, this version of Osler reads 1"), "{unread}");
}
