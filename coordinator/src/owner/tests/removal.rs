//! Removals that are cut off: whatever was written or deleted last, the run is as it was, or gone, and whoever comes next completes it.

use super::*;
use crate::cluster::RemoveRequest;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use osler_core::ids::Generation;
use osler_core::paths;
use osler_core::record::RunState;
use osler_core::removal::Remains;
use osler_runtime::store::Patience;
use std::fmt;
use tokio::sync::watch;

/// A store whose user is killed after so many changes: what it would do then never happens.
#[derive(Debug)]
struct Mortal {
    objects: Arc<InMemory>,
    left: watch::Sender<Option<usize>>,
}

impl Mortal {
    async fn changes(&self) {
        let mut dies = false;
        self.left.send_modify(|left| match left {
            Some(0) => dies = true,
            Some(left) => *left -= 1,
            None => {}
        });
        if dies {
            std::future::pending().await
        }
    }
}

impl fmt::Display for Mortal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mortal")
    }
}

#[async_trait]
impl ObjectStore for Mortal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.changes().await;
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, location: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (objects, left) = (self.objects.clone(), self.left.clone());
        let delete = move |path: Result<Path>| {
            let mortal = Self { objects: objects.clone(), left: left.clone() };
            async move {
                mortal.changes().await;
                let gone = futures::stream::once(async { path }).boxed();
                mortal.objects.delete_stream(gone).next().await.expect("one for one")
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

/// Nothing that a sweep of leftovers would take, as long as the run is there.
const OBJECTS: [&str; 5] = [
    "runs/r/jobs/export/other/g2/model.safetensors",
    "runs/r/jobs/train/other/g4/step-00000004/rank-00000.safetensors",
    "runs/r/checkpoints/other/step-00000004.g4.json",
    "runs/r/logs/train/general/g4/rank-00000.log",
    "runs/r/logs/old/g9/not-of-any-job.log",
];

fn run() -> RunName {
    RunName::new("r").unwrap()
}

fn plain(objects: &Arc<InMemory>) -> Store {
    Store::over("memory://", objects.clone(), Patience::none())
}

/// A store with a finished run, which has objects of four generations.
async fn finished() -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    let store = plain(&objects);
    let mut cluster = Cluster::new(BOTH, Epoch(1), "", Limits::default());
    cluster.apply(BOTH, Event::Submit(Box::new(spec("r").into()))).0.unwrap();
    let mut record = cluster.run(&run()).unwrap().record.clone();
    (record.next_generation, record.state) = (Generation(5), RunState::Finished);
    for version in 1..=3 {
        record.version = version;
        store.create(&paths::state(&run(), version), serde_json::to_vec(&record).unwrap().into()).await.unwrap();
    }
    for path in OBJECTS {
        store.put(path, "x".into()).await.unwrap();
    }
    objects
}

async fn lead(store: Store) -> (Handle, tokio::task::JoinHandle<Result<(), LedgerError>>) {
    let ledger = Ledger::open(store, NOW).await.unwrap();
    let (handle, owner) = Owner::start(ledger, Arc::new(Ours(Instant::now())), Limits::default()).await.unwrap();
    (handle, tokio::spawn(owner.run(std::future::pending())))
}

async fn remove(handle: &Handle) -> Result<RunState, HandleError> {
    handle.remove(RemoveRequest { run: run(), by: "ann".into() }).await
}

async fn all_swept(handle: &Handle) {
    while handle.runs().await.is_ok_and(|found| !found.removing.is_empty()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn of_run(store: &Store) -> Vec<String> {
    store.list(&paths::run(&run())).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_is_cut_off_anywhere_is_completed_by_who_comes_next() {
    let (mut as_it_was, mut gone) = (0, 0);
    for changes in 0.. {
        let objects = finished().await;
        let (left, mut dies) = watch::channel(None);
        let mortal = Mortal { objects: objects.clone(), left: left.clone() };
        let (handle, owner) = lead(Store::over("memory://", Arc::new(mortal), Patience::none())).await;
        left.send_replace(Some(changes));
        dies.mark_unchanged();
        let asked = tokio::spawn({
            let handle = handle.clone();
            async move {
                let answer = remove(&handle).await;
                all_swept(&handle).await;
                answer
            }
        });
        let killed = tokio::select! {
            answer = asked => { answer.unwrap().unwrap(); false }
            _ = dies.wait_for(|left| *left == Some(0)) => true,
        };
        tokio::time::sleep(Duration::from_secs(1)).await; // what can still happen does
        owner.abort();

        let store = plain(&objects);
        let (handle, owner) = lead(store.clone()).await;
        let listed = handle.runs().await.unwrap().runs;
        if let [line] = &listed[..] {
            as_it_was += 1;
            assert_eq!((line.run.as_str(), line.state.as_str()), ("r", "finished"), "after {changes} changes");
            let there = of_run(&store).await;
            assert!(OBJECTS.iter().all(|path| there.iter().any(|t| t == path)), "after {changes} changes: {there:?}");
            remove(&handle).await.unwrap();
        } else {
            gone += 1;
            let again = remove(&handle).await;
            let told = matches!(again, Ok(RunState::Removed) | Err(HandleError::Refused(Refused::NoSuchRun(_))));
            assert!(told, "after {changes} changes: {again:?}");
        }
        all_swept(&handle).await;
        assert_eq!(of_run(&store).await, ["runs/r/logs/old/g9/not-of-any-job.log"], "after {changes} changes: not an object of ours");
        assert!(handle.runs().await.unwrap().runs.is_empty());
        assert!(handle.submit(spec("r")).await.unwrap().0, "the name is not free after {changes} changes");
        owner.abort();
        let record = Ledger::open(store, NOW).await.unwrap().load().await.unwrap().runs.remove(0);
        assert!(record.version > 5 && record.next_generation >= Generation(5), "{} {}", record.version, record.next_generation);
        if !killed {
            assert!(as_it_was > 0 && gone > 5, "{as_it_was} {gone}");
            return;
        }
    }
}

/// Of a rank that was out of touch, and of a coordinator that stood still in a write.
#[tokio::test(start_paused = true)]
async fn what_slow_writers_bring_after_a_removal_is_nobodys() {
    let objects = finished().await;
    let store = plain(&objects);
    let (handle, owner) = lead(store.clone()).await;
    let old_version = store.get(&paths::state(&run(), 2)).await.unwrap().unwrap();
    remove(&handle).await.unwrap();
    handle.submit(spec("r")).await.unwrap(); // though not all may be deleted yet
    all_swept(&handle).await;
    owner.abort();
    store.put(OBJECTS[1], "late".into()).await.unwrap();
    store.put(OBJECTS[2], "late".into()).await.unwrap();
    store.create(&paths::state(&run(), 2), old_version).await.unwrap();
    let ours = "runs/r/jobs/export/other/g10/model.safetensors";
    store.put(ours, "new".into()).await.unwrap();

    let (handle, owner) = lead(store.clone()).await;
    let states: Vec<String> = handle.runs().await.unwrap().runs.into_iter().map(|line| line.state).collect();
    assert_eq!(states, ["submitted"], "the old run is back");
    all_swept(&handle).await;
    let left: Vec<String> = of_run(&store).await.into_iter().filter(|path| !path.contains("/state/")).collect();
    assert_eq!(left, [ours, OBJECTS[4]]);
    owner.abort();
    let notes = store.list(paths::REMOVED).await.unwrap();
    assert_eq!(
        notes.iter().map(|note| Remains::of_note(note).unwrap().next_generation).collect::<Vec<_>>(),
        [Generation(10)],
        "beyond all that the store bears"
    );
}
