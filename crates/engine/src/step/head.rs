//! The head's loss and gradients together, a block of rows at a time.
//!
//! Cross-entropy through autograd keeps three arrays of `[tokens, vocab]`; here only one block of them exists, and each value is
//! touched while it is in cache. The mathematics is the same: softmax minus one at the target. Products are in the kind of the hidden
//! states, softmax and loss in f32.

use super::batch::MicroBatch;
use crate::EngineError;
use tch::{Kind, Tensor};

/// Rows per block: enough for the matrix products to be efficient.
const ROWS: i64 = 512;

pub(super) struct HeadPass {
    /// Sum of negative log-likelihoods times `weight`.
    pub loss: f64,
    /// `[tokens, dim]`
    pub hidden_grad_nd: Tensor,
}

/// Adds the head's gradient to `head_grad_vd`. `weight` is what one token's loss counts: one over the counted tokens of the global batch.
pub(super) fn loss_and_gradients(
    hidden_nd: &Tensor,
    micro: &MicroBatch,
    head_vd: &Tensor,
    head_grad_vd: &Tensor,
    weight: f64,
) -> Result<HeadPass, EngineError> {
    let _guard = tch::no_grad_guard();
    let head_vd = head_vd.detach().f_to_kind(hidden_nd.kind())?;
    let Some(places) = &micro.counted_k else {
        return over_all(hidden_nd, &micro.targets_n, &head_vd, head_grad_vd, weight);
    };
    let hidden_grad_nd = hidden_nd.f_zeros_like()?;
    if places.numel() == 0 {
        return Ok(HeadPass { loss: 0.0, hidden_grad_nd });
    }
    let counted = over_all(&hidden_nd.f_index_select(0, places)?, &micro.targets_n, &head_vd, head_grad_vd, weight)?;
    Ok(HeadPass { loss: counted.loss, hidden_grad_nd: hidden_grad_nd.f_index_copy(0, places, &counted.hidden_grad_nd)? })
}

fn over_all(hidden_nd: &Tensor, targets_n: &Tensor, head_vd: &Tensor, head_grad_vd: &Tensor, weight: f64) -> Result<HeadPass, EngineError> {
    let (rows, _) = hidden_nd.size2()?;
    let kind = hidden_nd.kind();
    let mut head_grad_vd = head_grad_vd.shallow_clone();
    let hidden_grad_nd = hidden_nd.f_empty_like()?;
    let minus_one = Tensor::from(-1f32).to_device(hidden_nd.device());
    // Stays on the device: asking for each block's value would wait for it, and a GPU would run dry.
    let mut loss = Tensor::f_zeros([1], (Kind::Double, hidden_nd.device()))?;
    for start in (0..rows).step_by(ROWS as usize) {
        let block = ROWS.min(rows - start);
        let h_rd = hidden_nd.narrow(0, start, block);
        let y_r1 = targets_n.narrow(0, start, block).unsqueeze(1);
        let mut p_rv = h_rd.f_mm(&head_vd.tr())?.f_log_softmax(-1, Kind::Float)?;
        let _ = loss.f_sub_(&p_rv.f_gather(1, &y_r1, false)?.f_sum(Kind::Double)?)?;
        let _ = p_rv.f_exp_()?;
        let _ = p_rv.f_scatter_add_(1, &y_r1, &minus_one.expand([block, 1], false))?;
        let p_rv = p_rv.f_to_kind(kind)?;
        let mut into_rd = hidden_grad_nd.narrow(0, start, block);
        into_rd.f_copy_(&(p_rv.f_mm(head_vd)? * weight))?;
        let weighted_rd = &h_rd * weight;
        if kind == Kind::Float {
            let _ = head_grad_vd.f_addmm_(&p_rv.tr(), &weighted_rd)?;
        } else {
            let _ = head_grad_vd.f_add_(&p_rv.tr().f_mm(&weighted_rd)?)?;
        }
    }
    Ok(HeadPass { loss: loss.f_double_value(&[0])? * weight, hidden_grad_nd })
}
