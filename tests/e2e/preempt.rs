//! A scheduler takes nodes away: gangs save inside the grace, nothing is lost, exit codes say "requeue".

use crate::cluster::{Cluster, TRAINING_ALONE, binary, descendants, events, mini_spec, signal, wait_for};
use nix::sys::signal::Signal;
use osler_core::ids::{Generation, StageName};
use osler_core::paths;
use osler_core::plan::train_key;
use osler_core::record::RunRecord;
use std::process::{Command, Stdio};

const REQUEUE: Option<i32> = Some(75);
/// Checkpoints so far apart that what is published was saved because of the signal.
const LONG: [&str; 2] = ["stage.domain.steps=400", "checkpoint.every_steps=390"];

fn changes() -> Vec<&'static str> {
    [&TRAINING_ALONE[..], &LONG].concat()
}

fn blameless(record: &RunRecord) {
    let faults: Vec<_> = record.jobs.values().flat_map(|job| job.past.iter().filter_map(|past| past.fault.as_ref())).collect();
    assert!(faults.is_empty(), "{faults:?}\n{}", events(record));
}

/// Waits for a generation after `last` whose ranks make steps: only their logs tell, nothing is published before the signal.
fn until_training(cluster: &Cluster, stage: &StageName, last: Generation) -> Generation {
    let key = train_key(stage);
    wait_for("all ranks train", || {
        let record = cluster.record("mini")?;
        let attempt = record.jobs.get(&key)?.status.attempt().filter(|a| a.generation > last)?;
        let trains = |rank: usize| {
            let log = cluster.store().join(paths::log(&record.id(&key), attempt.generation, rank as u32));
            std::fs::read_to_string(log).is_ok_and(|text| text.contains("training"))
        };
        (0..attempt.places.len()).all(trains).then_some(attempt.generation)
    })
}

#[test]
fn a_node_that_is_taken_away_loses_no_step() {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &changes());
    let domain = &spec.stages[1].name;
    cluster.start_coordinator();
    cluster.start_agent("a", 1);
    cluster.start_agent("b", 1);
    cluster.submit(&spec).unwrap();
    let mut last = Generation(0);
    for usr1 in [true, false] {
        last = until_training(&cluster, domain, last);
        let published = cluster.record("mini").unwrap().published_steps(domain);
        let code = cluster.end_agent("a", if usr1 { Signal::SIGUSR1 } else { Signal::SIGTERM });
        assert_eq!(code, REQUEUE);
        let saved = cluster.wait_until("mini", "a checkpoint", |r| r.published_steps(domain) > published);
        blameless(&saved);
        cluster.start_agent("a", 1);
    }
    let record = cluster.wait_finished("mini");
    blameless(&record);
    assert!(cluster.audit(&record).is_clean());

    let mut straight = Cluster::new();
    straight.start_coordinator();
    straight.start_agent("a", 2);
    straight.submit(&spec).unwrap();
    let undisturbed = straight.wait_finished("mini");
    assert_eq!(cluster.final_parts(&record, domain), straight.final_parts(&undisturbed, domain));
}

#[test]
fn an_agent_without_any_grace_ends_its_gang_at_once_and_says_requeue() {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &changes());
    cluster.start_coordinator();
    cluster.start_agent_with("a", 2, &["--grace", "0"]);
    cluster.submit(&spec).unwrap();
    until_training(&cluster, &spec.stages[1].name, Generation(0));
    assert_eq!(cluster.end_agent("a", Signal::SIGTERM), REQUEUE);
    cluster.start_agent("a", 2);
    let record = cluster.wait_finished("mini");
    assert!(cluster.audit(&record).is_clean());
}

#[test]
fn an_idle_agent_ends_with_zero() {
    let mut cluster = Cluster::new();
    cluster.start_coordinator();
    cluster.start_agent("a", 1);
    let log = cluster.folder.path().join("agents.log");
    wait_for("the agent has started", || std::fs::read_to_string(&log).ok()?.contains("agent started").then_some(()));
    assert_eq!(cluster.end_agent("a", Signal::SIGTERM), Some(0));
}

#[test]
fn a_batch_job_whose_processes_all_get_the_signal_saves_and_is_resumed() {
    let cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &changes());
    let domain = &spec.stages[1].name;
    let file = cluster.folder.path().join("world/mini.toml");
    std::fs::write(&file, include_str!("mini.toml")).unwrap();
    let osler = |arguments: &[&str]| {
        let mut command = Command::new(binary("osler"));
        command.args(arguments).arg("--store").arg(cluster.store()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut up = vec!["up", file.to_str().unwrap()];
    changes().iter().for_each(|change| up.extend(["--set", change]));
    let mut last = Generation(0);
    for usr1 in [true, false] {
        let published = cluster.record("mini").map_or(0, |r| r.published_steps(domain));
        let mut batch = osler(if published == 0 { &up } else { &["resume", "mini"] }).spawn().unwrap();
        last = until_training(&cluster, domain, last);
        // As scancel does it: every process of the job, in no order that anybody chose.
        let all = descendants(batch.id());
        assert!(all.len() >= 5, "osler, coordinator, worker and two ranks: {all:?}");
        all.into_iter().for_each(|pid| signal(pid, if usr1 { Signal::SIGUSR1 } else { Signal::SIGTERM }));
        assert_eq!(batch.wait().unwrap().code(), REQUEUE);
        let record = cluster.record("mini").unwrap();
        assert_eq!(record.state.as_str(), "stopped", "{}", events(&record));
        assert!(record.published_steps(domain) > published, "{}", events(&record));
        blameless(&record);
    }
    assert_eq!(osler(&["resume", "mini"]).status().unwrap().code(), Some(0));
    let record = cluster.record("mini").unwrap();
    assert_eq!(record.state.as_str(), "finished", "{}", events(&record));
    assert!(cluster.audit(&record).is_clean());
}
