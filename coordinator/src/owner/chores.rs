//! What a coordinator does beside its decisions: it reads objects that processes could not use, and deletes what is nobody's and what
//! removed runs left.
//!
//! All of it goes by what is durable. A sweep may be as slow as it likes: what is a leftover once stays one (`osler_core::leftover`).

use crate::cluster::{Cluster, Event, Found, Look, Untidy, Whole};
use futures::stream::{self, StreamExt, TryStreamExt};
use osler_core::checkpoint::{Manifest, ObjectRef};
use osler_core::leftover::Claims;
use osler_core::paths;
use osler_core::removal::Remains;
use osler_runtime::store::{Store, StoreError};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Between two sweeps; what many small jobs leave is swept together.
const PAUSE: Duration = Duration::from_secs(5);
/// Whoever is out of touch may write into an attempt that is over: it is swept again.
const ANEW: Duration = Duration::from_secs(600);

/// At once: a bucket takes as long for each of many as for one.
const DELETES: usize = 16;
/// For what no record names any more, when a coordinator ends.
const LAST_DELETES: Duration = Duration::from_secs(3);

#[derive(Default)]
pub(super) struct Chores {
    looks: JoinSet<Event>,
    /// One at a time, of a few runs.
    sweep: JoinSet<Vec<Event>>,
    /// Results of sweeps that the cluster has not taken in yet.
    tidied: VecDeque<Event>,
    /// What no record names any more, and of it what is being deleted.
    doomed: Vec<String>,
    deleting: JoinSet<()>,
    swept: Option<Instant>,
    all_swept: Option<Instant>,
    /// Of removed runs; one at a time.
    removal: JoinSet<Event>,
    removal_failed: Option<Instant>,
}

impl Chores {
    /// Begins what there is to do. Only while all decisions are durable.
    pub fn begin(&mut self, cluster: &mut Cluster, store: &Store) {
        // A handle of its own: nobody waits for these calls, so they raise no alarm.
        let store = &store.with_patience(store.patience());
        for look in cluster.take_looks() {
            let (store, of) = (store.clone(), look.clone());
            // The attempt's end waits for the answer: it comes also if the reading panics.
            let reading = tokio::spawn(async move { found(&store, &of).await });
            self.looks.spawn(async move {
                let found = reading.await.unwrap_or_else(|error| Found::Unknown(error.to_string()));
                Event::Looked { look: Box::new(look), found }
            });
        }
        if self.removal.is_empty()
            && self.removal_failed.is_none_or(|at| at.elapsed() >= PAUSE)
            && let Some(remains) = cluster.take_remains()
        {
            let store = store.clone();
            self.removal.spawn(async move {
                let swept = remove(&store, &remains).await;
                if let Err(error) = &swept {
                    tracing::warn!(run = %remains.run, %error, "what the removed run left stays for now");
                }
                Event::Swept { remains, whole: swept.is_ok() }
            });
        }
        self.delete(store);
        if !self.sweep.is_empty() || self.swept.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        if self.all_swept.get_or_insert_with(Instant::now).elapsed() >= ANEW {
            self.all_swept = Some(Instant::now());
            cluster.all_untidy();
        }
        let untidy = cluster.take_untidy();
        if !untidy.is_empty() {
            let store = store.clone();
            self.sweep.spawn(async move {
                let mut tidied = vec![];
                for Untidy { claims, version } in untidy {
                    match sweep(&store, &claims).await {
                        Ok(()) => tidied.push(Event::Tidied { run: claims.run().clone(), version }),
                        Err(error) => tracing::warn!(run = %claims.run(), %error, "what nobody needs stays for now"),
                    }
                }
                tidied
            });
        }
    }

    /// Deletes what no record names any more, some time after all decisions of now are durable. A failure costs space, not truth: what is
    /// left is swept when its attempt is over.
    pub fn doom(&mut self, paths: Vec<String>) {
        self.doomed.extend(paths);
    }

    fn delete(&mut self, store: &Store) {
        while self.deleting.try_join_next().is_some() {}
        if self.doomed.is_empty() || !self.deleting.is_empty() {
            return;
        }
        let (store, doomed) = (store.clone(), std::mem::take(&mut self.doomed));
        self.deleting.spawn(async move {
            let delete = |path: String| {
                let store = store.clone();
                async move {
                    if let Err(error) = store.delete(&path).await {
                        tracing::warn!(%error, "what no record names any more stays for now");
                    }
                }
            };
            stream::iter(doomed).for_each_concurrent(DELETES, delete).await;
        });
    }

    /// Whoever ends leaves nothing behind that takes no time to delete.
    pub async fn end(mut self, store: &Store) {
        let deletes = async {
            while !self.deleting.is_empty() || !self.doomed.is_empty() {
                self.delete(store);
                self.deleting.join_next().await;
            }
        };
        if tokio::time::timeout(LAST_DELETES, deletes).await.is_err() {
            tracing::info!("the store deletes slowly: whoever leads next deletes the rest");
        }
    }

    /// What was found out or done. Safe to drop.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(tidied) = self.tidied.pop_front() {
                return tidied;
            }
            let done = tokio::select! {
                biased;
                Some(swept) = self.sweep.join_next() => {
                    self.swept = Some(Instant::now());
                    match swept {
                        Ok(tidied) => self.tidied.extend(tidied),
                        Err(error) => tracing::error!(%error, "a sweep ended early: these runs are swept again later"),
                    }
                    continue;
                }
                Some(done) = self.looks.join_next() => done,
                Some(done) = self.removal.join_next() => done,
                else => return std::future::pending().await,
            };
            match done {
                Ok(event) => {
                    if let Event::Swept { whole, .. } = event {
                        self.removal_failed = (!whole).then(Instant::now);
                    }
                    return event;
                }
                Err(error) => tracing::error!(%error, "a look at the store ended early"),
            }
        }
    }
}

async fn found(store: &Store, look: &Look) -> Found {
    let checked = match &look.of {
        Whole::Output { object, .. } => store.verify(object).await,
        Whole::Checkpoint { manifest, .. } => verify_checkpoint(store, manifest, &look.path).await,
    };
    match checked {
        Ok(()) => Found::Intact,
        Err(StoreError::Missing { .. }) => Found::Damaged("it is missing".to_owned()),
        Err(StoreError::Corrupt { found, .. }) => Found::Damaged(found),
        Err(error) => Found::Unknown(error.to_string()),
    }
}

async fn verify_checkpoint(store: &Store, manifest: &ObjectRef, path: &str) -> Result<(), StoreError> {
    let bytes = store.read(manifest).await?;
    // Its bytes are what was written, so that only another version's form can be unknown; then the manifest is all that can be judged.
    let parts = match serde_json::from_slice::<Manifest>(&bytes) {
        Ok(manifest) => manifest.parts,
        Err(error) => {
            tracing::warn!(%error, "{}: its parts cannot be looked at", manifest.path);
            return Ok(());
        }
    };
    match parts.iter().find(|part| part.path == path) {
        Some(part) => store.verify(part).await,
        None => Ok(()), // the manifest itself
    }
}

async fn sweep(store: &Store, claims: &Claims) -> Result<(), StoreError> {
    let mut swept = 0;
    for prefix in [paths::jobs(claims.run()), paths::manifests(claims.run())] {
        for path in store.list_all(&prefix).await?.into_iter().filter(|path| claims.leaves(path)) {
            store.sweep(&path).await?;
            swept += 1;
        }
        store.sweep_folders(&prefix).await?;
    }
    if swept > 0 {
        tracing::info!(run = %claims.run(), swept, "deleted what attempts that are over had left");
    }
    Ok(())
}

/// Deletes what a removed run left. Its note stays: it is what a later run of that name goes on from.
async fn remove(store: &Store, remains: &Remains) -> Result<(), StoreError> {
    let (objects, notes) = (paths::run(&remains.run), paths::removals(&remains.run));
    let of_run = store.list_all(&objects).await?.into_iter().filter(|path| remains.holds(path));
    let older = |path: &String| Remains::of_note(path).is_some_and(|note| note.version < remains.version);
    let paths: Vec<String> = of_run.chain(store.list(&notes).await?.into_iter().filter(older)).collect();
    let swept = paths.len();
    stream::iter(paths).map(Ok).try_for_each_concurrent(DELETES, |path| async move { store.sweep(&path).await }).await?;
    store.sweep_folders(&objects).await?;
    tracing::info!(run = %remains.run, swept, "deleted what the removed run had left");
    Ok(())
}
