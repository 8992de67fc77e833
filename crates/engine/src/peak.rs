//! The speed of matrix products on this process' threads, as the peak that MFU is a share of where no datasheet has one.

use crate::EngineError;
use std::time::{Duration, Instant};
use tch::{Device, Kind, Tensor};

/// Large enough to keep every core's caches busy, small enough for dozens of products within a fraction of a second: the more there are, the
/// likelier one of them ran undisturbed.
const SIDE: i64 = 768;
/// The first products start threads and fill caches.
const WARM_UP: usize = 2;

/// FLOP/s of the fastest of some products of fp32 matrices, made for about as long as `measure_for`. Draws no random number.
pub fn sgemm_flops(measure_for: Duration) -> Result<f64, EngineError> {
    let _guard = tch::no_grad_guard();
    let options = (Kind::Float, Device::Cpu);
    let (a, b) = (Tensor::f_full([SIDE, SIDE], 0.5, options)?, Tensor::f_full([SIDE, SIDE], 0.25, options)?);
    let mut out = Tensor::f_zeros([SIDE, SIDE], options)?;
    let begun = Instant::now();
    let mut fastest = f64::INFINITY;
    let mut products = 0;
    while products <= WARM_UP || begun.elapsed() < measure_for {
        let started = Instant::now();
        out = a.f_matmul_out(&out, &b)?;
        if products >= WARM_UP {
            fastest = fastest.min(started.elapsed().as_secs_f64());
        }
        products += 1;
    }
    Ok(2.0 * (SIDE as f64).powi(3) / fastest.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_computes_between_a_and_a_million_gigaflops() {
        let flops = sgemm_flops(Duration::from_millis(20)).unwrap();
        assert!((1e9..1e15).contains(&flops), "{flops}");
    }
}
