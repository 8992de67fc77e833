//! Ranks are killed while checkpoints are saved: what is chosen afterwards is whole, each time, and no step is lost or repeated.
//!
//! Every step saves, so a kill finds a part half written, written but not reported, or reported and not published.

use crate::cluster::{Cluster, TRAINING_ALONE, events, mini_spec, wait_for};
use crate::rng::Rng;
use osler_core::checkpoint::Manifest;
use osler_core::digest::Digest;
use osler_core::ids::{Generation, StageName};
use osler_core::paths;
use osler_core::plan::train_key;
use osler_core::record::RunRecord;
use std::fs;
use std::time::Duration;

const CHANGES: [&str; 5] =
    ["stage.domain.steps=1000000", "checkpoint.every_steps=1", "retry.infrastructure=10000", "retry.total=10000", "retry.no_progress=100"];

/// The newest published checkpoint, read as whoever resumes from it does; its parts have the sizes and digests that it names.
fn newest(cluster: &Cluster, record: &RunRecord, stage: &StageName) -> Option<Manifest> {
    let read = |path: &str| fs::read(cluster.store().join(path)).ok();
    let bytes = read(&record.checkpoints.get(stage)?.last()?.manifest.path)?;
    let manifest: Manifest = serde_json::from_slice(&bytes).unwrap();
    for part in &manifest.parts {
        let Some(bytes) = read(&part.path) else {
            // Retired since the record was read: a newer one is there.
            assert!(cluster.record("mini").unwrap().published_steps(stage) > manifest.step, "{} is not there", part.path);
            return None;
        };
        assert_eq!((bytes.len() as u64, Digest::of(&bytes)), (part.bytes, part.digest), "{} is torn", part.path);
    }
    Some(manifest)
}

/// Whether an attempt has written parts of a step that is not published: a kill now cuts the save off. What it leaves is deleted soon after.
fn is_saving(cluster: &Cluster, record: &RunRecord, stage: &StageName, generation: Generation) -> bool {
    let folder = cluster.store().join(paths::attempt(&record.id(&train_key(stage)), generation));
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let step = |name: &str| name.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() >= 6)?.parse::<u64>().ok();
    let mut beyond = names.filter(|name| step(name).is_some_and(|step| step > record.published_steps(stage)));
    beyond.next().is_some()
}

fn kill_during_saves(kills: u64) {
    let seed = std::env::var("OSLER_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    eprintln!("seed {seed}: repeat with OSLER_TEST_SEED={seed}");
    let mut rng = Rng(seed);
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &[&TRAINING_ALONE[..], &CHANGES].concat());
    let (stage, key) = (spec.stages[1].name.clone(), train_key(&spec.stages[1].name));
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    cluster.submit(&spec).unwrap();
    let (mut saves_cut_off, mut last) = (0, Generation(0));
    for kill in 0..kills {
        let record = cluster.wait_until("mini", "the next attempt saves", |r| {
            let attempt = r.jobs[&key].status.attempt();
            attempt.is_some_and(|a| {
                a.generation > last && r.checkpoints.get(&stage).and_then(|all| all.last()).is_some_and(|c| c.generation == a.generation)
            })
        });
        last = record.jobs[&key].status.attempt().unwrap().generation;
        std::thread::sleep(Duration::from_micros(rng.below(40_000)));
        let ranks = cluster.job_processes();
        Cluster::kill_process(ranks[rng.below(ranks.len() as u64) as usize]);
        saves_cut_off += u64::from(cluster.record("mini").is_some_and(|record| is_saving(&cluster, &record, &stage, last)));
        cluster.wait_until("mini", "the attempt is over", |r| r.jobs[&key].status.attempt().is_none_or(|a| a.generation > last));
        let chosen = wait_for("a checkpoint that is not retired meanwhile", || newest(&cluster, &cluster.record("mini")?, &stage));
        if kill % 100 == 99 {
            eprintln!("{} kills, step {}, {saves_cut_off} saves cut off", kill + 1, chosen.step);
        }
    }
    cluster.stop("mini").unwrap();
    let record = cluster.wait_until("mini", "the run has stopped", |r| r.state.as_str() == "stopped");
    newest(&cluster, &record, &stage).unwrap();
    let audit = cluster.audit(&record);
    assert!(audit.is_clean() && audit.expected > 0, "{audit:?}\n{}", events(&record));
    assert!(saves_cut_off > kills / 10, "only {saves_cut_off} of {kills} kills came during a save");
    println!(
        "{kills} kills, {saves_cut_off} of them cut a save off, {} steps published, none lost or repeated",
        record.published_steps(&stage)
    );
}

#[test]
fn slow_kills_during_saves_choose_no_torn_checkpoint() {
    kill_during_saves(25);
}

/// `OSLER_KILLS` sets how many.
#[test]
#[ignore = "half an hour: make kills"]
fn a_thousand_kills_during_saves() {
    kill_during_saves(std::env::var("OSLER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(1000));
}
