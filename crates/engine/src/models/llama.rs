//! The Llama-style decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU, no biases.

use super::ops::{Pass, attend, embed, linear, rms_norm, swiglu};
use super::rope::Rope;
use osler_core::spec::ModelSpec;
use tch::Tensor;

pub(super) struct Llama {
    embed: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Option<Tensor>,
    rope: Rope,
    shape: Shape,
}

#[derive(Clone, Copy)]
struct Shape {
    heads: i64,
    kv_heads: i64,
    eps: f64,
}

struct Layer {
    attn_norm: Tensor,
    wq: Tensor,
    wk: Tensor,
    wv: Tensor,
    wo: Tensor,
    ffn_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

impl Llama {
    /// `next` yields the parameters in their order; shapes were checked by the caller.
    pub fn new(spec: &ModelSpec, next: &mut dyn FnMut() -> Tensor) -> Self {
        let embed = next();
        let layers = (0..spec.layers)
            .map(|_| Layer {
                attn_norm: next(),
                wq: next(),
                wk: next(),
                wv: next(),
                wo: next(),
                ffn_norm: next(),
                gate: next(),
                up: next(),
                down: next(),
            })
            .collect();
        let norm = next();
        let head = (!spec.tied).then(next);
        let head_dim = i64::from(spec.dim / spec.heads);
        let rope = Rope::new(spec.max_positions.into(), head_dim, spec.rope_theta, embed.device());
        let shape = Shape { heads: spec.heads.into(), kv_heads: spec.kv_heads.into(), eps: spec.norm_eps };
        Self { embed, layers, norm, head, rope, shape }
    }

    pub fn embed(&self, ids_bt: &Tensor, pass: &Pass) -> Tensor {
        embed(&self.embed, ids_bt, pass)
    }

    pub fn layer(&self, index: usize, x_btd: &Tensor, pass: &Pass) -> Tensor {
        self.layers[index].forward(x_btd, &self.rope, self.shape, pass)
    }

    pub fn finish(&self, x_btd: &Tensor) -> Tensor {
        rms_norm(x_btd, &self.norm, self.shape.eps)
    }

    pub fn head(&self) -> &Tensor {
        self.head.as_ref().unwrap_or(&self.embed)
    }
}

impl Layer {
    fn forward(&self, x_btd: &Tensor, rope: &Rope, shape: Shape, pass: &Pass) -> Tensor {
        let x_btd = x_btd + self.attention(&rms_norm(x_btd, &self.attn_norm, shape.eps), rope, shape, pass);
        let h_btd = rms_norm(&x_btd, &self.ffn_norm, shape.eps);
        x_btd + linear(&swiglu(&linear(&h_btd, &self.gate), &linear(&h_btd, &self.up)), &self.down)
    }

    fn attention(&self, h_btd: &Tensor, rope: &Rope, shape: Shape, pass: &Pass) -> Tensor {
        let (batch, time, dim) = h_btd.size3().unwrap_or_default();
        let head_dim = dim / shape.heads;
        let split = |x: Tensor, heads: i64| x.view([batch, time, heads, head_dim]).transpose(1, 2);
        let q = rope.turn(&split(linear(h_btd, &self.wq), shape.heads));
        let k = rope.turn(&split(linear(h_btd, &self.wk), shape.kv_heads));
        let v = split(linear(h_btd, &self.wv), shape.kv_heads);
        linear(&attend(&q, &k, &v, pass), &self.wo)
    }
}
