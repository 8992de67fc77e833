//! The one error type. Its kinds are what a caller can act upon: wait less, restart the gang, or mend the call.

use std::net::SocketAddr;
use std::time::Duration;

/// `operation` names the call and, inside a group, the rank and generation that made it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistError {
    #[error(
        "{operation}: not done within {limit:?}: {reason}; a peer is missing, hung or slow: find it, then restart the gang under a new generation"
    )]
    Timeout { operation: String, limit: Duration, reason: String },

    #[error("{operation}: lost the connection to a peer: {reason}; restart the gang under a new generation")]
    PeerLost { operation: String, reason: String },

    /// The group had ended before: an earlier operation failed, or this rank called `abort`.
    #[error("{operation}: the group has ended: {reason}; restart the gang under a new generation")]
    Aborted { operation: String, reason: String },

    #[error("{operation}: the rendezvous store failed: {reason}; check that its host is alive and reachable")]
    Store { operation: String, reason: String },

    #[error("{operation}: {reason}; give every rank its own number and every attempt its own generation")]
    RankTaken { operation: String, reason: String },

    #[error("{operation}: ranks {ranks:?} disagree with rank 0 about {what}; start all ranks from the same run file and build")]
    Disagreement { operation: String, what: String, ranks: Vec<usize> },

    #[error("store: cannot listen on {address}: {source}; choose a free port (0 picks one) and an address of this machine")]
    Bind { address: SocketAddr, source: std::io::Error },

    /// This build or this machine lacks what the call needs.
    #[error("{operation}: {reason}")]
    Unavailable { operation: String, reason: String },

    #[error("{operation}: {reason}")]
    Invalid { operation: String, reason: String },

    #[error("gradient hook: {reason}")]
    Hook { reason: String },

    #[error("{operation}: libtorch failed: {reason}")]
    Torch { operation: String, reason: String },
}

impl DistError {
    /// Another process, not this call, is at fault: a gang restarted under a new generation may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::PeerLost { .. } | Self::Aborted { .. } | Self::Store { .. })
    }

    pub(crate) fn invalid(operation: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid { operation: operation.into(), reason: reason.into() }
    }
}
