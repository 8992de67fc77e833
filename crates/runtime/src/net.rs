//! Where a daemon may listen: on this machine, and elsewhere only with transport security.

use std::net::SocketAddr;

#[derive(Debug, thiserror::Error)]
pub enum NotLoopback {
    #[error(
        "refusing to listen on {0} without encryption: give --tls DIR, a folder that `osler cluster init` makes, or listen on loopback \
         (127.0.0.1 or [::1])"
    )]
    Unencrypted(SocketAddr),
    #[error(
        "refusing to show metrics on {0} without encryption: give --tls DIR, a folder that `osler cluster init` makes, or a loopback address \
         (127.0.0.1 or [::1])"
    )]
    Metrics(SocketAddr),
}

/// For the coordinator's own door.
pub fn may_listen(address: SocketAddr, encrypted: bool) -> Result<(), NotLoopback> {
    if encrypted || address.ip().is_loopback() { Ok(()) } else { Err(NotLoopback::Unencrypted(address)) }
}

/// For the page of metrics, which wants a token where it is encrypted.
pub fn may_show_metrics(address: SocketAddr, encrypted: bool) -> Result<(), NotLoopback> {
    if encrypted || address.ip().is_loopback() { Ok(()) } else { Err(NotLoopback::Metrics(address)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_accepted_without_encryption() {
        for ok in ["127.0.0.1:0", "[::1]:80", "127.9.9.9:1"] {
            assert!(may_listen(ok.parse().unwrap(), false).is_ok() && may_show_metrics(ok.parse().unwrap(), false).is_ok(), "{ok}");
        }
        for bad in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "192.168.1.1:1"] {
            let refused = may_listen(bad.parse().unwrap(), false).unwrap_err();
            assert!(refused.to_string().contains("osler cluster init"), "{refused}");
            assert!(may_listen(bad.parse().unwrap(), true).is_ok());
            assert!(
                may_show_metrics(bad.parse().unwrap(), false).is_err() && may_show_metrics(bad.parse().unwrap(), true).is_ok(),
                "{bad}"
            );
        }
    }
}
