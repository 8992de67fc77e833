//! What is no file but lies where an object or a folder of objects belongs: nobody waits for it, and it hides nothing else.

use super::*;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::time::Duration;

const NAME: &str = "runs/r/state/0000000117.json";

/// What it is, and how it is made.
type Oddity = (&'static str, fn(&Path));

/// One of each, as they are called.
fn oddities() -> [Oddity; 6] {
    [
        ("a named pipe", |path| mkfifo(path, Mode::S_IRWXU).unwrap()),
        ("a folder", |path| fs::create_dir(path).unwrap()),
        ("a device", |path| symlink("/dev/zero", path).unwrap()),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("a symbolic link that leads nowhere", |path| symlink("nowhere", path).unwrap()),
        ("a symbolic link that leads nowhere", |path| symlink("0000000117.json", path).unwrap()),
    ]
}

/// A store in which something odd has the name of an object that was written.
async fn odd(make: fn(&Path)) -> (tempfile::TempDir, Store, ObjectRef) {
    let (folder, store) = store();
    let object = store.put(NAME, Bytes::from_static(b"contents")).await.unwrap();
    let path = folder.path().join(NAME);
    fs::remove_file(&path).unwrap();
    make(&path);
    (folder, store, object)
}

async fn at_once<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), call).await.expect("it waits")
}

fn is_no_file<T: fmt::Debug>(found: Result<T, StoreError>, expected: &str) {
    match found {
        Err(StoreError::NotAFile { path, what }) => assert_eq!((path.as_str(), what), (NAME, expected)),
        other => panic!("{expected}: {other:?}"),
    }
}

#[tokio::test]
async fn readers_take_what_is_no_file_for_damage_and_never_wait_for_it() {
    for (what, make) in oddities() {
        let (_folder, store, object) = odd(make).await;
        is_no_file(at_once(store.get(NAME)).await, what);
        is_no_file(at_once(store.size(NAME)).await, what);
        is_no_file(at_once(store.get_range(NAME, 0..4)).await, what);
        let damage = [
            at_once(store.read(&object)).await.unwrap_err(),
            at_once(store.fetch(&object)).await.unwrap_err(),
            at_once(store.verify(&object)).await.unwrap_err(),
        ];
        for damage in damage {
            let StoreError::Corrupt { found, .. } = &damage else { panic!("{damage}") };
            assert_eq!(*found, format!("it is {what}, not a file"));
        }
    }
}

#[tokio::test]
async fn what_is_no_file_is_not_taken_for_another_writers_object() {
    for (what, make) in oddities() {
        let (_folder, store, _) = odd(make).await;
        is_no_file(at_once(store.create(NAME, Bytes::from_static(b"new"))).await, what);
        assert_eq!(store.list("runs").await.unwrap(), [] as [&str; 0], "{what}");
    }
    let refused = StoreError::NotAFile { path: "coordinator/epoch/00000003.json".into(), what: "a folder" };
    assert_eq!(refused.to_string(), "\"coordinator/epoch/00000003.json\" is a folder, not a file: move it away");
}

#[tokio::test]
async fn a_folder_is_neither_replaced_nor_deleted_and_all_else_is() {
    for (what, make) in oddities() {
        let (folder, store, _) = odd(make).await;
        let part = folder.path().join("part");
        fs::write(&part, "part").unwrap();
        if what == "a folder" {
            is_no_file(store.put(NAME, Bytes::from_static(b"new")).await, what);
            is_no_file(store.put_file(&part, NAME).await, what);
            is_no_file(store.delete(NAME).await, what);
            assert!(part.exists(), "the file is gone although it was not stored");
            assert_eq!(store.list_all("runs").await.unwrap(), [] as [&str; 0], "a failure leaves nothing behind");
            continue;
        }
        let object = store.put(NAME, Bytes::from_static(b"new")).await.unwrap();
        assert_eq!(store.read(&object).await.unwrap(), "new");
        fs::remove_file(folder.path().join(NAME)).unwrap();
        make(&folder.path().join(NAME));
        let object = store.put_file(&part, NAME).await.unwrap();
        assert_eq!(store.read(&object).await.unwrap(), "part");
        fs::remove_file(folder.path().join(NAME)).unwrap();
        make(&folder.path().join(NAME));
        store.delete(NAME).await.unwrap();
        assert_eq!(store.get(NAME).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_link_to_a_file_is_an_object() {
    let (folder, store, object) = odd(|path| symlink("elsewhere", path).unwrap()).await;
    fs::write(folder.path().join("runs/r/state/elsewhere"), "contents").unwrap();
    assert_eq!(store.get(NAME).await.unwrap().unwrap(), "contents");
    assert_eq!(store.read(&object).await.unwrap(), "contents");
    store.verify(&object).await.unwrap();
    assert!(matches!(store.create(NAME, Bytes::new()).await, Err(StoreError::AlreadyExists(_))));
    assert_eq!(store.sizes("runs").await.unwrap(), [(NAME.to_owned(), 8), ("runs/r/state/elsewhere".to_owned(), 8)]);
}

#[tokio::test]
async fn one_odd_entry_hides_nothing_else_from_a_listing() {
    let (folder, store) = store();
    let (elsewhere, at) = (tempfile::tempdir().unwrap(), |name: &str| folder.path().join(name));
    for name in ["runs/a/x", "runs/b/y", "runs/b/deep/z"] {
        store.put(name, Bytes::from_static(b"12")).await.unwrap();
    }
    fs::write(elsewhere.path().join("f"), "345").unwrap();
    symlink(elsewhere.path(), elsewhere.path().join("again")).unwrap();
    let links = [("loop", "runs/loop"), ("..", "runs/b/up"), ("/", "runs/b/deep/top"), (".", "runs/b/self"), ("gone", "runs/a/gone")];
    for (target, link) in links {
        symlink(target, at(link)).unwrap();
    }
    symlink(elsewhere.path(), at("runs/linked")).unwrap();
    mkfifo(&at("runs/a/pipe"), Mode::S_IRWXU).unwrap();
    fs::create_dir(at("runs/empty")).unwrap();
    fs::write(at("runs/a/x#7"), "half").unwrap();
    fs::write(at("runs/a/x#seven"), "6").unwrap();
    fs::write(at("runs/a/two\nlines"), "").unwrap();
    let names = ["runs/a/x", "runs/a/x#seven", "runs/b/deep/z", "runs/b/y", "runs/linked/f"];
    for _ in 0..2 {
        assert_eq!(store.list("runs").await.unwrap(), names);
    }
    let sizes: Vec<(String, u64)> = names.iter().zip([2, 1, 2, 2, 3]).map(|(name, size)| ((*name).to_owned(), size)).collect();
    assert_eq!(store.sizes("runs").await.unwrap(), sizes);
    assert_eq!(store.list("").await.unwrap(), names);
    assert_eq!(store.list("runs/b").await.unwrap(), ["runs/b/deep/z", "runs/b/y"]);
    assert_eq!(store.folders("runs").await.unwrap(), ["a", "b", "empty", "linked"]);
    for nothing in ["runs/loop", "runs/a/x", "runs/a/pipe", "runs/a/gone", "runs/none"] {
        assert_eq!(store.list(nothing).await.unwrap(), [] as [&str; 0], "{nothing}");
        assert_eq!(store.folders(nothing).await.unwrap(), [] as [&str; 0], "{nothing}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_named() {
    if geteuid().is_root() {
        println!("SKIPPED: a_folder_that_cannot_be_read_is_named: root reads every folder");
        return;
    }
    let (folder, store) = store();
    store.put("runs/a/x", Bytes::new()).await.unwrap();
    let closed = folder.path().join("runs/a");
    fs::set_permissions(&closed, Permissions::from_mode(0o0)).unwrap();
    let refused = store.list("runs").await.unwrap_err().to_string();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    assert!(refused.contains("runs/a: Permission denied"), "{refused}");
}
