//! What every call passes first: whose token is it, may its role do this, and is it noted: before it changes anything, and how it went
//! before it is answered.

use super::Access;
use super::log::{Call, OPEN};
use super::methods::{self, Method};
use crate::ledger::LedgerError;
use http::{Request, Response};
use osler_core::access::{LogEntry, Need, Role};
use osler_core::digest::Digest;
use osler_core::ids::WorkerName;
use osler_runtime::auth::presented;
use osler_runtime::listen::Peer;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

/// The longest that a call may take, its request's way included. Only a store that fails for long makes one take seconds.
const LONGEST: Duration = Duration::from_secs(60);

/// The longest refusal: as many problems of a run file as a person reads.
const MAX_WORDS: usize = 4_000;

/// Whose call it is; with every request that passed.
#[derive(Debug, Clone)]
pub struct Caller {
    pub name: String,
    /// None: the owner, who may do everything.
    pub role: Option<Role>,
    /// The only worker that it speaks for, if the token is bound to one.
    pub worker: Option<WorkerName>,
    pub(super) sha256: Digest,
}

/// A call that may change something, on its way to the door.
#[derive(Clone)]
struct Made {
    access: Arc<Access>,
    caller: Caller,
    peer: SocketAddr,
    method: &'static Method,
    /// Its entry in the log, once the door has understood what it asks for.
    entry: Arc<OnceLock<LogEntry>>,
}

impl Made {
    fn call(&self, what: String) -> Call {
        let Caller { name, role, .. } = self.caller.clone();
        Call { who: Some(name), role, peer: self.peer, method: self.method.name(), what, outcome: OPEN.to_owned() }
    }

    async fn begin(&self, what: String) -> Result<(), Status> {
        let begun = self.access.log.begin(self.call(what)).await;
        let entry = begun.map_err(|e| Status::unavailable(format!("nothing was changed, because the call could not be noted: {e}")))?;
        let _begun_once = self.entry.set(entry);
        Ok(())
    }

    /// How it went. Without an entry its arguments were not understood or could not be noted, so nothing has changed.
    async fn end(&self, outcome: String) -> Result<(), LedgerError> {
        match self.entry.get() {
            Some(entry) => self.access.log.end(entry.clone(), outcome).await,
            None => self.access.log.note(Call { outcome, ..self.call("(not understood, or not noted)".to_owned()) }).await,
        }
    }
}

/// For the door, before it changes anything: what a call asks for, without secrets. Durable when it returns.
pub async fn told<T: Sync>(request: &tonic::Request<T>, words: impl FnOnce(&T) -> String) -> Result<(), Status> {
    match request.extensions().get::<Made>() {
        Some(made) => made.begin(words(request.get_ref())).await,
        None => Err(Status::internal("a call that changes something is not in the table of those that do")),
    }
}

/// Puts itself around a server's services.
#[derive(Clone)]
pub struct Gate(pub Arc<Access>);

impl<S> Layer<S> for Gate {
    type Service = Guarded<S>;
    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { access: self.0.clone(), inner }
    }
}

#[derive(Clone)]
pub struct Guarded<S> {
    access: Arc<Access>,
    inner: S,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        // The one that is ready answers; its copy waits for the next call.
        let copy = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, copy);
        let access = self.access.clone();
        Box::pin(async move { Ok(access.pass(request, inner).await) })
    }
}

impl Access {
    async fn pass<S>(self: Arc<Self>, mut request: Request<Body>, inner: S) -> Response<Body>
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Send + 'static,
        S::Future: Send,
    {
        let Some(peer) = request.extensions().get::<Peer>().cloned() else {
            return Status::internal("the connection is not known").into_http();
        };
        let method = methods::find(request.uri().path());
        let caller = presented(request.headers()).and_then(|sha256| self.identify(sha256));
        let (method, caller) = match allowed(method, caller.as_ref(), &peer) {
            Ok(allowed) => allowed,
            Err(status) => return self.refuse(method, caller, peer.address, status).await,
        };
        peer.admit();
        request.extensions_mut().insert(caller.clone());
        if !method.changes {
            return answer(inner, request).await;
        }
        let made = Made { access: self.clone(), caller, peer: peer.address, method, entry: Arc::default() };
        request.extensions_mut().insert(made.clone());
        // In a task of its own: a caller that hangs up does not keep what it did out of the log.
        let noted = tokio::spawn(async move {
            let response = answer(inner, request).await;
            note(&made, response).await
        });
        noted.await.unwrap_or_else(|e| Status::internal(format!("the call broke: {e}")).into_http())
    }

    /// For the door: a token that is bound to one worker speaks for no other. The refusal is noted as the gate's are.
    pub async fn speaks_for<T: Sync>(&self, request: &tonic::Request<T>, worker: &WorkerName) -> Result<(), Status> {
        let (Some(caller), Some(peer)) = (request.extensions().get::<Caller>(), request.extensions().get::<Peer>()) else {
            return Err(Status::internal("the caller is not known"));
        };
        let Some(bound) = caller.worker.as_ref().filter(|bound| *bound != worker) else { return Ok(()) };
        let refused = Status::permission_denied(format!("token {} is worker {bound}'s, and this agent is {worker}", caller.name));
        let (method, what) = ("Sync", format!("worker={worker}"));
        let call =
            Call { who: Some(caller.name.clone()), role: caller.role, peer: peer.address, method, what, outcome: in_words(&refused) };
        self.note_refused(call).await;
        Err(refused)
    }

    async fn refuse(&self, method: Option<&'static Method>, caller: Option<Caller>, peer: SocketAddr, status: Status) -> Response<Body> {
        let (who, role) = caller.map_or((None, None), |caller| (Some(caller.name), caller.role));
        let method = method.map_or("(unknown)", Method::name);
        let what = "(not looked at)".to_owned();
        self.note_refused(Call { who, role, peer, method, what, outcome: in_words(&status) }).await;
        status.into_http()
    }

    async fn note_refused(&self, call: Call) {
        let method = call.method;
        if let Err(error) = self.log.refused(call).await {
            tracing::error!(%error, method, "note a refused call");
        }
    }
}

async fn note(made: &Made, response: Response<Body>) -> Response<Body> {
    let outcome = Status::from_header_map(response.headers()).map_or_else(|| "ok".to_owned(), |status| in_words(&status));
    match made.end(outcome).await {
        Ok(()) => response,
        Err(error) => {
            tracing::error!(%error, method = made.method.name(), "note a call");
            Status::unavailable(format!(
                "how the call went could not be noted, so whether it counts is open: look before you try again ({error})"
            ))
            .into_http()
        }
    }
}

async fn answer<S>(mut inner: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match tokio::time::timeout(LONGEST, inner.call(request)).await {
        Ok(Ok(response)) => bounded(response),
        Ok(Err(never)) => match never {},
        Err(_) => Status::deadline_exceeded(format!("not done within {} s", LONGEST.as_secs())).into_http(),
    }
}

/// A refusal says what is wrong with a request; it does not send it back.
fn bounded(response: Response<Body>) -> Response<Body> {
    let long = |status: &Status| status.message().len() > MAX_WORDS;
    match Status::from_header_map(response.headers()).filter(long) {
        Some(status) => Status::new(status.code(), status.message().chars().take(MAX_WORDS).collect::<String>() + "…").into_http(),
        None => response,
    }
}

fn in_words(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}

/// The one decision about a call.
pub(super) fn allowed<'a>(method: Option<&'a Method>, caller: Option<&Caller>, peer: &Peer) -> Result<(&'a Method, Caller), Status> {
    let Some(caller) = caller else {
        return Err(Status::unauthenticated(
            "the token is missing, wrong or revoked: give the coordinator's token file or one of your own (--token-file, or a --tls folder)",
        ));
    };
    let Some(method) = method else { return Err(Status::permission_denied("nobody may call this method")) };
    match caller.role {
        Some(role) if !role.may(method.need) => {
            return Err(Status::permission_denied(format!("token {} is a {role}'s, which may not {}", caller.name, method.name())));
        }
        None if method.need == Need::Work && !peer.address.ip().is_loopback() => {
            return Err(Status::permission_denied("the owner's token runs agents on the coordinator's machine only: use a worker's token"));
        }
        _ => {}
    }
    if method.need == Need::Work && !peer.certified {
        return Err(Status::permission_denied(
            "an agent must show a certificate of the cluster's CA: give it the folder `agent` of `osler cluster init` (--tls), or that of \
             the folder `tls` beside the owner's token",
        ));
    }
    Ok((method, caller.clone()))
}
