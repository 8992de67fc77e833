//! What is served over HTTP to whoever looks after daemons: `/healthz` says that the process lives, `/readyz` that it leads or stands by,
//! `/metrics` the numbers for Prometheus while it leads.
//!
//! On loopback without a token: it shows names and numbers and takes nothing. So that no page of the web reads them through a browser of
//! this machine, the Host must be an address or `localhost`, which no name of somebody else's can be made to be. Elsewhere all of it is
//! TLS, and the metrics want a token that may look.

#[cfg(test)]
mod tests;

use crate::access::Access;
use crate::metrics;
use crate::owner::{Handle, HandleError};
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::StreamExt;
use osler_core::access::Need;
use osler_core::ids::Epoch;
use osler_runtime::auth::presented;
use osler_runtime::listen::{Conn, Limits, Speech, incoming};
use osler_runtime::tls::ServerTls;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// A coordinator that leads and does not answer within this is not ready.
const ANSWER: Duration = Duration::from_secs(2);

/// What a coordinator does at the moment.
#[derive(Clone, Default)]
pub enum Duty {
    #[default]
    Starting,
    StandingBy,
    TakingOver,
    Leading {
        epoch: Epoch,
        handle: Handle,
        access: Arc<Access>,
    },
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starts: it does not reach its store yet"),
            Self::StandingBy => f.write_str("stands by"),
            Self::TakingOver => f.write_str("takes over: it reads the runs of the store"),
            Self::Leading { epoch, .. } => write!(f, "leads, epoch {epoch}"),
        }
    }
}

#[derive(Clone)]
struct Lookout {
    duty: watch::Receiver<Duty>,
    guarded: bool,
}

/// Serves until it is dropped. `tls`: for an address that is not loopback.
pub async fn serve(listener: TcpListener, duty: watch::Receiver<Duty>, tls: Option<Arc<ServerTls>>) -> io::Result<()> {
    let lookout = Lookout { duty, guarded: tls.is_some() };
    let router = Router::new().route("/metrics", get(numbers)).route("/readyz", get(ready)).route("/healthz", get(|| async { "lives\n" }));
    let router = router.layer(middleware::from_fn_with_state(lookout.clone(), known_host)).with_state(lookout);
    match tls {
        None => axum::serve(listener, router).await,
        Some(tls) => {
            let address = listener.local_addr()?;
            axum::serve(Guests { conns: incoming(listener, tls, Limits::default(), Speech::Http1), address }, router).await
        }
    }
}

async fn numbers(State(lookout): State<Lookout>, headers: HeaderMap) -> Response {
    let duty = lookout.duty.borrow().clone();
    let Duty::Leading { handle, access, .. } = &duty else {
        return said(StatusCode::SERVICE_UNAVAILABLE, &format!("this coordinator {duty}: the one that leads has the numbers"));
    };
    if lookout.guarded && !presented(&headers).is_some_and(|token| access.may(token, Need::Look)) {
        return said(StatusCode::UNAUTHORIZED, "send a viewer's token as `Authorization: Bearer …` (`osler token create --role viewer`)");
    }
    let store = metrics::of_store(handle.store_waits().as_ref());
    match handle.metrics().await {
        Ok(text) => (StatusCode::OK, [(CONTENT_TYPE, metrics::CONTENT_TYPE)], text + &store).into_response(),
        Err(HandleError::StoreWaits(_)) => (StatusCode::OK, [(CONTENT_TYPE, metrics::CONTENT_TYPE)], store).into_response(),
        Err(error) => said(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

async fn ready(State(lookout): State<Lookout>) -> Response {
    let duty = lookout.duty.borrow().clone();
    let status = match &duty {
        Duty::StandingBy => StatusCode::OK,
        Duty::Starting | Duty::TakingOver => StatusCode::SERVICE_UNAVAILABLE,
        Duty::Leading { handle, .. } => match timeout(ANSWER, handle.here()).await {
            Ok(Ok(())) => StatusCode::OK,
            Ok(Err(error)) => return said(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
            Err(_) => {
                let late = format!("leads, but has decided nothing for {} s: it may wait for its store", ANSWER.as_secs());
                return said(StatusCode::SERVICE_UNAVAILABLE, &late);
            }
        },
    };
    said(status, &duty.to_string())
}

async fn known_host(State(lookout): State<Lookout>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if lookout.guarded || host.is_some_and(is_this_machine) {
        return next.run(request).await;
    }
    said(StatusCode::MISDIRECTED_REQUEST, "the Host of the request is no address of this machine: use 127.0.0.1, [::1] or localhost")
}

/// HOST or HOST:PORT, where HOST is an address or `localhost`.
fn is_this_machine(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() || host.parse::<SocketAddr>().is_ok() {
        return true;
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).is_some_and(|n| n.parse::<IpAddr>().is_ok())
}

fn said(status: StatusCode, words: &str) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{words}\n")).into_response()
}

/// Connections over TLS. None makes a call that is admitted, so each ends after a few seconds, and a client comes again.
struct Guests {
    conns: ReceiverStream<io::Result<Conn>>,
    address: SocketAddr,
}

impl axum::serve::Listener for Guests {
    type Io = Conn;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Conn, SocketAddr) {
        loop {
            match self.conns.next().await {
                Some(Ok(conn)) => {
                    let address = conn.connect_info().address;
                    return (conn, address);
                }
                Some(Err(error)) => tracing::debug!(%error, "a connection failed"),
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
