//! The flat buffers of a training rank: parameters, gradients, and its share of AdamW's two moments.
//!
//! Parameters and their gradients are views, so one call updates, reduces, clips, saves or zeroes everything. The order is reversed,
//! because backward finishes the last parameters first and their part of the gradient can be reduced while it goes on.

mod layout;
mod runs;
mod segments;

pub use layout::{Entry, FlatLayout};
pub(crate) use runs::{Run, runs};
pub(crate) use segments::Segments;

use crate::EngineError;
use crate::models::{KIND, dims};
use std::ops::Range;
use tch::{Device, Tensor};

pub struct FlatBuffers {
    pub(crate) layout: FlatLayout,
    pub(crate) params: Tensor,
    pub(crate) grads: Tensor,
    /// The values of `params` that this rank updates; the moments hold only these.
    pub(crate) own: Range<usize>,
    pub(crate) exp_avg: Tensor,
    pub(crate) exp_avg_sq: Tensor,
    /// Per entry of the layout, in its order.
    pub(crate) grad_views: Vec<Tensor>,
}

impl FlatBuffers {
    pub fn zeros(layout: FlatLayout, own: Range<usize>, device: Device) -> Result<Self, EngineError> {
        let zeros = |len: usize| Tensor::f_zeros([len as i64], (KIND, device));
        let (params, grads) = (zeros(layout.len())?, zeros(layout.len())?);
        let (exp_avg, exp_avg_sq) = (zeros(own.len())?, zeros(own.len())?);
        let grad_views = layout.entries().iter().map(|e| view(&grads, e)).collect::<Result<_, _>>()?;
        Ok(Self { layout, params, grads, own, exp_avg, exp_avg_sq, grad_views })
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

    /// The part of the moments that stands for `range` of the parameters, which must lie inside `own`.
    pub(crate) fn moments(&self, range: &Range<usize>) -> Result<[Tensor; 2], EngineError> {
        if range.start < self.own.start || range.end > self.own.end {
            let problem = format!("this rank holds the moments of values {:?} only, {range:?} were asked for", self.own);
            return Err(EngineError::Checkpoint(problem));
        }
        let part = Range { start: range.start - self.own.start, end: range.end - self.own.start };
        Ok([narrow(&self.exp_avg, &part)?, narrow(&self.exp_avg_sq, &part)?])
    }
}

/// One entry's part of a flat buffer, in its shape.
pub(crate) fn view(flat: &Tensor, entry: &Entry) -> Result<Tensor, EngineError> {
    Ok(narrow(flat, &(entry.offset..entry.offset + entry.len))?.f_view(dims(&entry.shape).as_slice())?)
}

pub(crate) fn narrow(flat: &Tensor, range: &Range<usize>) -> Result<Tensor, EngineError> {
    Ok(flat.f_narrow(0, range.start as i64, range.len() as i64)?)
}
