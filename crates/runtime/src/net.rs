//! Where a daemon may listen until transport security exists: on this machine only.

use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
#[error("refusing to listen on {0}: connections are not encrypted yet, so only loopback addresses are accepted (127.0.0.1 or [::1])")]
pub struct NotLoopback(SocketAddr);

pub fn require_loopback(address: SocketAddr) -> Result<SocketAddr, NotLoopback> {
    if address.ip().is_loopback() { Ok(address) } else { Err(NotLoopback(address)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_accepted() {
        for ok in ["127.0.0.1:0", "[::1]:80", "127.9.9.9:1"] {
            assert!(require_loopback(ok.parse().unwrap()).is_ok(), "{ok}");
        }
        for bad in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "192.168.1.1:1"] {
            assert!(require_loopback(bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
