//! That calls are waiting for the store, since when and why: what people are told while nothing can be written.

use super::patience::Hindrance;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Shorter waits are nobody's business: a server that was busy, a line that was cut for a moment.
const WORTH_TELLING: Duration = Duration::from_secs(2);

/// A wait for the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waited {
    pub time: Duration,
    /// It has no room, else it fails in another way.
    pub no_room: bool,
    /// What it said last.
    pub why: String,
}

#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    calls: usize,
    since: Option<Instant>,
    no_room: bool,
    why: String,
    over: Option<Waited>,
}

/// One call that waits, until it is dropped.
pub(super) struct Waiting(Arc<Waits>);

impl Waits {
    pub fn begin(self: &Arc<Self>) -> Waiting {
        let mut state = self.state();
        state.calls += 1;
        state.since.get_or_insert_with(Instant::now);
        drop(state);
        Waiting(self.clone())
    }

    /// The wait that goes on, if it is worth telling.
    pub fn now(&self) -> Option<Waited> {
        self.state().worth_telling()
    }

    /// The latest wait that is over and was worth telling; told once.
    pub fn take_over(&self) -> Option<Waited> {
        self.state().over.take()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn worth_telling(&self) -> Option<Waited> {
        let time = self.since?.elapsed();
        (time >= WORTH_TELLING).then(|| Waited { time, no_room: self.no_room, why: self.why.clone() })
    }
}

impl Waiting {
    pub fn because(&self, hindrance: Hindrance, why: &str) {
        let mut state = self.0.state();
        state.no_room = hindrance == Hindrance::NoRoom;
        why.clone_into(&mut state.why);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.calls -= 1;
        if state.calls == 0 {
            state.over = state.worth_telling().or_else(|| state.over.take());
            state.since = None;
        }
    }
}
