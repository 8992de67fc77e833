//! What every call passes first: whose token is it, may its role do this, and is it noted before it is answered.

use super::Access;
use super::log::Call;
use super::methods::{self, Method};
use http::{Request, Response};
use osler_core::access::{Need, Role};
use osler_core::digest::Digest;
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

/// Whose call it is; with every request that passed.
#[derive(Debug, Clone)]
pub struct Caller {
    pub name: String,
    /// None: the owner, who may do everything.
    pub role: Option<Role>,
    pub(super) sha256: Digest,
}

/// Where the door leaves a call's arguments in one line, for the log.
#[derive(Debug, Clone, Default)]
struct Told(Arc<OnceLock<String>>);

/// For the door: what a call asks for, without secrets.
pub fn told<T>(request: &tonic::Request<T>, words: impl FnOnce(&T) -> String) {
    if let Some(Told(line)) = request.extensions().get() {
        let _told_once = line.set(words(request.get_ref()));
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
        let told = Told::default();
        request.extensions_mut().insert(caller.clone());
        request.extensions_mut().insert(told.clone());
        if !method.changes {
            return answer(inner, request).await;
        }
        // In a task of its own: a caller that hangs up does not keep what it did out of the log.
        let noted = tokio::spawn(async move {
            let response = answer(inner, request).await;
            self.note(method, caller, peer.address, told, response).await
        });
        noted.await.unwrap_or_else(|e| Status::internal(format!("the call broke: {e}")).into_http())
    }

    async fn note(&self, method: &Method, caller: Caller, peer: SocketAddr, told: Told, response: Response<Body>) -> Response<Body> {
        let outcome = Status::from_header_map(response.headers()).map_or_else(|| "ok".to_owned(), |status| in_words(&status));
        let what = told.0.get().cloned().unwrap_or_else(|| "(the request could not be read)".to_owned());
        let Caller { name, role, .. } = caller;
        match self.log.note(Call { who: Some(name), role, peer, method: method.name(), what, outcome }).await {
            Ok(()) => response,
            Err(error) => {
                tracing::error!(%error, method = method.name(), "note a call");
                Status::unavailable(format!(
                    "the call could not be noted, so whether it counts is open: look before you try again ({error})"
                ))
                .into_http()
            }
        }
    }

    async fn refuse(&self, method: Option<&'static Method>, caller: Option<Caller>, peer: SocketAddr, status: Status) -> Response<Body> {
        let (who, role) = caller.map_or((None, None), |caller| (Some(caller.name), caller.role));
        let method = method.map_or("(unknown)", Method::name);
        let what = "(not looked at)".to_owned();
        if let Err(error) = self.log.refused(Call { who, role, peer, method, what, outcome: in_words(&status) }).await {
            tracing::error!(%error, method, "note a refused call");
        }
        status.into_http()
    }
}

async fn answer<S>(mut inner: S, request: Request<Body>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    match tokio::time::timeout(LONGEST, inner.call(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Status::deadline_exceeded(format!("not done within {} s", LONGEST.as_secs())).into_http(),
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
    if method.need == Need::Work && peer.encrypted && !peer.certified {
        return Err(Status::permission_denied(
            "an agent must show a certificate of the cluster's CA: give it the folder `agent` of `osler cluster init` (--tls)",
        ));
    }
    Ok((method, caller.clone()))
}
