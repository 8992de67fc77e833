//! A decoder's operations with fewer passes over memory than libtorch's own take, and with their gradients.
//!
//! Each is made for f32 tensors in CPU memory and composed of libtorch's operations for all others, so the meaning never depends on kind or device;
//! the last bits may. They run on [`set_threads`](crate::set_threads) threads, whose number changes no bit of the loops written here (it does of
//! libtorch's products). A second derivative is not there.

use std::ffi::c_void;
use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::DistError;
use crate::sys::{self, Outcome, TensorPtr, pointer};
use crate::tensor::Checked;

/// silu(gate) times up. Either may be a part of a wider tensor's last dimension.
///
/// # Errors
/// [`DistError::Torch`] when shapes do not fit or memory runs out, here and below.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor, DistError> {
    // SAFETY: both tensors are borrowed for the call; `out` is a valid place.
    one("swiglu", |out| unsafe { sys::osler_swiglu(pointer(gate), pointer(up), out) })
}

/// `x + delta` and its RMSNorm over the last dimension with `weight`; without `delta`, `x` and its norm. Use the sum that is returned for what comes
/// after: both uses of it then meet in one pass of backward.
pub fn add_rms_norm(x: &Tensor, delta: Option<&Tensor>, weight: &Tensor, eps: f64) -> Result<(Tensor, Tensor), DistError> {
    let delta = delta.map_or(std::ptr::null(), pointer);
    let (mut sum, mut norm) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: all tensors are borrowed for the call (a null delta is allowed); both places are valid.
    let outcome = unsafe { sys::osler_add_norm(pointer(x), delta, pointer(weight), eps, &mut sum, &mut norm) };
    outcome.check(|| "add_rms_norm".to_owned(), Duration::ZERO)?;
    Ok((adopt("add_rms_norm", sum)?, adopt("add_rms_norm", norm)?))
}

/// Turns `x` `[batch, heads, time, width]` by its positions, which begin at 0, with two tables `[positions, width]`:
/// `out[j] = x[j] * cos[j] + x[(j + width / 2) % width] * sin[j]`. The tables get no gradient.
pub fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, DistError> {
    // SAFETY: the tensors are borrowed for the call; `out` is a valid place.
    one("rotate", |out| unsafe { sys::osler_rotate(pointer(x), pointer(cos), pointer(sin), out) })
}

/// The products of one input with several weights `[out, in]`, without biases.
///
/// Backward adds the gradient of a weight that is a leaf with a gradient already ([`set_grad`](crate::set_grad)) into that memory itself; the
/// leaf's [`GradHook`](crate::GradHook) is called as ever, once, after all uses of the leaf. Weights that lie side by side in one buffer are
/// multiplied as one matrix, and so are their gradients.
pub fn linears(x: &Tensor, weights: &[&Tensor]) -> Result<Vec<Tensor>, DistError> {
    const NAME: &str = "linears";
    if weights.is_empty() {
        return Err(DistError::invalid(NAME, "there are no weights"));
    }
    let weights: Vec<TensorPtr> = weights.iter().map(|weight| pointer(weight)).collect();
    let mut outs = vec![std::ptr::null_mut(); weights.len()];
    // SAFETY: the weights' tensors are borrowed for the call, and both arrays have `weights.len()` places.
    let outcome = unsafe { sys::osler_linears(pointer(x), weights.as_ptr(), weights.len(), outs.as_mut_ptr()) };
    outcome.check(|| NAME.to_owned(), Duration::ZERO)?;
    outs.into_iter().map(|out| adopt(NAME, out)).collect()
}

/// Whether [`cross_entropy`] takes these logits.
pub fn cross_entropy_fits(logits: &Tensor) -> bool {
    Checked::dense(logits).is_ok_and(|l| l.kind == Kind::Float && l.device == Device::Cpu && !l.requires_grad)
}

/// Sum of the negative log-likelihoods of `targets` `[rows]` under `logits` `[rows, vocab]`, f32 in CPU memory. The logits become the gradient of
/// `weight` times that sum.
///
/// # Errors
/// [`DistError::Invalid`] when the tensors are others than described, [`DistError::Torch`] when a target is outside its row; nothing has been changed then.
pub fn cross_entropy(logits: &mut Tensor, targets: &Tensor, weight: f64) -> Result<f64, DistError> {
    const NAME: &str = "cross_entropy";
    let invalid = |reason: String| DistError::invalid(NAME, reason);
    let rows = Checked::dense(logits).map_err(invalid)?;
    let aims = Checked::dense(targets).map_err(invalid)?;
    let fits = cross_entropy_fits(logits) && aims.kind == Kind::Int64 && aims.device == Device::Cpu;
    match (&rows.shape[..], &aims.shape[..]) {
        ([count, vocab], [targets]) if fits && count == targets && *vocab > 0 => {}
        (rows, aims) => return Err(invalid(format!("logits {rows:?} must be f32 [rows, vocab], targets {aims:?} i64 [rows], on the CPU"))),
    }
    let mut loss = 0.0;
    // SAFETY: kinds, shapes and memory of both tensors were checked; the logits are borrowed mutably, and `loss` is a valid place.
    let outcome = unsafe { sys::osler_cross_entropy(pointer(logits), pointer(targets), weight as f32, &mut loss) };
    outcome.check(|| NAME.to_owned(), Duration::ZERO)?;
    Ok(loss)
}

fn one(name: &str, call: impl FnOnce(*mut *mut c_void) -> Outcome) -> Result<Tensor, DistError> {
    let mut out = std::ptr::null_mut();
    call(&mut out).check(|| name.to_owned(), Duration::ZERO)?;
    adopt(name, out)
}

/// A new tensor that C++ made for us.
fn adopt(name: &str, pointer: *mut c_void) -> Result<Tensor, DistError> {
    if pointer.is_null() {
        return Err(DistError::Torch { operation: name.to_owned(), reason: "success without a tensor".to_owned() });
    }
    // SAFETY: a heap-allocated `at::Tensor` that nobody else holds, as tch's own constructors make them; tch frees it.
    Ok(unsafe { Tensor::from_ptr(pointer.cast()) })
}
