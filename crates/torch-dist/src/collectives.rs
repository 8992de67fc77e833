//! The collectives. Every call checks its tensors, enqueues and returns a [`Work`]; threads of the backend do the transfer.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::exchange::Exchange;
use crate::sys::{self, Outcome, pointer, pointers};
use crate::tensor::{Checked, same};
use crate::{DistError, ProcessGroup, Work};

impl ProcessGroup {
    /// Replaces `tensor` by its sum over all ranks, the same bits on each.
    ///
    /// # Errors
    /// [`DistError::Invalid`] unless the tensor is dense, contiguous, not empty, in the group's memory ([`ProcessGroup::device`]) and of a kind that can be added
    /// (float, double, half, bfloat16, int8, uint8, int32, int64); [`DistError::Aborted`] when the group has ended;
    /// [`DistError::PeerLost`] when the connection is known to be broken. The other collectives ask for the same, but move bool too.
    pub fn all_reduce_sum(&self, tensor: &mut Tensor) -> Result<Work, DistError> {
        const NAME: &str = "all_reduce_sum";
        self.check_summable(NAME, tensor)?;
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe { sys::osler_all_reduce_sum(group, pointer(tensor), out) })
    }

    /// Replaces `tensor` on rank `root` by its sum over all ranks, in an order of addition that depends on the world size alone. What
    /// it holds on the other ranks afterwards is not defined: Gloo uses it as scratch memory.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and [`DistError::Invalid`] when there is no rank `root`.
    pub fn reduce_sum(&self, tensor: &mut Tensor, root: usize) -> Result<Work, DistError> {
        const NAME: &str = "reduce_sum";
        self.check_summable(NAME, tensor)?;
        let root = i64::from(self.peer(NAME, root)?);
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe { sys::osler_reduce_sum(group, pointer(tensor), root, out) })
    }

    /// Replaces `tensor` on every rank by that of rank `root`.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and [`DistError::Invalid`] when there is no rank `root`.
    pub fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<Work, DistError> {
        const NAME: &str = "broadcast";
        self.check(NAME, tensor)?;
        let root = i64::from(self.peer(NAME, root)?);
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe { sys::osler_broadcast(group, pointer(tensor), root, out) })
    }

    /// Fills `outputs[r]` with the `input` of rank r; all have its shape and kind.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and [`DistError::Invalid`] unless there is one fitting output for each rank.
    pub fn all_gather(&self, outputs: &mut [Tensor], input: &Tensor) -> Result<Work, DistError> {
        const NAME: &str = "all_gather";
        let source = self.check(NAME, input)?;
        if outputs.len() != self.world_size() {
            let (found, wanted) = (outputs.len(), self.world_size());
            return Err(self.invalid(NAME, format!("{found} outputs for {wanted} ranks")));
        }
        for output in outputs.iter() {
            let target = self.check(NAME, output)?;
            same(&source, &target).map_err(|reason| self.invalid(NAME, format!("output and input: {reason}")))?;
        }
        let mut kept: Vec<Tensor> = outputs.iter().map(Tensor::shallow_clone).collect();
        kept.push(input.shallow_clone());
        let places = pointers(outputs);
        // SAFETY: `places` has `places.len()` live tensors for the call, and `start` keeps them and the input alive in the work.
        self.start(NAME, kept, |group, out| unsafe { sys::osler_all_gather(group, places.as_ptr(), places.len(), pointer(input), out) })
    }

    /// Fills `output` with all ranks' `input`s one after the other, in memory order; it has world size times as many elements.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and [`DistError::Invalid`] unless sizes and kinds fit.
    pub fn all_gather_into(&self, output: &mut Tensor, input: &Tensor) -> Result<Work, DistError> {
        const NAME: &str = "all_gather_into";
        let (target, source) = (self.check(NAME, output)?, self.check(NAME, input)?);
        self.check_share(NAME, &target, "output", &source, "input")?;
        // SAFETY: `start` keeps both tensors alive in the work.
        self.start(NAME, vec![output.shallow_clone(), input.shallow_clone()], |group, out| unsafe {
            sys::osler_all_gather_into(group, pointer(output), pointer(input), out)
        })
    }

    /// Fills `output` with this rank's share of the sum of all ranks' `input`s, which are cut in rank order. What `input` holds
    /// afterwards is not defined. `output` may be a view of this rank's share of `input`.
    ///
    /// libtorch 2.11 has no reduce-scatter of its own for Gloo, and its imitation waits without a deadline. Here every rank sends each
    /// other one its share, which is half an all-reduce's traffic, and [`Work::wait`] adds what came in the order of the ranks, the two
    /// 16-bit floating point kinds in single precision. Until then the shares that come in need memory: `input`'s size less one share.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and [`DistError::Invalid`] unless sizes and kinds fit.
    pub fn reduce_scatter_sum(&self, output: &mut Tensor, input: &mut Tensor) -> Result<Work, DistError> {
        const NAME: &str = "reduce_scatter_sum";
        let (target, source) = (self.check_summable(NAME, output)?, self.check_summable(NAME, input)?);
        self.check_share(NAME, &source, "input", &target, "output")?;
        if self.device() == Device::Cpu {
            let exchange = Exchange::start(&self.core, NAME, output, input)?;
            return Ok(Work::exchange(exchange, Arc::clone(&self.core), NAME));
        }
        // SAFETY: `start` keeps both tensors alive in the work.
        self.start(NAME, vec![output.shallow_clone(), input.shallow_clone()], |group, out| unsafe {
            sys::osler_reduce_scatter_sum(group, pointer(output), pointer(input), out)
        })
    }

    /// Done when every rank has come here and its earlier collectives are done.
    ///
    /// # Errors
    /// [`DistError::Aborted`] when the group has ended, [`DistError::PeerLost`] when a connection is known to be broken.
    pub fn barrier(&self) -> Result<Work, DistError> {
        let device = match self.device() {
            Device::Cuda(index) => i32::try_from(index).unwrap_or(-1),
            _ => -1,
        };
        // SAFETY: a barrier touches no tensor.
        self.start("barrier", Vec::new(), |group, out| unsafe { sys::osler_barrier(group, device, out) })
    }

    /// Sends `tensor` to rank `to`, which must [`ProcessGroup::recv`] as many bytes under the same `tag`.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and [`DistError::Invalid`] when `to` is this rank or none.
    pub fn send(&self, tensor: &Tensor, to: usize, tag: u16) -> Result<Work, DistError> {
        const NAME: &str = "send";
        self.check(NAME, tensor)?;
        let to = self.other_peer(NAME, to)?;
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe { sys::osler_send(group, pointer(tensor), to, tag.into(), out) })
    }

    /// Receives into `tensor` what rank `from` sends under `tag`.
    ///
    /// # Errors
    /// As [`ProcessGroup::all_reduce_sum`], and [`DistError::Invalid`] when `from` is this rank or none.
    pub fn recv(&self, tensor: &mut Tensor, from: usize, tag: u16) -> Result<Work, DistError> {
        const NAME: &str = "recv";
        self.check(NAME, tensor)?;
        let from = self.other_peer(NAME, from)?;
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe {
            sys::osler_recv(group, pointer(tensor), from, tag.into(), out)
        })
    }

    /// Fails on every rank unless all of them hold the same `fingerprint` of `what` (a bucket plan, a run file, a build). Ranks that
    /// disagree about sizes would otherwise end each other's process inside Gloo.
    ///
    /// # Errors
    /// [`DistError::Disagreement`] names the ranks that differ from rank 0; the errors of a collective and of its wait.
    pub fn agree(&self, what: &str, fingerprint: u64, limit: Duration) -> Result<(), DistError> {
        const NAME: &str = "agree";
        let torch = |error: tch::TchError| self.torch(NAME, &error);
        let mine = Tensor::f_from_slice(&[fingerprint.cast_signed()]).and_then(|print| print.f_to_device(self.device())).map_err(torch)?;
        let size = i64::try_from(self.world_size()).unwrap_or(i64::MAX);
        let mut all = Tensor::f_zeros([size], (Kind::Int64, self.device())).map_err(torch)?;
        self.all_gather_into(&mut all, &mine)?.wait(limit)?;
        let all = Vec::<i64>::try_from(&all).map_err(torch)?;
        let ranks: Vec<usize> = all.iter().enumerate().filter(|(_, print)| Some(*print) != all.first()).map(|(rank, _)| rank).collect();
        if ranks.is_empty() {
            return Ok(());
        }
        Err(DistError::Disagreement { operation: self.core.describe(NAME), what: what.to_owned(), ranks })
    }

    /// `tensors` are all that `enqueue` hands to libtorch; the work keeps them.
    fn start(
        &self,
        operation: &'static str,
        tensors: Vec<Tensor>,
        enqueue: impl FnOnce(*mut c_void, *mut *mut c_void) -> Outcome,
    ) -> Result<Work, DistError> {
        let handle = self.core.enqueue(operation, |_| self.core.begin(operation, enqueue))?;
        Ok(Work::one(handle, tensors, Arc::clone(&self.core), operation))
    }

    fn invalid(&self, operation: &str, reason: String) -> DistError {
        DistError::invalid(self.core.describe(operation), reason)
    }

    fn torch(&self, operation: &str, error: &tch::TchError) -> DistError {
        DistError::Torch { operation: self.core.describe(operation), reason: error.to_string() }
    }

    fn check(&self, operation: &str, tensor: &Tensor) -> Result<Checked, DistError> {
        let checked = Checked::dense(tensor).map_err(|reason| self.invalid(operation, reason))?;
        let reason = match checked.kind {
            _ if checked.device != self.device() => {
                format!("the tensor is on {:?}, and this group moves memory of {:?} only", checked.device, self.device())
            }
            _ if checked.numel == 0 => {
                format!("the tensor of shape {:?} has no elements", checked.shape)
            }
            Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 | Kind::Bool => {
                return Ok(checked);
            }
            Kind::Int8 | Kind::Uint8 | Kind::Int | Kind::Int64 => return Ok(checked),
            other => format!("a group does not move tensors of kind {other:?}"),
        };
        Err(self.invalid(operation, reason))
    }

    fn check_summable(&self, operation: &str, tensor: &Tensor) -> Result<Checked, DistError> {
        let checked = self.check(operation, tensor)?;
        if checked.kind == Kind::Bool {
            return Err(self.invalid(operation, "a bool tensor has no sum: use uint8".to_owned()));
        }
        Ok(checked)
    }

    /// `whole` is world size times `part`.
    fn check_share(&self, operation: &str, whole: &Checked, whole_name: &str, part: &Checked, part_name: &str) -> Result<(), DistError> {
        if whole.kind != part.kind {
            let reason = format!("{whole_name} is {:?}, {part_name} is {:?}", whole.kind, part.kind);
            return Err(self.invalid(operation, reason));
        }
        if Some(whole.numel) != part.numel.checked_mul(self.world_size()) {
            let reason = format!(
                "{whole_name} has {} elements, but {} ranks times {} elements of {part_name} are needed",
                whole.numel,
                self.world_size(),
                part.numel
            );
            return Err(self.invalid(operation, reason));
        }
        Ok(())
    }

    fn peer(&self, operation: &str, rank: usize) -> Result<i32, DistError> {
        i32::try_from(rank)
            .ok()
            .filter(|_| rank < self.world_size())
            .ok_or_else(|| self.invalid(operation, format!("there is no rank {rank}")))
    }

    fn other_peer(&self, operation: &str, rank: usize) -> Result<i32, DistError> {
        if rank == self.rank() {
            return Err(self.invalid(operation, format!("rank {rank} is this rank itself")));
        }
        self.peer(operation, rank)
    }
}
