//! Parameters that belong together, with the operation that uses them.

use super::ops::{affine, layer_norm, linear, linears, shift};
use tch::Tensor;

/// LayerNorm with gain and shift.
pub(super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl Norm {
    pub fn new(next: &mut dyn FnMut() -> Tensor, eps: f64) -> Self {
        Self { weight: next(), bias: next(), eps }
    }

    pub fn apply(&self, x: &Tensor) -> Tensor {
        layer_norm(x, &self.weight, &self.bias, self.eps)
    }
}

/// A matrix `[out, in]`, with a bias or without.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub fn new(next: &mut dyn FnMut() -> Tensor, biased: bool) -> Self {
        Self { weight: next(), bias: biased.then(next) }
    }

    pub fn apply(&self, x: &Tensor) -> Tensor {
        match &self.bias {
            Some(bias) => affine(x, &self.weight, bias),
            None => linear(x, &self.weight),
        }
    }
    /// Several of the same input, multiplied together.
    pub fn apply_all<const N: usize>(all: [&Self; N], x: &Tensor) -> [Tensor; N] {
        let mut outs = linears(x, all.map(|one| &one.weight));
        for (out, one) in outs.iter_mut().zip(all) {
            if let Some(bias) = &one.bias {
                *out = shift(out, bias);
            }
        }
        outs
    }
}
