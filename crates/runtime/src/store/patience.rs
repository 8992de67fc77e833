//! How long a store is asked again: growing pauses within a total bound, so that a slow or failing store ends in an error, not a hang.
//!
//! A folder gets the same patience as a bucket. Its disk may be full, its server may be away: both pass without anybody's run being
//! worth less for it. What never passes (no permission, a file where a folder should be) is an error at once.

use super::waits::Waits;
use super::{StoreError, local};
use nix::errno::Errno;
use std::error::Error;
use std::io;
use std::iter::successors;
use std::sync::Arc;
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
    /// The same for a store that says that it has no room: people have to make some.
    pub room: Duration,
    pub medium: Medium,
}

/// What is asked: it decides which failures may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Whatever a server or the way to it does may pass, silence included: a try is cut off when the time is over.
    Remote,
    /// The kernel says what is wrong; nothing cuts off a call into it.
    Folder,
}

impl Default for Patience {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { first: Duration::from_millis(100), longest: seconds(5), total: seconds(180), room: seconds(180), medium: Medium::Remote }
    }
}

impl Patience {
    /// One try.
    pub fn none() -> Self {
        Self { total: Duration::ZERO, ..Self::default() }
    }

    pub fn folder() -> Self {
        Self { longest: Duration::from_secs(2), room: Duration::from_secs(3600), medium: Medium::Folder, ..Self::default() }
    }
}

/// What stands in the way of a call, and may go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hindrance {
    NoRoom,
    Trouble,
}

/// A store's patience, and who is waiting by it now. Clones share that.
#[derive(Clone)]
pub(super) struct Patient {
    pub terms: Patience,
    pub waits: Arc<Waits>,
}

impl Patient {
    pub fn new(terms: Patience) -> Self {
        Self { terms, waits: Arc::default() }
    }

    /// Repeats `attempt` while its failure may pass. A missing object and a taken name are errors of their own.
    pub async fn keep<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        verb: &'static str,
        path: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let Patience { first, longest, total, room, medium } = self.terms;
        if total.is_zero() {
            return attempt().await.map_err(|source| typed(verb, path, source));
        }
        let (begun, mut pause, mut tries) = (Instant::now(), first, 0_u32);
        let mut last = "no answer".to_owned();
        let mut waiting = None;
        loop {
            let answer = match medium {
                Medium::Remote => timeout_at(begun + total, attempt()).await,
                Medium::Folder => Ok(attempt().await),
            };
            let mut hindrance = Hindrance::Trouble;
            match answer {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(source)) => {
                    let Some(passes) = medium.passes(&source) else { return Err(typed(verb, path, source)) };
                    (hindrance, last) = (passes, source.to_string());
                }
                Err(_) => {}
            }
            tries += 1;
            if tries.is_power_of_two() {
                tracing::warn!(path, tries, "{verb}: {last}; trying again in {} ms", pause.as_millis());
            }
            waiting.get_or_insert_with(|| self.waits.begin()).because(hindrance, &last);
            let bound = if hindrance == Hindrance::NoRoom { room } else { total };
            if Instant::now() + pause >= begun + bound {
                return Err(given_up(hindrance, verb, path, tries, begun.elapsed().as_secs_f64(), last));
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

impl Medium {
    /// Whether the same request may succeed later, and what is in its way until then.
    fn passes(self, error: &object_store::Error) -> Option<Hindrance> {
        if !matches!(error, object_store::Error::Generic { .. } | object_store::Error::JoinError { .. }) {
            return None;
        }
        if lacks_room(error) {
            return Some(Hindrance::NoRoom);
        }
        let folder_may_recover = || causes(error).any(is_trouble);
        (self == Self::Remote || folder_may_recover()).then_some(Hindrance::Trouble)
    }
}

/// Whether what failed is that a disk is full or a quota used up, at whatever depth it was said.
pub fn lacks_room(error: &(dyn Error + 'static)) -> bool {
    let full = |io: &io::Error| matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let inner = |io: &io::Error| io.get_ref().is_some_and(|inner| lacks_room(inner));
    causes(error).filter_map(|e| e.downcast_ref::<io::Error>()).any(|io| full(io) || inner(io))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// What a disk or a server of files does that may be over at the next try.
fn is_trouble(error: &(dyn Error + 'static)) -> bool {
    use Errno::{
        EAGAIN, EBUSY, ECONNREFUSED, ECONNRESET, EHOSTDOWN, EHOSTUNREACH, EINTR, EIO, EMFILE, ENETDOWN, ENETUNREACH, ENFILE, ENOLINK,
        ENOMEM, ENOTCONN, EREMOTEIO, EROFS, ESTALE, ETIMEDOUT,
    };
    const PASS: [Errno; 19] = [
        EAGAIN,
        EBUSY,
        ECONNREFUSED,
        ECONNRESET,
        EHOSTDOWN,
        EHOSTUNREACH,
        EINTR,
        EIO,
        EMFILE,
        ENETDOWN,
        ENETUNREACH,
        ENFILE,
        ENOLINK,
        ENOMEM,
        ENOTCONN,
        EREMOTEIO,
        EROFS,
        ESTALE,
        ETIMEDOUT,
    ];
    let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    code.is_some_and(|code| PASS.contains(&Errno::from_raw(code)))
}

fn given_up(hindrance: Hindrance, verb: &'static str, path: &str, tries: u32, seconds: f64, last: String) -> StoreError {
    let path = path.to_owned();
    match hindrance {
        Hindrance::NoRoom => StoreError::NoRoom { verb, path, seconds, source: io::Error::new(io::ErrorKind::StorageFull, last) },
        Hindrance::Trouble => StoreError::GaveUp { verb, path, tries, seconds, last },
    }
}

fn typed(verb: &'static str, path: &str, source: object_store::Error) -> StoreError {
    let path = path.to_owned();
    match source {
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => StoreError::AlreadyExists(path),
        object_store::Error::NotFound { .. } => StoreError::Missing { path },
        // File work of our own.
        object_store::Error::Generic { store, source } => match source.downcast::<io::Error>() {
            Ok(source) => match local::not_a_file(&source) {
                Some(what) => StoreError::NotAFile { path, what },
                None => StoreError::Io { verb, path, source: *source },
            },
            Err(source) => StoreError::Backend { verb, path, source: object_store::Error::Generic { store, source } },
        },
        source => StoreError::Backend { verb, path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::super::listing::at;
    use super::*;
    use std::path::Path;

    #[test]
    fn a_failure_with_its_place_passes_or_stays_as_the_one_without() {
        let failure = |code: Errno| at(Path::new("/store/runs/r"), io::Error::from_raw_os_error(code as i32));
        let passes = |code| Medium::Folder.passes(&object_store::Error::Generic { store: "file", source: failure(code).into() });
        assert_eq!(passes(Errno::ESTALE), Some(Hindrance::Trouble));
        assert_eq!(passes(Errno::ENOSPC), Some(Hindrance::NoRoom));
        assert_eq!(passes(Errno::EACCES), None);
        let said = failure(Errno::EACCES).to_string();
        assert!(said.starts_with("/store/runs/r: Permission denied"), "{said}");
    }
}
