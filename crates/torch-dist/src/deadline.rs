//! Deadlines: what libtorch counts in milliseconds, and a bound around calls for which libtorch keeps none.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::DistError;

/// libtorch's own timeout should fire first, because its message says more.
const GRACE: Duration = Duration::from_secs(1);
/// Beyond this, clock arithmetic inside libtorch would overflow.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whole milliseconds, at least one: libtorch reads zero as "forever".
pub(crate) fn millis(limit: Duration) -> i64 {
    i64::try_from(limit.min(LONGEST).as_millis()).unwrap_or(i64::MAX).max(1)
}

/// Runs `body` on a thread of its own and gives up on it after `limit`. Rendezvous needs this: libtorch reads the store's greeting
/// without a timeout, so that a frozen host would freeze every client. A late result is dropped where it was made.
pub(crate) fn within<T: Send + 'static>(
    operation: &str,
    limit: Duration,
    body: impl FnOnce() -> Result<T, DistError> + Send + 'static,
) -> Result<T, DistError> {
    let (sender, receiver) = mpsc::channel();
    let torch = |reason: String| DistError::Torch { operation: operation.to_owned(), reason };
    thread::Builder::new()
        .name("rendezvous".to_owned())
        .spawn(move || drop(sender.send(body())))
        .map_err(|error| torch(format!("cannot start a thread: {error}")))?;
    match receiver.recv_timeout(limit.min(LONGEST) + GRACE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => Err(DistError::Timeout {
            operation: operation.to_owned(),
            limit,
            reason: "the rendezvous store, or a rank that it led to, accepted the connection and went silent".to_owned(),
        }),
        Err(RecvTimeoutError::Disconnected) => Err(torch("the rendezvous thread ended without a result".to_owned())),
    }
}
