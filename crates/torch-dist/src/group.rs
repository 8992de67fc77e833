//! A gang's process group: joining it, and ending it. The collectives are in `collectives.rs`.

use std::ffi::c_void;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tch::Device;

use crate::deadline::{millis, within};
use crate::store::text;
use crate::sys::{self, Handle, Outcome};
use crate::{DistError, Store};

/// Who this process is within its gang.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// 0-based, below `world_size`; taken once per generation.
    pub rank: usize,
    pub world_size: usize,
    /// The gang's number, which never repeats. Ranks meet only ranks of the same generation and world size.
    pub generation: u64,
    /// Bounds every single collective.
    pub timeout: Duration,
    /// Bounds joining: how long the first rank waits for the last.
    pub meet: Duration,
    /// The address of this machine at which the other ranks reach this one. NCCL finds its own way and does not use it.
    pub interface_address: IpAddr,
}

impl GroupOptions {
    /// Ranks on this machine only (127.0.0.1); `timeout` for collectives and for joining.
    pub fn new(rank: usize, world_size: usize, generation: u64, timeout: Duration) -> Self {
        Self { rank, world_size, generation, timeout, meet: timeout, interface_address: Ipv4Addr::LOCALHOST.into() }
    }
}

/// One rank's end of the group. May be shared between threads; calls are serialized, and their order must be the same on all ranks.
///
/// The first operation that fails ends the group: its connections are closed, so that the other ranks fail at once too, and every later
/// call is [`DistError::Aborted`].
///
/// Dropping it, after the last [`Work`](crate::Work) of it, waits for what is in flight, at most the group's timeout.
pub struct ProcessGroup {
    pub(crate) core: Arc<Core>,
}

/// What the group and its works share. The store stays as long: on its host it is the server that slower ranks still need.
pub(crate) struct Core {
    handle: Handle,
    /// Held while a call enters libtorch. The number is that of the next exchange, the same on all ranks.
    enqueue: Mutex<u32>,
    /// Why the group has ended.
    ended: OnceLock<String>,
    pub(crate) options: GroupOptions,
    pub(crate) device: Device,
    _store: Store,
}

impl Core {
    pub(crate) fn describe(&self, operation: &str) -> String {
        describe(operation, &self.options)
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.handle.as_ptr()
    }

    /// # Errors
    /// [`DistError::Aborted`] once the group has ended.
    pub(crate) fn alive(&self, operation: &str) -> Result<(), DistError> {
        match self.ended.get() {
            None => Ok(()),
            Some(reason) => Err(DistError::Aborted { operation: self.describe(operation), reason: reason.clone() }),
        }
    }

    /// Runs `call` inside libtorch; no other call of this group is there meanwhile. It gets the number of the next exchange to use.
    pub(crate) fn enqueue<T>(&self, operation: &str, call: impl FnOnce(&mut u32) -> Result<T, DistError>) -> Result<T, DistError> {
        self.alive(operation)?;
        let made = call(&mut self.enqueue.lock().unwrap_or_else(PoisonError::into_inner));
        made.map_err(|error| self.failed(operation, error))
    }

    /// Starts one operation of libtorch; its handle is a work.
    pub(crate) fn begin(&self, operation: &str, start: impl FnOnce(*mut c_void, *mut *mut c_void) -> Outcome) -> Result<Handle, DistError> {
        Handle::create(sys::osler_work_free, |out| {
            start(self.handle.as_ptr(), out).check(|| self.describe(operation), self.options.timeout)
        })
    }

    /// Ends the group because of `error`, which is returned; if the group has ended before, that explains more.
    pub(crate) fn failed(&self, operation: &str, error: DistError) -> DistError {
        if let Err(earlier) = self.alive(operation) {
            return earlier;
        }
        self.end(error.to_string());
        error
    }

    fn end(&self, reason: String) {
        if self.ended.set(reason).is_err() {
            return;
        }
        let _order = self.enqueue.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the handle is a live group, and the lock keeps other calls out of it. What abort itself says changes nothing any more.
        let _outcome = unsafe { sys::osler_group_abort(self.handle.as_ptr()) }.check(|| self.describe("abort"), self.options.timeout);
    }
}

impl ProcessGroup {
    /// Joins the gang over Gloo, for tensors in CPU memory, and connects to all of its ranks; returns when they are all there.
    ///
    /// # Errors
    /// [`DistError::Timeout`] when a rank does not come in time; [`DistError::RankTaken`] when this rank of this generation has joined
    /// before; [`DistError::Store`] when the store is gone; [`DistError::Invalid`] for impossible numbers.
    pub fn gloo(store: &Store, options: GroupOptions) -> Result<Self, DistError> {
        let operation = describe("join", &options);
        let (rank, world) = numbers(&operation, &options)?;
        let prefix = text(&operation, &prefix(&options))?;
        let address = text(&operation, &options.interface_address.to_string())?;
        let (shared, meet, timeout) = (Arc::clone(&store.handle), options.meet, options.timeout);
        let handle = within(&operation.clone(), meet, move || {
            Handle::create(sys::osler_group_free, |out| {
                // SAFETY: the store handle and both texts outlive the call; `out` is a valid place.
                let outcome = unsafe {
                    sys::osler_group_gloo(
                        shared.as_ptr(),
                        prefix.as_ptr(),
                        address.as_ptr(),
                        rank,
                        world,
                        millis(meet),
                        millis(timeout),
                        out,
                    )
                };
                outcome.check(|| operation, meet)
            })
        })?;
        Ok(Self::of(handle, options, Device::Cpu, store))
    }

    /// Joins the gang over NCCL, for tensors in the memory of CUDA device `device_index`, which no other rank may use; returns when all
    /// ranks are there.
    ///
    /// A collective that fails or passes the timeout is aborted by libtorch's watchdog, and the reason that it noted is in the error.
    /// Between two ranks, NCCL carries [`send`](Self::send) and [`recv`](Self::recv) in the order of the calls: when both send first,
    /// both wait for ever longer, up to the timeout.
    ///
    /// # Errors
    /// As [`ProcessGroup::gloo`], and [`DistError::Unavailable`] when this build has no CUDA or this machine no such device.
    pub fn nccl(store: &Store, options: GroupOptions, device_index: usize) -> Result<Self, DistError> {
        let operation = describe("join over NCCL", &options);
        let (rank, world) = numbers(&operation, &options)?;
        let device = crate::cuda_device(device_index)?;
        let handle = join_nccl(operation, store, &options, (rank, world), device_index)?;
        Ok(Self::of(handle, options, device, store))
    }

    fn of(handle: Handle, options: GroupOptions, device: Device, store: &Store) -> Self {
        let core = Core { handle, enqueue: Mutex::new(0), ended: OnceLock::new(), options, device, _store: store.clone() };
        Self { core: Arc::new(core) }
    }

    /// Ends the group because this rank cannot go on: what is in flight fails here ([`DistError::Aborted`], with `reason`) and at the
    /// other ranks ([`DistError::PeerLost`]) without waiting for a deadline. The first reason stays.
    ///
    /// With NCCL the other ranks notice when their next wait passes its deadline, or sooner when NCCL sees the broken connection.
    pub fn abort(&self, reason: &str) {
        self.core.end(reason.to_owned());
    }

    /// Why the group has ended, if it has.
    pub fn ended(&self) -> Option<&str> {
        self.core.ended.get().map(String::as_str)
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

    /// Where tensors must be: [`Device::Cpu`] with Gloo, this rank's CUDA device with NCCL.
    pub fn device(&self) -> Device {
        self.core.device
    }
}

#[cfg(osler_cuda)]
fn join_nccl(operation: String, store: &Store, options: &GroupOptions, who: (i32, i32), device_index: usize) -> Result<Handle, DistError> {
    let prefix = text(&operation, &prefix(options))?;
    let device = i32::try_from(device_index).map_err(|_| DistError::invalid(&operation, "the device index does not fit 31 bits"))?;
    let (shared, meet, timeout) = (Arc::clone(&store.handle), options.meet, options.timeout);
    within(&operation.clone(), meet, move || {
        Handle::create(sys::osler_group_free, |out| {
            // SAFETY: the store handle and the text outlive the call; `out` is a valid place.
            let outcome = unsafe {
                sys::osler_group_nccl(shared.as_ptr(), prefix.as_ptr(), who.0, who.1, device, millis(meet), millis(timeout), out)
            };
            outcome.check(|| operation, meet)
        })
    })
}

#[cfg(not(osler_cuda))]
fn join_nccl(operation: String, _: &Store, _: &GroupOptions, _: (i32, i32), _: usize) -> Result<Handle, DistError> {
    Err(crate::device::no_cuda_in_this_build(operation))
}

fn prefix(options: &GroupOptions) -> String {
    format!("osler/generation-{}/world-{}", options.generation, options.world_size)
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
