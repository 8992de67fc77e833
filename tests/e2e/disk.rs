//! The store's disk is full for a while, or damages what was written: with real processes, and equal bits at the end.

use crate::cluster::{Cluster, TRAINING_ALONE, events, mini_spec, wait_for};
use nix::sys::signal::Signal;
use osler_core::ids::StageName;
use osler_core::paths;
use osler_core::record::RunRecord;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const CHANGES: [&str; 3] = ["stage.domain.steps=400", "checkpoint.every_steps=10", "checkpoint.keep_last=3"];

fn changes() -> Vec<&'static str> {
    [&TRAINING_ALONE[..], &CHANGES].concat()
}

/// What a run of the same file leaves that nothing disturbs.
fn undisturbed() -> Vec<String> {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &changes());
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    cluster.submit(&spec).unwrap();
    let record = cluster.wait_finished("mini");
    cluster.outcome(&record)
}

/// A small file system of its own below a folder.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=600m", "tmpfs"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then(|| Self(folder.to_owned()))
    }

    /// Takes the last byte; gives all of them back when it is dropped.
    fn fill(&self) -> Ballast {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            let zeros = vec![0; size];
            while file.write_all(&zeros).is_ok() {}
        }
        Ballast(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _not_mounted = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

struct Ballast(PathBuf);

impl Drop for Ballast {
    fn drop(&mut self) {
        let _freed = fs::remove_file(&self.0);
    }
}

#[test]
fn a_store_that_is_full_for_a_while_changes_no_bit() {
    let mut cluster = Cluster::new();
    let Some(mounted) = Mounted::new(&cluster.store()) else {
        eprintln!("SKIPPED: a_store_that_is_full_for_a_while_changes_no_bit: cannot mount a file system");
        return;
    };
    let spec = mini_spec(cluster.folder.path(), &changes());
    let stage = spec.stages[1].name.clone();
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    cluster.submit(&spec).unwrap();
    cluster.wait_until("mini", "training", |r| r.published_steps(&stage) >= 20);
    let full = mounted.fill();
    let alarm = wait_for("everybody who looks is told", || {
        let shown = String::from_utf8(cluster.try_osler(&["ps"]).stdout).unwrap();
        shown.contains("has had no room for").then_some(shown)
    });
    assert!(alarm.contains("mini"), "{alarm}");
    std::thread::sleep(Duration::from_secs(4)); // what the fault is: longer than anybody tried before
    drop(full);
    let record = cluster.wait_finished("mini");
    assert!(record.events.iter().any(|e| e.message.contains("the store had no room for")), "{}", events(&record));
    assert_eq!(cluster.outcome(&record), undisturbed(), "{}", events(&record));
    cluster.kill_everything();
}

fn damage_part(store: &Path, record: &RunRecord, stage: &StageName) -> String {
    let newest = record.newest_checkpoint(stage).unwrap();
    let path = record.parts(stage, newest)[1].clone();
    let mut bytes = fs::read(store.join(&path)).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(store.join(&path), bytes).unwrap();
    path
}

#[test]
fn damage_of_every_kind_is_survived_with_equal_bits_and_nothing_is_left_behind() {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &changes());
    let stage = spec.stages[1].name.clone();
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    cluster.submit(&spec).unwrap();
    let stopped = cluster.stop_within("mini", &stage, 50);
    // A version that says nothing new: it may be torn without harm.
    cluster.kill_coordinator();
    cluster.start_coordinator();
    let record = cluster.wait_until("mini", "a version of the next coordinator", |r| r.version > stopped.version);
    assert_eq!(cluster.end_agent("a", Signal::SIGTERM), Some(0));
    cluster.kill_everything();
    let store = cluster.store();
    let part = damage_part(&store, &record, &stage);
    let pack = record.jobs.iter().find(|(key, _)| key.as_str().starts_with("pack/domain")).unwrap().1.status.result().unwrap();
    let shard = pack.outputs.iter().find(|(name, _)| name.ends_with(".bin")).unwrap().1.path.clone();
    let tokenizer = record.result(&"tokenizer".into()).unwrap().outputs["tokenizer.json"].path.clone();
    fs::remove_file(store.join(&shard)).unwrap();
    fs::create_dir(store.join(&shard)).unwrap();
    fs::write(store.join(&tokenizer), "").unwrap();
    let newest = store.join(paths::state(record.name(), record.version));
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    for stray in ["runs/.DS_Store", "runs/mini/state/.nfs0001", "coordinator/epoch/.DS_Store"] {
        fs::write(store.join(stray), "stray").unwrap();
    }
    fs::create_dir_all(store.join("runs/other/state")).unwrap();
    fs::write(store.join("runs/other/state/0000000001.json"), "{").unwrap();
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    let shown = cluster.osler(&["ps"]);
    assert!(shown.contains("other") && shown.contains("unreadable") && shown.contains("mini"), "{shown}");
    cluster.resume("mini", 0).unwrap();
    let record = cluster.wait_finished("mini");
    let said = events(&record);
    for what in
        [format!("{part}: "), format!("{shard} is damaged: "), format!("{tokenizer} is damaged: "), "goes on from version".to_owned()]
    {
        assert!(said.contains(&what), "nobody was told of {what}\n{said}");
    }
    assert_eq!(cluster.outcome(&record), undisturbed(), "{said}");
    assert!(cluster.audit(&record).is_clean());
    wait_for("nothing is left behind", || cluster.osler(&["gc"]).contains("nothing is left over").then_some(()));
}
