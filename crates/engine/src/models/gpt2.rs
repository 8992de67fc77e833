//! The GPT-2-style decoder: LayerNorm, learned positions, GELU (tanh), biases, tied head.

use super::ops::{Pass, attend, embed, projection, sizes};
use super::parts::Norm;
use osler_core::spec::ModelSpec;
use tch::Tensor;

pub(super) struct Gpt2 {
    tokens: Tensor,
    positions: Tensor,
    layers: Vec<Layer>,
    norm: Norm,
    heads: i64,
}

struct Layer {
    attn_norm: Norm,
    qkv: Projection,
    out: Projection,
    ffn_norm: Norm,
    up: Projection,
    down: Projection,
}

/// `weight` is `[in, out]`.
struct Projection {
    weight: Tensor,
    bias: Tensor,
}

impl Gpt2 {
    /// `next` yields the parameters in their order; shapes were checked by the caller.
    pub fn new(spec: &ModelSpec, next: &mut dyn FnMut() -> Tensor) -> Self {
        let (tokens, positions) = (next(), next());
        let layers = (0..spec.layers)
            .map(|_| Layer {
                attn_norm: Norm::new(next, spec.norm_eps),
                qkv: Projection::new(next),
                out: Projection::new(next),
                ffn_norm: Norm::new(next, spec.norm_eps),
                up: Projection::new(next),
                down: Projection::new(next),
            })
            .collect();
        let norm = Norm::new(next, spec.norm_eps);
        Self { tokens, positions, layers, norm, heads: spec.heads.into() }
    }

    pub fn embed(&self, ids_bt: &Tensor, pass: &Pass) -> Tensor {
        let [_, time] = sizes(ids_bt);
        embed(&self.tokens, ids_bt, pass) + self.positions.narrow(0, 0, time).to_kind(pass.kind)
    }

    pub fn layer(&self, index: usize, x_btd: &Tensor, pass: &Pass) -> Tensor {
        self.layers[index].forward(x_btd, self.heads, pass)
    }

    pub fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.norm.apply(x_btd)
    }

    pub fn head(&self) -> &Tensor {
        &self.tokens
    }
}

impl Layer {
    fn forward(&self, x_btd: &Tensor, heads: i64, pass: &Pass) -> Tensor {
        let x_btd = x_btd + self.attention(&self.attn_norm.apply(x_btd), heads, pass);
        let up = self.up.apply(&self.ffn_norm.apply(&x_btd)).gelu("tanh");
        x_btd + self.down.apply(&up)
    }

    fn attention(&self, h_btd: &Tensor, heads: i64, pass: &Pass) -> Tensor {
        let [batch, time, dim] = sizes(h_btd);
        let qkv = self.qkv.apply(h_btd);
        let part = |i: i64| qkv.narrow(2, i * dim, dim).view([batch, time, heads, dim / heads]).transpose(1, 2);
        self.out.apply(&attend(&part(0), &part(1), &part(2), pass))
    }
}

impl Projection {
    fn new(next: &mut dyn FnMut() -> Tensor) -> Self {
        Self { weight: next(), bias: next() }
    }

    fn apply(&self, x_btd: &Tensor) -> Tensor {
        projection(x_btd, &self.weight, &self.bias)
    }
}
