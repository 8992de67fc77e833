//! The four flat buffers of a training rank: parameters, gradients and AdamW's two moments.
//!
//! Parameters and their gradients are views, so one call updates, reduces, clips, saves or zeroes everything. The order is reversed,
//! because backward finishes the last parameters first and their part of the gradient can be reduced while it goes on.

mod layout;

pub use layout::{Entry, FlatLayout};

use crate::EngineError;
use crate::models::{KIND, dims};
use tch::{Device, Tensor};

pub struct FlatBuffers {
    pub(crate) layout: FlatLayout,
    pub(crate) params: Tensor,
    pub(crate) grads: Tensor,
    pub(crate) exp_avg: Tensor,
    pub(crate) exp_avg_sq: Tensor,
    /// Per entry of the layout, in its order.
    pub(crate) grad_views: Vec<Tensor>,
}

impl FlatBuffers {
    pub fn zeros(layout: FlatLayout, device: Device) -> Result<Self, EngineError> {
        let zeros = || Tensor::f_zeros([layout.len() as i64], (KIND, device));
        let (params, grads, exp_avg, exp_avg_sq) = (zeros()?, zeros()?, zeros()?, zeros()?);
        let grad_views = layout.entries().iter().map(|e| view(&grads, e)).collect::<Result<_, _>>()?;
        Ok(Self { layout, params, grads, exp_avg, exp_avg_sq, grad_views })
    }

    /// Leaves that share the parameter buffer and gather their gradients in the gradient buffer, in the layout's order.
    pub fn leaves(&self) -> Result<Vec<Tensor>, EngineError> {
        let leaf = |(entry, grad): (&Entry, &Tensor)| {
            let leaf = view(&self.params, entry)?.f_detach()?.f_set_requires_grad(true)?;
            osler_torch_dist::set_grad(&leaf, grad)?;
            Ok(leaf)
        };
        self.layout.entries().iter().zip(&self.grad_views).map(leaf).collect()
    }

    pub fn zero_gradients(&mut self) {
        let _ = self.grads.zero_();
    }
}

/// One entry's part of a flat buffer, in its shape.
pub(crate) fn view(flat: &Tensor, entry: &Entry) -> Result<Tensor, EngineError> {
    Ok(flat.f_narrow(0, entry.offset as i64, entry.len as i64)?.f_view(dims(&entry.shape).as_slice())?)
}
