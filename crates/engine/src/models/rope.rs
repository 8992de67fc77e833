//! Rotary positions in the rotate-half layout that Hugging Face's Llama uses.

use super::ops::rotate;
use osler_core::spec::{ModelSpec, RopeScaling};
use std::f64::consts::TAU;
use tch::{Device, Kind, Tensor};

pub(super) struct Rope {
    cos_td: Tensor,
    /// The first half of each row negated: rotate-half is a roll by half a head with that sign.
    sin_td: Tensor,
}

impl Rope {
    pub fn new(spec: &ModelSpec, device: Device) -> Self {
        let options = (Kind::Float, device);
        let head_dim = i64::from(spec.head_dim());
        let exponents = Tensor::arange_start_step(0, head_dim, 2, options) / head_dim as f64;
        let frequencies = Tensor::pow_scalar(spec.rope_theta, &exponents).reciprocal();
        let frequencies = match spec.rope_scaling {
            None => frequencies,
            Some(scaling) => stretch(&frequencies, scaling),
        };
        let angles = Tensor::arange(i64::from(spec.max_positions), options).outer(&frequencies).repeat([1, 2]);
        let sign = Tensor::ones([head_dim], options);
        let _ = sign.narrow(0, 0, head_dim / 2).fill_(-1.0);
        Self { cos_td: angles.cos(), sin_td: angles.sin() * sign }
    }

    /// Turns `[batch, heads, time, head_dim]` by its positions, which begin at 0.
    pub fn turn(&self, x_bhtd: &Tensor) -> Tensor {
        rotate(x_bhtd, &self.cos_td, &self.sin_td)
    }
}

fn stretch(frequencies: &Tensor, scaling: RopeScaling) -> Tensor {
    match scaling {
        RopeScaling::Linear { factor } => frequencies / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
            // Turns that a pair makes within the original context: below `low` stretched, above `high` left, between them a blend of both.
            let turns = frequencies * (f64::from(original_max_positions) / TAU);
            let kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
            frequencies * &kept + frequencies / factor * (1.0 - kept)
        }
    }
}
