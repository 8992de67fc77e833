//! A gang's process group over Gloo. Every call enqueues and returns a [`Work`]; Gloo's own threads do the transfer.

use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::deadline::{millis, within};
use crate::store::text;
use crate::sys::{self, Handle, Outcome, pointer, pointers};
use crate::tensor::{Checked, same};
use crate::{DistError, Store, Work};

/// Who this process is within its gang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// 0-based, below `world_size`; taken once per generation.
    pub rank: usize,
    pub world_size: usize,
    /// The gang's number, which never repeats. Ranks meet only ranks of the same generation and world size.
    pub generation: u64,
    /// Bounds the rendezvous and every single collective.
    pub timeout: Duration,
    /// The address of this machine at which the other ranks reach this one.
    pub interface_address: IpAddr,
}

impl GroupOptions {
    /// Ranks on this machine only (127.0.0.1).
    pub fn new(rank: usize, world_size: usize, generation: u64, timeout: Duration) -> Self {
        Self { rank, world_size, generation, timeout, interface_address: Ipv4Addr::LOCALHOST.into() }
    }
}

/// One rank's end of the group. May be shared between threads; calls are serialized, and their order must be the same on all ranks.
///
/// Dropping it, after the last [`Work`] of it, waits for what is in flight, at most the group's timeout.
pub struct ProcessGroup {
    core: Arc<Core>,
}

/// What the group and its works share. The store stays as long: on its host it is the server that slower ranks still need.
pub(crate) struct Core {
    handle: Handle,
    enqueue: Mutex<()>,
    pub(crate) options: GroupOptions,
    _store: Store,
}

impl Core {
    pub(crate) fn describe(&self, operation: &str) -> String {
        describe(operation, &self.options)
    }
}

impl ProcessGroup {
    /// Joins the gang and connects to all of its ranks; returns when they are all there.
    ///
    /// # Errors
    /// [`DistError::Timeout`] when a rank does not come in time; [`DistError::RankTaken`] when this rank of this generation has joined
    /// before; [`DistError::Invalid`] for impossible numbers.
    pub fn gloo(store: &Store, options: GroupOptions) -> Result<Self, DistError> {
        let operation = describe("join", &options);
        let (rank, world) = numbers(&operation, &options)?;
        let prefix = text(&operation, &format!("osler/generation-{}/world-{world}", options.generation))?;
        let address = text(&operation, &options.interface_address.to_string())?;
        let (shared, timeout) = (Arc::clone(&store.handle), options.timeout);
        let handle = within(&operation.clone(), timeout, move || {
            Handle::create(sys::osler_group_free, |out| {
                // SAFETY: the store handle and both texts outlive the call; `out` is a valid place.
                let outcome =
                    unsafe { sys::osler_group_gloo(shared.as_ptr(), prefix.as_ptr(), address.as_ptr(), rank, world, millis(timeout), out) };
                outcome.check(|| operation, timeout)
            })
        })?;
        Ok(Self { core: Arc::new(Core { handle, enqueue: Mutex::new(()), options, _store: store.clone() }) })
    }

    pub fn rank(&self) -> usize {
        self.core.options.rank
    }

    pub fn world_size(&self) -> usize {
        self.core.options.world_size
    }

    pub fn generation(&self) -> u64 {
        self.core.options.generation
    }

    /// Replaces `tensor` by its sum over all ranks, the same bits on each.
    ///
    /// # Errors
    /// [`DistError::Invalid`] unless the tensor is dense, contiguous, not empty, in CPU memory and of a kind that Gloo adds
    /// (float, double, half, bfloat16, int8, uint8, int32, int64). The other collectives ask for the same, but move bool too.
    pub fn all_reduce_sum(&self, tensor: &mut Tensor) -> Result<Work, DistError> {
        const NAME: &str = "all_reduce_sum";
        self.check_summable(NAME, tensor)?;
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe { sys::osler_all_reduce_sum(group, pointer(tensor), out) })
    }

    /// Replaces `tensor` on rank `root` by its sum over all ranks, in an order of addition that depends on the world size alone. What
    /// it holds on the other ranks afterwards is not defined: Gloo uses it as scratch memory.
    pub fn reduce_sum(&self, tensor: &mut Tensor, root: usize) -> Result<Work, DistError> {
        const NAME: &str = "reduce_sum";
        self.check_summable(NAME, tensor)?;
        let root = i64::from(self.peer(NAME, root)?);
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe { sys::osler_reduce_sum(group, pointer(tensor), root, out) })
    }

    /// Replaces `tensor` on every rank by that of rank `root`.
    pub fn broadcast(&self, tensor: &mut Tensor, root: usize) -> Result<Work, DistError> {
        const NAME: &str = "broadcast";
        self.check(NAME, tensor)?;
        let root = i64::from(self.peer(NAME, root)?);
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe { sys::osler_broadcast(group, pointer(tensor), root, out) })
    }

    /// Fills `outputs[r]` with the `input` of rank r; all have its shape and kind.
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
    /// libtorch 2.11 has no reduce-scatter of its own for Gloo, and its imitation waits without a deadline. This one all-reduces
    /// `input` in place: the traffic of an all-reduce, but no copy of `input`.
    pub fn reduce_scatter_sum(&self, output: &mut Tensor, input: &mut Tensor) -> Result<Work, DistError> {
        const NAME: &str = "reduce_scatter_sum";
        let (target, source) = (self.check_summable(NAME, output)?, self.check_summable(NAME, input)?);
        self.check_share(NAME, &source, "input", &target, "output")?;
        let torch = |error: tch::TchError| self.torch(NAME, &error);
        let shares = input.f_view([i64::try_from(self.world_size()).unwrap_or(i64::MAX), -1]).map_err(torch)?;
        let mine = shares.f_get(self.rank() as i64).and_then(|share| share.f_view_as(output)).map_err(torch)?;
        // SAFETY: `start` keeps the tensor alive in the work.
        let work =
            self.start(NAME, vec![input.shallow_clone()], |group, out| unsafe { sys::osler_all_reduce_sum(group, pointer(input), out) })?;
        Ok(work.then_copy(mine, output.shallow_clone()))
    }

    /// Done when every rank has come here and its earlier collectives are done.
    pub fn barrier(&self) -> Result<Work, DistError> {
        // SAFETY: a barrier touches no tensor.
        self.start("barrier", Vec::new(), |group, out| unsafe { sys::osler_barrier(group, out) })
    }

    /// Sends `tensor` to rank `to`, which must [`ProcessGroup::recv`] as many bytes under the same `tag`.
    pub fn send(&self, tensor: &Tensor, to: usize, tag: u16) -> Result<Work, DistError> {
        const NAME: &str = "send";
        self.check(NAME, tensor)?;
        let to = self.other_peer(NAME, to)?;
        // SAFETY: `start` keeps the tensor alive in the work.
        self.start(NAME, vec![tensor.shallow_clone()], |group, out| unsafe { sys::osler_send(group, pointer(tensor), to, tag.into(), out) })
    }

    /// Receives into `tensor` what rank `from` sends under `tag`.
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
    /// [`DistError::Disagreement`] names the ranks that differ from rank 0.
    pub fn agree(&self, what: &str, fingerprint: u64, limit: Duration) -> Result<(), DistError> {
        const NAME: &str = "agree";
        let torch = |error: tch::TchError| self.torch(NAME, &error);
        let mine = Tensor::from_slice(&[fingerprint.cast_signed()]);
        let size = i64::try_from(self.world_size()).unwrap_or(i64::MAX);
        let mut all = Tensor::f_zeros([size], (Kind::Int64, Device::Cpu)).map_err(torch)?;
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
        let order = self.core.enqueue.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = Handle::create(sys::osler_work_free, |out| {
            enqueue(self.core.handle.as_ptr(), out).check(|| self.core.describe(operation), self.core.options.timeout)
        })?;
        drop(order);
        Ok(Work::new(handle, Arc::clone(&self.core), operation, tensors))
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
            _ if checked.device != Device::Cpu => {
                format!("the tensor is on {:?}: Gloo moves CPU memory only", checked.device)
            }
            _ if checked.numel == 0 => {
                format!("the tensor of shape {:?} has no elements", checked.shape)
            }
            Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16 | Kind::Bool => {
                return Ok(checked);
            }
            Kind::Int8 | Kind::Uint8 | Kind::Int | Kind::Int64 => return Ok(checked),
            other => format!("Gloo does not move tensors of kind {other:?}"),
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

fn describe(operation: &str, options: &GroupOptions) -> String {
    format!("{operation} (rank {} of {}, generation {})", options.rank, options.world_size, options.generation)
}

fn numbers(operation: &str, options: &GroupOptions) -> Result<(i32, i32), DistError> {
    let invalid = |reason: &str| DistError::invalid(operation, reason);
    let world = i32::try_from(options.world_size).map_err(|_| invalid("the world size does not fit 31 bits"))?;
    let rank = i32::try_from(options.rank).map_err(|_| invalid("the rank does not fit 31 bits"))?;
    if rank >= world {
        return Err(invalid("the rank must be below the world size"));
    }
    if options.interface_address.is_unspecified() {
        return Err(invalid("the interface address must be one that other ranks can reach, not the wildcard"));
    }
    Ok((rank, world))
}
