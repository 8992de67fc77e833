//! The Llama-style decoder: RMSNorm, rotary positions, grouped-query attention, gated feed-forward. Its relatives differ in what [`Style`] says.

use super::ops::{Pass, add_norm, attend, embed, gelu_gate, linear, linears, rms_norm, sizes, stream_norm, swiglu};
use super::parts::Linear;
use super::rope::Rope;
use osler_core::spec::{Family, ModelSpec};
use tch::Tensor;

pub(super) struct Llama {
    embed: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Option<Tensor>,
    rope: Rope,
    style: Style,
}

#[derive(Clone, Copy)]
struct Style {
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    eps: f64,
    /// Gemma: a norm's gain is 1 + w, the gate is GELU, and embeddings are multiplied by the root of the width.
    gemma: bool,
}

struct Layer {
    attn_norm: Tensor,
    /// With biases in qwen2.
    wq: Linear,
    wk: Linear,
    wv: Linear,
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
        let biased = spec.family == Family::Qwen2;
        let layers = (0..spec.layers)
            .map(|_| Layer {
                attn_norm: next(),
                wq: Linear::new(next, biased),
                wk: Linear::new(next, biased),
                wv: Linear::new(next, biased),
                wo: next(),
                ffn_norm: next(),
                gate: next(),
                up: next(),
                down: next(),
            })
            .collect();
        let norm = next();
        let head = (!spec.tied).then(next);
        let rope = Rope::new(spec, embed.device());
        let style = Style {
            heads: spec.heads.into(),
            kv_heads: spec.kv_heads.into(),
            head_dim: spec.head_dim().into(),
            eps: spec.norm_eps,
            gemma: spec.family == Family::Gemma,
        };
        Self { embed, layers, norm, head, rope, style }
    }

    pub fn embed(&self, ids_bt: &Tensor, pass: &Pass) -> Tensor {
        let x_btd = embed(&self.embed, ids_bt, pass);
        if !self.style.gemma {
            return x_btd;
        }
        // The factor is rounded to the stream's kind, as the models were trained.
        let [_, width] = sizes(&self.embed);
        let factor = Tensor::from((width as f64).sqrt()).to_kind(x_btd.kind()).to_device(x_btd.device());
        x_btd * factor
    }

    pub fn layer(&self, index: usize, x_btd: &Tensor, pass: &Pass) -> Tensor {
        self.layers[index].forward(x_btd, &self.rope, self.style, pass)
    }

    pub fn finish(&self, x_btd: &Tensor) -> Tensor {
        rms_norm(x_btd, &self.style.gain(&self.norm), self.style.eps)
    }

    pub fn head(&self) -> &Tensor {
        self.head.as_ref().unwrap_or(&self.embed)
    }
}

impl Style {
    /// Gemma's gain is 1 + w.
    fn gain(self, weight: &Tensor) -> Tensor {
        if self.gemma { weight + 1.0 } else { weight.shallow_clone() }
    }

    fn gated(self, gate: &Tensor, up: &Tensor) -> Tensor {
        if self.gemma { gelu_gate(gate, up) } else { swiglu(gate, up) }
    }
}

impl Layer {
    fn forward(&self, x_btd: &Tensor, rope: &Rope, style: Style, pass: &Pass) -> Tensor {
        let (x_btd, h_btd) = stream_norm(x_btd, &style.gain(&self.attn_norm), style.eps);
        let attended_btd = self.attention(&h_btd, rope, style, pass);
        let (x_btd, h_btd) = add_norm(&x_btd, &attended_btd, &style.gain(&self.ffn_norm), style.eps);
        let [gate, up] = linears(&h_btd, [&self.gate, &self.up]);
        x_btd + linear(&style.gated(&gate, &up), &self.down)
    }

    fn attention(&self, h_btd: &Tensor, rope: &Rope, style: Style, pass: &Pass) -> Tensor {
        let [batch, time, _] = sizes(h_btd);
        let split = |x: Tensor, heads: i64| x.view([batch, time, heads, style.head_dim]).transpose(1, 2);
        let [q, k, v] = Linear::apply_all([&self.wq, &self.wk, &self.wv], h_btd);
        let q = rope.turn(&split(q, style.heads));
        let k = rope.turn(&split(k, style.kv_heads));
        let v = split(v, style.kv_heads);
        linear(&attend(&q, &k, &v, pass), &self.wo)
    }
}
