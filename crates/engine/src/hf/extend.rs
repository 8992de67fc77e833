//! More tokens than the imported model has rows for: the old rows byte for byte, new ones by a named rule.

use crate::EngineError;
use crate::models::params::vocabulary_tensors;
use crate::source::TensorSource;
use osler_core::digest::Digest;
use osler_core::spec::{ExtendRule, ModelSpec};
use osler_core::splitmix::SplitMix64;
use osler_model::Rows;

/// The noise on a mean, in parts of the model's `init_std`: enough that no two new tokens stay the same, little beside what is learned.
const NOISE: f64 = 0.01;

/// A source in which rows of the vocabulary are made: those behind the ones that it has, or padding's among them.
pub struct Extended<'a> {
    source: &'a mut dyn TensorSource,
    names: Vec<&'static str>,
    rows: Rows,
    rule: ExtendRule,
    init_std: f64,
    seed: u64,
}

impl<'a> Extended<'a> {
    /// `source` holds the first `rows.held` rows of `spec`'s vocabulary; `rows.made` of `rows.total` are made.
    pub fn new(source: &'a mut dyn TensorSource, spec: &ModelSpec, rows: Rows, rule: ExtendRule, seed: u64) -> Self {
        Self { source, names: vocabulary_tensors(spec), rows, rule, init_std: spec.init_std, seed }
    }

    /// The new rows of a tensor, given the trained ones. A bias has rows of one value, and no noise: it is a token's frequency, not its meaning.
    fn made(&self, name: &str, old: &[f32], width: usize) -> Vec<f32> {
        let count = self.rows.made.len() * width;
        let bias = name.ends_with(".bias");
        match self.rule {
            ExtendRule::Zero => vec![0.0; count],
            ExtendRule::Normal if bias => vec![0.0; count],
            ExtendRule::Normal => Noise::new(self.seed, name).take(count).map(|noise| (noise * self.init_std) as f32).collect(),
            ExtendRule::Mean => {
                let means = means(old, width);
                let noise = Noise::new(self.seed, name).map(|noise| if bias { 0.0 } else { noise * self.init_std * NOISE });
                means.iter().cycle().take(count).zip(noise).map(|(mean, noise)| (mean + noise) as f32).collect()
            }
        }
    }
}

impl TensorSource for Extended<'_> {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let Rows { held, total, made, .. } = &self.rows;
        if shape.first() != Some(total) || !self.names.contains(&name) || made.is_empty() {
            return self.source.read(name, shape);
        }
        let mut before = shape.to_vec();
        if let Some(rows) = before.first_mut() {
            *rows = *held;
        }
        let width = shape.iter().skip(1).product::<usize>().max(1);
        let old = self.source.read(name, &before)?;
        let trained = old.get(..made.start * width).unwrap_or(&old);
        let kept = old.get(made.end * width..).unwrap_or_default();
        Ok([trained, &self.made(name, trained, width), kept].concat())
    }
}

/// Of each column, in f64.
fn means(rows: &[f32], width: usize) -> Vec<f64> {
    let mut sums = vec![0.0; width];
    for row in rows.chunks(width) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let count = (rows.len() / width).max(1) as f64;
    sums.into_iter().map(|sum| sum / count).collect()
}

/// Nearly normal numbers of deviation 1 as sums of twelve uniform ones: exact arithmetic, so the same bits on every processor.
struct Noise(SplitMix64);

impl Noise {
    fn new(seed: u64, name: &str) -> Self {
        let [a, b, c, d, e, f, g, h, ..] =
            *Digest::of_parts([b"osler-extend-1".as_slice(), &seed.to_le_bytes(), name.as_bytes()]).as_bytes();
        Self(SplitMix64(u64::from_le_bytes([a, b, c, d, e, f, g, h])))
    }

    /// The top 53 bits, in [0, 1).
    fn uniform(&mut self) -> f64 {
        (self.0.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

impl Iterator for Noise {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        Some((0..12).map(|_| self.uniform()).sum::<f64>() - 6.0)
    }
}
