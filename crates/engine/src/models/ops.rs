//! The operations that layers are made of, each in the kind of its input: weights are f32 and are cast to the stream's kind where they are used,
//! so that autograd brings their gradients back in f32.

use crate::EngineError;
use osler_torch_dist::{DistError, fused};
use tch::{Kind, Tensor};

/// What all layers of one forward pass share.
pub(crate) struct Pass {
    /// The kind of the residual stream and of every product.
    pub kind: Kind,
    /// `[batch, 1, time, time]`, true where a position may look; None is plain causal attention, or for an encoder all of the row.
    pub mask: Option<Tensor>,
}

impl Pass {
    /// No mask, f32: what exams and exports compute with.
    pub const PLAIN: Self = Self { kind: Kind::Float, mask: None };
}

/// `weight` in the kind of `x`; the same tensor when it is that already.
fn like(weight: &Tensor, x: &Tensor) -> Tensor {
    weight.to_kind(x.kind())
}

/// The sizes of a tensor of so many axes.
///
/// # Panics
/// If it has another number of axes: a mistake in the layer that calls. To go on with sizes of 0 would hide it in an empty view.
pub(super) fn sizes<const AXES: usize>(x: &Tensor) -> [i64; AXES] {
    let sizes = x.size();
    <[i64; AXES]>::try_from(sizes).unwrap_or_else(|sizes| panic!("a tensor of the sizes {sizes:?} has not {AXES} axes"))
}

/// As tch's own operations do when there is no memory: shapes were checked where they came in.
fn settled<T>(outcome: Result<T, DistError>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

/// `weight_oi` is `[out, in]`. In backward its gradient goes straight into the leaf's own.
pub(super) fn linear(x: &Tensor, weight_oi: &Tensor) -> Tensor {
    let [y] = linears(x, [weight_oi]);
    y
}

/// Several products of the same input, as [`linear`]; in one go where the weights are neighbours in memory.
pub(super) fn linears<const N: usize>(x: &Tensor, weights_oi: [&Tensor; N]) -> [Tensor; N] {
    let weights = weights_oi.map(|weight| like(weight, x));
    let outs = settled(fused::linears(x, &weights.each_ref()));
    <[Tensor; N]>::try_from(outs).unwrap_or_else(|outs| panic!("{N} products were asked for, {} came", outs.len()))
}

/// `weight_oi` is `[out, in]`.
pub(super) fn affine(x: &Tensor, weight_oi: &Tensor, bias: &Tensor) -> Tensor {
    x.linear(&like(weight_oi, x), Some(&like(bias, x)))
}

pub(super) fn shift(x: &Tensor, bias: &Tensor) -> Tensor {
    x + like(bias, x)
}

/// `weight_io` is `[in, out]`.
pub(super) fn projection(x_btd: &Tensor, weight_io: &Tensor, bias: &Tensor) -> Tensor {
    let [batch, time, dim] = sizes(x_btd);
    let flat = x_btd.reshape([batch * time, dim]);
    like(bias, x_btd).addmm(&flat, &like(weight_io, x_btd)).view([batch, time, -1])
}

pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Tensor {
    stream_norm(x, weight, eps).1
}

/// The stream and its RMSNorm. Go on with the stream that is returned: its gradient and the norm's then meet in one pass over memory.
pub(super) fn stream_norm(x: &Tensor, weight: &Tensor, eps: f64) -> (Tensor, Tensor) {
    settled(fused::add_rms_norm(x, None, &like(weight, x), eps))
}

/// The stream with `delta` added, and its RMSNorm.
pub(super) fn add_norm(x: &Tensor, delta: &Tensor, weight: &Tensor, eps: f64) -> (Tensor, Tensor) {
    settled(fused::add_rms_norm(x, Some(delta), &like(weight, x), eps))
}

/// `[batch, heads, time, head_dim]` turned by its positions, see [`fused::rotate`].
pub(super) fn rotate(x_bhtd: &Tensor, cos_td: &Tensor, sin_td: &Tensor) -> Tensor {
    settled(fused::rotate(x_bhtd, cos_td, sin_td))
}

pub(super) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Tensor {
    x.layer_norm(weight.size(), Some(&like(weight, x)), Some(&like(bias, x)), eps, false)
}

/// silu(gate) times up.
pub(super) fn swiglu(gate: &Tensor, up: &Tensor) -> Tensor {
    settled(fused::swiglu(gate, up))
}

/// gelu(gate), by its tanh approximation, times up.
pub(super) fn gelu_gate(gate: &Tensor, up: &Tensor) -> Tensor {
    gate.gelu("tanh") * up
}

/// The exact GELU, by the error function.
pub(super) fn gelu_erf(x: &Tensor) -> Tensor {
    x.gelu("none")
}

/// The rows of `table_vd` that `ids_bt` names, in the pass's kind.
pub(super) fn embed(table_vd: &Tensor, ids_bt: &Tensor, pass: &Pass) -> Tensor {
    Tensor::embedding(table_vd, ids_bt, -1, false, false).to_kind(pass.kind)
}

/// Attention to both sides, `[batch, heads, time, head_dim]` to `[batch, time, heads * head_dim]`; without a mask every position sees all.
pub(super) fn attend_both(q_bhtd: &Tensor, k_bhtd: &Tensor, v_bhtd: &Tensor, pass: &Pass) -> Tensor {
    let [batch, heads, time, width] = sizes(q_bhtd);
    let out = Tensor::scaled_dot_product_attention(q_bhtd, k_bhtd, v_bhtd, pass.mask.as_ref(), 0.0, false, None, false);
    out.transpose(1, 2).reshape([batch, time, heads * width])
}

/// Attention over `[batch, heads, time, head_dim]`, back as `[batch, time, heads * head_dim]`.
pub(super) fn attend(q_bhtd: &Tensor, k_bgtd: &Tensor, v_bgtd: &Tensor, pass: &Pass) -> Tensor {
    let [batch, heads, time, width] = sizes(q_bhtd);
    let [_, groups, _, _] = sizes(k_bgtd);
    let grouped = groups != heads;
    let mask = pass.mask.as_ref();
    let out = Tensor::scaled_dot_product_attention(q_bhtd, k_bgtd, v_bgtd, mask, 0.0, mask.is_none(), None, grouped);
    out.transpose(1, 2).reshape([batch, time, heads * width])
}

/// `[batch, 1, time, time]`: a position looks at those of its own document, and if `causal` not at later ones. A document ends with the token `end`.
/// Where documents also begin with that token, the second of two in a row begins the next one.
pub(crate) fn document_mask(ids_bt: &Tensor, end: u32, causal: bool) -> Result<Tensor, EngineError> {
    let found_bt = ids_bt.f_eq(i64::from(end))?.f_to_kind(Kind::Int64)?;
    let after_one_bt = found_bt.f_slice(1, 0, -1, 1)?.f_constant_pad_nd([1, 0])?;
    let ends_bt = &found_bt * (after_one_bt * -1 + 1);
    let document_bt = ends_bt.f_cumsum(1, Kind::Int64)? - ends_bt;
    let same_btt = document_bt.f_unsqueeze(2)?.f_eq_tensor(&document_bt.f_unsqueeze(1)?)?;
    let seen_btt = if causal { same_btt.f_tril(0)? } else { same_btt };
    Ok(seen_btt.f_unsqueeze(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_sees_its_own_document_up_to_itself() {
        let ids = Tensor::from_slice(&[5i64, 9, 6, 7, 9]).view([1, 5]);
        let rows = |causal| -> Vec<Vec<i64>> {
            let mask = document_mask(&ids, 9, causal).unwrap().view([5, 5]).to_kind(Kind::Int64);
            (0..5).map(|i| Vec::<i64>::try_from(mask.get(i)).unwrap()).collect()
        };
        assert_eq!(rows(true), [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 1, 1]]);
        assert_eq!(rows(false), [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1], [0, 0, 1, 1, 1]]);
    }

    #[test]
    fn a_document_that_begins_with_the_token_that_ends_it_sees_its_beginning() {
        let ids = Tensor::from_slice(&[6i64, 9, 9, 7, 9, 9]).view([1, 6]);
        let mask = document_mask(&ids, 9, true).unwrap().view([6, 6]).to_kind(Kind::Int64);
        let rows: Vec<Vec<i64>> = (0..6).map(|i| Vec::<i64>::try_from(mask.get(i)).unwrap()).collect();
        assert_eq!(rows[1], [1, 1, 0, 0, 0, 0]);
        assert_eq!(rows[3], [0, 0, 1, 1, 0, 0]);
        assert_eq!(rows[5], [0, 0, 0, 0, 0, 1]);
    }
}
