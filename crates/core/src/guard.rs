//! The spike guard: given the loss and the gradient norm that all ranks agreed on, is this update applied or skipped?
//!
//! A function of the numbers it has seen and nothing else, so all ranks decide the same without a word. What it remembers is part of
//! a checkpoint, bit for bit ([`Guard::to_text`]): a resumed stage judges as if nothing had happened.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// Fewer applied steps than this say nothing about what is usual.
pub const MIN_SAMPLES: usize = 16;
pub const MAX_WINDOW: u32 = 1024;
/// The standard deviation counts as at least this share of the mean, so that after a constant history an ordinary step is no spike.
const FLOOR: f64 = 0.01;
/// The same for a mean of zero.
const LEAST: f64 = 1e-8;

/// `[stage.guard]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSpec {
    /// Off: nothing is skipped, and a number that is not finite fails the stage.
    pub enabled: bool,
    /// Standard deviations above the mean that make a spike; 0: only numbers that are not finite are skipped.
    pub sigmas: f64,
    /// Applied steps that mean and deviation are taken over; also how long a skipped step is held against the stage.
    pub window: u32,
    /// So many skipped steps within `window` are too many: the stage goes back ([`Guard::rewind`]); 0: never.
    pub rewind_after: u32,
}

impl Default for GuardSpec {
    fn default() -> Self {
        Self { enabled: true, sigmas: 6.0, window: 128, rewind_after: 0 }
    }
}

/// Why an update was not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skipped {
    LossNotFinite,
    GradNormNotFinite,
    LossSpike,
    GradNormSpike,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LossNotFinite => "the loss is not finite",
            Self::GradNormNotFinite => "the gradient norm is not finite",
            Self::LossSpike => "the loss is far above what is usual",
            Self::GradNormSpike => "the gradient norm is far above what is usual",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Apply,
    /// No weight and no moment changes; the samples count as consumed and the schedule moves on.
    Skip(Skipped),
    /// The stage cannot go on: the guard is off, or it skipped a whole window of steps one after another.
    Fail(Skipped),
}

/// What is usual, and what was skipped lately.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    spec: GuardSpec,
    /// Loss and gradient norm of the newest applied steps, oldest first.
    applied: VecDeque<[f64; 2]>,
    /// Skipped steps that are still held against the stage, ascending.
    skipped: VecDeque<u64>,
    /// Steps skipped since the last applied one.
    in_a_row: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the guard's memory cannot be read: {0}")]
pub struct InvalidGuard(String);

impl Guard {
    pub fn new(spec: GuardSpec) -> Self {
        Self { spec, applied: VecDeque::new(), skipped: VecDeque::new(), in_a_row: 0 }
    }

    /// Judges the update that would make `step` into `step + 1`, and remembers it. Steps come in ascending order.
    pub fn judge(&mut self, step: u64, loss: f64, grad_norm: f64) -> Verdict {
        let window = u64::from(self.spec.window);
        while self.skipped.front().is_some_and(|first| first.saturating_add(window) <= step) {
            self.skipped.pop_front();
        }
        let Some(why) = self.objection(loss, grad_norm) else {
            self.applied.push_back([loss, grad_norm]);
            let surplus = self.applied.len().saturating_sub(self.spec.window as usize);
            self.applied.drain(..surplus);
            self.in_a_row = 0;
            return Verdict::Apply;
        };
        self.skipped.push_back(step);
        self.in_a_row += 1;
        if self.spec.enabled && self.in_a_row < self.spec.window { Verdict::Skip(why) } else { Verdict::Fail(why) }
    }

    /// The skipped steps, first to last, that are too many: the stage should go back before the first and leave their data out.
    pub fn rewind(&self) -> Option<Range<u64>> {
        let enough = self.spec.rewind_after > 0 && self.skipped.len() >= self.spec.rewind_after as usize;
        let (first, last) = (self.skipped.front()?, self.skipped.back()?);
        (self.spec.enabled && enough).then_some(*first..last + 1)
    }

    /// Loss of the newest applied step.
    pub fn last_loss(&self) -> Option<f64> {
        self.applied.back().map(|[loss, _]| *loss)
    }

    fn objection(&self, loss: f64, grad_norm: f64) -> Option<Skipped> {
        if !loss.is_finite() {
            return Some(Skipped::LossNotFinite);
        }
        if !grad_norm.is_finite() {
            return Some(Skipped::GradNormNotFinite);
        }
        let judges = self.spec.enabled && self.spec.sigmas > 0.0 && self.applied.len() >= MIN_SAMPLES;
        if !judges {
            return None;
        }
        if loss > self.bound(0) {
            return Some(Skipped::LossSpike);
        }
        (grad_norm > self.bound(1)).then_some(Skipped::GradNormSpike)
    }

    /// Computed anew from the window each time, in its order: a running sum would differ in its last bits after a resume.
    fn bound(&self, which: usize) -> f64 {
        let values = || self.applied.iter().filter_map(|pair| pair.get(which));
        let n = self.applied.len() as f64;
        let mean = values().sum::<f64>() / n;
        let variance = values().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
        mean + self.spec.sigmas * variance.sqrt().max(FLOOR * mean.abs()).max(LEAST)
    }

    /// Everything that later verdicts depend on beside the spec, exactly: floats as the hexadecimal digits of their bits.
    pub fn to_text(&self) -> String {
        let applied = self.applied.iter().flatten().map(|value| format!("{:016x}", value.to_bits())).collect::<String>();
        let skipped = self.skipped.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        format!("1 {} [{skipped}] {applied}", self.in_a_row)
    }

    /// What [`Guard::to_text`] wrote. A window that is shorter now keeps the newest steps.
    pub fn from_text(spec: GuardSpec, text: &str) -> Result<Self, InvalidGuard> {
        let broken = |what: &str| InvalidGuard(what.to_owned());
        let [version, in_a_row, skipped, applied] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(broken("not four fields"));
        };
        if version != "1" {
            return Err(broken("of another version"));
        }
        let in_a_row = in_a_row.parse().map_err(|_| broken("no count of skipped steps"))?;
        let skipped =
            skipped.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(|| broken("no list of skipped steps"))?;
        let numbers = skipped.split(',').filter(|number| !number.is_empty());
        let skipped: VecDeque<u64> = numbers.map(str::parse).collect::<Result<_, _>>().map_err(|_| broken("a skipped step"))?;
        let ascending = skipped.iter().zip(skipped.iter().skip(1)).all(|(a, b)| a < b);
        if !applied.is_ascii() || applied.len() % 32 != 0 || applied.len() > 32 * MAX_WINDOW as usize || !ascending {
            return Err(broken("its lengths do not fit"));
        }
        let value = |at: usize| u64::from_str_radix(&applied[at..at + 16], 16).map(f64::from_bits).ok().filter(|value| value.is_finite());
        let pairs = (0..applied.len()).step_by(32).map(|at| Some([value(at)?, value(at + 16)?]));
        let mut applied: VecDeque<[f64; 2]> = pairs.collect::<Option<_>>().ok_or_else(|| broken("a value that is no number"))?;
        let surplus = applied.len().saturating_sub(spec.window as usize);
        applied.drain(..surplus);
        Ok(Self { spec, applied, skipped, in_a_row })
    }
}

#[cfg(test)]
mod tests;
