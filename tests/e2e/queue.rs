//! Several runs on real processes: priorities, drained nodes, quotas, and what `osler` says of them.

use crate::cluster::{Cluster, TRAINING_ALONE, events, mini_spec};
use osler_core::ids::{RunName, StageName};
use osler_core::plan::train_key;
use osler_core::reason::Cause;
use osler_core::record::RunRecord;
use osler_core::spec::RunSpec;
use serde_json::Value;

const EVERY: u64 = 50;

/// A run that trains for longer than anybody waits unless `changes` say otherwise, and saves every 50 steps.
fn spec(cluster: &Cluster, name: &str, changes: &[&str]) -> RunSpec {
    let long = ["stage.domain.steps=100000", "checkpoint.every_steps=50"];
    RunSpec { name: RunName::new(name).unwrap(), ..mini_spec(cluster.folder.path(), &[&TRAINING_ALONE[..], &long, changes].concat()) }
}

fn domain(spec: &RunSpec) -> StageName {
    spec.stages[1].name.clone()
}

/// What ended a past attempt of the stage's training; none of them may be a fault.
fn causes(record: &RunRecord, stage: &StageName) -> Vec<Cause> {
    let past = &record.jobs[&train_key(stage)].past;
    assert!(past.iter().all(|attempt| attempt.fault.is_none()), "{}", events(record));
    past.iter().filter_map(|attempt| attempt.cause.clone()).collect()
}

/// Stops a run that has made steps since, and compares it with one that nothing disturbed.
fn unharmed(cluster: &Cluster, run: &str, stage: &StageName, since: u64) {
    let record = cluster.stop_within(run, stage, since + EVERY);
    assert!(cluster.audit(&record).is_clean());
    let last = record.published_steps(stage) / EVERY * EVERY;
    let mut calm = Cluster::new();
    calm.start_coordinator();
    calm.start_agent("a", 2);
    calm.submit(&spec(&calm, run, &[])).unwrap();
    let expected = calm.stop_within(run, stage, last - 1);
    assert_eq!(cluster.bits_until(&record, stage, last), calm.bits_until(&expected, stage, last), "{}", events(&record));
}

fn explain(cluster: &Cluster, what: &str) -> Value {
    serde_json::from_str(&cluster.osler(&["explain", what, "--json"])).unwrap()
}

#[test]
fn a_run_of_a_higher_priority_takes_the_slots_and_the_other_one_goes_on_with_the_same_bits() {
    let mut cluster = Cluster::new();
    cluster.start_coordinator_with(&["--preempt-after", "0"]);
    cluster.start_agent("a", 1);
    cluster.start_agent("b", 1);
    let low = spec(&cluster, "low", &[]);
    let stage = domain(&low);
    cluster.submit(&low).unwrap();
    cluster.wait_until("low", "steps", |r| r.published_steps(&stage) >= 100);
    cluster.submit(&spec(&cluster, "high", &["queue.priority=5", "stage.domain.steps=300"])).unwrap();
    let left = cluster.wait_until("low", "it leaves", |r| causes(r, &stage).iter().any(|c| matches!(c, Cause::Preempted { .. })));
    assert!(left.published_steps(&stage) >= 100);
    let job = format!("low/{}", train_key(&stage));
    let told = explain(&cluster, &job);
    assert!(told["ahead"].as_array().unwrap().iter().all(|line| line["run"] == "high" && line["priority"] == 5), "{told}");
    assert!(cluster.osler(&["explain", &job]).contains("preempted by high/"), "{told}");
    let high = cluster.wait_finished("high");
    assert!(causes(&high, &stage).is_empty(), "{}", events(&high));
    assert!(cluster.audit(&high).is_clean());
    unharmed(&cluster, "low", &stage, left.published_steps(&stage));
}

#[test]
fn a_drained_node_gives_its_rank_to_another_one_and_takes_work_again_when_it_is_undrained() {
    let mut cluster = Cluster::new();
    cluster.start_coordinator();
    ["a", "b", "c"].into_iter().for_each(|name| cluster.start_agent(name, 1));
    let low = spec(&cluster, "low", &[]);
    let stage = domain(&low);
    let key = train_key(&stage);
    cluster.submit(&low).unwrap();
    let before = cluster.wait_until("low", "steps", |r| r.published_steps(&stage) >= 100);
    let victim = before.jobs[&key].status.attempt().unwrap().places[0].worker.to_string();
    cluster.osler(&["node", "drain", &victim, "--reason", "new disks"]);
    let moved = cluster.wait_until("low", "it trains elsewhere", |r| {
        let attempt = r.jobs[&key].status.attempt();
        attempt.is_some_and(|a| a.has_met() && a.places.iter().all(|place| place.worker.as_str() != victim))
    });
    assert!(matches!(&causes(&moved, &stage)[..], [Cause::Draining { worker }] if worker.as_str() == victim), "{}", events(&moved));
    let line = |cluster: &Cluster| -> Value {
        let lines: Value = serde_json::from_str(&cluster.osler(&["node", "list", "--json"])).unwrap();
        lines["nodes"].as_array().unwrap().iter().find(|line| line["worker"] == victim.as_str()).unwrap().clone()
    };
    assert_eq!(line(&cluster)["state"], "drained");
    assert!(cluster.osler(&["node", "list"]).contains("new disks"));
    // The node is idle and sound: a look says so, and it may work again.
    let look: Value = serde_json::from_str(&cluster.osler(&["node", "check", &victim, "--json"])).unwrap();
    assert!(look["health"]["folders"].as_array().is_some_and(|folders| !folders.is_empty()), "{look}");
    cluster.osler(&["node", "undrain", &victim]);
    assert_eq!(line(&cluster)["state"], "idle");
    unharmed(&cluster, "low", &stage, moved.published_steps(&stage));
}

#[test]
fn a_team_with_a_quota_waits_for_its_own_runs_and_is_told_so() {
    let mut cluster = Cluster::new();
    cluster.start_coordinator();
    cluster.start_agent("a", 4);
    cluster.osler(&["quota", "set", "nlp", "2"]);
    let team = ["queue.team=nlp"];
    let first = spec(&cluster, "first", &team);
    let stage = domain(&first);
    cluster.submit(&first).unwrap();
    cluster.wait_until("first", "steps", |r| r.published_steps(&stage) >= 50);
    cluster.submit(&spec(&cluster, "second", &team)).unwrap();
    let told = explain(&cluster, "second");
    assert!(told.to_string().contains("quota"), "{told}");
    assert_eq!(told["quota"]["slots"], 2, "{told}");
    let waiting = cluster.record("second").unwrap();
    assert!(waiting.jobs.values().all(|job| job.status.attempt().is_none()), "{}", events(&waiting));
    cluster.osler(&["quota", "set", "nlp", "4"]);
    cluster.wait_until("second", "it runs beside the first", |r| r.jobs.values().any(|job| job.status.attempt().is_some()));
    assert!(cluster.record("first").unwrap().state.is_live());
    for run in ["first", "second"] {
        cluster.stop(run).unwrap();
    }
    cluster.wait_until("first", "it has stopped", |r| r.state.as_str() == "stopped");
}

/// Although the owner's token lies where the caller can read it, as on the coordinator's machine.
#[test]
fn whoever_names_a_token_is_not_taken_for_the_owner() {
    let mut cluster = Cluster::new();
    cluster.start_coordinator();
    let file = cluster.folder.path().join("ann.token");
    let file = file.to_str().unwrap();
    cluster.osler(&["token", "create", "--role", "viewer", "--name", "ann", "--out", file]);
    cluster.osler(&["ps", "--token-file", file]);
    let refused = cluster.try_osler(&["quota", "set", "nlp", "2", "--token-file", file]);
    assert!(!refused.status.success());
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(words.contains("viewer"), "{words}");
    let log = cluster.osler(&["cluster", "log"]);
    assert!(log.contains("ann"), "{log}");
    cluster.osler(&["token", "revoke", "ann"]);
    let revoked = cluster.try_osler(&["ps", "--token-file", file]);
    assert!(!revoked.status.success() && String::from_utf8_lossy(&revoked.stderr).contains("refuses the token"), "{revoked:?}");
    let missing = cluster.try_osler(&["ps", "--token-file", "/nowhere/token"]);
    assert!(!missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("/nowhere/token"));
}
