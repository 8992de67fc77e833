//! Symmetric int8 with one scale per output channel, packed four to an int32 as compressed-tensors' `pack-quantized` says:
//! scale = absmax / 127.5, q = round-half-even(w / scale) in -128..=127, stored as q + 128, element i at byte i of its row.

use crate::report::ErrorSum;
use half::{bf16, f16};
use osler_model::safetensors::Dtype;
use rayon::prelude::*;

/// One matrix, rows are output channels.
pub(crate) struct Int8Matrix {
    /// rows x ceil(cols / 4) little-endian int32.
    pub packed: Vec<u8>,
    /// rows x 1 in the weight's own type.
    pub scales: Vec<u8>,
    pub error: ErrorSum,
}

/// Bytes of one packed row.
pub(crate) fn packed_row(cols: usize) -> usize {
    cols.next_multiple_of(4)
}

/// `data` is row-major and finite, `cols` at least 1.
pub(crate) fn quantize(data: &[f32], cols: usize, dtype: Dtype) -> Int8Matrix {
    let rows = data.len() / cols;
    let mut packed = vec![0; rows * packed_row(cols)];
    let per_row: Vec<(f32, ErrorSum)> = packed
        .par_chunks_mut(packed_row(cols))
        .zip(data.par_chunks(cols))
        .map(|(out, row)| {
            let scale = scale_of(row, dtype);
            let mut error = ErrorSum::default();
            for (byte, w) in out.iter_mut().zip(row) {
                let q = (w / scale).round_ties_even().clamp(-128.0, 127.0);
                *byte = (q as i16 + 128) as u8;
                error.push(*w, q * scale);
            }
            (scale, error)
        })
        .collect();
    let scales = per_row.iter().flat_map(|(scale, _)| store_scale(*scale, dtype)).collect();
    let error = per_row.iter().fold(ErrorSum::default(), |sum, (_, e)| sum.merge(*e));
    Int8Matrix { packed, scales, error }
}

/// The inverse: `packed` and one scale per row, as read from the file.
pub(crate) fn dequantize(packed: &[u8], scales: &[f32], cols: usize) -> Vec<f32> {
    let rows = packed.chunks_exact(packed_row(cols)).zip(scales);
    rows.flat_map(|(row, scale)| row.iter().take(cols).map(move |byte| (f32::from(*byte) - 128.0) * scale)).collect()
}

/// A scale that the weight's type holds exactly. In f16 and bf16 it is rounded up, so that no weight is clipped and every error
/// stays within half a step. A row too small for a normal f32 scale gets the type's epsilon: all its weights become 0.
fn scale_of(row: &[f32], dtype: Dtype) -> f32 {
    let absmax = row.iter().fold(0.0f32, |m, w| m.max(w.abs()));
    let scale = absmax / 127.5;
    if !scale.is_normal() {
        return match dtype {
            Dtype::F16 => f16::EPSILON.to_f32(),
            Dtype::Bf16 => bf16::EPSILON.to_f32(),
            _ => f32::EPSILON,
        };
    }
    match dtype {
        Dtype::F16 => {
            let near = f16::from_f32(scale);
            if near.to_f32() < scale { f16::from_bits(near.to_bits() + 1).to_f32() } else { near.to_f32() }
        }
        Dtype::Bf16 => {
            let near = bf16::from_f32(scale);
            if near.to_f32() < scale { bf16::from_bits(near.to_bits() + 1).to_f32() } else { near.to_f32() }
        }
        _ => scale,
    }
}

fn store_scale(scale: f32, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F16 => f16::from_f32(scale).to_le_bytes().to_vec(),
        Dtype::Bf16 => bf16::from_f32(scale).to_le_bytes().to_vec(),
        _ => scale.to_le_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(matrix: &Int8Matrix, cols: usize, dtype: Dtype) -> (Vec<f32>, Vec<f32>) {
        let scales = dtype.floats(&matrix.scales).unwrap();
        (dequantize(&matrix.packed, &scales, cols), scales)
    }

    #[test]
    fn a_row_packs_as_the_published_format_says() {
        // absmax 127.5 makes the scale exactly 1: halves round to even, both ends clip to the int8 range.
        let matrix = quantize(&[127.5, -127.5, 0.5, 1.5, -2.5, 0.0], 6, Dtype::F32);
        assert_eq!(matrix.packed, [255, 0, 128, 130, 126, 128, 0, 0], "q + 128, rows padded with zero bytes");
        assert_eq!(matrix.scales, 1.0f32.to_le_bytes());
        assert_eq!(matrix.error.max_abs(), 0.5);
    }

    #[test]
    fn zero_and_vanishing_rows_become_zero_with_a_usable_scale() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let matrix = quantize(&[0.0, 0.0, 1e-44, -1e-39], 2, dtype);
            let (values, scales) = back(&matrix, 2, dtype);
            assert_eq!(values, [0.0; 4]);
            assert!(scales.iter().all(|s| *s > 0.0), "{scales:?}");
        }
    }

    proptest! {
        #[test]
        fn every_error_is_at_most_half_a_step(
            cols in 1usize..40,
            seed in proptest::collection::vec(-1.0f32..1.0, 120),
            exponent in -30i32..12,
            kind in 0usize..3,
        ) {
            let dtype = [Dtype::F32, Dtype::F16, Dtype::Bf16][kind];
            let rows = seed.len() / cols;
            let data: Vec<f32> = seed[..rows * cols].iter().map(|v| v * 2f32.powi(exponent)).collect();
            let matrix = quantize(&data, cols, dtype);
            let (values, scales) = back(&matrix, cols, dtype);
            prop_assert_eq!(values.len(), data.len());
            for (i, (w, v)) in data.iter().zip(&values).enumerate() {
                let step = f64::from(scales[i / cols]);
                let error = (f64::from(*w) - f64::from(*v)).abs();
                // 1e-4 of a step for the roundings of f32 itself: of the scale, of the quotient and of the product.
                prop_assert!(error <= step * 0.5001, "{w} -> {v}, step {step}");
            }
        }
    }
}
