//! Views of runs for watchers: one per change, at most two a second for mere progress.

use crate::cluster::Cluster;
use crate::view::RunView;
use osler_core::ids::RunName;
use osler_core::time::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// A run's newest view. A slow watcher skips views, it never holds the owner up.
#[derive(Debug)]
pub struct Watcher {
    receiver: watch::Receiver<Arc<RunView>>,
    first: bool,
}

impl Watcher {
    /// The view as of now, at first; then the next one. None once the run is over and its last view was given, or the owner ended.
    pub async fn next(&mut self) -> Option<Arc<RunView>> {
        if self.first {
            self.first = false;
        } else if self.receiver.borrow().over || self.receiver.changed().await.is_err() {
            return None;
        }
        Some(self.receiver.borrow_and_update().clone())
    }
}

struct Topic {
    sender: watch::Sender<Arc<RunView>>,
    sent: Instant,
    /// Progress came since.
    due: bool,
}

#[derive(Default)]
pub(super) struct Watched(BTreeMap<RunName, Topic>);

impl Watched {
    pub fn watch(&mut self, cluster: &Cluster, now: Now, run: &RunName) -> Option<Watcher> {
        let view = Arc::new(RunView::of(cluster, cluster.run(run)?, now));
        let topic = self.0.entry(run.clone()).or_insert_with(|| Topic {
            sender: watch::Sender::new(view.clone()),
            sent: Instant::now(),
            due: false,
        });
        topic.sender.send_replace(view);
        Some(Watcher { receiver: topic.sender.subscribe(), first: true })
    }

    pub fn publish(&mut self, cluster: &Cluster, now: Now, changed: &BTreeSet<RunName>, moved: &[RunName]) {
        self.0.retain(|_, topic| topic.sender.receiver_count() > 0);
        for (name, topic) in &mut self.0 {
            topic.due |= moved.contains(name);
            let throttled = topic.sent.elapsed() < PROGRESS_EVERY;
            if !changed.contains(name) && (!topic.due || throttled) {
                continue;
            }
            if let Some(run) = cluster.run(name) {
                topic.sender.send_replace(Arc::new(RunView::of(cluster, run, now)));
                (topic.sent, topic.due) = (Instant::now(), false);
            }
        }
    }
}
