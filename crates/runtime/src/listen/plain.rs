//! Whoever speaks without TLS is told so in its own language, before it has sent much. What it has sent is read by nobody.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 22;
const WORDS: &str = "this coordinator speaks TLS only, on loopback too, so that no token reaches a server that has not proven itself: use osler \
                     and osler-worker of the same version, or a gRPC client with the coordinator's ca.pem";

/// Whether the other side begins with something else than a handshake; waits for its first byte.
pub(super) async fn spoken(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] != HANDSHAKE),
    }
}

/// Says why, and gives the error for the log.
pub(super) async fn refuse(mut stream: TcpStream) -> io::Error {
    let mut start = [0; 3];
    let answer = match stream.peek(&mut start).await {
        Ok(3) if &start == b"PRI" => go_away(),
        _ => format!(
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{WORDS}\n",
            WORDS.len() + 1
        )
        .into_bytes(),
    };
    let _it_may_be_gone = stream.write_all(&answer).await;
    let _it_may_be_gone = stream.shutdown().await;
    // What is left unread when a connection is closed can cost the other side the answer.
    let mut unread = [0; 1024];
    for _ in 0..16 {
        if stream.read(&mut unread).await.is_ok_and(|n| n > 0) {
            continue;
        }
        break;
    }
    io::Error::new(io::ErrorKind::InvalidData, "it does not speak TLS")
}

/// HTTP/2's SETTINGS, with which a server begins, and GOAWAY with a reason in words.
fn go_away() -> Vec<u8> {
    const INADEQUATE_SECURITY: u32 = 12;
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    frames.extend(&(8 + WORDS.len() as u32).to_be_bytes()[1..]);
    frames.extend([7, 0, 0, 0, 0, 0]); // GOAWAY, no flags, of the connection
    frames.extend([0; 4]); // no stream was looked at
    frames.extend(INADEQUATE_SECURITY.to_be_bytes());
    frames.extend(WORDS.as_bytes());
    frames
}
