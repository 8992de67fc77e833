//! Reduce-scatter over Gloo: each rank sends every other one its share, and adds what it gets in the order of the ranks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tch::{Kind, Tensor};

use crate::DistError;
use crate::deadline::millis;
use crate::group::Core;
use crate::sys::{self, Handle, pointer};

/// Above the tags that callers may use. Exchanges under way together have different ones; ranks count them alike.
const FIRST_TAG: i32 = 1 << 16;
const TAGS: u32 = 1 << 16;

/// An exchange under way. It holds all memory that Gloo reads or writes.
pub(crate) struct Exchange {
    sends: Vec<Handle>,
    /// Every rank's share for this one, by rank. Our own has no handle: it is here already.
    shares: Vec<(Option<Handle>, Tensor)>,
    output: Tensor,
    _input: Tensor,
}

impl Exchange {
    /// `input` holds world size times the elements of `output`, both dense CPU memory.
    pub(crate) fn start(core: &Arc<Core>, operation: &str, output: &Tensor, input: &Tensor) -> Result<Self, DistError> {
        let torch = |error: tch::TchError| DistError::Torch { operation: core.describe(operation), reason: error.to_string() };
        let (output, input) = (flat(output).map_err(torch)?, flat(input).map_err(torch)?);
        let length = output.numel() as i64;
        let mut shares = vec![];
        let mut theirs = vec![];
        for rank in 0..core.options.world_size {
            let share = input.f_narrow(0, rank as i64 * length, length).map_err(torch)?;
            if rank == core.options.rank {
                shares.push((None, share));
            } else {
                shares.push((None, output.f_empty_like().map_err(torch)?));
                theirs.push((rank, share));
            }
        }
        let sends = core.enqueue(operation, |number| {
            let tag = FIRST_TAG + (*number % TAGS).cast_signed();
            *number = number.wrapping_add(1);
            for (rank, (handle, share)) in shares.iter_mut().enumerate().filter(|(rank, _)| *rank != core.options.rank) {
                // SAFETY: the tensor stays alive in the exchange, as does the handle; the rank is another one of this group.
                *handle =
                    Some(core.begin(operation, |group, out| unsafe { sys::osler_recv(group, pointer(share), rank as i32, tag, out) })?);
            }
            let send = |(rank, share): &(usize, Tensor)| {
                // SAFETY: the tensor is a view of `input`, which stays alive in the exchange; the rank is another one of this group.
                core.begin(operation, |group, out| unsafe { sys::osler_send(group, pointer(share), *rank as i32, tag, out) })
            };
            theirs.iter().map(send).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Self { sends, shares, output, _input: input })
    }

    /// Nobody to wait for.
    pub(crate) fn is_local(&self) -> bool {
        self.sends.is_empty()
    }

    /// Waits until all shares are here and ours are away, then adds.
    pub(crate) fn finish(self, core: &Core, operation: &str, limit: Duration) -> Result<(), DistError> {
        let deadline = Instant::now() + limit;
        let received = self.shares.iter().filter_map(|(handle, _)| handle.as_ref());
        for handle in received.chain(&self.sends) {
            let left = millis(deadline.saturating_duration_since(Instant::now()));
            // SAFETY: the handle is a live work of this group; it and its tensors stay alive for the whole call.
            let outcome = unsafe { sys::osler_work_wait(core.as_ptr(), handle.as_ptr(), left) };
            outcome.check(|| core.describe(operation), limit)?;
        }
        let added = tch::no_grad(|| add(self.shares.into_iter().map(|(_, share)| share), self.output));
        added.map_err(|error| DistError::Torch { operation: core.describe(operation), reason: error.to_string() })
    }
}

/// Adds in the order given. May use the shares as scratch memory; `output` may be one of them.
fn add(shares: impl Iterator<Item = Tensor>, mut output: Tensor) -> Result<(), tch::TchError> {
    let wide = matches!(output.f_kind()?, Kind::Half | Kind::BFloat16);
    let mut shares: Vec<Tensor> = shares.collect();
    let last = shares.pop();
    let mut sum: Option<Tensor> = None;
    for share in shares {
        sum = Some(match sum {
            None if wide => share.f_to_kind(Kind::Float)?,
            None => share,
            Some(mut sum) => sum.f_add_(&share)?,
        });
    }
    match (sum, last) {
        (Some(mut sum), Some(last)) if wide => output.f_copy_(&sum.f_add_(&last)?),
        (Some(sum), Some(last)) => sum.f_add_out(&output, &last).map(drop),
        (None, Some(last)) => output.f_copy_(&last),
        (_, None) => Ok(()),
    }
}

fn flat(tensor: &Tensor) -> Result<Tensor, tch::TchError> {
    tensor.f_detach()?.f_view([-1])
}
