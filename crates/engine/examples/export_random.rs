//! Writes small random models as Hugging Face folders, each with the logits that the engine computes, for a check against transformers.
//!
//! `cargo run --release -p osler-engine --example export_random -- FOLDER`, then `tests/python/check_export.py FOLDER/*`.
#![forbid(unsafe_code)]

use osler_core::spec::{ComputeSpec, DecayOn, Determinism, Family, ModelSpec, OptimizerSpec, ScheduleSpec};
use osler_engine::Device;
use osler_engine::hf::{ExportOptions, SpecialTokens, export};
use osler_engine::models::Model;
use osler_engine::reduce::BUCKET_BYTES;
use osler_engine::step::{Trainer, TrainerOptions};
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
    let models = [
        ("llama", llama.clone()),
        ("llama-sharded", llama.clone()),
        ("llama-tied", ModelSpec { tied: true, rope_theta: 500_000.0, ..llama.clone() }),
        ("llama-grouped", ModelSpec { kv_heads: 2, norm_eps: 1e-6, ..llama.clone() }),
        ("gpt2", ModelSpec { family: Family::Gpt2, tied: true, ffn: 256, ..llama }),
    ];
    for (name, spec) in models {
        write(&Path::new(&folder).join(name), spec)?;
    }
    Ok(())
}

/// A few steps move norms and biases away from ones and zeros.
fn write(folder: &Path, model: ModelSpec) -> Result<(), Box<dyn Error>> {
    let tokens: Vec<u32> = (0..100u32).map(|i| (i * i * 7 + i * 13 + 5) % VOCAB as u32).collect();
    let mut trainer = Trainer::new(
        TrainerOptions {
            model: model.clone(),
            vocab: VOCAB,
            seed: 5,
            optimizer: OptimizerSpec { lr: 0.02, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: DecayOn::All, clip: 1.0 },
            schedule: ScheduleSpec::Constant { warmup_steps: 0 },
            total_steps: 5,
            global_batch: 1,
            micro_batch: 1,
            sequence_length: 99,
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
        trainer.step(&[&tokens], 0)?;
    }
    let shard_bytes = if folder.ends_with("llama-sharded") { 100_000 } else { ExportOptions::default().shard_bytes };
    let special = SpecialTokens { bos: Some(0), eos: Some(0), pad: None };
    export(folder, &model, VOCAB, &mut trainer, special, ExportOptions { shard_bytes })?;
    let logits = Model::from_folder(folder, Device::Cpu)?.logits(&tokens)?;
    let rows: Vec<&[f32]> = logits.chunks(VOCAB).collect();
    std::fs::write(folder.join("expected_logits.json"), serde_json::json!({ "tokens": tokens, "logits": rows }).to_string())?;
    Ok(())
}
