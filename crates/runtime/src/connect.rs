//! Calling a coordinator: one way for agents and people. A token is sent to a server that has proven itself, and to no other.

use crate::auth::{Token, WithToken};
use crate::listen::Io;
use crate::tls::{ClientTls, TlsError};
use hyper_util::rt::TokioIo;
use osler_core::output::one_line;
use std::error::Error;
use std::io;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

const CONNECT: Duration = Duration::from_secs(2);
/// For the handshake: a loaded machine needs a while, a stranger says nothing.
const PROOF: Duration = Duration::from_secs(3);
/// Between two tries at a server that hangs up within the handshake.
const AGAIN: Duration = Duration::from_millis(50);
/// A connection whose other end is gone is known by its silence.
const KEEPALIVE: Duration = Duration::from_secs(20);

pub type Authorized = InterceptedService<Channel, WithToken>;

/// Why there is no connection, in words.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("{0:?} is no HOST:PORT: {1}")]
    Address(String, String),
    #[error("{0}")]
    Away(String),
    #[error(transparent)]
    Unproven(Unproven),
    /// What is here to know the coordinator by cannot be used.
    #[error(transparent)]
    Unknown(TlsError),
}

/// Somebody listens, and did not prove to be the coordinator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the server at {address} could not prove that it is the coordinator ({why}), so no token was sent to it")]
pub struct Unproven {
    pub address: String,
    pub why: String,
}

/// Connects to `address`, HOST:PORT. What is lost later is connected again, with the folder's files of then.
pub async fn connect(address: &str, token: &Token, tls: &ClientTls) -> Result<Authorized, ConnectError> {
    tls.usable().map_err(ConnectError::Unknown)?;
    let shown = || address.chars().take(80).collect();
    let endpoint = Endpoint::from_shared(format!("https://{address}")).map_err(|e| ConnectError::Address(shown(), e.to_string()))?;
    let endpoint = endpoint.http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(CONNECT * 2);
    let tls = tls.clone();
    let connector = service_fn(move |uri: Uri| {
        let tls = tls.clone();
        async move { open(&uri, &tls).await }
    });
    let channel = endpoint.connect_with_connector(connector).await.map_err(|e| explained(&e))?;
    Ok(InterceptedService::new(channel, WithToken(token.clone())))
}

async fn open(uri: &Uri, tls: &ClientTls) -> io::Result<TokioIo<Box<dyn Io>>> {
    let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} names no HOST:PORT")));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let unproven = |why| {
        let address = uri.authority().map_or_else(String::new, ToString::to_string);
        io::Error::new(io::ErrorKind::PermissionDenied, Unproven { address, why })
    };
    let until = Instant::now() + PROOF;
    loop {
        let stream =
            timeout(CONNECT, reach(host, port)).await.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
        match timeout_at(until, tls.connect(host, stream)).await {
            Ok(Ok(proven)) => return Ok(TokioIo::new(Box::new(proven))),
            // So does a process that is being killed: a moment later nobody listens there, which is another answer.
            Ok(Err(e)) if hung_up(&e) && Instant::now() + AGAIN < until => sleep(AGAIN).await,
            Ok(Err(e)) => return Err(unproven(one_line(&e.to_string(), 120))),
            Err(_) => return Err(unproven(format!("it did not answer within {} s", PROOF.as_secs()))),
        }
    }
}

async fn reach(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    let stream = TcpStream::connect(&*addresses).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The other end closed the connection, and said nothing about why.
fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

/// The transport's own words say nothing; those of what is below it do.
fn explained(error: &(dyn Error + 'static)) -> ConnectError {
    let mut deepest = error;
    loop {
        if let Some(unproven) = deepest.downcast_ref::<io::Error>().and_then(|e| e.get_ref()?.downcast_ref::<Unproven>()) {
            return ConnectError::Unproven(unproven.clone());
        }
        match deepest.source() {
            Some(source) => deepest = source,
            None => return ConnectError::Away(one_line(&deepest.to_string(), 200)),
        }
    }
}
