//! The store: create-only versions and other objects, behind a wire that is slow, stalls, fails, tears what is read, or loses the answer
//! to a write that was applied. A write that was sent is applied even if its author dies before it hears of it. Its disk fills up, deletes
//! slowly, and [`decay`] damages objects or takes them away.

use super::world::Shared;
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

#[derive(Debug, Clone)]
pub struct Disk {
    objects: Arc<InMemory>,
    world: Shared,
}

/// What happens to one call.
struct Fate {
    before: Duration,
    after: Duration,
    refused: bool,
    answer_lost: bool,
}

impl Disk {
    pub fn new(world: Shared) -> Self {
        Self { objects: Arc::new(InMemory::new()), world }
    }

    fn fate(&self) -> Fate {
        let mut world = self.world.lock();
        let (mut before, mut after) = (world.below(6), world.below(4));
        if world.strikes("store stalls", 400) {
            let stall = world.below(20_000);
            let stalled = if world.rng.once_in(2) { &mut before } else { &mut after };
            *stalled += stall;
        }
        let refused = world.strikes("store fails", 120);
        let answer_lost = world.strikes("store's answer is lost", 120);
        Fate { before, after, refused, answer_lost }
    }

    /// Performs a change that, once sent, needs nobody to wait for it.
    async fn send<T: Send + 'static>(&self, change: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
        let Fate { before, after, refused, answer_lost } = self.fate();
        if refused {
            sleep(before).await;
            return Err(cut());
        }
        let sent = tokio::spawn(async move {
            sleep(before).await;
            change.await
        });
        let done = sent.await.map_err(|e| Error::Generic { store: "simulated", source: e.into() })?;
        sleep(after).await;
        if answer_lost { Err(cut()) } else { done }
    }

    fn has_room(&self) -> bool {
        let mut world = self.world.lock();
        if world.strikes("store has no room", 500) {
            let full = world.below(8_000);
            world.note(|| format!("store: has no room for {} ms", full.as_millis()));
            world.full_until = Some(Instant::now() + full);
        }
        world.full_until.is_none_or(|until| Instant::now() >= until)
    }

    fn slow_delete(&self) -> Duration {
        let mut world = self.world.lock();
        if world.strikes("delete is slow", 20) { world.below(9_000) } else { Duration::ZERO }
    }

    async fn reach(&self) -> Result<()> {
        let Fate { before, after, refused, answer_lost } = self.fate();
        sleep(before + after).await;
        if refused || answer_lost { Err(cut()) } else { Ok(()) }
    }

    /// What a rank writes, or a test looks at: without the wire.
    pub async fn put_now(&self, path: &str, bytes: Bytes) {
        self.objects.put(&Path::from(path), bytes.into()).await.unwrap();
    }

    /// A bit flips, a write was never complete, or somebody deletes an object. The next that is written there is whole again.
    pub async fn damage(&self, path: &str) {
        let path = Path::from(path);
        let vanishes = self.world.lock().rng.once_in(2);
        let (what, n) = if vanishes { ("object vanishes", 1) } else { ("object is damaged", 1) };
        if !self.world.lock().strikes(what, n) || self.objects.head(&path).await.is_err() {
            return;
        }
        self.world.lock().note(|| format!("store: {what}: {path}"));
        self.world.lock().damaged.insert(path.as_ref().to_owned());
        match vanishes {
            true => self.objects.delete(&path).await.unwrap(),
            false => drop(self.objects.put(&path, "?".into()).await.unwrap()),
        }
    }

    /// Every name.
    pub async fn names(&self) -> Vec<String> {
        self.objects.list(None).map(|found| found.unwrap().location.to_string()).collect().await
    }

    pub async fn look(&self, path: &str) -> Option<Bytes> {
        self.objects.get(&Path::from(path)).await.ok()?.bytes().await.ok()
    }
}

fn cut() -> Error {
    Error::Generic { store: "simulated", source: "the wire was cut".into() }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

#[async_trait]
impl ObjectStore for Disk {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (objects, world, path) = (self.objects.clone(), self.world.clone(), location.clone());
        if !self.has_room() {
            return Err(Error::Generic { store: "simulated", source: std::io::Error::from(std::io::ErrorKind::StorageFull).into() });
        }
        self.send(async move {
            let bytes = Bytes::from(payload.clone());
            let put = objects.put_opts(&path, payload, options).await?;
            let mut world = world.lock();
            if !path.as_ref().contains("/lease/") {
                world.note(|| format!("store: {path} is written, {} bytes", bytes.len()));
            }
            let (now, found) = (world.elapsed(), path.as_ref().to_owned());
            let judged = world.law.written(now, &found, &bytes);
            world.judge(judged);
            Ok(put)
        })
        .await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart".into(), implementer: "Disk".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.reach().await?;
        let found = self.objects.get_opts(location, options).await?;
        let torn = self.world.lock().strikes("store's answer is torn", 30);
        if !torn {
            return Ok(found);
        }
        let (meta, range, attributes, extensions) =
            (found.meta.clone(), found.range.clone(), found.attributes.clone(), found.extensions.clone());
        let bytes = found.bytes().await?;
        let half = bytes.slice(..bytes.len() / 2);
        let payload = GetResultPayload::Stream(futures::stream::once(async { Ok(half) }).boxed());
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let disk = self.clone();
        locations
            .then(move |path| {
                let disk = disk.clone();
                async move {
                    let (path, objects) = (path?, disk.objects.clone());
                    let slow = disk.slow_delete();
                    sleep(slow).await;
                    let (gone, world) = (path.clone(), disk.world.clone());
                    disk.send(async move {
                        objects.delete(&path).await?;
                        let mut world = world.lock();
                        let judged = world.law.deleted(path.as_ref());
                        world.judge(judged);
                        Ok(())
                    })
                    .await?;
                    Ok(gone)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (disk, prefix) = (self.clone(), prefix.cloned());
        let open = async move {
            match disk.reach().await {
                Ok(()) => disk.objects.list(prefix.as_ref()),
                Err(cut) => futures::stream::once(async { Err(cut) }).boxed(),
            }
        };
        open.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.reach().await?;
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: "Disk".into() })
    }
}
