//! Connections as a server takes them: TLS where there is a folder for it, and no trust before the first call that was allowed.
//!
//! A stranger is whoever has not yet made an allowed call. It has a few seconds for its handshake and a few more for that call,
//! whatever it sends or does not send meanwhile, and there are only so many strangers at a time, of one address only a part of them.

#[cfg(test)]
mod tests;

use crate::tls::ServerTls;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub handshake: Duration,
    /// From the handshake's end to the first allowed call.
    pub first_call: Duration,
    pub strangers: usize,
    pub strangers_of_one_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let (handshake, first_call) = (Duration::from_secs(5), Duration::from_secs(10));
        Self { handshake, first_call, strangers: 256, strangers_of_one_address: 64 }
    }
}

/// Who is at the other end; with every request of the connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    pub encrypted: bool,
    /// It showed a certificate of the cluster's CA.
    pub certified: bool,
    admitted: Arc<AtomicBool>,
}

impl Peer {
    /// Of a plain connection.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, encrypted: false, certified: false, admitted: Arc::default() }
    }

    /// It has made a call that it may make: it is no stranger any more.
    pub fn admit(&self) {
        self.admitted.store(true, Ordering::Relaxed);
    }
}

pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// One connection.
pub struct Conn {
    io: Box<dyn Io>,
    peer: Peer,
    /// While it is a stranger's.
    probation: Option<Probation>,
}

struct Probation {
    ends: Pin<Box<Sleep>>,
    _place: Place,
}

/// Takes connections until the stream is dropped.
pub fn incoming(listener: TcpListener, tls: Option<Arc<ServerTls>>, limits: Limits) -> ReceiverStream<io::Result<Conn>> {
    let (ready, stream) = mpsc::channel(16);
    tokio::spawn(async move {
        let strangers = Strangers::default();
        loop {
            let accepted = tokio::select! {
                () = ready.closed() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, as a rule: at once it would fail again.
                    tracing::warn!(%error, "accept a connection");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // One too many is closed by being dropped.
            let Some(place) = strangers.place(address.ip(), limits) else { continue };
            let (tls, ready) = (tls.clone(), ready.clone());
            tokio::spawn(async move {
                match timeout(limits.handshake, greet(stream, address, tls)).await {
                    Ok(Ok((io, peer))) => {
                        let probation = Some(Probation { ends: Box::pin(sleep(limits.first_call)), _place: place });
                        let _server_has_ended = ready.send(Ok(Conn { io, peer, probation })).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%address, %error, "a handshake failed"),
                    Err(_) => tracing::debug!(%address, "a handshake took too long"),
                }
            });
        }
    });
    ReceiverStream::new(stream)
}

async fn greet(stream: TcpStream, address: SocketAddr, tls: Option<Arc<ServerTls>>) -> io::Result<(Box<dyn Io>, Peer)> {
    stream.set_nodelay(true)?;
    let mut peer = Peer::new(address);
    let Some(tls) = tls else { return Ok((Box::new(stream), peer)) };
    let stream = TlsAcceptor::from(tls.config()).accept(stream).await?;
    let shown = stream.get_ref().1.peer_certificates();
    (peer.encrypted, peer.certified) = (true, shown.is_some_and(|chain| !chain.is_empty()));
    Ok((Box::new(stream), peer))
}

/// How many strangers there are, by address.
#[derive(Debug, Clone, Default)]
struct Strangers(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Strangers {
    fn place(&self, address: IpAddr, limits: Limits) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (total, here) = (all.values().sum::<usize>(), all.get(&address).copied().unwrap_or(0));
        if total >= limits.strangers || here >= limits.strangers_of_one_address {
            return None;
        }
        all.insert(address, here + 1);
        Some(Place { strangers: self.clone(), address })
    }
}

/// A stranger's place; free again when dropped.
#[derive(Debug)]
struct Place {
    strangers: Strangers,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.strangers.0.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get_mut(&self.address) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(all.remove(&self.address)),
        }
    }
}

impl Conn {
    /// Fails once a stranger's time is over. Wakes the connection's task then, also when nothing comes in.
    fn still_welcome(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(probation) = &mut self.probation else { return Ok(()) };
        if self.peer.admitted.load(Ordering::Relaxed) {
            self.probation = None;
        } else if probation.ends.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no allowed call in time"));
        }
        Ok(())
    }
}

impl Connected for Conn {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Conn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.still_welcome(cx)?;
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.still_welcome(cx)?;
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
