//! How long a store is asked again: growing pauses within a total bound, so that a slow or failing store ends in an error, not a hang.

use super::StoreError;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The bound of one call to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// The pause after the first failure; doubled after each.
    pub first: Duration,
    pub longest: Duration,
    /// From the beginning of a call until it is given up, whatever it is doing then. Zero: one try, as long as it takes.
    pub total: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), longest: Duration::from_secs(5), total: Duration::from_secs(180) }
    }
}

impl Patience {
    /// For a folder: a disk that fails does not get better.
    pub fn none() -> Self {
        Self { first: Duration::ZERO, longest: Duration::ZERO, total: Duration::ZERO }
    }

    /// Repeats `attempt` while its failure may pass. A missing object and a taken name are errors of their own.
    pub(super) async fn keep<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        verb: &'static str,
        path: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        if self.total.is_zero() {
            return attempt().await.map_err(|source| typed(verb, path, source));
        }
        let (begun, mut pause, mut tries) = (Instant::now(), self.first, 0);
        let deadline = begun + self.total;
        let mut last = "no answer".to_owned();
        loop {
            match timeout_at(deadline, attempt()).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(source)) if !passes(&source) => return Err(typed(verb, path, source)),
                Ok(Err(source)) => {
                    tries += 1;
                    last = source.to_string();
                    tracing::warn!(path, tries, "{verb}: {last}; trying again in {} ms", pause.as_millis());
                }
                Err(_) => tries += 1,
            }
            if Instant::now() + pause >= deadline {
                return Err(StoreError::GaveUp { verb, path: path.to_owned(), tries, seconds: begun.elapsed().as_secs_f64(), last });
            }
            sleep(pause).await;
            pause = (pause * 2).min(self.longest);
        }
    }
}

/// Whether the same request may succeed later.
fn passes(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { .. } | object_store::Error::JoinError { .. })
}

fn typed(verb: &'static str, path: &str, source: object_store::Error) -> StoreError {
    match source {
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => StoreError::AlreadyExists(path.to_owned()),
        object_store::Error::NotFound { .. } => StoreError::Missing { path: path.to_owned() },
        source => StoreError::Backend { verb, path: path.to_owned(), source },
    }
}
