//! A store in memory whose writes wait while a gate is shut.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use osler_runtime::store::{Patience, Store};
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

#[derive(Debug)]
pub struct Gated {
    objects: InMemory,
    open: watch::Receiver<bool>,
    waiting: watch::Sender<usize>,
    full: watch::Receiver<bool>,
}

/// Opens and shuts, and tells how many writes wait.
pub struct Gate {
    open: watch::Sender<bool>,
    waiting: watch::Receiver<usize>,
    full: watch::Sender<bool>,
}

impl Gate {
    pub fn store() -> (Self, Store) {
        Self::with(Patience::none())
    }

    /// Writes are waited for as a folder's are.
    pub fn folder() -> (Self, Store) {
        Self::with(Patience::folder())
    }

    fn with(patience: Patience) -> (Self, Store) {
        let (open, opened) = watch::channel(true);
        let (sender, waiting) = watch::channel(0);
        let (full, filled) = watch::channel(false);
        let gated = Gated { objects: InMemory::new(), open: opened, waiting: sender, full: filled };
        (Self { open, waiting, full }, Store::over("gated://", Arc::new(gated), patience))
    }

    /// No write finds room any more, or all do.
    pub fn fill(&self, full: bool) {
        self.full.send(full).unwrap();
    }

    pub fn set(&self, open: bool) {
        self.open.send(open).unwrap();
    }

    /// Until a write waits.
    pub async fn shuts_somebody_out(&mut self) {
        self.waiting.wait_for(|waiting| *waiting > 0).await.unwrap();
    }
}

impl fmt::Display for Gated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gated")
    }
}

#[async_trait]
impl ObjectStore for Gated {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if *self.full.borrow() {
            return Err(Error::Generic { store: "gated", source: std::io::Error::from(std::io::ErrorKind::StorageFull).into() });
        }
        self.waiting.send_modify(|waiting| *waiting += 1);
        drop(self.open.clone().wait_for(|open| *open).await);
        self.waiting.send_modify(|waiting| *waiting -= 1);
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "multipart".into(), implementer: "Gated".into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "copy".into(), implementer: "Gated".into() })
    }
}
