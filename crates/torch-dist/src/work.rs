//! A collective under way.

use std::sync::Arc;
use std::time::Duration;

use tch::Tensor;

use crate::DistError;
use crate::deadline::millis;
use crate::exchange::Exchange;
use crate::group::Core;
use crate::sys::{self, Handle};

/// The promise of a collective. It holds its tensors and its group, so no memory that a backend reads or writes can go away; until
/// [`Work::wait`] has returned `Ok`, what the tensors contain is not defined.
#[must_use = "the result is not there until wait() has returned"]
pub struct Work {
    parts: Parts,
    core: Arc<Core>,
    operation: &'static str,
}

enum Parts {
    /// One operation of libtorch, and the tensors that it uses.
    One(Handle, Vec<Tensor>),
    Exchange(Exchange),
}

impl Work {
    pub(crate) fn one(handle: Handle, tensors: Vec<Tensor>, core: Arc<Core>, operation: &'static str) -> Self {
        Self { parts: Parts::One(handle, tensors), core, operation }
    }

    pub(crate) fn exchange(exchange: Exchange, core: Arc<Core>, operation: &'static str) -> Self {
        Self { parts: Parts::Exchange(exchange), core, operation }
    }

    /// Whether the collective has ended, well or not, so that [`Work::wait`] will not block. None where libtorch can only be asked by
    /// waiting: for `send`, `recv` and `reduce_scatter_sum` over Gloo.
    pub fn is_done(&self) -> Option<bool> {
        if self.core.alive(self.operation).is_err() {
            return Some(true);
        }
        match &self.parts {
            Parts::Exchange(exchange) => exchange.is_local().then_some(true),
            Parts::One(handle, _) => {
                let mut done = 0;
                // SAFETY: the handle is a live work of this group; `done` is a valid place.
                let outcome = unsafe { sys::osler_work_done(self.core.as_ptr(), handle.as_ptr(), &mut done) };
                match outcome.check(|| self.core.describe(self.operation), Duration::ZERO) {
                    Ok(()) if done < 0 => None,
                    Ok(()) => Some(done != 0),
                    Err(_) => Some(true), // the wait says what it is
                }
            }
        }
    }

    /// Blocks until the collective is done, at most `limit`. The group's own timeout bounds it too, whichever is shorter.
    ///
    /// # Errors
    /// [`DistError::Timeout`] and [`DistError::PeerLost`] end the group; [`DistError::Aborted`] when something else has ended it before.
    pub fn wait(self, limit: Duration) -> Result<(), DistError> {
        let Self { parts, core, operation } = self;
        core.alive(operation)?;
        let limit = limit.min(core.options.timeout);
        let waited = match parts {
            Parts::Exchange(exchange) => exchange.finish(&core, operation, limit),
            Parts::One(handle, tensors) => {
                // SAFETY: the handle is a live work of this group; it and its tensors stay alive for the whole call, which may run on
                // any thread.
                let outcome = unsafe { sys::osler_work_wait(core.as_ptr(), handle.as_ptr(), millis(limit)) };
                let waited = outcome.check(|| core.describe(operation), limit);
                drop(tensors);
                waited
            }
        };
        waited.map_err(|error| core.failed(operation, error))
    }
}
