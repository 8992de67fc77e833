//! Where a thread stands that does not come back from a call: asked for by another thread of the same process.
//!
//! The watched thread is interrupted by SIGUSR2, writes down its return addresses, and goes on; nothing is allocated meanwhile. Calls that
//! wait may return EINTR as after any handled signal, so this is for a thread that seems stuck, not for a profile.

use std::ffi::c_void;
use std::ptr;
use std::time::Duration;

use crate::{DistError, sys};

const ROOM: usize = 96;

/// From here on [`take`] tells where the calling thread stands. The process's handler of SIGUSR2 is replaced.
///
/// # Errors
/// [`DistError::Torch`] when the handler cannot be installed.
pub fn watch_this_thread() -> Result<(), DistError> {
    // SAFETY: installs a handler that only touches statics of its own file.
    unsafe { sys::osler_stack_watch() }.check(|| "watch this thread".to_owned(), Duration::ZERO)
}

/// The return addresses of the watched thread, innermost first, at most 96; the signal's own are left out.
///
/// # Errors
/// [`DistError::Timeout`] when the thread does not answer within `limit`: the process is stopped, or the thread is in a call that cannot be
/// interrupted. Another kind when no thread is watched.
pub fn take(limit: Duration) -> Result<Vec<usize>, DistError> {
    let mut frames = [ptr::null_mut::<c_void>(); ROOM];
    let mut count = 0;
    let wait_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    // SAFETY: `frames` has room for ROOM addresses, and both places are valid for the call.
    unsafe { sys::osler_stack_take(wait_ms, frames.as_mut_ptr(), ROOM, &mut count) }.check(|| "take a stack".to_owned(), limit)?;
    Ok(frames.iter().take(count).map(|address| address.addr()).collect())
}
