//! Calling a coordinator: one way for agents and people. A token is sent over loopback or over TLS, and over nothing else.

use crate::auth::{Token, WithToken};
use crate::listen::Io;
use crate::tls::ClientTls;
use hyper_util::rt::TokioIo;
use std::error::Error;
use std::io;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

const CONNECT: Duration = Duration::from_secs(2);
/// A connection whose other end is gone is known by its silence.
const KEEPALIVE: Duration = Duration::from_secs(20);

pub type Authorized = InterceptedService<Channel, WithToken>;

/// Why there is no connection, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

/// Connects to `address`, HOST:PORT. What is lost later is connected again, with the folder's files of then.
pub async fn connect(address: &str, token: &Token, tls: Option<&ClientTls>) -> Result<Authorized, ConnectError> {
    let uri = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    let endpoint = Endpoint::from_shared(uri).map_err(|e| ConnectError(format!("{address:?} is no HOST:PORT: {e}")))?;
    let endpoint = endpoint.http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(CONNECT * 2);
    let tls = tls.cloned();
    let connector = service_fn(move |uri: Uri| {
        let tls = tls.clone();
        async move {
            let opened = timeout(CONNECT, open(&uri, tls.as_ref())).await;
            opened.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")))
        }
    });
    let channel = endpoint.connect_with_connector(connector).await.map_err(|e| ConnectError(causes(&e)))?;
    Ok(InterceptedService::new(channel, WithToken(token.clone())))
}

async fn open(uri: &Uri, tls: Option<&ClientTls>) -> io::Result<TokioIo<Box<dyn Io>>> {
    let (Some(host), Some(port)) = (uri.host(), uri.port_u16()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} names no HOST:PORT")));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    if tls.is_none()
        && let Some(far) = addresses.iter().find(|address| !address.ip().is_loopback())
    {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{far} is not on this machine, and a token is never sent unencrypted: give --tls DIR (made by `osler cluster init`)"),
        ));
    }
    let stream = TcpStream::connect(&*addresses).await?;
    stream.set_nodelay(true)?;
    let io: Box<dyn Io> = match tls {
        Some(tls) => Box::new(tls.connect(host, stream).await?),
        None => Box::new(stream),
    };
    Ok(TokioIo::new(io))
}

/// The transport's own words say nothing; those of what is below it do.
fn causes(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}
