//! Numbers: the GPU's against the CPU's, bf16's against fp32's, and a trainer against its own checkpoint.

use crate::setup::{Fallible, options, rows, small};
use crate::{Ended, Outcome};
use osler_core::spec::{Family, Precision};
use osler_engine::Device;
use osler_engine::step::Trainer;
use serde_json::json;

/// Relative, of every loss: the two add in different orders.
pub const FP32_BAND: f64 = 1e-4;
/// Relative, of every loss.
pub const BF16_BAND: f64 = 0.02;
const STEPS: u64 = 20;
const VOCAB: usize = 512;

pub fn agree(gpu: Device) -> Outcome {
    let mut worst = 0f64;
    for family in [Family::Gpt2, Family::Llama] {
        let (cpu, gpu) = (losses(family, Precision::Fp32, Device::Cpu)?, losses(family, Precision::Fp32, gpu)?);
        worst = worst.max(furthest(&cpu, &gpu));
    }
    judge(worst, FP32_BAND)
}

pub fn bf16(place: Device) -> Outcome {
    let mut worst = 0f64;
    for family in [Family::Gpt2, Family::Llama] {
        let (plain, brain) = (losses(family, Precision::Fp32, place)?, losses(family, Precision::Bf16, place)?);
        worst = worst.max(furthest(&plain, &brain));
    }
    judge(worst, BF16_BAND)
}

pub fn round_trip(place: Device) -> Outcome {
    let made = options(small(Family::Llama), VOCAB, (8, 4), Precision::Fp32, place);
    let mut first = Trainer::new(made.clone(), None)?;
    run(&mut first, 0..3)?;
    let folder = std::env::temp_dir().join(format!("gpu-check-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("slice.safetensors");
    let mut second = Trainer::new(made, None)?;
    let loaded = first.save_slice(&path, 0, 1).and_then(|_| second.load_slices(&[path]));
    std::fs::remove_dir_all(&folder)?;
    loaded?;
    let same = first.state_digest()? == second.state_digest()?;
    let (on, again) = (run(&mut first, 3..5)?, run(&mut second, 3..5)?);
    match same {
        true if furthest(&on, &again) < FP32_BAND => Ok(json!({ "steps": 5, "same_bits_after_two_more_steps": on == again })),
        _ => Err(Ended::Failed(format!("state equal: {same}; losses after it {on:?} and {again:?}"))),
    }
}

fn losses(family: Family, precision: Precision, place: Device) -> Fallible<Vec<f64>> {
    let mut trainer = Trainer::new(options(small(family), VOCAB, (8, 4), precision, place), None)?;
    run(&mut trainer, 0..STEPS)
}

fn run(trainer: &mut Trainer, steps: std::ops::Range<u64>) -> Fallible<Vec<f64>> {
    let one = |step| {
        let rows = rows(trainer.options(), step);
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        Ok(trainer.step(&rows, 0)?.loss)
    };
    steps.map(one).collect()
}

fn furthest(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(l, r)| ((l - r) / l).abs()).fold(0.0, f64::max)
}

fn judge(worst: f64, band: f64) -> Outcome {
    let found = json!({ "steps": STEPS, "largest_relative_difference": worst });
    if worst < band { Ok(found) } else { Err(Ended::Failed(found.to_string())) }
}
