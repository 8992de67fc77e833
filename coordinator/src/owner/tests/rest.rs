//! Finished runs at rest: they cost a takeover no version and the coordinator a few words, and are there when somebody asks.

use super::*;
use crate::cluster::{Doubt, RemoveRequest};
use object_store::memory::InMemory;
use osler_core::checkpoint::ObjectRef;
use osler_core::digest::Digest;
use osler_core::ids::{Generation, StageName};
use osler_core::job::{JobResult, Summary};
use osler_core::paths;
use osler_core::record::{JobState, Published, RunRecord, RunState};
use osler_core::time::Age;
use osler_runtime::store::Patience;

fn name(run: &str) -> RunName {
    RunName::new(run).unwrap()
}

fn limits() -> Limits {
    Limits { rest_after: 2_000, ..Limits::default() }
}

fn stage() -> StageName {
    StageName::new("domain").unwrap()
}

/// Writes the record of a run that finished after a second of its life, with a checkpoint and a tokenizer.
async fn finish(store: &Store, run: &str) {
    let mut cluster = Cluster::new(BOTH, Epoch(1), "", Limits::default());
    cluster.apply(BOTH, Event::Submit(Box::new(spec(run).into()))).0.unwrap();
    let mut record = cluster.run(&name(run)).unwrap().record.clone();
    record.version = 1;
    record.state = RunState::Finished;
    record.finished = Some(Age { watched: 1_000, alone: 0 });
    record.aged.age = Age { watched: 1_000, alone: 0 };
    record.next_generation = Generation(3);
    let object = |path: &str| ObjectRef { path: path.to_owned(), bytes: 1, digest: Digest::of(b"x") };
    let manifest = object(&format!("runs/{run}/checkpoints/domain/step-00000013.g2.json"));
    let step = 13;
    let published = Published {
        step,
        generation: Generation(2),
        manifest,
        at: NOW,
        retired: false,
        mean_loss: None,
        world_size: Some(1),
        pinned: false,
        skipped: 0,
    };
    record.checkpoints.insert(stage(), vec![published]);
    let outputs = [("tokenizer.json".to_owned(), object(&format!("runs/{run}/jobs/tokenizer/g1/tokenizer.json")))].into();
    let result = JobResult { outputs, summary: Summary::Export { step: 13, parameters: 1, bytes: 1 } };
    for job in record.jobs.values_mut() {
        job.status = JobState::Succeeded { generation: Generation(1), at: NOW, result: result.clone() };
    }
    store.create(&paths::state(&name(run), 1), serde_json::to_vec(&record).unwrap().into()).await.unwrap();
}

/// A store of runs that are at rest.
async fn at_rest(runs: &[&str]) -> Store {
    let store = Store::over("memory://", Arc::new(InMemory::new()), Patience::none());
    for run in runs {
        finish(&store, run).await;
    }
    let (_handle, owner) = lead(&store, limits()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    owner.abort();
    store
}

async fn lead(store: &Store, limits: Limits) -> (Handle, tokio::task::JoinHandle<Result<(), LedgerError>>) {
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    let (handle, owner) = Owner::start(ledger, Arc::new(Ours(Instant::now())), limits).await.unwrap();
    (handle, tokio::spawn(owner.run(std::future::pending())))
}

/// The newest version of a run, as it is in the store.
async fn newest(store: &Store, run: &str) -> RunRecord {
    let versions = store.list(&paths::states(&name(run))).await.unwrap();
    crate::document::read(&store.get(versions.last().unwrap()).await.unwrap().unwrap()).unwrap()
}

async fn seen(handle: &Handle, run: &str) -> Result<RunRecord, HandleError> {
    let view = handle.watch(name(run)).await?.next().await.unwrap();
    Ok(crate::document::read(&view.reply.record_json).unwrap())
}

async fn states(handle: &Handle) -> Vec<(String, String)> {
    handle.runs().await.unwrap().runs.into_iter().map(|line| (line.run, line.state)).collect()
}

fn of(line: (&str, &str)) -> (String, String) {
    (line.0.to_owned(), line.1.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_run_at_rest_costs_a_takeover_no_version_and_is_shown_whole_when_somebody_asks() {
    let store = at_rest(&["a", "b"]).await;
    let rested = newest(&store, "a").await;
    assert!(rested.swept && rested.version == 3, "one by the takeover, one that says that it rests: {}", rested.version);
    for _ in 0..3 {
        let (handle, owner) = lead(&store, limits()).await;
        let lines = handle.runs().await.unwrap().runs;
        let line = &lines[0];
        assert_eq!((line.run.as_str(), line.state.as_str(), line.stage.as_str(), line.step), ("a", "finished", "domain", 13));
        assert_eq!(seen(&handle, "a").await.unwrap(), rested);
        assert!(handle.metrics().await.unwrap().contains("osler_run_state{run=\"b\",state=\"finished\"} 1\n"));
        tokio::time::sleep(Duration::from_secs(30)).await; // it goes to rest again
        assert_eq!(states(&handle).await, [("a", "finished"), ("b", "finished")].map(of));
        owner.abort();
    }
    assert_eq!(newest(&store, "a").await, rested, "nothing was written");
    // A record that no coordinator has left at rest is taken over with a version of its own.
    finish(&store, "c").await;
    let (_handle, owner) = lead(&store, limits()).await;
    assert_eq!(newest(&store, "c").await.version, 2);
    owner.abort();
}

#[tokio::test(start_paused = true)]
async fn whatever_is_asked_of_a_run_at_rest_is_done_as_if_it_were_not() {
    let store = at_rest(&["a", "b"]).await;
    let (handle, owner) = lead(&store, limits()).await;
    assert_eq!(handle.submit(spec("a")).await.unwrap(), (false, RunState::Finished));
    let mut other = spec("a");
    other.seed += 1;
    assert!(matches!(handle.submit(other).await, Err(HandleError::Refused(Refused::AlreadyExists { .. }))));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(handle.resume(name("a"), None).await.unwrap(), RunState::Finished);
    tokio::time::sleep(Duration::from_secs(30)).await;
    handle.pin(name("a"), stage(), 13, true).await.unwrap();
    assert!(newest(&store, "a").await.has_pins());
    tokio::time::sleep(Duration::from_secs(30)).await;
    // The object is not there, so it is made again: the run is over no more, and does not rest.
    let path = "runs/a/jobs/tokenizer/g1/tokenizer.json".to_owned();
    handle.doubt(Doubt { run: name("a"), path, by: "ann".into() }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let doubted = newest(&store, "a").await;
    assert!(doubted.state == RunState::Stopped && !doubted.swept && doubted.finished.is_none(), "{:?}", doubted.state);
    assert_eq!(states(&handle).await, [("a", "stopped"), ("b", "finished")].map(of));
    let removed = handle.remove(RemoveRequest { run: name("b"), by: "ann".into() }).await.unwrap();
    assert_eq!((removed, states(&handle).await), (RunState::Removed, vec![of(("a", "stopped"))]));
    owner.abort();
}

#[tokio::test(start_paused = true)]
async fn what_was_written_after_it_was_taken_over_counts_when_a_run_is_read_again() {
    let store = at_rest(&["a", "b", "c", "d"]).await;
    let (handle, owner) = lead(&store, limits()).await;
    // By a coordinator that stood still in a write and must tell nobody of it.
    let mut late = newest(&store, "a").await;
    (late.version, late.state, late.swept) = (late.version + 1, RunState::Stopped, false);
    store.create(&paths::state(&name("a"), late.version), serde_json::to_vec(&late).unwrap().into()).await.unwrap();
    assert_eq!(seen(&handle, "a").await.unwrap().state, RunState::Stopped);
    assert_eq!(newest(&store, "a").await.version, late.version + 1, "it is fenced now");
    // The same of a removal: it is completed, and its name is not free before.
    let mut late = newest(&store, "d").await;
    (late.version, late.state) = (late.version + 1, RunState::Removed);
    store.create(&paths::state(&name("d"), late.version), serde_json::to_vec(&late).unwrap().into()).await.unwrap();
    let first = handle.submit(spec("d")).await;
    assert!(matches!(first, Err(HandleError::Refused(Refused::BeingRemoved(_))) | Ok((true, _))), "{first:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    handle.submit(spec("d")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let again = newest(&store, "d").await;
    assert!(again.version > late.version && again.state == RunState::Submitted, "{} {:?}", again.version, again.state);
    handle.stop(StopRequest { run: name("d"), kind: StopKind::ByHand, by: "ann".into() }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    handle.remove(RemoveRequest { run: name("d"), by: "ann".into() }).await.unwrap();
    // Damage costs one run.
    for version in 1..=3 {
        store.put(&paths::state(&name("b"), version), "{".into()).await.unwrap();
    }
    assert!(matches!(seen(&handle, "b").await, Err(HandleError::Refused(Refused::Unreadable { .. }))));
    for path in store.list(&paths::run(&name("c"))).await.unwrap() {
        store.delete(&path).await.unwrap();
    }
    assert!(matches!(seen(&handle, "c").await, Err(HandleError::Refused(Refused::NoSuchRun(_)))));
    assert_eq!(states(&handle).await, [("a", "stopped"), ("b", "unreadable")].map(of));
    owner.abort();
}

#[tokio::test(start_paused = true)]
async fn a_run_whose_record_cannot_be_read_is_removed_and_its_name_is_free() {
    let store = at_rest(&["a"]).await;
    store.put("runs/a/jobs/tokenizer/g7/tokenizer.json", "x".into()).await.unwrap();
    for version in 1..=3 {
        store.put(&paths::state(&name("a"), version), "{".into()).await.unwrap();
    }
    let (handle, owner) = lead(&store, limits()).await;
    assert_eq!(states(&handle).await, [of(("a", "unreadable"))]);
    let removed = handle.remove(RemoveRequest { run: name("a"), by: "ann".into() }).await.unwrap();
    assert_eq!((removed, states(&handle).await), (RunState::Removed, vec![]));
    assert!(handle.submit(spec("a")).await.unwrap().0, "its name is free");
    tokio::time::sleep(Duration::from_secs(30)).await;
    owner.abort();
    let left = store.list(&paths::run(&name("a"))).await.unwrap();
    let record = newest(&store, "a").await;
    assert!(record.version > 4 && record.next_generation >= Generation(1_007), "{} {}", record.version, record.next_generation);
    assert!(!left.iter().any(|path| path.contains("/g7/")), "{left:?}");
    let (handle, owner) = lead(&store, limits()).await;
    assert_eq!(states(&handle).await, [of(("a", "submitted"))]);
    owner.abort();
}

#[tokio::test(start_paused = true)]
async fn runs_at_rest_are_kept_no_longer_than_the_policy_says() {
    let store = at_rest(&["a", "b"]).await;
    finish(&store, "c").await;
    let (handle, owner) = lead(&store, Limits { keep_finished: Some(1), ..limits() }).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(states(&handle).await, [of(("c", "finished"))]);
    owner.abort();
}

/// Each coordinator lives for two hours, and nothing but the cluster's own record tells the next one of it.
#[tokio::test(start_paused = true)]
async fn runs_at_rest_grow_old_under_one_coordinator_after_the_other() {
    let store = at_rest(&["a"]).await;
    let hour = 3_600_000;
    for life in 0..4 {
        let (handle, owner) = lead(&store, Limits { keep_finished_for: Some(7 * hour), ..limits() }).await;
        tokio::time::sleep(Duration::from_millis(2 * hour)).await;
        let left = states(&handle).await;
        assert_eq!(left.is_empty(), life == 3, "after {} hours: {left:?}", 2 * (life + 1));
        owner.abort();
    }
}
