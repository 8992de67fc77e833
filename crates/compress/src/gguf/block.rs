//! Tensor types and their blocks. Q8_0: 32 values as an f16 scale and 32 int8, q = round-half-away(x * (1 / d)) with d = absmax / 127
//! in f32; the quotient uses that d, not the f16 that is stored, and the value read back is q times the stored one.

use crate::report::ErrorSum;
use half::{bf16, f16};
use rayon::prelude::*;

const Q8_BLOCK: usize = 32;
const Q8_BYTES: usize = 2 + Q8_BLOCK;
/// Values per parallel work item; a multiple of every block length.
const CHUNK: usize = Q8_BLOCK * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum GgmlType {
    F32,
    F16,
    Q8_0,
    Bf16,
}

impl GgmlType {
    pub fn from_id(id: u32) -> Option<Self> {
        [Self::F32, Self::F16, Self::Q8_0, Self::Bf16].into_iter().find(|t| t.id() == id)
    }

    pub fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q8_0 => 8,
            Self::Bf16 => 30,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q8_0 => "Q8_0",
            Self::Bf16 => "BF16",
        }
    }

    /// Values per block; a row must be a whole number of blocks.
    pub fn block(self) -> usize {
        if self == Self::Q8_0 { Q8_BLOCK } else { 1 }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => Q8_BYTES,
        }
    }

    /// Decodes whole blocks; bytes of an unfinished one at the end are ignored.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::Bf16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            Self::Q8_0 => bytes.as_chunks::<Q8_BYTES>().0.iter().flat_map(decode_q8_0).collect(),
        }
    }

    /// Encodes `values`, whole blocks of finite numbers, into `out` of the matching size.
    fn encode(self, values: &[f32], out: &mut [u8]) {
        match self {
            Self::F32 => values.iter().zip(out.as_chunks_mut().0).for_each(|(v, b)| *b = v.to_le_bytes()),
            Self::F16 => values.iter().zip(out.as_chunks_mut().0).for_each(|(v, b)| *b = f16::from_f32(*v).to_le_bytes()),
            Self::Bf16 => values.iter().zip(out.as_chunks_mut().0).for_each(|(v, b)| *b = bf16::from_f32(*v).to_le_bytes()),
            Self::Q8_0 => {
                let blocks = values.as_chunks::<Q8_BLOCK>().0.iter();
                blocks.zip(out.as_chunks_mut::<Q8_BYTES>().0).for_each(|(v, b)| encode_q8_0(v, b));
            }
        }
    }
}

fn encode_q8_0(values: &[f32; Q8_BLOCK], out: &mut [u8; Q8_BYTES]) {
    let absmax = values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let d = absmax / 127.0;
    // 1/d overflows only for a d that f16 stores as zero anyway.
    let inverse = if d == 0.0 || !(1.0 / d).is_finite() { 0.0 } else { 1.0 / d };
    let (scale, quants) = out.split_at_mut(2);
    scale.copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (q, v) in quants.iter_mut().zip(values) {
        *q = (v * inverse).round() as i8 as u8;
    }
}

fn decode_q8_0(block: &[u8; Q8_BYTES]) -> impl Iterator<Item = f32> + '_ {
    let [low, high, quants @ ..] = block;
    let d = f16::from_le_bytes([*low, *high]).to_f32();
    quants.iter().map(move |q| f32::from(*q as i8) * d)
}

/// Encodes a whole tensor (whole blocks of finite numbers) on all cores and measures the error of what was stored. Err is the
/// first value that the type cannot hold.
pub(crate) fn encode_tensor(ty: GgmlType, values: &[f32]) -> Result<(Vec<u8>, ErrorSum), f32> {
    let mut out = vec![0; values.len() / ty.block() * ty.block_bytes()];
    let sums: Vec<Result<ErrorSum, f32>> = out
        .par_chunks_mut(CHUNK / ty.block() * ty.block_bytes())
        .zip(values.par_chunks(CHUNK))
        .map(|(out, values)| {
            ty.encode(values, out);
            let mut sum = ErrorSum::default();
            for (value, stored) in values.iter().zip(ty.decode(out)) {
                if !stored.is_finite() {
                    return Err(*value);
                }
                sum.push(*value, stored);
            }
            Ok(sum)
        })
        .collect();
    let mut total = ErrorSum::default();
    for sum in sums {
        total = total.merge(sum?);
    }
    Ok((out, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q8_0(values: &[f32]) -> (Vec<u8>, Vec<f32>) {
        let mut padded = values.to_vec();
        padded.resize(Q8_BLOCK, 0.0);
        let (bytes, _) = encode_tensor(GgmlType::Q8_0, &padded).unwrap();
        let decoded = GgmlType::Q8_0.decode(&bytes);
        (bytes, decoded)
    }

    #[test]
    fn q8_0_rounds_halves_away_from_zero() {
        // absmax 127 makes d exactly 1, so the quotients are the values.
        let (bytes, values) = q8_0(&[127.0, -127.0, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 0.49]);
        assert_eq!(bytes[..2], f16::from_f32(1.0).to_le_bytes());
        assert_eq!(bytes[2..11].iter().map(|b| *b as i8).collect::<Vec<_>>(), [127, -127, 1, -1, 2, -2, 3, -3, 0]);
        assert_eq!(values[..4], [127.0, -127.0, 1.0, -1.0]);
    }

    #[test]
    fn q8_0_divides_by_the_f32_scale_but_stores_the_f16_one() {
        // d = 1.0004 rounds to 1.0 in f16. 1.5003 / 1.0004 is below 1.5, so q is 1; divided by the stored 1.0 it would be 2.
        let d = 1.0004f32;
        let (bytes, values) = q8_0(&[d * 127.0, 1.5003]);
        assert_eq!(bytes[..2], f16::from_f32(1.0).to_le_bytes());
        assert_eq!(bytes[3] as i8, 1);
        assert_eq!(values[..2], [127.0, 1.0], "the stored scale is what a reader multiplies with");
    }

    #[test]
    fn a_block_of_zeros_is_zeros_and_so_is_one_too_small_for_f16() {
        assert_eq!(q8_0(&[]).0, [0; Q8_BYTES]);
        assert!(q8_0(&[1e-42, -1e-40]).1.iter().all(|v| *v == 0.0));
    }

    #[test]
    fn values_beyond_f16_are_refused_not_turned_into_infinity() {
        for (ty, value, fits) in [
            (GgmlType::F16, 65504.0, true),
            (GgmlType::F16, 65520.0, false),
            (GgmlType::Q8_0, 65504.0 * 127.0, true),
            (GgmlType::Q8_0, 65521.0 * 127.0, false),
            (GgmlType::F32, f32::MAX, true),
        ] {
            assert_eq!(encode_tensor(ty, &[value; 32]).is_ok(), fits, "{ty:?} {value}");
        }
    }

    #[test]
    fn each_type_encodes_and_decodes_its_own_values_across_chunks() {
        let values: Vec<f32> = (0..CHUNK + 64).map(|i| ((i % 255) as f32) - 127.0).collect();
        for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16] {
            let (bytes, error) = encode_tensor(ty, &values).unwrap();
            assert_eq!((ty.decode(&bytes), error.max_abs()), (values.clone(), 0.0), "{ty:?}");
            assert_eq!(GgmlType::from_id(ty.id()), Some(ty));
        }
        let (bytes, error) = encode_tensor(GgmlType::Q8_0, &values).unwrap();
        assert_eq!(bytes.len(), values.len() / 32 * 34);
        assert!(error.max_abs() > 0.0 && error.relative_rms() < 0.01);
        assert_eq!(GgmlType::from_id(2), None);
    }
}
