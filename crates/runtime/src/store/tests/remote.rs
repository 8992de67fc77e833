//! What the store promises when it is not a folder: on memory, through stores that stall and fail, and on a real S3 server.

use super::super::*;
use super::flaky::{Flaky, Plan};
use object_store::memory::InMemory;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use std::time::{Duration, Instant};

const LARGE: usize = 20 << 20;

fn patience(total: Duration) -> Patience {
    Patience { first: Duration::from_millis(1), longest: Duration::from_millis(5), total, ..Patience::default() }
}

fn flaky(plan: Plan) -> (Store, Arc<Flaky>) {
    let objects = Arc::new(Flaky::new(InMemory::new(), plan));
    (Store::over("memory://", objects.clone(), patience(Duration::from_secs(20))), objects)
}

/// Bytes in which a piece that is missing, doubled or moved would show.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn file(folder: &tempfile::TempDir, length: usize) -> PathBuf {
    let path = folder.path().join("part");
    std::fs::write(&path, pattern(length)).unwrap();
    path
}

/// Everything that runs need of a store.
async fn serves_a_run(store: &Store, below: &str) {
    let folder = tempfile::tempdir().unwrap();
    let name = |name: &str| format!("{below}/{name}");
    store.probe(&name("probe")).await.unwrap();
    store.create(&name("state/1.json"), Bytes::from_static(b"one")).await.unwrap();
    assert!(matches!(store.create(&name("state/1.json"), Bytes::from_static(b"two")).await, Err(StoreError::AlreadyExists(_))));
    assert_eq!(store.get(&name("state/1.json")).await.unwrap().unwrap(), "one");
    assert_eq!(store.get(&name("state/2.json")).await.unwrap(), None);
    assert_eq!(store.get_range(&name("state/1.json"), 1..3).await.unwrap(), "ne");
    for length in [0, 1, 8 << 20, LARGE] {
        let object = store.put_file(&file(&folder, length), &name("large")).await.unwrap();
        assert_eq!((object.bytes, object.digest), (length as u64, Digest::of(&pattern(length))));
        assert!(!folder.path().join("part").exists(), "the file stayed behind");
        let fetched = store.fetch(&object).await.unwrap();
        assert_eq!(fetched.file_name().unwrap(), "large");
        assert_eq!(std::fs::read(fetched).unwrap(), pattern(length));
    }
    let wrong = store.put_digested(&file(&folder, 9), &name("wrong"), 9, Digest::of(b"other")).await;
    assert!(wrong.is_err() && store.get(&name("wrong")).await.unwrap().is_none(), "a writer that miscounts was believed");
    let object = store.put(&name("small"), Bytes::from_static(b"contents")).await.unwrap();
    store.put(&name("small"), Bytes::from_static(b"c0ntents")).await.unwrap();
    assert!(matches!(store.read(&object).await, Err(StoreError::Corrupt { .. })));
    assert!(matches!(store.fetch(&object).await, Err(StoreError::Corrupt { .. })));
    assert_eq!(store.list(below).await.unwrap(), [name("large"), name("small"), name("state/1.json")]);
    assert_eq!(store.folders(below).await.unwrap(), ["state"]);
    for gone in store.list(below).await.unwrap() {
        store.delete(&gone).await.unwrap();
        store.delete(&gone).await.unwrap();
    }
    assert!(matches!(store.fetch(&object).await, Err(StoreError::Missing { .. })));
    assert_eq!(store.list(below).await.unwrap(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_store_without_faults_serves_a_run() {
    serves_a_run(&flaky(Plan::default()).0, "r").await;
}

#[tokio::test]
async fn a_store_that_fails_now_and_then_serves_a_run() {
    let (store, objects) = flaky(Plan { fail_every: Some(7), ..Plan::default() });
    serves_a_run(&store, "r").await;
    assert!(objects.failures() > 3, "only {} calls failed: the test is broken", objects.failures());
}

#[tokio::test]
async fn a_store_whose_answers_end_early_serves_a_run() {
    let (store, objects) = flaky(Plan { tear_every: Some(3), ..Plan::default() });
    let folder = tempfile::tempdir().unwrap();
    let large = store.put_file(&file(&folder, LARGE), "large").await.unwrap();
    let small = store.put("small", Bytes::from_static(b"contents")).await.unwrap();
    for _ in 0..4 {
        assert_eq!(store.get("small").await.unwrap().unwrap(), "contents");
        assert_eq!(store.read(&small).await.unwrap(), "contents");
    }
    assert_eq!(std::fs::read(store.fetch(&large).await.unwrap()).unwrap(), pattern(LARGE));
    assert!(objects.failures() > 3, "only {} answers were torn: the test is broken", objects.failures());
}

#[tokio::test]
async fn what_was_changed_on_its_way_is_fetched_again() {
    let plan = Plan { garble_first: true, ..Plan::default() };
    for length in [9, LARGE] {
        let ((store, objects), folder) = (flaky(plan), tempfile::tempdir().unwrap());
        let object = store.put_file(&file(&folder, length), "object").await.unwrap();
        assert_eq!(store.read(&object).await.unwrap(), pattern(length));
        assert_eq!(objects.failures(), 1);
        let (store, _) = flaky(plan);
        let object = store.put_file(&file(&folder, length), "object").await.unwrap();
        assert_eq!(std::fs::read(store.fetch(&object).await.unwrap()).unwrap(), pattern(length));
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_serves_a_run() {
    let wait = Duration::from_secs(3);
    let slow = ThrottleConfig { wait_get_per_call: wait, wait_put_per_call: wait, wait_list_per_call: wait, ..ThrottleConfig::default() };
    let objects = Arc::new(ThrottledStore::new(InMemory::new(), slow));
    serves_a_run(&Store::over("memory://", objects, Patience::default()), "r").await;
}

#[tokio::test]
async fn a_store_that_stays_broken_is_given_up_with_its_last_words() {
    let objects = Arc::new(Flaky::new(InMemory::new(), Plan { fail_every: Some(1), ..Plan::default() }));
    let store = Store::over("memory://", objects.clone(), patience(Duration::from_millis(200)));
    let folder = tempfile::tempdir().unwrap();
    let object = ObjectRef { path: "r/x".into(), bytes: 3, digest: Digest::of(b"abc") };
    let begun = Instant::now();
    let failures = [
        store.get("r/x").await.unwrap_err(),
        store.create("r/x", Bytes::new()).await.unwrap_err(),
        store.put_file(&file(&folder, 10), "r/x").await.unwrap_err(),
        store.put_file(&file(&folder, LARGE), "r/x").await.unwrap_err(),
        store.fetch(&object).await.unwrap_err(),
        store.list("r").await.unwrap_err(),
    ];
    assert!(begun.elapsed() < Duration::from_secs(20));
    for failure in failures {
        let StoreError::GaveUp { tries, .. } = &failure else { panic!("{failure}") };
        assert!(*tries > 2, "{failure}");
        assert!(failure.to_string().contains("the wire was cut"), "{failure}");
    }
    objects.heal();
    assert_eq!(store.list("r").await.unwrap(), [] as [&str; 0], "half an object can be seen");
    assert!(folder.path().join("part").exists(), "the file is gone although it was not stored");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_never_answers_is_given_up() {
    let (store, _) = flaky(Plan { hang: true, ..Plan::default() });
    assert!(matches!(store.get("r/x").await, Err(StoreError::GaveUp { .. })));
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(store.put_file(&file(&folder, LARGE), "r/x").await, Err(StoreError::GaveUp { .. })));
}

#[tokio::test]
async fn a_store_that_ignores_conditions_is_refused_by_name() {
    let (store, _) = flaky(Plan { ignore_conditions: true, ..Plan::default() });
    let refused = store.probe("coordinator/probe/1").await.unwrap_err().to_string();
    assert!(refused.contains("memory://") && refused.contains("If-None-Match"), "{refused}");
    assert_eq!(store.list("coordinator").await.unwrap(), [] as [&str; 0]);
}

#[test]
fn an_address_holds_no_credentials() {
    for (url, words) in
        [("s3://", "needs a bucket"), ("s3://key:secret@bucket/p", "AWS_ACCESS_KEY_ID"), ("gs://bucket", "there are no others")]
    {
        let refused = Store::open(url).unwrap_err().to_string();
        assert!(refused.contains(words) && !refused.contains("secret@"), "{refused}");
    }
}

/// `make test-s3` starts a server and says where it is; without one there is nothing to ask.
fn server(name: &str, variable: &str) -> Option<Store> {
    let Ok(url) = std::env::var(variable) else {
        println!("SKIPPED: {name}: no S3 server (make test-s3 starts one)");
        return None;
    };
    Some(Store::open(&url).unwrap())
}

#[tokio::test]
async fn a_real_s3_server_serves_a_run() {
    let Some(store) = server("a_real_s3_server_serves_a_run", "OSLER_TEST_S3") else { return };
    assert!(!format!("{store:?}").contains(&std::env::var("AWS_SECRET_ACCESS_KEY").unwrap()), "a secret is printed");
    serves_a_run(&store, "runs/unit").await;
}

#[tokio::test]
async fn of_many_writers_of_one_name_one_wins_on_a_real_s3_server() {
    let Some(store) = server("of_many_writers_of_one_name_one_wins", "OSLER_TEST_S3") else { return };
    for round in 0..10 {
        let name = format!("race/{round}");
        let writers = (0..8).map(|i| store.create(&name, Bytes::from(format!("writer {i}"))));
        let won = futures::future::join_all(writers).await.into_iter().filter(Result::is_ok).count();
        store.delete(&name).await.unwrap();
        assert_eq!(won, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_probe_whose_first_answer_was_lost_meets_itself_and_goes_on() {
    let (store, _) = flaky(Plan::default());
    store.create("coordinator/probe/1", Bytes::from_static(b"first")).await.unwrap();
    store.probe("coordinator/probe/1").await.unwrap();
    store.create("coordinator/probe/1", Bytes::from_static(b"another's")).await.unwrap();
    assert!(matches!(store.probe("coordinator/probe/1").await, Err(StoreError::AlreadyExists(_))));
}

#[tokio::test]
async fn a_real_server_without_conditional_writes_is_refused() {
    let name = "a_real_server_without_conditional_writes_is_refused";
    let Some(store) = server(name, "OSLER_TEST_S3_UNCONDITIONAL") else { return };
    let refused = store.probe("coordinator/probe/1").await.unwrap_err();
    assert!(matches!(refused, StoreError::Unconditional { .. }), "{refused}");
}
