//! Peers that dawdle, too many of them, and those who speak without TLS.

use super::*;
use crate::pki;
use crate::tls::ClientTls;
use crate::tls::tests::cluster;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::client;

const SOON: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits { handshake: SOON, first_call: SOON, strangers: 3, strangers_of_one_address: 2, young: Duration::ZERO }
}

/// A server's door, and the certificates for who comes to it.
struct House {
    cluster: tempfile::TempDir,
    address: SocketAddr,
    conns: ReceiverStream<io::Result<Conn>>,
}

impl House {
    async fn new(limits: Limits) -> Self {
        let cluster = cluster();
        let tls = Arc::new(ServerTls::open(&cluster.path().join("c").join(pki::COORDINATOR)).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { cluster, address, conns: incoming(listener, tls, limits, Speech::Http2) }
    }

    async fn knock(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// As an agent or a person, through the handshake on both sides.
    async fn enter(&mut self, kind: &str) -> (client::TlsStream<TcpStream>, Conn) {
        let tls = ClientTls::open(&self.cluster.path().join("c").join(kind)).unwrap();
        let stream = self.knock().await;
        let (client, conn) = tokio::join!(tls.connect("localhost", stream), self.conns.next());
        (client.unwrap(), conn.unwrap().unwrap())
    }
}

/// Until the other side has closed the connection.
async fn closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut rest = vec![];
    let _reset_or_ended = timeout(LATE, stream.read_to_end(&mut rest)).await.expect("still open");
}

/// Writes a byte at a time until the other end has had enough.
async fn dawdle(stream: &mut TcpStream) {
    // The beginning of a TLS record of some length.
    for byte in [22, 3, 1, 0, 200].into_iter().chain(std::iter::repeat(0)) {
        if stream.write_all(&[byte]).await.is_err() {
            return;
        }
        let gone = timeout(Duration::from_millis(20), stream.read(&mut [0; 64])).await;
        if matches!(gone, Ok(Ok(0) | Err(_))) {
            return;
        }
    }
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_ends_whatever_comes_in() {
    let house = House::new(limits()).await;
    closed(&mut house.knock().await).await;
    timeout(LATE, dawdle(&mut house.knock().await)).await.expect("still open");
}

#[tokio::test]
async fn who_makes_no_allowed_call_is_cut_off_and_a_guest_is_not() {
    let mut house = House::new(limits()).await;
    for kind in [pki::ADMIN, pki::AGENT] {
        let (_client, mut conn) = house.enter(kind).await;
        let ended = timeout(LATE, conn.read_to_end(&mut vec![])).await.expect("still waiting");
        assert_eq!(ended.map_err(|e| e.kind()), Err(io::ErrorKind::TimedOut), "{kind}");
    }
    let (mut client, mut conn) = house.enter(pki::ADMIN).await;
    conn.connect_info().admit();
    tokio::time::sleep(SOON * 2).await;
    client.write_all(b"x").await.unwrap();
    conn.read_exact(&mut [0]).await.unwrap();
}

#[tokio::test]
async fn silent_connections_lock_nobody_out_and_who_shows_a_certificate_is_not_among_them() {
    let patient = Limits { handshake: LATE, first_call: LATE, ..limits() };
    let mut house = House::new(patient).await;
    let (mut agent, mut of_agent) = house.enter(pki::AGENT).await;
    let mut silent = vec![];
    for round in 0..10 {
        silent.push(house.knock().await);
        if round >= 2 {
            // The oldest had to make room.
            closed(&mut silent.remove(0)).await;
        }
    }
    // Among them somebody new is served, and the two who were there before are not in his way.
    let (mut person, mut of_person) = house.enter(pki::ADMIN).await;
    for (client, conn) in [(&mut person, &mut of_person), (&mut agent, &mut of_agent)] {
        client.write_all(b"x").await.unwrap();
        timeout(LATE, conn.read_exact(&mut [0])).await.expect("nothing comes through").unwrap();
    }
    assert!(!of_person.connect_info().certified && of_agent.connect_info().certified);

    // Of two who have shown as much, the one who came first goes: it is told by the connection itself.
    let (_second, _conn) = house.enter(pki::ADMIN).await;
    let (_third, _conn) = house.enter(pki::ADMIN).await;
    let ended = timeout(LATE, of_person.read_to_end(&mut vec![])).await.expect("still waiting");
    assert_eq!(ended.map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionAborted));
    agent.write_all(b"y").await.unwrap();
    of_agent.read_exact(&mut [0]).await.unwrap();
}

#[tokio::test]
async fn who_speaks_without_tls_is_told_so() {
    let house = House::new(limits()).await;
    for (said, begin) in
        [(&b"GET /metrics HTTP/1.1\r\n\r\n"[..], &b"HTTP/1.1 400"[..]), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[0, 0, 0, 4])]
    {
        let mut client = house.knock().await;
        client.write_all(said).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = vec![];
        timeout(LATE, client.read_to_end(&mut answer)).await.expect("still open").unwrap();
        let words = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(begin) && words.contains("speaks TLS only"), "{words}");
    }
}

#[tokio::test]
async fn a_flood_of_frames_ends_its_connection() {
    let mut house = House::new(Limits { first_call: LATE, ..limits() }).await;
    let (client, mut conn) = house.enter(pki::ADMIN).await;
    conn.connect_info().admit();
    let (_answers, mut requests) = tokio::io::split(client);
    let flood = async move {
        let mut sent = requests.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let priority = [0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1].repeat(100);
        while sent.is_ok() {
            sent = requests.write_all(&priority).await.and(requests.flush().await);
        }
    };
    tokio::spawn(flood);
    let ended = timeout(LATE, conn.read_to_end(&mut vec![])).await.expect("it is read without end");
    assert_eq!(ended.map_err(|e| e.kind()), Err(io::ErrorKind::InvalidData));
}
