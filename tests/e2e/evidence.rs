//! Somebody who can write the store changes or takes away what coordinators wrote: the audit finds it.

use crate::cluster::{Cluster, TRAINING_ALONE, binary, mini_spec};
use osler_core::paths;
use osler_core::seal::{Seal, Sealed, sealed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code, and what the audit of the whole store says.
fn audit(cluster: &Cluster, key: &str) -> (Option<i32>, String) {
    let output = cluster.try_osler(&["audit", "--public-key", key]);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// The audit while a file is other than it was; it is put back afterwards.
fn with(cluster: &Cluster, key: &str, file: &Path, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) -> String {
    let before = fs::read(file).unwrap();
    match change(before.clone()) {
        Some(bytes) => fs::write(file, bytes).unwrap(),
        None => fs::remove_file(file).unwrap(),
    }
    let (code, words) = audit(cluster, key);
    fs::write(file, before).unwrap();
    assert_eq!((code, words.contains("NOT CLEAN")), (Some(1), true), "{words}");
    words
}

#[test]
fn what_was_changed_or_taken_away_is_found_and_coordinators_that_follow_each_other_leave_one_chain() {
    let mut cluster = Cluster::new();
    let keys = cluster.folder.path().join("keys");
    let made = Command::new(binary("osler")).args(["cluster", "signing-key"]).arg(&keys).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = |name: &str| keys.join(name).to_str().unwrap().to_owned();
    let (key, public) = (file("signing-key.pem"), file("signing-public.pem"));
    cluster.start_coordinator_with(&["--signing-key", &key]);
    cluster.osler(&["quota", "set", "team", "3"]);
    cluster.osler(&["quota", "set", "team", "4"]);
    cluster.kill_coordinator();
    cluster.start_coordinator_with(&["--signing-key", &key]);
    cluster.submit(&mini_spec(cluster.folder.path(), &TRAINING_ALONE)).unwrap();
    cluster.osler(&["quota", "set", "team", "5"]);
    cluster.stop("mini").unwrap();
    cluster.kill_coordinator();
    // Each one that takes over writes a version.
    cluster.start_coordinator_with(&["--signing-key", &key]);
    cluster.kill_coordinator();
    let (code, words) = audit(&cluster, &public);
    assert_eq!((code, words.contains("clean: nothing is missing")), (Some(0), true), "{words}");

    let store = cluster.store();
    let state = files(&store.join(paths::states(&"mini".parse().unwrap())));
    let log = files(&store.join(paths::AUDIT).join("00000001"));
    assert!(state.len() >= 3 && log.len() >= 2, "{state:?} {log:?}");
    let reworded = |bytes: Vec<u8>| Some(String::from_utf8(bytes).unwrap().replacen("\"r", "\"x", 1).into_bytes());
    with(&cluster, &public, &state[1], reworded);
    assert!(with(&cluster, &public, &state[1], |_| None).contains("are missing"));
    assert!(with(&cluster, &public, &log[0], |_| None).contains("is missing"));
    let denied = |bytes: Vec<u8>| Some(String::from_utf8(bytes).unwrap().replace("\"outcome\":\"ok\"", "\"outcome\":\"no\"").into_bytes());
    assert!(with(&cluster, &public, &log[0], denied).contains("how the call went was changed"));
    // The newest one, made anew by somebody who knows all but the key.
    let newest = state.last().unwrap();
    let forged = |bytes: Vec<u8>| {
        let Sealed { document, seal } = Sealed::open(&bytes);
        let document = String::from_utf8(document.into_owned()).unwrap().replacen("\"submitted_at\":1", "\"submitted_at\":2", 1);
        Some(sealed(document.as_bytes(), &Seal { signature: None, ..seal.unwrap() }))
    };
    assert!(with(&cluster, &public, newest, forged).contains("it is not signed"));
    let (code, words) = audit(&cluster, &public);
    assert_eq!(code, Some(0), "{words}");
}
