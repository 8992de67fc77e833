//! The C ABI of csrc/osler_dist.h, mirrored by hand, and the two types that make it bearable: [`Outcome`] and [`Handle`].

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::time::Duration;

use tch::Tensor;

use crate::DistError;

/// A borrowed `at::Tensor*`.
pub(crate) type TensorPtr = *const c_void;

#[repr(C)]
#[must_use]
pub(crate) struct Outcome {
    code: i32,
    message: *mut c_char,
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct Facts {
    pub defined: i32,
    pub known_device: i32,
    pub plain: i32,
    pub contiguous: i32,
    pub leaf: i32,
    pub requires_grad: i32,
    pub numel: i64,
}

pub(crate) type HookCall = unsafe extern "C" fn(*mut c_void, *mut *mut c_char) -> i32;
pub(crate) type HookDrop = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    pub(crate) fn osler_message_copy(bytes: *const c_char, length: usize) -> *mut c_char;
    fn osler_message_free(message: *mut c_char);

    pub(crate) fn osler_store_host(
        fd: i32,
        host: *const c_char,
        port: u16,
        world: usize,
        timeout_ms: i64,
        out: *mut *mut c_void,
    ) -> Outcome;
    pub(crate) fn osler_store_connect(host: *const c_char, port: u16, world: usize, timeout_ms: i64, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_store_free(store: *mut c_void);

    pub(crate) fn osler_group_gloo(
        store: *mut c_void,
        prefix: *const c_char,
        address: *const c_char,
        rank: i32,
        world: i32,
        meet_ms: i64,
        timeout_ms: i64,
        out: *mut *mut c_void,
    ) -> Outcome;
    #[cfg(osler_cuda)]
    pub(crate) fn osler_group_nccl(
        store: *mut c_void,
        prefix: *const c_char,
        rank: i32,
        world: i32,
        device: i32,
        meet_ms: i64,
        timeout_ms: i64,
        out: *mut *mut c_void,
    ) -> Outcome;
    pub(crate) fn osler_group_abort(group: *mut c_void) -> Outcome;
    pub(crate) fn osler_group_free(group: *mut c_void);

    pub(crate) fn osler_all_reduce_sum(group: *mut c_void, tensor: TensorPtr, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_reduce_sum(group: *mut c_void, tensor: TensorPtr, root: i64, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_broadcast(group: *mut c_void, tensor: TensorPtr, root: i64, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_all_gather(
        group: *mut c_void,
        outputs: *const TensorPtr,
        count: usize,
        input: TensorPtr,
        out: *mut *mut c_void,
    ) -> Outcome;
    pub(crate) fn osler_all_gather_into(group: *mut c_void, output: TensorPtr, input: TensorPtr, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_reduce_scatter_sum(group: *mut c_void, output: TensorPtr, input: TensorPtr, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_barrier(group: *mut c_void, cuda_device: i32, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_send(group: *mut c_void, tensor: TensorPtr, peer: i32, tag: i32, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_recv(group: *mut c_void, tensor: TensorPtr, peer: i32, tag: i32, out: *mut *mut c_void) -> Outcome;

    pub(crate) fn osler_work_wait(group: *mut c_void, work: *mut c_void, timeout_ms: i64) -> Outcome;
    pub(crate) fn osler_work_done(group: *mut c_void, work: *mut c_void, out: *mut i32) -> Outcome;
    pub(crate) fn osler_work_free(work: *mut c_void);

    pub(crate) fn osler_hook_arm(param: TensorPtr, state: *mut c_void, call: HookCall, drop: HookDrop) -> Outcome;
    pub(crate) fn osler_hook_disarm(param: TensorPtr, state: *const c_void);

    pub(crate) fn osler_tensor_facts(tensor: TensorPtr, out: *mut Facts) -> Outcome;
    pub(crate) fn osler_set_grad(param: TensorPtr, grad: TensorPtr) -> Outcome;
    pub(crate) fn osler_backward(output: TensorPtr, grad: TensorPtr) -> Outcome;
    pub(crate) fn osler_set_data(param: TensorPtr, view: TensorPtr) -> Outcome;
    pub(crate) fn osler_set_threads(threads: i32) -> Outcome;
    pub(crate) fn osler_deterministic(on: i32) -> Outcome;

    pub(crate) fn osler_fused_adamw(
        params: *const TensorPtr,
        grads: *const TensorPtr,
        exp_avgs: *const TensorPtr,
        exp_avg_sqs: *const TensorPtr,
        count: usize,
        step: i64,
        lr: f64,
        beta1: f64,
        beta2: f64,
        eps: f64,
        weight_decay: f64,
    ) -> Outcome;

    pub(crate) fn osler_swiglu(gate: TensorPtr, up: TensorPtr, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_add_norm(
        x: TensorPtr,
        delta: TensorPtr,
        weight: TensorPtr,
        eps: f64,
        sum: *mut *mut c_void,
        norm: *mut *mut c_void,
    ) -> Outcome;
    pub(crate) fn osler_rotate(x: TensorPtr, cos: TensorPtr, sin: TensorPtr, out: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_linears(x: TensorPtr, weights: *const TensorPtr, count: usize, outs: *mut *mut c_void) -> Outcome;
    pub(crate) fn osler_cross_entropy(logits: TensorPtr, targets: TensorPtr, weight: f32, loss: *mut f64) -> Outcome;
    pub(crate) fn osler_keep_pages() -> Outcome;
    pub(crate) fn osler_release_pages(bytes: *mut i64) -> Outcome;

    pub(crate) fn osler_stack_watch() -> Outcome;
    pub(crate) fn osler_stack_take(wait_ms: i64, frames: *mut *mut c_void, room: usize, count: *mut usize) -> Outcome;
}

/// tch's pointer to the C++ tensor: valid while `tensor` lives.
pub(crate) fn pointer(tensor: &Tensor) -> TensorPtr {
    tensor.as_ptr().cast()
}

/// Pointers to all of `tensors`: valid while they live.
pub(crate) fn pointers(tensors: &[Tensor]) -> Vec<TensorPtr> {
    tensors.iter().map(pointer).collect()
}

impl Outcome {
    /// `operation` is asked for only when there is something to report; `limit` is the deadline that the call ran under.
    pub(crate) fn check(self, operation: impl FnOnce() -> String, limit: Duration) -> Result<(), DistError> {
        if self.code == 0 {
            return Ok(());
        }
        let reason = self.take_message();
        let operation = operation();
        Err(match self.code {
            2 => DistError::Timeout { operation, limit, reason },
            3 => DistError::PeerLost { operation, reason },
            4 => DistError::Store { operation, reason },
            5 => DistError::RankTaken { operation, reason },
            6 => DistError::Hook { reason },
            _ => DistError::Torch { operation, reason },
        })
    }

    fn take_message(&self) -> String {
        if self.message.is_null() {
            return "no message".to_owned();
        }
        // SAFETY: a non-null message is a NUL-terminated copy that the C++ side made for us; it is read once, then freed once,
        // because `check` consumes the outcome.
        unsafe {
            let text = CStr::from_ptr(self.message).to_string_lossy().trim().to_owned();
            osler_message_free(self.message);
            text
        }
    }
}

/// An owned C++ object behind a void pointer, freed with the function that belongs to it.
pub(crate) struct Handle {
    pointer: NonNull<c_void>,
    free: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: the objects are c10d stores, process groups and works, which are heap objects without thread affinity.
unsafe impl Send for Handle {}
// SAFETY: stores and works lock internally; calls on a process group are serialized by `ProcessGroup`.
unsafe impl Sync for Handle {}

impl Handle {
    /// Runs `make`, which writes the new object's pointer to its argument when it succeeds.
    pub(crate) fn create(
        free: unsafe extern "C" fn(*mut c_void),
        make: impl FnOnce(*mut *mut c_void) -> Result<(), DistError>,
    ) -> Result<Self, DistError> {
        let mut out = std::ptr::null_mut();
        make(&mut out)?;
        let pointer = NonNull::new(out)
            .ok_or_else(|| DistError::Torch { operation: "create".to_owned(), reason: "success without an object".to_owned() })?;
        Ok(Self { pointer, free })
    }

    pub(crate) fn as_ptr(&self) -> *mut c_void {
        self.pointer.as_ptr()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the creating function that `free` belongs to, and is freed only here.
        unsafe { (self.free)(self.pointer.as_ptr()) }
    }
}
