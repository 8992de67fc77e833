//! How the rest of the process talks to the owner: methods that wait for a durable answer.

use super::watch::Watcher;
use crate::cluster::{Answer, Doubt, Event, Refused, RemoveRequest, RewindRequest, StopRequest, WaiveRequest};
use osler_core::identity::Submission;
use osler_core::ids::{Millis, RunName, StageName, TeamName, WorkerName};
use osler_core::record::RunState;
use osler_core::sync::{Desired, Observed};
use osler_proto::v1;
use osler_runtime::clock::Clock;
use osler_runtime::store::{Store, Waited};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

/// Between two looks whether the store is being waited for.
const ALARM_LOOK: Duration = Duration::from_millis(250);

pub(super) type Reply<T> = oneshot::Sender<T>;

/// What an agent says, and waits to hear.
pub(super) struct AgentCall {
    pub observed: Box<Observed>,
    /// For news, at most.
    pub wait: Duration,
    /// Number of the last answer that the agent acted on.
    pub seen: u64,
    pub reply: Reply<Result<Desired, Refused>>,
}

/// What people ask.
pub(super) enum Request {
    Control {
        event: Event,
        reply: Reply<Result<Answer, Refused>>,
    },
    Runs {
        reply: Reply<v1::ListRunsReply>,
    },
    Workers {
        reply: Reply<Vec<v1::WorkerLine>>,
    },
    Queue {
        reply: Reply<v1::ListQueueReply>,
    },
    Metrics {
        reply: Reply<String>,
    },
    /// Whether anybody decides.
    Here {
        reply: Reply<()>,
    },
    Watch {
        run: RunName,
        reply: Reply<Result<Watcher, Refused>>,
    },
}

impl Request {
    /// Says to whoever asks about a run why there is no answer.
    pub fn refuse(self, refused: Refused) {
        match self {
            Self::Control { reply, .. } => drop(reply.send(Err(refused))),
            Self::Watch { reply, .. } => drop(reply.send(Err(refused))),
            Self::Runs { .. } | Self::Workers { .. } | Self::Queue { .. } | Self::Metrics { .. } | Self::Here { .. } => {}
        }
    }

    /// A question whose asker has hung up. What changes something is done nevertheless.
    pub fn is_abandoned(&self) -> bool {
        match self {
            Self::Control { .. } => false,
            Self::Runs { reply } => reply.is_closed(),
            Self::Workers { reply } => reply.is_closed(),
            Self::Queue { reply } => reply.is_closed(),
            Self::Metrics { reply } => reply.is_closed(),
            Self::Here { reply } => reply.is_closed(),
            Self::Watch { reply, .. } => reply.is_closed(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the coordinator is ending: try again")]
    Ended,
    /// Nobody may be told what is not durable, so nobody is told anything; see [`Handle::alarm`].
    #[error("{0}")]
    StoreWaits(String),
    /// Nothing was done: the caller is refused before agents have to wait.
    #[error("the coordinator is busy: {waiting} requests wait already; try again in {} s", Self::RETRY_AFTER.as_secs())]
    Busy { waiting: usize },
}

impl HandleError {
    /// For whoever is told that the coordinator is busy.
    pub const RETRY_AFTER: Duration = Duration::from_secs(2);
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    /// Apart from the requests, so that no crowd of people keeps an agent waiting.
    calls: mpsc::Sender<AgentCall>,
    requests: mpsc::Sender<Request>,
    clock: Arc<dyn Clock>,
    /// When somebody last asked for something.
    asked: Arc<Mutex<Instant>>,
    store: Store,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    pub(super) fn new(calls: mpsc::Sender<AgentCall>, requests: mpsc::Sender<Request>, clock: Arc<dyn Clock>, store: Store) -> Self {
        Self { calls, requests, clock, asked: Arc::new(Mutex::new(Instant::now())), store }
    }

    /// Whether the run is new, and its state.
    pub async fn submit(&self, run: impl Into<Submission>) -> Result<(bool, RunState), HandleError> {
        match self.control(Event::Submit(Box::new(run.into()))).await? {
            Answer::Submitted { created, state } => Ok((created, state)),
            Answer::State(state) => Ok((false, state)),
            Answer::Set | Answer::Synced | Answer::Ticked => Err(HandleError::Ended),
        }
    }

    pub async fn stop(&self, request: StopRequest) -> Result<RunState, HandleError> {
        self.state(Event::Stop(request)).await
    }

    /// Lets failed gates pass; the run goes on when it is resumed.
    pub async fn waive(&self, request: WaiveRequest) -> Result<RunState, HandleError> {
        self.state(Event::Waive(request)).await
    }

    pub async fn resume(&self, run: RunName, ranks: Option<u32>) -> Result<RunState, HandleError> {
        self.state(Event::Resume { run, ranks }).await
    }

    pub async fn rewind(&self, request: RewindRequest) -> Result<RunState, HandleError> {
        self.state(Event::Rewind(request)).await
    }

    /// Has the coordinator read an object that somebody found damaged, and mend it.
    pub async fn doubt(&self, doubt: Doubt) -> Result<RunState, HandleError> {
        self.state(Event::Doubt(doubt)).await
    }

    /// The run is gone when this returns; its objects follow, see [`Self::runs`].
    pub async fn remove(&self, request: RemoveRequest) -> Result<RunState, HandleError> {
        self.state(Event::Remove(request)).await
    }

    pub async fn pin(&self, run: RunName, stage: StageName, step: u64, pinned: bool) -> Result<RunState, HandleError> {
        self.state(Event::Pin { run, stage, step, pinned }).await
    }

    /// How many slots a team may hold; none: as many as there are.
    pub async fn quota(&self, team: TeamName, slots: Option<u32>) -> Result<(), HandleError> {
        self.control(Event::Quota { team, slots }).await.map(drop)
    }

    /// A node takes no more work, for a reason; none: it takes work again.
    pub async fn drain(&self, worker: WorkerName, reason: Option<String>) -> Result<(), HandleError> {
        self.control(Event::Drain { worker, reason }).await.map(drop)
    }

    /// Asks an agent to look at its node.
    pub async fn check_node(&self, worker: WorkerName) -> Result<(), HandleError> {
        self.control(Event::CheckNode(worker)).await.map(drop)
    }

    /// Jobs that wait for slots, and quotas.
    pub async fn queue(&self) -> Result<v1::ListQueueReply, HandleError> {
        self.look(|reply| Request::Queue { reply }).await
    }

    /// An agent's call, with its clock if it tells. Answered at once if there is something that `seen` (the number of the last answer) does not cover, else when
    /// there is, or after `wait`.
    pub async fn sync(&self, mut observed: Observed, sent: Option<Millis>, wait: Duration, seen: u64) -> Result<Desired, HandleError> {
        // Here and not where it is decided: a call may wait while others are written.
        observed.skew = sent.map_or(0, |sent| behind(self.clock.now(), sent));
        let (reply, answer) = oneshot::channel();
        let call = AgentCall { observed: Box::new(observed), wait, seen, reply };
        self.calls.send(call).await.map_err(|_| HandleError::Ended)?;
        Ok(answer.await.map_err(|_| HandleError::Ended)??)
    }

    /// Without the alarm, which the caller knows better.
    pub async fn runs(&self) -> Result<v1::ListRunsReply, HandleError> {
        self.look(|reply| Request::Runs { reply }).await
    }

    pub async fn workers(&self) -> Result<Vec<v1::WorkerLine>, HandleError> {
        self.look(|reply| Request::Workers { reply }).await
    }

    /// For Prometheus, see [`crate::metrics`].
    pub async fn metrics(&self) -> Result<String, HandleError> {
        self.look(|reply| Request::Metrics { reply }).await
    }

    /// Whether the owner answers.
    pub async fn here(&self) -> Result<(), HandleError> {
        self.ask(|reply| Request::Here { reply }).await
    }

    /// A run's view, now and whenever it changes.
    pub async fn watch(&self, run: RunName) -> Result<Watcher, HandleError> {
        Ok(self.look(|reply| Request::Watch { run, reply }).await??)
    }

    async fn state(&self, event: Event) -> Result<RunState, HandleError> {
        match self.control(event).await? {
            Answer::State(state) | Answer::Submitted { state, .. } => Ok(state),
            Answer::Set | Answer::Synced | Answer::Ticked => Err(HandleError::Ended),
        }
    }

    async fn control(&self, event: Event) -> Result<Answer, HandleError> {
        Ok(self.ask(|reply| Request::Control { event, reply }).await??)
    }

    /// Resolves when nobody has needed this coordinator for so long: no run that is not over, and no question of a person.
    pub async fn unneeded(&self, limit: Duration) {
        let mut since = Instant::now();
        loop {
            sleep(limit / 10).await;
            let asked = self.asked.lock().map_or(since, |asked| *asked);
            match self.send(|reply| Request::Runs { reply }).await {
                Ok(found) if found.removing.is_empty() && !found.runs.iter().any(|run| RunState::is_live_name(&run.state)) => {}
                _ => since = Instant::now(),
            }
            if since.max(asked).elapsed() >= limit {
                return;
            }
        }
    }

    /// What everybody waits for: that the store has no room, or does not answer.
    pub fn alarm(&self) -> Option<String> {
        let Waited { time, no_room, why } = self.store.waits()?;
        let (store, seconds) = (self.store.shown(), time.as_secs());
        Some(match no_room {
            true => format!("the store at {store} has had no room for {seconds} s: make some, and everything goes on by itself ({why})"),
            false => format!("the store at {store} has not answered for {seconds} s; everything waits for it ({why})"),
        })
    }

    pub fn store_waits(&self) -> Option<Waited> {
        self.store.waits()
    }

    /// Resolves when there is an alarm although there was none, or the other way round.
    pub async fn alarm_changes(&self, raised: bool) -> Option<String> {
        loop {
            sleep(ALARM_LOOK).await;
            let alarm = self.alarm();
            if alarm.is_some() != raised {
                return alarm;
            }
        }
    }

    /// Asks the owner, who answers nobody while it waits for the store.
    async fn look<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, HandleError> {
        tokio::select! {
            biased;
            answer = self.ask(request) => answer,
            alarm = self.alarm_changes(false) => Err(HandleError::StoreWaits(alarm.unwrap_or_default())),
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, HandleError> {
        if let Ok(mut asked) = self.asked.lock() {
            *asked = Instant::now();
        }
        self.send(request).await
    }

    async fn send<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, HandleError> {
        let (reply, answer) = oneshot::channel();
        match self.requests.try_reserve() {
            Ok(place) => place.send(request(reply)),
            Err(TrySendError::Closed(())) => return Err(HandleError::Ended),
            Err(TrySendError::Full(())) => {
                let waiting = self.requests.max_capacity();
                return Err(self.alarm().map_or(HandleError::Busy { waiting }, HandleError::StoreWaits));
            }
        }
        answer.await.map_err(|_| HandleError::Ended)
    }
}

/// Milliseconds that a clock that showed `theirs` is behind ours.
fn behind(ours: Millis, theirs: Millis) -> i64 {
    let apart = i64::try_from(ours.0.abs_diff(theirs.0)).unwrap_or(i64::MAX);
    if ours >= theirs { apart } else { -apart }
}
