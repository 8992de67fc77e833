//! A folder that is full, or whose server is away: waited for, told, and given up with the right words.

use super::flaky::{Flaky, Plan};
use super::*;
use object_store::memory::InMemory;
use std::time::Duration;

/// A store that is full for so many tries, in virtual time, with a folder's patience.
fn full(tries: u64) -> Store {
    let flaky = Flaky::new(InMemory::new(), Plan { full_for: tries, ..Plan::default() });
    Store::over("full://", Arc::new(flaky), Patience::folder())
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_is_waited_out_and_told_while_it_lasts_and_once_after() {
    let store = full(100);
    let writing = tokio::spawn({
        let store = store.clone();
        async move { store.put("a/b", Bytes::from_static(b"x")).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.waits(), None, "half a second is nobody's business");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let waits = store.waits().unwrap();
    assert!(waits.no_room && waits.time >= Duration::from_secs(60) && waits.why.contains("No space left"), "{waits:?}");
    assert_eq!(store.take_wait(), None, "it is not over");
    writing.await.unwrap().unwrap();
    assert_eq!(store.waits(), None);
    assert!(store.take_wait().is_some_and(|over| over.no_room && over.time >= Duration::from_secs(100)));
    assert_eq!(store.take_wait(), None, "told once");
    assert_eq!(store.get("a/b").await.unwrap().unwrap(), "x");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_stays_full_ends_in_a_sentence_that_whoever_reads_it_knows() {
    let begun = tokio::time::Instant::now();
    let error = full(u64::MAX).put("a/b", Bytes::from_static(b"x")).await.unwrap_err();
    assert!(begun.elapsed() > Patience::folder().room - Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(matches!(error, StoreError::NoRoom { .. }) && lacks_room(&error), "{error}");
    assert!(error.to_string().starts_with("write \"a/b\": there was no room for 359"), "{error}");
    assert!(!lacks_room(&StoreError::Missing { path: "a".into() }));
    let inside = io::Error::other(io::Error::from_raw_os_error(nix::libc::EDQUOT));
    assert!(lacks_room(&StoreError::Io { verb: "write", path: "a".into(), source: inside }));
}

#[tokio::test]
async fn what_never_passes_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    std::fs::write(folder.path().join("a"), "a file").unwrap();
    let begun = std::time::Instant::now();
    assert!(store.put("a/b", Bytes::from_static(b"x")).await.is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn everything_is_found_and_swept_temporaries_and_empty_folders_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    store.put("runs/r/jobs/j/g1/x", Bytes::from_static(b"x")).await.unwrap();
    std::fs::write(folder.path().join("runs/r/jobs/j/g1/x#7"), "half").unwrap();
    std::fs::create_dir_all(folder.path().join("runs/r/jobs/j/g2/step-1")).unwrap();
    let all = store.list_all("runs/r/jobs").await.unwrap();
    assert_eq!(all, ["runs/r/jobs/j/g1/x", "runs/r/jobs/j/g1/x#7"]);
    assert_eq!(store.list_all("runs/none").await.unwrap(), [] as [&str; 0]);
    for path in &all {
        store.sweep(path).await.unwrap();
        store.sweep(path).await.unwrap();
    }
    store.sweep_folders("runs/r/jobs").await.unwrap();
    assert!(!folder.path().join("runs/r/jobs").exists() && folder.path().join("runs").exists());
    // A writer whose folder was swept makes it again.
    store.put("runs/r/jobs/j/g2/y", Bytes::from_static(b"y")).await.unwrap();
    let file = folder.path().join("part");
    std::fs::write(&file, "part").unwrap();
    store.put_file(&file, "runs/r/jobs/j/g3/part").await.unwrap();
}

#[tokio::test]
async fn an_object_is_verified_without_a_copy() {
    for remote in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = match remote {
            true => Store::over("memory://", Arc::new(InMemory::new()), Patience::none()),
            false => Store::open(folder.path().to_str().unwrap()).unwrap(),
        };
        let object = store.put("a", Bytes::from_static(b"contents")).await.unwrap();
        store.verify(&object).await.unwrap();
        store.put("a", Bytes::from_static(b"c0ntents")).await.unwrap();
        assert!(matches!(store.verify(&object).await, Err(StoreError::Corrupt { .. })));
        store.put("a", Bytes::new()).await.unwrap();
        assert!(matches!(store.verify(&object).await, Err(StoreError::Corrupt { .. })));
        store.delete("a").await.unwrap();
        assert!(matches!(store.verify(&object).await, Err(StoreError::Missing { .. })));
    }
}
