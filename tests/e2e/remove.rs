//! A run is removed while coordinators are killed, and a damaged store is checked and repaired: with real processes.

use crate::cluster::{Cluster, TRAINING_ALONE, binary, mini_spec, wait_for};
use osler_core::ids::Generation;
use osler_core::job::JobKey;
use osler_core::paths;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// More objects than are deleted in a moment.
const LOGS: u32 = 3_000;

fn osler(cluster: &Cluster, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("osler"));
    command.args(arguments).arg("--store").arg(cluster.store()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn end(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = osler(cluster, arguments).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

fn finished(cluster: &mut Cluster) -> osler_core::record::RunRecord {
    let spec = mini_spec(cluster.folder.path(), &TRAINING_ALONE);
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    cluster.submit(&spec).unwrap();
    let (code, words) = end(cluster, &["rm", "mini", "--yes"]);
    assert!(code == Some(64) && words.contains("osler stop mini --wait"), "{code:?} {words}");
    cluster.wait_finished("mini")
}

fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    entries.map(|entry| entry.unwrap().path()).map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn a_removal_is_completed_whoever_is_killed_and_the_name_is_free() {
    let mut cluster = Cluster::new();
    let before = finished(&mut cluster);
    let outcome = cluster.outcome(&before);
    let (code, words) = end(&cluster, &["rm", "mini"]);
    assert!(code == Some(64) && words.contains("--yes"), "nobody can be asked: {code:?} {words}");
    let (run, logs) = (cluster.store().join("runs/mini"), cluster.store().join("runs/mini/logs/train/general/g1"));
    fs::create_dir_all(&logs).unwrap();
    (0..LOGS).for_each(|rank| fs::write(logs.join(format!("rank-1{rank:04}.log")), "x").unwrap());
    let (code, words) = end(&cluster, &["rm", "mini", "--dry-run"]);
    assert!(code == Some(0) && words.contains("would be removed") && files(&run) > LOGS as usize, "{code:?} {words}");

    let removal = osler(&cluster, &["rm", "mini", "--yes"]).spawn().unwrap();
    let note = cluster.store().join("coordinator/removed/mini");
    wait_for("the run is gone", || note.is_dir().then_some(()));
    cluster.kill_coordinator();
    println!("{} files were left", files(&run));
    drop(removal.wait_with_output().unwrap());
    let (_, words) = end(&cluster, &["ps"]);
    assert!(words.contains("no runs"), "{words}");
    cluster.start_coordinator();
    wait_for("all is deleted", || (!run.exists()).then_some(()));
    assert_eq!(end(&cluster, &["fsck"]).0, Some(0));

    cluster.submit(&mini_spec(cluster.folder.path(), &TRAINING_ALONE)).unwrap();
    let after = cluster.wait_finished("mini");
    let first = after.jobs.values().flat_map(|job| &job.past).map(|past| past.generation).min();
    assert!(first >= Some(before.next_generation) && before.next_generation > Generation(1), "{first:?}");
    assert!(after.version > before.version);
    assert_eq!(cluster.outcome(&after), outcome);

    // Nobody leads: a coordinator is started for as long as it takes.
    cluster.kill_everything();
    let (code, words) = end(&cluster, &["rm", "mini", "--yes"]);
    assert!(code == Some(0) && words.contains("removed 1 run with "), "{code:?} {words}");
    assert!(!run.exists());
}

#[test]
fn damage_is_told_and_what_can_be_made_again_is() {
    let mut cluster = Cluster::new();
    let record = finished(&mut cluster);
    cluster.kill_everything();
    let store = cluster.store();
    assert_eq!(end(&cluster, &["fsck"]).0, Some(0));
    let tokenizer = &record.result(&JobKey::from("tokenizer")).unwrap().outputs.values().next().unwrap().path;
    fs::write(store.join(tokenizer), "{}").unwrap();
    let leftover = store.join("runs/mini/jobs/tokenizer/g0/tokenizer.json");
    fs::create_dir_all(leftover.parent().unwrap()).unwrap();
    fs::write(&leftover, "x").unwrap();
    let book = fs::read_dir(store.join(paths::TOKENS)).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    fs::write(book, "{").unwrap();

    let (code, words) = end(&cluster, &["fsck"]);
    assert_eq!(code, Some(1), "{words}");
    for word in [tokenizer.as_str(), "doing tokenizer again", "--forget-tokens", "costs space only"] {
        assert!(words.contains(word), "{word} is missing from\n{words}");
    }
    let (code, words) = end(&cluster, &["fsck", "--repair"]);
    assert!(code == Some(1) && !leftover.exists(), "nobody starts on a damaged book: {code:?} {words}");
    let (code, words) = end(&cluster, &["fsck", "--repair", "--forget-tokens"]);
    assert!(code == Some(0) && words.contains("repaired: "), "{code:?} {words}");
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    cluster.osler(&["resume", "mini"]);
    let again = cluster.wait_finished("mini");
    assert_eq!(cluster.outcome(&again), cluster.outcome(&record));
    assert_eq!(end(&cluster, &["fsck"]), (Some(0), end(&cluster, &["fsck"]).1));
}
