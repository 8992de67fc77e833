//! What the store promises, on a real folder.

mod flaky;
mod full;
mod odd;
mod remote;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    (folder, store)
}

#[tokio::test]
async fn a_name_is_created_once() {
    let (_folder, store) = store();
    store.create("runs/r/state/0000000001.json", Bytes::from_static(b"first")).await.unwrap();
    let second = store.create("runs/r/state/0000000001.json", Bytes::from_static(b"second")).await;
    assert!(matches!(second, Err(StoreError::AlreadyExists(_))));
    assert_eq!(store.get("runs/r/state/0000000001.json").await.unwrap().unwrap(), "first");
    assert_eq!(store.get("runs/r/state/0000000002.json").await.unwrap(), None);
}

#[tokio::test]
async fn changed_bytes_are_never_returned() {
    let (folder, store) = store();
    let object = store.put("a/b", Bytes::from_static(b"contents")).await.unwrap();
    assert_eq!(store.read(&object).await.unwrap(), "contents");
    std::fs::write(folder.path().join("a/b"), "c0ntents").unwrap();
    assert!(matches!(store.read(&object).await, Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.fetch(&object).await, Err(StoreError::Corrupt { .. })));
    std::fs::remove_file(folder.path().join("a/b")).unwrap();
    assert!(matches!(store.fetch(&object).await, Err(StoreError::Missing { .. })));
}

#[tokio::test]
async fn a_file_is_moved_in_whole() {
    let (_folder, store) = store();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("part");
    std::fs::write(&file, vec![7; 300_000]).unwrap();
    let object = store.put_file(&file, "runs/r/x").await.unwrap();
    assert_eq!((object.bytes, object.digest), (300_000, Digest::of(&vec![7; 300_000])));
    assert!(!file.exists());
    assert_eq!(std::fs::read(store.fetch(&object).await.unwrap()).unwrap().len(), 300_000);
}

#[tokio::test]
async fn a_writer_that_miscounts_is_not_believed() {
    let (_folder, store) = store();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("part");
    std::fs::write(&file, "12345").unwrap();
    assert!(store.put_digested(&file, "runs/r/x", 4, Digest::of(b"1234")).await.is_err());
    let object = store.put_digested(&file, "runs/r/x", 5, Digest::of(b"12345")).await.unwrap();
    assert_eq!(store.read(&object).await.unwrap(), "12345");
}

#[tokio::test]
async fn names_are_listed_in_order_and_stay_inside() {
    let (_folder, store) = store();
    for name in ["r/b", "r/a", "s/c"] {
        store.put(name, Bytes::new()).await.unwrap();
    }
    assert_eq!(store.list("r").await.unwrap(), ["r/a", "r/b"]);
    assert_eq!(store.list("none").await.unwrap(), [] as [&str; 0]);
    store.delete("r/a").await.unwrap();
    store.delete("r/a").await.unwrap();
    assert_eq!(store.list("r").await.unwrap(), ["r/b"]);
    for bad in ["../x", "a/../../x", "/x", "a//b"] {
        assert!(store.put(bad, Bytes::new()).await.is_err(), "{bad} was accepted");
    }
}
