//! Writes small random models as Hugging Face folders, each with the logits that the engine computes, for a check against transformers.
//!
//! `cargo run --release -p osler-engine --example export_random -- FOLDER`, then `tests/python/check_export.py FOLDER/*`.
#![forbid(unsafe_code)]

use osler_core::spec::{
    ComputeSpec, DecayOn, Determinism, Family, FloatType, GuardSpec, ModelSpec, OptimizerSpec, RopeScaling, ScheduleSpec,
};
use osler_engine::Device;
use osler_engine::hf::{ExportOptions, SpecialTokens, export};
use osler_engine::models::Model;
use osler_engine::reduce::BUCKET_BYTES;
use osler_engine::step::{Batch, IGNORED, Masked, Trainer, TrainerOptions};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

const VOCAB: usize = 300;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: export_random FOLDER")?;
    let llama = ModelSpec {
        family: Family::Llama,
        dim: 64,
        layers: 3,
        heads: 4,
        kv_heads: 4,
        head_dim: None,
        ffn: 172,
        max_positions: 128,
        tied: false,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        // Wider than training starts from, so that every part of the model matters.
        init_std: 0.1,
    };
    let whole = ExportOptions::default();
    let linear = Some(RopeScaling::Linear { factor: 4.0 });
    let stretched = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_max_positions: 32 };
    let qwen2 = ModelSpec { family: Family::Qwen2, kv_heads: 2, norm_eps: 1e-6, rope_theta: 1e6, ..llama.clone() };
    let gemma = ModelSpec { family: Family::Gemma, kv_heads: 1, head_dim: Some(32), ffn: 256, tied: true, norm_eps: 1e-6, ..llama.clone() };
    let bert = ModelSpec { family: Family::Bert, tied: true, ffn: 256, norm_eps: 1e-12, ..llama.clone() };
    for (name, spec, options) in [
        ("llama-sharded", llama.clone(), ExportOptions { shard_bytes: 100_000, ..whole }),
        ("llama-bf16", llama.clone(), ExportOptions { dtype: FloatType::Bf16, ..whole }),
        ("qwen2-fp16-sharded", qwen2.clone(), ExportOptions { dtype: FloatType::Fp16, shard_bytes: 50_000 }),
    ] {
        write(&Path::new(&folder).join(name), spec, options)?;
    }
    let models = [
        ("llama", llama.clone()),
        ("llama-linear", ModelSpec { rope_scaling: linear, ..llama.clone() }),
        ("llama-llama3", ModelSpec { rope_scaling: Some(stretched), ..llama.clone() }),
        ("qwen2-tied", ModelSpec { tied: true, ..qwen2.clone() }),
        ("qwen2", qwen2),
        ("gemma", gemma),
        ("bert", bert),
        ("llama-tied", ModelSpec { tied: true, rope_theta: 500_000.0, ..llama.clone() }),
        ("llama-grouped", ModelSpec { kv_heads: 2, norm_eps: 1e-6, ..llama.clone() }),
        ("gpt2", ModelSpec { family: Family::Gpt2, tied: true, ffn: 256, ..llama }),
    ];
    for (name, spec) in models {
        write(&Path::new(&folder).join(name), spec, whole)?;
    }
    Ok(())
}

/// A few steps move norms and biases away from ones and zeros.
fn write(folder: &Path, model: ModelSpec, options: ExportOptions) -> Result<(), Box<dyn Error>> {
    let tokens: Vec<u32> = (0..100u32).map(|i| (i * i * 7 + i * 13 + 5) % VOCAB as u32).collect();
    let mut trainer = Trainer::new(
        TrainerOptions {
            model: model.clone(),
            vocab: VOCAB,
            seed: 5,
            optimizer: OptimizerSpec { lr: 0.02, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: DecayOn::All, clip: 1.0 },
            schedule: ScheduleSpec::constant(),
            guard: GuardSpec::default(),
            total_steps: 5,
            global_batch: 1,
            micro_batch: 1,
            sequence_length: if model.family.causal() { 99 } else { 100 },
            compute: ComputeSpec::default(),
            determinism: Determinism::Fast,
            zero: true,
            end_of_text: None,
            device: Device::Cpu,
            timeout: Duration::from_secs(60),
            bucket_bytes: BUCKET_BYTES,
        },
        None,
    )?;
    for _ in 0..5 {
        if model.family.causal() {
            trainer.step(&[&tokens], 0)?;
        } else {
            let targets = tokens.iter().map(|id| if id % 5 == 0 { i64::from(*id) } else { IGNORED }).collect();
            trainer.step_on(Batch::Masked(&[Masked { inputs: tokens.clone(), targets }]), 0)?;
        }
    }
    let special = SpecialTokens { bos: Some(0), eos: Some(0), pad: None };
    export(folder, &model, VOCAB, &mut trainer, special, options)?;
    let logits = Model::from_folder(folder, Device::Cpu)?.logits(&tokens)?;
    let rows: Vec<&[f32]> = logits.chunks(VOCAB).collect();
    std::fs::write(folder.join("expected_logits.json"), serde_json::json!({ "tokens": tokens, "logits": rows }).to_string())?;
    Ok(())
}
