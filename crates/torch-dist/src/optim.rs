//! Fused AdamW. The moments are the caller's tensors, so a checkpoint can hold them.

use std::time::Duration;

use tch::Tensor;

use crate::DistError;
use crate::sys::{self, pointers};
use crate::tensor::{Checked, same};

/// The kernel counts updates in single precision, which is exact up to here.
const LAST_STEP: i64 = 1 << 24;

/// Hyperparameters of one update, named as in PyTorch; the default is PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    pub lr: f64,
    pub beta1: f64,
    pub beta2: f64,
    pub eps: f64,
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 }
    }
}

impl AdamW {
    fn check(&self) -> Result<(), String> {
        let positive = |value: f64| value.is_finite() && value >= 0.0;
        let beta = |value: f64| (0.0..1.0).contains(&value);
        for (name, value, good) in [
            ("lr", self.lr, positive(self.lr)),
            ("beta1", self.beta1, beta(self.beta1)),
            ("beta2", self.beta2, beta(self.beta2)),
            ("eps", self.eps, positive(self.eps)),
            ("weight_decay", self.weight_decay, positive(self.weight_decay)),
        ] {
            if !good {
                return Err(format!("{name} = {value} is out of range"));
            }
        }
        Ok(())
    }
}

/// One update in place, bit for bit that of `torch.optim.AdamW(fused=True)`. `step` is the number of this update, 1 for the first.
/// The i-th tensors of the four lists belong together: same shape, kind and device, contiguous.
///
/// # Errors
/// [`DistError::Invalid`] names the list and position of the first tensor that does not fit; nothing has been changed then.
pub fn fused_adamw_step(
    params: &[Tensor],
    grads: &[Tensor],
    exp_avgs: &[Tensor],
    exp_avg_sqs: &[Tensor],
    step: i64,
    options: AdamW,
) -> Result<(), DistError> {
    const NAME: &str = "fused_adamw_step";
    let invalid = |reason: String| DistError::invalid(NAME, reason);
    options.check().map_err(invalid)?;
    if !(1..=LAST_STEP).contains(&step) {
        return Err(invalid(format!("step {step} is out of range: the first update has number 1, the last {LAST_STEP}")));
    }
    if params.is_empty() {
        return Err(invalid("there are no parameters to update".to_owned()));
    }
    let wanted = (params.iter().enumerate())
        .map(|(at, tensor)| look(tensor).map_err(|reason| invalid(format!("params[{at}]: {reason}"))))
        .collect::<Result<Vec<_>, _>>()?;
    for (list, tensors) in [("grads", grads), ("exp_avgs", exp_avgs), ("exp_avg_sqs", exp_avg_sqs)] {
        if tensors.len() != wanted.len() {
            return Err(invalid(format!("{list} has {} tensors for {} parameters", tensors.len(), wanted.len())));
        }
        for (at, (tensor, wanted)) in tensors.iter().zip(&wanted).enumerate() {
            look(tensor)
                .and_then(|found| same(wanted, &found))
                .map_err(|reason| invalid(format!("{list}[{at}] and its parameter: {reason}")))?;
        }
    }
    let (params, grads) = (pointers(params), pointers(grads));
    let (exp_avgs, exp_avg_sqs) = (pointers(exp_avgs), pointers(exp_avg_sqs));
    // SAFETY: four arrays of equal length with pointers to tensors that are borrowed for the call and were checked above.
    let outcome = unsafe {
        sys::osler_fused_adamw(
            params.as_ptr(),
            grads.as_ptr(),
            exp_avgs.as_ptr(),
            exp_avg_sqs.as_ptr(),
            params.len(),
            step,
            options.lr,
            options.beta1,
            options.beta2,
            options.eps,
            options.weight_decay,
        )
    };
    outcome.check(|| NAME.to_owned(), Duration::ZERO)
}

fn look(tensor: &Tensor) -> Result<Checked, String> {
    use tch::Kind::{BFloat16, Double, Float, Half};
    let checked = Checked::dense(tensor)?;
    match checked.kind {
        Float | Double | Half | BFloat16 => Ok(checked),
        other => Err(format!("kind {other:?} is not a floating point kind")),
    }
}
