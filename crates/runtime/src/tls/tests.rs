//! Who may connect to whom, over real sockets.

use super::*;
use crate::listen::Speech;
use crate::pki;
use osler_core::ids::Millis;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

pub(crate) fn now() -> Millis {
    Millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64)
}

/// A cluster's folder, good for this host.
pub(crate) fn cluster() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    pki::init(&folder.path().join("c"), &["localhost".into(), "127.0.0.1".into()], now()).unwrap();
    folder
}

fn host(folder: &tempfile::TempDir, name: &str) -> PathBuf {
    folder.path().join("c").join(name)
}

/// What each side saw of the other: the client's certificate, the server's; or the client's error.
async fn meet(server: &ServerTls, client: &ClientTls, name: &str) -> Result<(Option<Vec<u8>>, Vec<u8>), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = server.config(Speech::Http2);
    let accept = async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(config).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().map(|chain| chain[0].to_vec());
        // A client hears only with its first read that its certificate was refused.
        stream.write_all(b"x").await?;
        stream.flush().await?;
        Ok::<_, io::Error>(shown)
    };
    let connect = async {
        let mut stream = client.connect(name, TcpStream::connect(address).await.unwrap()).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        stream.read_exact(&mut [0]).await?;
        Ok::<_, io::Error>(shown)
    };
    let (accepted, connected) = tokio::join!(accept, connect);
    let connected = connected.map_err(|e| e.to_string())?;
    Ok((accepted.map_err(|e| e.to_string())?, connected))
}

#[tokio::test]
async fn agents_prove_themselves_and_people_need_not() {
    let cluster = cluster();
    let server = ServerTls::open(&host(&cluster, pki::COORDINATOR)).unwrap();
    let agent = ClientTls::open(&host(&cluster, pki::AGENT)).unwrap();
    let person = ClientTls::open(&host(&cluster, pki::ADMIN)).unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let shown = meet(&server, &agent, name).await.unwrap().0.unwrap();
        assert_eq!(shown, certificates(&host(&cluster, pki::AGENT).join(CERTIFICATE)).unwrap()[0].to_vec());
        assert!(meet(&server, &person, name).await.unwrap().0.is_none());
    }
    let wrong = meet(&server, &person, "example.org").await.unwrap_err();
    assert!(wrong.contains("not valid for name"), "{wrong}");
}

#[tokio::test]
async fn strangers_certificates_are_refused_both_ways_and_so_is_one_for_another_use() {
    let (ours, theirs) = (cluster(), cluster());
    let server = ServerTls::open(&host(&ours, pki::COORDINATOR)).unwrap();
    let foreign = ClientTls::open(&host(&theirs, pki::ADMIN)).unwrap();
    let refused = meet(&server, &foreign, "localhost").await.unwrap_err();
    assert!(refused.contains("invalid peer certificate"), "{refused}");

    // Believes us, but shows another CA's certificate.
    let copy = |from: PathBuf, to: PathBuf| fs::copy(from, to).unwrap();
    let (agent, stranger) = (host(&ours, pki::AGENT), host(&theirs, pki::AGENT));
    copy(agent.join(CA), stranger.join(CA));
    assert!(meet(&server, &ClientTls::open(&stranger).unwrap(), "localhost").await.is_err());

    // The coordinator's own certificate is none for a client.
    for name in [CERTIFICATE, KEY] {
        copy(host(&ours, pki::COORDINATOR).join(name), agent.join(name));
    }
    assert!(meet(&server, &ClientTls::open(&agent).unwrap(), "localhost").await.is_err());
}

#[tokio::test]
async fn rotated_certificates_are_used_by_who_is_running_and_broken_ones_are_not() {
    let cluster = cluster();
    let server = ServerTls::open(&host(&cluster, pki::COORDINATOR)).unwrap();
    let agent = ClientTls::open(&host(&cluster, pki::AGENT)).unwrap();
    let before = meet(&server, &agent, "localhost").await.unwrap();
    assert_eq!(meet(&server, &agent, "localhost").await.unwrap(), before);
    pki::rotate(&cluster.path().join("c"), None, now()).unwrap();
    let after = meet(&server, &agent, "localhost").await.unwrap();
    assert!(after.0 != before.0 && after.1 != before.1, "the old certificates are still shown");

    // A key that does not fit its certificate, as between the two renames of a rotation.
    let (key, spare) = (host(&cluster, pki::COORDINATOR).join(KEY), host(&cluster, pki::AGENT).join(KEY));
    let kept = fs::read(&key).unwrap();
    fs::copy(spare, &key).unwrap();
    assert_eq!(meet(&server, &agent, "localhost").await.unwrap(), after);
    fs::write(&key, kept).unwrap();
    pki::rotate(&cluster.path().join("c"), None, now()).unwrap();
    assert_ne!(meet(&server, &agent, "localhost").await.unwrap().1, after.1);
}

#[tokio::test]
async fn nothing_older_than_tls_1_3_is_spoken() {
    let cluster = cluster();
    let server = ServerTls::open(&host(&cluster, pki::COORDINATOR)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    client.write_all(&client_hello_of_tls_1_2()).await.unwrap();
    client.shutdown().await.unwrap(); // it says no more, so a server that takes it does not wait
    assert!(TlsAcceptor::from(server.config(Speech::Http2)).accept(stream).await.is_err());
    let mut answer = vec![];
    client.read_to_end(&mut answer).await.unwrap();
    let (fatal, protocol_version) = (2, 70);
    assert_eq!(answer.get(5..7), Some(&[fatal, protocol_version][..]), "{answer:?}");
}

/// ECDHE with ECDSA and AES-GCM, P-256, SHA-256; no `supported_versions`.
fn client_hello_of_tls_1_2() -> Vec<u8> {
    let extensions: &[u8] = &[
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups
        0, 11, 0, 2, 1, 0, // ec_point_formats
        0, 13, 0, 4, 0, 2, 4, 3, // signature_algorithms
        0, 23, 0, 0, // extended_master_secret
        0, 16, 0, 5, 0, 3, 2, b'h', b'2', // ALPN
    ];
    let mut body = vec![3, 3];
    body.extend([7; 32]); // random
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0, 0, extensions.len() as u8]); // no session, one suite, no compression
    body.extend(extensions);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    record
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let cluster = cluster();
    let folder = host(&cluster, pki::COORDINATOR);
    fs::set_permissions(folder.join(KEY), fs::Permissions::from_mode(0o640)).unwrap();
    let refused = ServerTls::open(&folder).unwrap_err().to_string();
    assert!(refused.contains("chmod 600"), "{refused}");
    fs::write(folder.join(CA), "nothing").unwrap();
    assert!(matches!(ServerTls::open(&folder), Err(TlsError::Malformed { what: "certificate", .. })));
}
