//! The BERT encoder with its head for masked tokens: LayerNorm after each block, learned positions and token types, GELU (erf), biases.
//!
//! The transform before the decoder belongs to [`Bert::finish`], so that the head is a matrix and a bias as everywhere.

use super::ops::{Pass, attend_both, embed, gelu_erf, sizes};
use super::parts::{Linear, Norm};
use osler_core::spec::ModelSpec;
use tch::Tensor;

pub(super) struct Bert {
    tokens: Tensor,
    positions: Tensor,
    types: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
    transform: Linear,
    transform_norm: Norm,
    bias: Tensor,
    heads: i64,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    attn_norm: Norm,
    up: Linear,
    down: Linear,
    ffn_norm: Norm,
}

impl Bert {
    /// `next` yields the parameters in their order; shapes were checked by the caller.
    pub fn new(spec: &ModelSpec, next: &mut dyn FnMut() -> Tensor) -> Self {
        let eps = spec.norm_eps;
        Self {
            tokens: next(),
            positions: next(),
            types: next(),
            norm: Norm::new(next, eps),
            layers: (0..spec.layers).map(|_| Layer::new(next, eps)).collect(),
            transform: Linear::new(next, true),
            transform_norm: Norm::new(next, eps),
            bias: next(),
            heads: spec.heads.into(),
        }
    }

    /// Every token is of the first type.
    pub fn embed(&self, ids_bt: &Tensor, pass: &Pass) -> Tensor {
        let [_, time] = sizes(ids_bt);
        let words = embed(&self.tokens, ids_bt, pass);
        let first_type = self.types.narrow(0, 0, 1).to_kind(pass.kind);
        self.norm.apply(&(words + first_type + self.positions.narrow(0, 0, time).to_kind(pass.kind)))
    }

    pub fn layer(&self, index: usize, x_btd: &Tensor, pass: &Pass) -> Tensor {
        self.layers[index].forward(x_btd, self.heads, pass)
    }

    pub fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.transform_norm.apply(&gelu_erf(&self.transform.apply(x_btd)))
    }

    pub fn head(&self) -> &Tensor {
        &self.tokens
    }

    pub fn head_bias(&self) -> &Tensor {
        &self.bias
    }
}

impl Layer {
    fn new(next: &mut dyn FnMut() -> Tensor, eps: f64) -> Self {
        Self {
            query: Linear::new(next, true),
            key: Linear::new(next, true),
            value: Linear::new(next, true),
            out: Linear::new(next, true),
            attn_norm: Norm::new(next, eps),
            up: Linear::new(next, true),
            down: Linear::new(next, true),
            ffn_norm: Norm::new(next, eps),
        }
    }

    fn forward(&self, x_btd: &Tensor, heads: i64, pass: &Pass) -> Tensor {
        let x_btd = self.attn_norm.apply(&(x_btd + self.attention(x_btd, heads, pass)));
        self.ffn_norm.apply(&(&x_btd + self.down.apply(&gelu_erf(&self.up.apply(&x_btd)))))
    }

    fn attention(&self, x_btd: &Tensor, heads: i64, pass: &Pass) -> Tensor {
        let [batch, time, dim] = sizes(x_btd);
        let split = |x: Tensor| x.view([batch, time, heads, dim / heads]).transpose(1, 2);
        let (q, k, v) = (split(self.query.apply(x_btd)), split(self.key.apply(x_btd)), split(self.value.apply(x_btd)));
        self.out.apply(&attend_both(&q, &k, &v, pass))
    }
}
