//! A collective under way.

use std::sync::Arc;
use std::time::Duration;

use tch::Tensor;

use crate::DistError;
use crate::deadline::millis;
use crate::group::Core;
use crate::sys::{self, Handle};

/// The promise of a collective. It holds its tensors and its group, so no memory that Gloo reads or writes can go away; until
/// [`Work::wait`] has returned `Ok`, what the tensors contain is not defined.
#[must_use = "the result is not there until wait() has returned"]
pub struct Work {
    handle: Handle,
    core: Arc<Core>,
    operation: &'static str,
    _tensors: Vec<Tensor>,
    last_copy: Option<(Tensor, Tensor)>,
}

impl Work {
    pub(crate) fn new(handle: Handle, core: Arc<Core>, operation: &'static str, tensors: Vec<Tensor>) -> Self {
        Self { handle, core, operation, _tensors: tensors, last_copy: None }
    }

    /// Once the collective is done, `from` is copied into `to`.
    pub(crate) fn then_copy(self, from: Tensor, to: Tensor) -> Self {
        Self { last_copy: Some((from, to)), ..self }
    }

    /// Blocks until the collective is done, at most `limit`. The group's own timeout bounds it too, whichever is shorter.
    ///
    /// # Errors
    /// [`DistError::Timeout`] and [`DistError::PeerLost`]; after either, the group is spent.
    pub fn wait(self, limit: Duration) -> Result<(), DistError> {
        // SAFETY: the handle is a live work; it and its tensors stay alive for the whole call, which may run on any thread.
        let outcome = unsafe { sys::osler_work_wait(self.handle.as_ptr(), millis(limit)) };
        let describe = || self.core.describe(self.operation);
        outcome.check(describe, limit.min(self.core.options.timeout))?;
        if let Some((from, mut to)) = self.last_copy {
            let copied = tch::no_grad(|| to.f_copy_(&from).map(drop));
            copied.map_err(|error| DistError::Torch { operation: describe(), reason: error.to_string() })?;
        }
        Ok(())
    }
}
