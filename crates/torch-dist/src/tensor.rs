//! Looking at tensors before they cross to C++, and the two setters that tch lacks.

use std::time::Duration;

use tch::{Device, Kind, Tensor};

use crate::DistError;
use crate::sys::{self, Facts, pointer};

/// What the checks need to know about a dense, contiguous tensor.
pub(crate) struct Checked {
    pub kind: Kind,
    pub device: Device,
    pub shape: Vec<i64>,
    pub numel: usize,
    pub leaf: bool,
    pub requires_grad: bool,
}

impl Checked {
    /// Refuses what has no plain contiguous memory; the reason is fit for an error message.
    pub(crate) fn dense(tensor: &Tensor) -> Result<Self, String> {
        let checked = Self::strided(tensor)?;
        if !checked.1 {
            return Err(format!("the tensor of shape {:?} is not contiguous: call contiguous() first", checked.0.shape));
        }
        Ok(checked.0)
    }

    /// Refuses what has no plain memory; tells whether it is contiguous.
    fn strided(tensor: &Tensor) -> Result<(Self, bool), String> {
        let mut facts = Facts::default();
        // SAFETY: the pointer is valid while `tensor` is borrowed; `facts` is a valid place of the mirrored layout.
        let outcome = unsafe { sys::osler_tensor_facts(pointer(tensor), &mut facts) };
        outcome.check(|| "inspect".to_owned(), Duration::ZERO).map_err(|error| error.to_string())?;
        if facts.defined == 0 {
            return Err("the tensor is undefined (a gradient that was never computed?)".to_owned());
        }
        if facts.plain == 0 {
            return Err("the tensor is not dense strided memory (sparse, or a conjugated view?)".to_owned());
        }
        if facts.known_device == 0 {
            return Err("the tensor is neither in CPU nor in CUDA memory".to_owned());
        }
        let checked = Self {
            kind: tensor.f_kind().map_err(|error| error.to_string())?,
            device: tensor.device(),
            shape: tensor.size(),
            numel: usize::try_from(facts.numel).map_err(|_| "the tensor has a negative size".to_owned())?,
            leaf: facts.leaf != 0,
            requires_grad: facts.requires_grad != 0,
        };
        Ok((checked, facts.contiguous != 0))
    }
}

/// Same kind, device and shape.
pub(crate) fn same(left: &Checked, right: &Checked) -> Result<(), String> {
    if left.kind != right.kind {
        return Err(format!("kinds {:?} and {:?} differ", left.kind, right.kind));
    }
    if left.device != right.device {
        return Err(format!("devices {:?} and {:?} differ", left.device, right.device));
    }
    if left.shape != right.shape {
        return Err(format!("shapes {:?} and {:?} differ", left.shape, right.shape));
    }
    Ok(())
}

/// A leaf that collects gradients.
pub(crate) fn parameter(operation: &str, param: &Tensor) -> Result<Checked, DistError> {
    let (checked, _) = Checked::strided(param).map_err(|reason| DistError::invalid(operation, reason))?;
    if !checked.leaf || !checked.requires_grad {
        return Err(DistError::invalid(operation, "the tensor is not a leaf that requires a gradient"));
    }
    Ok(checked)
}

/// Makes `grad` itself, not a copy, the gradient of the leaf `param`: the next backward adds into its memory. With a view of a flat
/// buffer, zeroing the buffer zeroes all gradients.
///
/// tch's `zero_grad` of an optimizer detaches gradients and may replace them: zero the buffer instead.
///
/// # Errors
/// [`DistError::Invalid`] when kind, device or shape differ, when `grad` requires a gradient itself, or when `param` is no leaf that
/// requires one.
pub fn set_grad(param: &Tensor, grad: &Tensor) -> Result<(), DistError> {
    const NAME: &str = "set_grad";
    let wanted = parameter(NAME, param)?;
    let (found, _) = Checked::strided(grad).map_err(|reason| DistError::invalid(NAME, reason))?;
    same(&wanted, &found).map_err(|reason| DistError::invalid(NAME, format!("parameter and gradient: {reason}")))?;
    if found.requires_grad {
        return Err(DistError::invalid(NAME, "the gradient requires a gradient itself: detach it"));
    }
    // SAFETY: both pointers are valid while borrowed; libtorch takes its own reference to the gradient.
    let outcome = unsafe { sys::osler_set_grad(pointer(param), pointer(grad)) };
    outcome.check(|| NAME.to_owned(), Duration::ZERO)
}

/// Runs backward from `output`, whose own gradient is `grad`: what `(output * grad).sum()` and its backward would do, without either.
/// The graph is freed. Hooks run as in any backward pass.
///
/// # Errors
/// [`DistError::Invalid`] when kind, device or shape differ or when nothing below `output` requires a gradient; [`DistError::Hook`] when a
/// hook failed.
pub fn backward_with(output: &Tensor, grad: &Tensor) -> Result<(), DistError> {
    const NAME: &str = "backward_with";
    let look = |tensor| Checked::strided(tensor).map(|(checked, _)| checked).map_err(|reason| DistError::invalid(NAME, reason));
    let (wanted, found) = (look(output)?, look(grad)?);
    same(&wanted, &found).map_err(|reason| DistError::invalid(NAME, format!("output and gradient: {reason}")))?;
    if !wanted.requires_grad {
        return Err(DistError::invalid(NAME, "nothing below the output requires a gradient"));
    }
    // SAFETY: both pointers are valid while borrowed; autograd takes its own references.
    let outcome = unsafe { sys::osler_backward(pointer(output), pointer(grad)) };
    outcome.check(|| NAME.to_owned(), Duration::ZERO)
}

/// Makes the memory of `view` the storage of `param`, which stays the leaf that it is: hooks, gradient and graph identity remain. All
/// shallow clones of `param` see the new memory; views that were taken before keep the old one.
///
/// The values are those of `view`: copy the parameter into it first if they should stay. Not to be called between forward and backward.
///
/// # Errors
/// [`DistError::Invalid`] when kind, device or shape differ, when `view` requires a gradient, or when `param` is no leaf that
/// requires one.
pub fn set_data(param: &Tensor, view: &Tensor) -> Result<(), DistError> {
    const NAME: &str = "set_data";
    let wanted = parameter(NAME, param)?;
    let (found, _) = Checked::strided(view).map_err(|reason| DistError::invalid(NAME, reason))?;
    same(&wanted, &found).map_err(|reason| DistError::invalid(NAME, format!("parameter and view: {reason}")))?;
    if found.requires_grad {
        return Err(DistError::invalid(NAME, "the view requires a gradient itself: detach it"));
    }
    // SAFETY: both pointers are valid while borrowed; libtorch takes its own reference to the storage.
    let outcome = unsafe { sys::osler_set_data(pointer(param), pointer(view)) };
    outcome.check(|| NAME.to_owned(), Duration::ZERO)
}
