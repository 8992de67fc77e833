//! The head's loss and gradients together, a block of rows at a time.
//!
//! Cross-entropy through autograd keeps three arrays of `[tokens, vocab]`; here only one block of them exists, and each value is
//! touched while it is in cache. The mathematics is the same: softmax minus one at the target. Products are in the kind of the hidden
//! states, softmax and loss in f32.

use super::batch::MicroBatch;
use crate::EngineError;
use osler_torch_dist::fused;
use tch::{Kind, Tensor};

/// Rows per block: enough for the matrix products to be efficient.
const ROWS: i64 = 512;

pub(super) struct HeadPass {
    /// Sum of negative log-likelihoods times `weight`.
    pub loss: f64,
    /// `[tokens, dim]`
    pub hidden_grad_nd: Tensor,
}

/// What turns hidden states into logits, and where its gradients are added.
pub(super) struct Head<'a> {
    pub weight_vd: &'a Tensor,
    pub weight_grad_vd: &'a Tensor,
    /// Bias and its gradient, `[vocab]`.
    pub bias_v: Option<(&'a Tensor, &'a Tensor)>,
}

/// Adds the head's gradients to its own. `weight` is what one token's loss counts: one over the counted tokens of the global batch.
pub(super) fn loss_and_gradients(hidden_nd: &Tensor, micro: &MicroBatch, head: &Head<'_>, weight: f64) -> Result<HeadPass, EngineError> {
    let _guard = tch::no_grad_guard();
    let cast_vd = head.weight_vd.detach().f_to_kind(hidden_nd.kind())?;
    let head = Head { weight_vd: &cast_vd, ..*head };
    let Some(places) = &micro.counted_k else {
        return over_all(hidden_nd, &micro.targets_n, &head, weight);
    };
    let hidden_grad_nd = hidden_nd.f_zeros_like()?;
    if places.numel() == 0 {
        return Ok(HeadPass { loss: 0.0, hidden_grad_nd });
    }
    let counted = over_all(&hidden_nd.f_index_select(0, places)?, &micro.targets_n, &head, weight)?;
    Ok(HeadPass { loss: counted.loss, hidden_grad_nd: hidden_grad_nd.f_index_copy(0, places, &counted.hidden_grad_nd)? })
}

fn over_all(hidden_nd: &Tensor, targets_n: &Tensor, head: &Head<'_>, weight: f64) -> Result<HeadPass, EngineError> {
    let head_vd = head.weight_vd;
    let (rows, _) = hidden_nd.size2()?;
    let kind = hidden_nd.kind();
    let mut head_grad_vd = head.weight_grad_vd.shallow_clone();
    let hidden_grad_nd = hidden_nd.f_empty_like()?;
    let mut loss = 0.0;
    // Stays on the device: asking for each block's value would wait for it, and a GPU would run dry.
    let mut loss_there = Tensor::f_zeros([1], (Kind::Double, hidden_nd.device()))?;
    for start in (0..rows).step_by(ROWS as usize) {
        let block = ROWS.min(rows - start);
        let h_rd = hidden_nd.narrow(0, start, block);
        let mut logits_rv = h_rd.f_mm(&head_vd.tr())?;
        if let Some((bias_v, _)) = head.bias_v {
            let _ = logits_rv.f_add_(&bias_v.f_to_kind(kind)?)?;
        }
        let targets_r = targets_n.narrow(0, start, block);
        let p_rv = if fused::cross_entropy_fits(&logits_rv) {
            loss += fused::cross_entropy(&mut logits_rv, &targets_r, weight)?;
            logits_rv
        } else {
            softmax_gradient(&logits_rv, &targets_r, weight, &mut loss_there)?
        };
        if let Some((_, bias_grad_v)) = head.bias_v {
            let _ = bias_grad_v.shallow_clone().f_add_(&p_rv.f_sum_dim_intlist(0, false, Kind::Float)?)?;
        }
        let p_rv = p_rv.f_to_kind(kind)?;
        let _ = p_rv.f_mm_out(&hidden_grad_nd.narrow(0, start, block), head_vd)?;
        if kind == Kind::Float {
            let _ = head_grad_vd.f_addmm_(&p_rv.tr(), &h_rd)?;
        } else {
            let _ = head_grad_vd.f_add_(&p_rv.tr().f_mm(&h_rd)?)?;
        }
    }
    Ok(HeadPass { loss: (loss + loss_there.f_double_value(&[0])?) * weight, hidden_grad_nd })
}

/// The gradient of `weight` times the cross-entropy of these logits, in f32. Adds the negative log-likelihoods to `loss`.
fn softmax_gradient(logits_rv: &Tensor, targets_r: &Tensor, weight: f64, loss: &mut Tensor) -> Result<Tensor, EngineError> {
    let y_r1 = targets_r.unsqueeze(1);
    let mut p_rv = logits_rv.f_log_softmax(-1, Kind::Float)?;
    let _ = loss.f_sub_(&p_rv.f_gather(1, &y_r1, false)?.f_sum(Kind::Double)?)?;
    let minus_one = y_r1.f_full_like(-1)?.f_to_kind(Kind::Float)?;
    let _ = p_rv.f_exp_()?.f_scatter_add_(1, &y_r1, &minus_one)?;
    let _ = p_rv.f_mul_scalar_(weight)?;
    Ok(p_rv)
}
