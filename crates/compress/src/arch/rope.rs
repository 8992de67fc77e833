//! Rotary positions in GGUF: a linear scaling is metadata; llama 3's is a tensor of divisors, one for each pair, which llama.cpp reads for
//! llama alone. Its four numbers are kept beside it, since no reader could find them in the tensor again.

use osler_core::spec::{ModelSpec, RopeScaling};
use std::f64::consts::TAU;

/// The tensor's name.
pub(crate) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// By what each pair's frequency is divided; none where no tensor is written.
pub(crate) fn rope_factors(spec: &ModelSpec) -> Option<Vec<f32>> {
    let Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }) = spec.rope_scaling else {
        return None;
    };
    let width = spec.head_dim();
    let divisor = |pair: u32| {
        let frequency = spec.rope_theta.powf(-f64::from(2 * pair) / f64::from(width));
        // Turns within the first context: few of them are stretched, many are left, between them is a blend of both.
        let turns = f64::from(original_max_positions) * frequency / TAU;
        let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
        (1.0 / (kept + (1.0 - kept) / factor)) as f32
    };
    Some((0..width / 2).map(divisor).collect())
}
