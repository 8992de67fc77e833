//! Small models, the peers' token stream, and shared data when there is some.

use osler_core::digest::Digest;
use osler_core::spec::{ComputeSpec, DecayOn, Determinism, Family, GuardSpec, ModelSpec, OptimizerSpec, RopeScaling, ScheduleSpec};
use osler_engine::Device;
use osler_engine::reduce::BUCKET_BYTES;
use osler_engine::safefile::f32_bytes;
use osler_engine::source::TensorSource;
use osler_engine::step::{IGNORED, Masked, Trainer, TrainerOptions};
use std::path::PathBuf;
use std::time::Duration;

pub const VOCAB: usize = 512;
pub const LENGTH: u32 = 64;

/// The peers' size `micro`.
pub fn llama(kv_heads: u32, tied: bool) -> ModelSpec {
    ModelSpec {
        family: Family::Llama,
        dim: 64,
        layers: 2,
        heads: 2,
        kv_heads,
        head_dim: None,
        ffn: 172,
        max_positions: LENGTH,
        tied,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        init_std: 0.02,
    }
}

pub fn gpt2() -> ModelSpec {
    ModelSpec { family: Family::Gpt2, kv_heads: 2, ..llama(2, true) }
}

pub fn qwen2() -> ModelSpec {
    ModelSpec { family: Family::Qwen2, ..llama(1, true) }
}

/// With heads wider than their share, and few positions stretched to many.
pub fn gemma() -> ModelSpec {
    let rope_scaling = Some(RopeScaling::Linear { factor: 4.0 });
    ModelSpec { family: Family::Gemma, head_dim: Some(48), rope_scaling, ..llama(1, true) }
}

pub fn bert() -> ModelSpec {
    ModelSpec { family: Family::Bert, norm_eps: 1e-12, kv_heads: 2, ..llama(2, true) }
}

pub fn options(model: ModelSpec, global_batch: u32, micro_batch: u32, lr: f64) -> TrainerOptions {
    TrainerOptions {
        model,
        vocab: VOCAB,
        seed: 1,
        optimizer: OptimizerSpec { lr, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: DecayOn::All, clip: 1.0 },
        schedule: ScheduleSpec::constant(),
        guard: GuardSpec::default(),
        total_steps: 100,
        global_batch,
        micro_batch,
        sequence_length: LENGTH,
        compute: ComputeSpec::default(),
        determinism: Determinism::Fast,
        zero: true,
        end_of_text: None,
        device: Device::Cpu,
        timeout: Duration::from_secs(60),
        bucket_bytes: BUCKET_BYTES,
    }
}

pub fn trainer(options: TrainerOptions) -> Trainer {
    osler_engine::set_threads(1).unwrap();
    Trainer::new(options, None).unwrap()
}

fn splitmix64(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ x >> 31
}

/// Row `row` of the peers' stream: `LENGTH + 1` tokens.
pub fn tokens(row: u64) -> Vec<u32> {
    let noise = |t: u64| splitmix64((1u64 << 32).wrapping_add(row * u64::from(LENGTH + 1) + t));
    let mut x = noise(0) % VOCAB as u64;
    let mut all = vec![x as u32];
    for t in 1..=u64::from(LENGTH) {
        x = (5 * x + 7 + noise(t) % 4) % VOCAB as u64;
        all.push(x as u32);
    }
    all
}

/// The share of `rank` in a step whose batch has `batch` rows.
pub fn share(step: u64, batch: u64, rank: u64, ranks: u64) -> Vec<Vec<u32>> {
    let own = batch / ranks;
    (0..own).map(|b| tokens(step * batch + rank * own + b)).collect()
}

pub fn rows(share: &[Vec<u32>]) -> Vec<&[u32]> {
    share.iter().map(Vec::as_slice).collect()
}

/// A row whose targets count at every `every`th position only.
pub fn mask_row(row: &[u32], every: usize) -> Masked {
    let target = |(at, id): (usize, &u32)| if at % every == 0 { i64::from(*id) } else { IGNORED };
    Masked { inputs: row[..row.len() - 1].to_vec(), targets: row[1..].iter().enumerate().map(target).collect() }
}

/// The digest of a trainer's weights.
pub fn weights(trainer: &mut Trainer) -> String {
    let entries = trainer.layout().entries().to_vec();
    let bytes: Vec<_> = entries.iter().map(|e| f32_bytes(&trainer.read(&e.name, &e.shape).unwrap())).collect();
    Digest::of_parts(bytes.iter().map(Vec::as_slice)).to_string()
}

/// Runs `steps` from where the trainer stands; returns the losses.
pub fn run(trainer: &mut Trainer, steps: u64) -> Vec<f64> {
    let batch = u64::from(trainer.options().global_batch);
    (0..steps).map(|_| trainer.step(&rows(&share(trainer.steps_done(), batch, 0, 1)), 0).unwrap().loss).collect()
}

/// Random weights of a wider spread than training starts from, so that every part of the model matters.
pub struct Random(pub u64);

impl TensorSource for Random {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, osler_engine::EngineError> {
        let base = if name.contains("norm") || name.contains("LayerNorm") || name.contains("ln_") { 1.0 } else { 0.0 };
        let mut value = || {
            self.0 += 1;
            base + (splitmix64(self.0) as f64 / u64::MAX as f64 - 0.5) as f32 * 0.2
        };
        Ok((0..shape.iter().product()).map(|_| value()).collect())
    }
}

/// A folder of the shared data, or None with a word about what was skipped.
pub fn shared(test: &str, folder: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let root = std::env::var_os("OSLER_SHARED").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    let found = Some(root.join("data").join(folder)).filter(|p| p.exists());
    if found.is_none() {
        eprintln!("SKIPPED: {test}: no shared data");
    }
    found
}
