//! A standby takes the coordinator's place: training goes on in the same processes, and the old one is refused.

use crate::cluster::{Cluster, TRAINING_ALONE, events, mini_spec, signal, wait_for};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use osler_core::ids::StageName;
use osler_core::plan::train_key;
use osler_core::record::RunRecord;

/// More than are made: it is on its way still when the standby has waited for the lease to expire.
const STEPS: &str = "stage.domain.steps=50000";

/// A training that is on its way, under a coordinator that has a standby.
fn training() -> (Cluster, StageName, RunRecord) {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &[&TRAINING_ALONE[..], &[STEPS, "checkpoint.every_steps=50"]].concat());
    cluster.start_coordinator();
    cluster.start_standby();
    cluster.start_agent("a", 1);
    cluster.start_agent("b", 1);
    cluster.submit(&spec).unwrap();
    let domain = spec.stages[1].name.clone();
    let record = cluster.wait_until("mini", "steps", |r| r.published_steps(&domain) >= 100);
    (cluster, domain, record)
}

/// The stage went on in the attempt that it was in, and everything that it did meanwhile was published.
fn went_on(cluster: &Cluster, domain: &StageName, before: &RunRecord) -> RunRecord {
    let key = train_key(domain);
    let generation = before.jobs[&key].status.attempt().unwrap().generation;
    let record = cluster.wait_until("mini", "checkpoints under the new coordinator", |r| {
        r.epoch > before.epoch && r.published_steps(domain) > before.published_steps(domain) + 100
    });
    let now = record.jobs[&key].status.attempt().unwrap_or_else(|| panic!("{}", events(&record)));
    assert_eq!(now.generation, generation, "{}", events(&record));
    // It need not finish to tell: stopped in order, its only attempt is that one.
    let stopped = cluster.stop_within("mini", domain, 0);
    assert_eq!(stopped.jobs[&key].past.len(), 1, "{}", events(&stopped));
    assert!(cluster.audit(&stopped).is_clean());
    stopped
}

#[test]
fn training_does_not_pause_when_the_coordinator_dies_beside_a_standby() {
    let (mut cluster, domain, before) = training();
    cluster.kill_coordinator();
    assert!(cluster.wait_for_takeover().is_none());
    went_on(&cluster, &domain, &before);
}

#[test]
fn slow_a_coordinator_that_stood_still_is_refused_its_next_write() {
    let (mut cluster, domain, before) = training();
    cluster.freeze_coordinator();
    let mut old = cluster.wait_for_takeover().unwrap();
    let record = cluster.wait_until("mini", "a write of the new one", |r| r.epoch > before.epoch);
    signal(Pid::from_raw(old.id() as i32), Signal::SIGCONT);
    let code = wait_for("the old coordinator has ended", || old.try_wait().unwrap()).code();
    assert_eq!(code, Some(1));
    let log = std::fs::read_to_string(cluster.folder.path().join("coordinator.log")).unwrap();
    assert!(log.contains("another coordinator has taken over this store"), "{log}");
    let stopped = went_on(&cluster, &domain, &before);
    assert_eq!(stopped.epoch, record.epoch);
}
