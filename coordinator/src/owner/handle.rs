//! How the rest of the process talks to the owner: methods that wait for a durable answer.

use super::watch::Watcher;
use crate::cluster::{Answer, Event, Refused, RewindRequest};
use osler_core::ids::{RunName, StageName};
use osler_core::record::RunState;
use osler_core::spec::RunSpec;
use osler_core::sync::{Desired, Observed};
use osler_proto::v1;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

pub(super) type Reply<T> = oneshot::Sender<T>;

pub(super) enum Request {
    Control { event: Event, reply: Reply<Result<Answer, Refused>> },
    Sync { observed: Box<Observed>, wait: Duration, seen: u64, reply: Reply<Result<Desired, Refused>> },
    Runs { reply: Reply<Vec<v1::RunLine>> },
    Workers { reply: Reply<Vec<v1::WorkerLine>> },
    Metrics { reply: Reply<String> },
    Watch { run: RunName, reply: Reply<Option<Watcher>> },
}

#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the coordinator is ending: try again")]
    Ended,
}

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    owner: mpsc::Sender<Request>,
}

impl Handle {
    pub(super) fn new(owner: mpsc::Sender<Request>) -> Self {
        Self { owner }
    }

    /// Whether the run is new, and its state.
    pub async fn submit(&self, spec: RunSpec) -> Result<(bool, RunState), HandleError> {
        match self.control(Event::Submit(Box::new(spec))).await? {
            Answer::Submitted { created, state } => Ok((created, state)),
            Answer::State(state) => Ok((false, state)),
            Answer::Synced | Answer::Ticked => Err(HandleError::Ended),
        }
    }

    pub async fn stop(&self, run: RunName) -> Result<RunState, HandleError> {
        self.state(Event::Stop(run)).await
    }

    pub async fn resume(&self, run: RunName, ranks: Option<u32>) -> Result<RunState, HandleError> {
        self.state(Event::Resume { run, ranks }).await
    }

    pub async fn rewind(&self, request: RewindRequest) -> Result<RunState, HandleError> {
        self.state(Event::Rewind(request)).await
    }

    pub async fn pin(&self, run: RunName, stage: StageName, step: u64, pinned: bool) -> Result<RunState, HandleError> {
        self.state(Event::Pin { run, stage, step, pinned }).await
    }

    /// An agent's call. Answered at once if there is something that `seen` (the number of the last answer) does not cover, else when
    /// there is, or after `wait`.
    pub async fn sync(&self, observed: Observed, wait: Duration, seen: u64) -> Result<Desired, HandleError> {
        Ok(self.ask(|reply| Request::Sync { observed: Box::new(observed), wait, seen, reply }).await??)
    }

    pub async fn runs(&self) -> Result<Vec<v1::RunLine>, HandleError> {
        self.ask(|reply| Request::Runs { reply }).await
    }

    pub async fn workers(&self) -> Result<Vec<v1::WorkerLine>, HandleError> {
        self.ask(|reply| Request::Workers { reply }).await
    }

    /// For Prometheus, see [`crate::metrics`].
    pub async fn metrics(&self) -> Result<String, HandleError> {
        self.ask(|reply| Request::Metrics { reply }).await
    }

    /// A run's view, now and whenever it changes.
    pub async fn watch(&self, run: RunName) -> Result<Watcher, HandleError> {
        let name = run.to_string();
        self.ask(|reply| Request::Watch { run, reply }).await?.ok_or(HandleError::Refused(Refused::NoSuchRun(name)))
    }

    async fn state(&self, event: Event) -> Result<RunState, HandleError> {
        match self.control(event).await? {
            Answer::State(state) | Answer::Submitted { state, .. } => Ok(state),
            Answer::Synced | Answer::Ticked => Err(HandleError::Ended),
        }
    }

    async fn control(&self, event: Event) -> Result<Answer, HandleError> {
        Ok(self.ask(|reply| Request::Control { event, reply }).await??)
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, HandleError> {
        let (reply, answer) = oneshot::channel();
        self.owner.send(request(reply)).await.map_err(|_| HandleError::Ended)?;
        answer.await.map_err(|_| HandleError::Ended)
    }
}
