//! The machine, and trainers on it.

use osler_core::guard::GuardSpec;
use osler_core::spec::{ComputeSpec, DecayOn, Determinism, Family, ModelSpec, OptimizerSpec, Precision, ScheduleSpec};
use osler_engine::Device;
use osler_engine::reduce::BUCKET_BYTES;
use osler_engine::step::TrainerOptions;
use osler_torch_dist::cuda_device;
use std::process::Command;
use std::time::Duration;

pub type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

pub const LIMIT: Duration = Duration::from_secs(300);

pub struct Machine {
    pub gpus: usize,
    /// Or why there is none.
    pub first_gpu: Result<Device, String>,
    /// Of the first GPU, as NVIDIA's tool says.
    pub name: Option<String>,
    pub memory_mib: Option<u64>,
}

impl Machine {
    pub fn look() -> Self {
        let gpus = (0..).take_while(|index| cuda_device(*index).is_ok()).count();
        let first_gpu = cuda_device(0).map_err(|error| error.to_string());
        let query = ["--query-gpu=name,memory.total", "--format=csv,noheader,nounits"];
        let said = Command::new("nvidia-smi").args(query).output().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let first = said.as_deref().and_then(|text| text.lines().next()).and_then(|line| line.rsplit_once(','));
        let (name, memory_mib) = (first.map(|(name, _)| name.trim().to_owned()), first.and_then(|(_, mib)| mib.trim().parse().ok()));
        Self { gpus, first_gpu, name, memory_mib }
    }
}

/// A decoder for comparing numbers.
pub fn small(family: Family) -> ModelSpec {
    ModelSpec {
        family,
        dim: 128,
        layers: 4,
        heads: 4,
        kv_heads: 4,
        head_dim: None,
        ffn: 512,
        max_positions: 128,
        tied: family == Family::Gpt2,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        init_std: 0.02,
    }
}

pub fn options(model: ModelSpec, vocab: usize, batch: (u32, u32), precision: Precision, device: Device) -> TrainerOptions {
    TrainerOptions {
        sequence_length: model.max_positions,
        model,
        vocab,
        seed: 1,
        optimizer: OptimizerSpec { lr: 3e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: DecayOn::All, clip: 1.0 },
        schedule: ScheduleSpec::constant(),
        total_steps: 100,
        global_batch: batch.0,
        micro_batch: batch.1,
        compute: ComputeSpec { precision, ..ComputeSpec::default() },
        determinism: Determinism::Fast,
        zero: true,
        end_of_text: None,
        guard: GuardSpec::default(),
        device,
        timeout: LIMIT,
        bucket_bytes: BUCKET_BYTES,
    }
}

/// Rows of tokens in which each follows from the one before, up to a little noise: something to learn.
pub fn rows(options: &TrainerOptions, step: u64) -> Vec<Vec<u32>> {
    let row = |row: u64| {
        let mut state = (step * u64::from(options.global_batch) + row + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut token = state % options.vocab as u64;
        let mut next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            token = (5 * token + 7 + (state >> 62)) % options.vocab as u64;
            token as u32
        };
        (0..=options.sequence_length).map(&mut next).collect()
    };
    (0..u64::from(options.global_batch)).map(row).collect()
}
