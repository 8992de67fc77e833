//! What is told over HTTP, to whom, and when.

use super::*;
use crate::cluster::Limits as Waits;
use crate::ledger::Ledger;
use crate::owner::Owner;
use osler_core::access::{NewToken, Role};
use osler_core::ids::TokenName;
use osler_runtime::auth::Token;
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::pki;
use osler_runtime::store::Store;
use osler_runtime::tls::ClientTls;
use std::path::Path;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A coordinator that leads, and a viewer's token.
async fn leading(folder: &Path) -> (Duty, Token) {
    let store = Store::open(folder.join("store").to_str().unwrap()).unwrap();
    let ledger = Ledger::open(store, SystemClock.now()).await.unwrap();
    let (handle, owner) = Owner::start(ledger, Arc::new(SystemClock), Waits::default()).await.unwrap();
    let (viewer, worker) = (Token::random().unwrap(), Token::load_or_create(&folder.join("worker")).unwrap());
    let token =
        |name: &str, role, token: &Token| NewToken { name: TokenName::new(name).unwrap(), role, sha256: token.sha256(), worker: None };
    let first = vec![token("v", Role::Viewer, &viewer), token("w", Role::Worker, &worker)];
    let owners = Token::load_or_create(&folder.join("token")).unwrap();
    let access = Access::open(owner.ledger().clone(), Arc::new(SystemClock), &owners, first).await.unwrap();
    let epoch = owner.ledger().epoch();
    tokio::spawn(owner.run(std::future::pending()));
    (Duty::Leading { epoch, handle, access }, viewer)
}

/// The answer's first line and its words.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str, headers: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn readiness_tells_what_it_does_and_metrics_are_for_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (duty, seen) = watch::channel(Duty::default());
    tokio::spawn(serve(listener, seen, None));
    let get = async |path: &str, host: &str| ask(TcpStream::connect(address).await.unwrap(), path, &format!("Host: {host}\r\n")).await;
    for (now, status, word) in
        [(Duty::Starting, "503", "starts"), (Duty::StandingBy, "200", "stands by"), (Duty::TakingOver, "503", "takes over")]
    {
        duty.send_replace(now);
        let answer = get("/readyz", "localhost").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(word), "{answer}");
        assert!(get("/healthz", "localhost").await.starts_with("HTTP/1.1 200"));
        assert!(get("/metrics", "localhost").await.starts_with("HTTP/1.1 503"));
    }
    duty.send_replace(leading(folder.path()).await.0);
    assert!(get("/readyz", "[::1]:7").await.contains("leads, epoch 1"));
    let page = get("/metrics", &address.to_string()).await;
    assert!(page.contains("osler_coordinator_epoch 1\n") && page.contains("text/plain; version=0.0.4"), "{page}");
    for host in ["evil.example", "evil.example:9090", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1]x"] {
        let answer = get("/metrics", host).await;
        assert!(answer.starts_with("HTTP/1.1 421") && !answer.contains("osler_"), "{host}: {answer}");
    }
    assert!(ask(TcpStream::connect(address).await.unwrap(), "/metrics", "").await.starts_with("HTTP/1.1 421"));
    assert!(get("/../metrics", "localhost").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn elsewhere_they_are_encrypted_and_for_who_may_look() {
    let folder = tempfile::tempdir().unwrap();
    let (leads, viewer) = leading(folder.path()).await;
    let token_file = folder.path().join("token");
    let tls = Arc::new(ServerTls::open(&pki::own_server(&token_file, SystemClock.now()).unwrap()).unwrap());
    let client = ClientTls::own(&token_file, &token_file);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, watch::channel(leads).1, Some(tls)));
    let get = async |path: &str, headers: &str| {
        let stream = TcpStream::connect(address).await.unwrap();
        ask(client.connect("", stream).await.unwrap(), path, headers).await
    };
    let bearer = |token: &Token| format!("Authorization: Bearer {}\r\n", token.reveal());
    let worker = Token::load(&folder.path().join("worker")).unwrap();
    for (headers, status) in
        [(bearer(&viewer), "200"), (bearer(&worker), "401"), (bearer(&Token::random().unwrap()), "401"), (String::new(), "401")]
    {
        let answer = get("/metrics", &format!("Host: a.example\r\n{headers}")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert_eq!(answer.contains("osler_"), status == "200", "{answer}");
    }
    assert!(get("/readyz", "Host: a.example\r\n").await.starts_with("HTTP/1.1 200"));
    let plain = ask(TcpStream::connect(address).await.unwrap(), "/metrics", "Host: localhost\r\n").await;
    assert!(plain.starts_with("HTTP/1.1 400") && !plain.contains("osler_coordinator_epoch"), "{plain}");
}
