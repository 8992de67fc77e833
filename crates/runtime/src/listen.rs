//! Connections as a server takes them: TLS always, and no trust before the first call that was allowed.
//!
//! A stranger is whoever has neither shown a certificate of the cluster nor made an allowed call. It has a few seconds for its handshake
//! and a few more for that call, whatever it sends or does not send meanwhile. There are only so many strangers at a time; one more is let
//! in, and one who has shown nothing yet has to go ([`strangers`]). Nobody, stranger or not, may make the server work without end by
//! frames that ask for nothing ([`frames`]).

mod frames;
mod plain;
mod strangers;
#[cfg(test)]
mod tests;

use crate::tls::ServerTls;
use frames::Frames;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use strangers::{Place, Strangers};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub handshake: Duration,
    /// From the handshake's end to the first allowed call.
    pub first_call: Duration,
    pub strangers: usize,
    pub strangers_of_one_address: usize,
    /// Who is here for so long may have to make room.
    pub young: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let (handshake, first_call, young) = (Duration::from_secs(5), Duration::from_secs(10), Duration::from_millis(100));
        Self { handshake, first_call, strangers: 256, strangers_of_one_address: 64, young }
    }
}

/// What is spoken inside of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// gRPC; frames are counted.
    Http2,
    Http1,
}

/// Who is at the other end; with every request of the connection.
#[derive(Debug, Clone)]
pub struct Peer {
    pub address: SocketAddr,
    /// It showed a certificate of the cluster's CA.
    pub certified: bool,
    admitted: Arc<AtomicBool>,
}

impl Peer {
    pub fn new(address: SocketAddr, certified: bool) -> Self {
        Self { address, certified, admitted: Arc::default() }
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
    frames: Option<Frames>,
    /// Until its first allowed call.
    probation: Option<Probation>,
}

struct Probation {
    ends: Pin<Box<Sleep>>,
    /// None: it showed a certificate, and is in nobody's way.
    stranger: Option<Stranger>,
}

/// One who has just come.
struct Guest {
    stream: TcpStream,
    address: SocketAddr,
    stranger: Stranger,
}

/// A place among the strangers, and the word that somebody else needs it.
struct Stranger {
    place: Place,
    evicted: oneshot::Receiver<()>,
}

/// Takes connections until the stream is dropped.
pub fn incoming(listener: TcpListener, tls: Arc<ServerTls>, limits: Limits, speech: Speech) -> ReceiverStream<io::Result<Conn>> {
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
            // Without one it is closed by being dropped.
            let Some((place, evicted)) = strangers.place(address.ip(), limits, Instant::now()) else { continue };
            let guest = Guest { stream, address, stranger: Stranger { place, evicted } };
            tokio::spawn(welcome(guest, tls.clone(), limits, speech, ready.clone()));
        }
    });
    ReceiverStream::new(stream)
}

/// From the first byte to the server.
async fn welcome(guest: Guest, tls: Arc<ServerTls>, limits: Limits, speech: Speech, ready: mpsc::Sender<io::Result<Conn>>) {
    let Guest { stream, address, mut stranger } = guest;
    let greeted = tokio::select! {
        _ = &mut stranger.evicted => return tracing::debug!(%address, "closed before its handshake: there are too many strangers"),
        greeted = timeout(limits.handshake, greet(stream, &tls, speech)) => greeted,
    };
    let stream = match greeted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%address, %error, "a handshake failed"),
        Err(_) => return tracing::debug!(%address, "a handshake took too long"),
    };
    let certified = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
    let stranger = if certified { None } else { Some(stranger) };
    if let Some(stranger) = &stranger {
        stranger.place.greeted();
    }
    let probation = Some(Probation { ends: Box::pin(sleep(limits.first_call)), stranger });
    let frames = (speech == Speech::Http2).then(|| Frames::new(Instant::now()));
    let _server_has_ended = ready.send(Ok(Conn { io: Box::new(stream), peer: Peer::new(address, certified), frames, probation })).await;
}

async fn greet(stream: TcpStream, tls: &ServerTls, speech: Speech) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    if plain::spoken(&stream).await? {
        return Err(plain::refuse(stream).await);
    }
    TlsAcceptor::from(tls.config(speech)).accept(stream).await
}

impl Conn {
    /// Fails once the time without an allowed call is over, or its place is needed. Wakes the connection's task then, also when nothing
    /// comes in.
    fn still_welcome(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(probation) = &mut self.probation else { return Ok(()) };
        if self.peer.admitted.load(Ordering::Relaxed) {
            self.probation = None;
        } else if probation.ends.as_mut().poll(cx).is_ready() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no allowed call in time"));
        } else if probation.stranger.as_mut().is_some_and(|stranger| Pin::new(&mut stranger.evicted).poll(cx).is_ready()) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "there are too many strangers"));
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
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Some(frames) = &mut self.frames {
            frames.read(&buf.filled()[before..], Instant::now())?;
        }
        read
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.still_welcome(cx)?;
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let (Some(frames), Poll::Ready(Ok(n))) = (&mut self.frames, &written) {
            frames.wrote(*n);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
