//! Peers that dawdle, and too many of them.

use super::*;
use crate::pki;
use crate::tls::tests::cluster;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SOON: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(20);

fn limits() -> Limits {
    Limits { handshake: SOON, first_call: SOON, strangers: 3, strangers_of_one_address: 2 }
}

async fn door(tls: Option<Arc<ServerTls>>) -> (SocketAddr, ReceiverStream<io::Result<Conn>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), incoming(listener, tls, limits()))
}

/// Writes a byte at a time until the other end has had enough.
async fn dawdle(stream: &mut TcpStream) {
    // The beginning of a TLS record of some length, and of nothing in HTTP/2.
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
    let cluster = cluster();
    let tls = Arc::new(ServerTls::open(&cluster.path().join("c").join(pki::COORDINATOR)).unwrap());
    let (address, _conns) = door(Some(tls)).await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(timeout(LATE, silent.read(&mut [0; 64])).await.expect("still open").unwrap_or(0), 0);
    let mut slow = TcpStream::connect(address).await.unwrap();
    timeout(LATE, dawdle(&mut slow)).await.expect("still open");
}

#[tokio::test]
async fn a_stranger_who_makes_no_call_is_cut_off_and_a_guest_is_not() {
    let (address, mut conns) = door(None).await;
    for slow in [false, true] {
        let mut client = TcpStream::connect(address).await.unwrap();
        let mut conn = conns.next().await.unwrap().unwrap();
        let server = tokio::spawn(async move {
            let mut bytes = vec![];
            conn.read_to_end(&mut bytes).await.map_err(|e| e.kind())
        });
        if slow {
            timeout(LATE, dawdle(&mut client)).await.expect("still open");
        }
        let ended = timeout(LATE, server).await.expect("still waiting").unwrap();
        assert_eq!(ended, Err(io::ErrorKind::TimedOut));
    }
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut conn = conns.next().await.unwrap().unwrap();
    conn.connect_info().admit();
    tokio::time::sleep(SOON * 2).await;
    client.write_all(b"x").await.unwrap();
    conn.read_exact(&mut [0]).await.unwrap();
}

#[tokio::test]
async fn strangers_have_so_many_places_and_an_admitted_one_frees_its() {
    let (address, mut conns) = door(None).await;
    let mut clients = vec![];
    let mut taken = vec![];
    for _ in 0..2 {
        clients.push(TcpStream::connect(address).await.unwrap());
        taken.push(conns.next().await.unwrap().unwrap());
    }
    let mut third = TcpStream::connect(address).await.unwrap();
    assert_eq!(timeout(LATE, third.read(&mut [0])).await.expect("it has no place, yet it waits").unwrap_or(0), 0);
    taken[0].connect_info().admit();
    clients[0].write_all(b"x").await.unwrap();
    taken[0].read_exact(&mut [0]).await.unwrap();
    clients.push(TcpStream::connect(address).await.unwrap());
    assert!(timeout(LATE, conns.next()).await.expect("no place was freed").is_some());

    let strangers = Strangers::default();
    let address = |last| IpAddr::from([10, 0, 0, last]);
    let places: Vec<_> = [1, 1, 1, 2, 3].map(|last| strangers.place(address(last), limits())).into();
    assert_eq!(places.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true, false]);
    drop(places);
    assert!(strangers.0.lock().unwrap().is_empty());
}
