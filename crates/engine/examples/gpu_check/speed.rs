//! Tokens a second and MFU of four sizes in bf16 on one GPU.

use crate::Ended;
use crate::setup::{Fallible, Machine, options, rows};
use osler_core::accounting::peaks::datasheet;
use osler_core::accounting::{Dtype, Flops};
use osler_core::estimate::parameters_of;
use osler_core::spec::{Family, ModelSpec, Precision, Recompute};
use osler_engine::step::Trainer;
use osler_torch_dist::cuda_device;
use serde_json::{Value, json};
use std::time::Instant;

/// Micro-batches a step.
const ACCUMULATED: u32 = 8;
/// Steps that are not counted, and steps that are.
const STEPS: (u64, u64) = (2, 5);

pub struct Shape {
    pub name: &'static str,
    family: Family,
    dim: u32,
    layers: u32,
    heads: u32,
    ffn: u32,
    vocab: u32,
    length: u32,
    micro: u32,
}

/// GPT-2 small and medium, a Llama of TinyLlama's width, and BioMedLM.
pub const SHAPES: [Shape; 4] = [
    Shape { name: "125M", family: Family::Gpt2, dim: 768, layers: 12, heads: 12, ffn: 3072, vocab: 50304, length: 1024, micro: 16 },
    Shape { name: "350M", family: Family::Gpt2, dim: 1024, layers: 24, heads: 16, ffn: 4096, vocab: 50304, length: 1024, micro: 12 },
    Shape { name: "1.3B", family: Family::Llama, dim: 2048, layers: 24, heads: 16, ffn: 5504, vocab: 32000, length: 2048, micro: 4 },
    Shape { name: "2.7B", family: Family::Gpt2, dim: 2560, layers: 32, heads: 20, ffn: 10240, vocab: 28928, length: 1024, micro: 4 },
];

impl Shape {
    pub fn describe(&self) -> String {
        format!("{} {}, {} tokens x {}", self.name, self.family, self.length, self.micro)
    }

    fn model(&self) -> ModelSpec {
        ModelSpec {
            dim: self.dim,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.heads,
            ffn: self.ffn,
            max_positions: self.length,
            ..crate::setup::small(self.family)
        }
    }
}

/// Weights, gradients and moments in fp32, a copy in bf16, what layers keep for backward (about 40 values of two bytes for each of the
/// stream), and 6 GiB for the head's blocks and the libraries.
pub fn fits(shape: &Shape, machine: &Machine) -> Result<(), Ended> {
    let state = parameters_of(&shape.model(), shape.vocab).total * 18;
    let kept = u64::from(shape.micro) * u64::from(shape.length) * u64::from(shape.dim) * u64::from(shape.layers) * 40;
    let needed_mib = (state + kept + (6 << 30)) >> 20;
    match machine.memory_mib {
        Some(there) if there < needed_mib => Err(Ended::NotRun(format!("needs about {needed_mib} MiB, the GPU has {there}"))),
        _ => Ok(()),
    }
}

pub fn measure(name: &str) -> Fallible<Value> {
    let shape = SHAPES.iter().find(|shape| shape.name == name).ok_or("no such shape")?;
    let batch = (shape.micro * ACCUMULATED, shape.micro);
    let made = options(shape.model(), shape.vocab as usize, batch, Precision::Bf16, cuda_device(0)?);
    let mut trainer = Trainer::new(made, None)?;
    let mut walls = vec![];
    let mut last = 0.0;
    for step in 0..STEPS.0 + STEPS.1 {
        let rows = rows(trainer.options(), step);
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let start = Instant::now();
        last = trainer.step(&rows, 0)?.loss;
        tch::Cuda::synchronize(0);
        walls.push(start.elapsed().as_secs_f64());
    }
    let mut counted: Vec<f64> = walls.into_iter().skip(STEPS.0 as usize).collect();
    counted.sort_by(f64::total_cmp);
    let seconds = counted.get(counted.len() / 2).copied().ok_or("no steps")?;
    let tokens_per_second = f64::from(batch.0 * shape.length) / seconds;
    let flops = tokens_per_second * Flops::per_token(&shape.model(), shape.vocab, shape.length, Recompute::None).model;
    let peak = Machine::look().name.and_then(|gpu| datasheet(&gpu, Dtype::Bf16));
    let mfu = peak.map(|peak| flops / peak);
    Ok(json!({ "tokens_per_second": tokens_per_second.round(), "tflops": flops / 1e12, "mfu": mfu, "loss": last }))
}
