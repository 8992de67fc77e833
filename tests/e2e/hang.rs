//! A rank that stands still is found, named and replaced.

use crate::cluster::{Cluster, TRAINING_ALONE, events, mini_spec, signal, wait_for};
use nix::sys::signal::Signal;
use osler_core::plan::train_key;

#[test]
fn slow_a_frozen_rank_is_named_and_its_gang_goes_on_without_it() {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &[&TRAINING_ALONE[..], &["stage.domain.steps=600"]].concat());
    let domain = &spec.stages[1].name;
    let key = train_key(domain);
    cluster.start_coordinator();
    cluster.start_agent("a", 1);
    cluster.start_agent("b", 1);
    cluster.submit(&spec).unwrap();
    let record = cluster.wait_until("mini", "steps", |r| r.published_steps(domain) >= 100);
    let attempt = record.jobs[&key].status.attempt().unwrap();
    let (worker, generation) = (attempt.places[1].worker.clone(), attempt.generation);
    let rank = wait_for("the rank's process", || cluster.jobs_of(worker.as_str()).first().copied());
    signal(rank, Signal::SIGSTOP);
    let record = cluster.wait_finished("mini");
    let past = record.jobs[&key].past.iter().find(|past| past.generation == generation).unwrap();
    let fault = past.fault.as_ref().unwrap_or_else(|| panic!("{}", events(&record)));
    assert_eq!(fault.origin.as_deref(), Some(format!("{worker}/1").as_str()), "{fault}");
    assert!(fault.message.contains("rank 1 is frozen"), "{fault}");
    // What the kernel knows of the frozen one first, then where the other one waits for it.
    let first = fault.log_tail.first().unwrap();
    assert!(first.starts_with("rank 1: main thread: ") && first.contains("stopped by a signal"), "{:#?}", fault.log_tail);
    let other = fault.log_tail.iter().filter(|line| line.starts_with("rank 0: "));
    let waits = other.filter(|line| line.contains("osler_rank::") || line.contains("c10d") || line.contains("gloo")).count();
    assert!(waits > 0, "{:#?}", fault.log_tail);
    let begins = fault.log_tail.iter().position(|line| line.ends_with("innermost call first:")).unwrap();
    assert!(!fault.log_tail[begins + 1].contains("in answer"), "the signal's own calls are shown: {:#?}", fault.log_tail);
    let took = past.ended_at.0 - past.started_at.0;
    assert!(took < 60_000, "{took} ms");
    assert!(cluster.audit(&record).is_clean());
}
