//! The spike guard: given the loss and the gradient norm that all ranks agreed on, is this update applied or skipped?
//!
//! What is usual is the median of the newest steps; how far above it is too far follows from how much neighbouring steps differ, so a
//! loss that falls steadily is not taken for noise. A level that lasts becomes usual: what keeps coming back is the data or the model as
//! it now is, and skipping changes neither.
//!
//! A function of the numbers it has seen and nothing else, so all ranks decide the same without a message. Its memory is part of a
//! checkpoint, bit for bit ([`Guard::to_text`]): a resumed stage judges as if nothing had happened.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// Fewer applied steps than this say nothing about what is usual.
pub const MIN_SAMPLES: usize = 16;
/// The loss is judged later: while warm-up ends, healthy training rises and recovers by itself.
const LOSS_SAMPLES: usize = 64;
pub const MAX_WINDOW: u32 = 1024;
/// The level is the median of this many newest applied steps: few enough to follow a loss that falls, or a warm-up that ends.
const LEVEL: usize = 16;
/// Above this loss, in nats a token, `least_rise` grows with the level.
const ORDINARY_LOSS: f64 = 5.0;
/// A gradient norm of less than this many times the level is no spike. Clipping bounds the update of an ordinary large gradient; beyond
/// this the gradient itself is wrong, a broken rank's for example, and clipped it would be nothing but that error.
const LEAST_NORM_FACTOR: f64 = 100.0;
/// So many steps that stood out among the last `RECENT` make their level usual.
const NEW_LEVEL: usize = 5;
const RECENT: u64 = 32;
/// A value may be so many times what made the level usual, and is usual too.
const SAME_LOSS: f64 = 2.0;
const SAME_NORM: f64 = 10.0;

/// Healthy training has no larger share of skipped updates; above it the report warns.
pub const USUAL_SHARE: f64 = 0.005;

/// `[stage.guard]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardSpec {
    /// Off: nothing is skipped, and a number that is not finite fails the stage.
    pub enabled: bool,
    /// How many times the usual difference between steps a spike stands above the level; 0: only numbers that are not finite are skipped.
    pub sigmas: f64,
    /// A rise of the loss by less than this is no spike, however calm the steps before it: nats a token, of a loss of 5 or less, and in
    /// proportion to a higher one.
    pub least_rise: f64,
    /// Applied steps that the usual difference is taken over; also how long a skipped step is held against the stage.
    pub window: u32,
    /// So many skipped steps within `window` are too many: the stage goes back ([`Guard::rewind`]); 0: never.
    pub rewind_after: u32,
}

impl Default for GuardSpec {
    fn default() -> Self {
        Self { enabled: true, sigmas: 6.0, least_rise: 0.5, window: 128, rewind_after: 0 }
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
    /// The stage cannot go on: the guard is off, or a whole window of steps one after another had numbers that are not finite.
    Fail(Skipped),
}

/// A step that stood out: above the bound, or not finite.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exception {
    step: u64,
    /// Where it was above the bound.
    loss: Option<f64>,
    grad_norm: Option<f64>,
    /// False for one that had become usual.
    skipped: bool,
}

/// The two numbers that are judged, each in its own measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Loss,
    GradNorm,
}

/// What is usual, and what stood out lately.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    spec: GuardSpec,
    /// The gradient norm above which updates are clipped; 0: never.
    clip: f64,
    /// Loss and gradient norm of the newest applied steps, oldest first.
    applied: VecDeque<[f64; 2]>,
    /// Those of the last `window` steps that stood out, ascending.
    exceptions: VecDeque<Exception>,
    /// Steps with numbers that are not finite since the last one with finite numbers.
    not_finite: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the guard's memory cannot be read: {0}")]
pub struct InvalidGuard(String);

impl Guard {
    /// `clip`: the stage's bound of the gradient norm, 0 for none. A norm that is not clipped is never a spike.
    pub fn new(spec: GuardSpec, clip: f64) -> Self {
        Self { spec, clip, applied: VecDeque::new(), exceptions: VecDeque::new(), not_finite: 0 }
    }

    /// Judges the update that would make `step` into `step + 1`, and remembers it. Steps come in ascending order.
    pub fn judge(&mut self, step: u64, loss: f64, grad_norm: f64) -> Verdict {
        let window = u64::from(self.spec.window);
        while self.exceptions.front().is_some_and(|first| first.step.saturating_add(window) <= step) {
            self.exceptions.pop_front();
        }
        if let Some(why) = not_finite(loss, grad_norm) {
            self.exceptions.push_back(Exception { step, loss: None, grad_norm: None, skipped: true });
            self.not_finite += 1;
            return if self.spec.enabled && self.not_finite < self.spec.window { Verdict::Skip(why) } else { Verdict::Fail(why) };
        }
        self.not_finite = 0;
        let high = |kind: Kind, value: f64| Some(value).filter(|value| self.is_high(kind, *value));
        let (high_loss, high_norm) = (high(Kind::Loss, loss), high(Kind::GradNorm, grad_norm));
        let unusual = |kind: Kind, value: Option<f64>| value.is_some_and(|value| !self.is_usual_by_now(kind, step, value));
        let spike = match (unusual(Kind::Loss, high_loss), unusual(Kind::GradNorm, high_norm)) {
            (true, _) => Some(Skipped::LossSpike),
            (false, true) => Some(Skipped::GradNormSpike),
            (false, false) => None,
        };
        if high_loss.is_some() || high_norm.is_some() {
            self.exceptions.push_back(Exception { step, loss: high_loss, grad_norm: high_norm, skipped: spike.is_some() });
        }
        if let Some(why) = spike {
            return Verdict::Skip(why);
        }
        self.applied.push_back([loss, grad_norm]);
        let surplus = self.applied.len().saturating_sub(self.spec.window as usize);
        self.applied.drain(..surplus);
        Verdict::Apply
    }

    /// The skipped steps, first to last, that are too many: the stage should go back before the first and leave their data out.
    pub fn rewind(&self) -> Option<Range<u64>> {
        let mut skipped = self.exceptions.iter().filter(|e| e.skipped).map(|e| e.step);
        let enough = self.spec.rewind_after > 0 && skipped.clone().count() >= self.spec.rewind_after as usize;
        let (first, last) = (skipped.next()?, skipped.next_back());
        (self.spec.enabled && enough).then_some(first..last.unwrap_or(first) + 1)
    }

    /// Loss of the newest applied step.
    pub fn last_loss(&self) -> Option<f64> {
        self.applied.back().map(|[loss, _]| *loss)
    }

    fn is_high(&self, kind: Kind, value: f64) -> bool {
        let samples = if kind == Kind::Loss { LOSS_SAMPLES.min(self.spec.window as usize) } else { MIN_SAMPLES };
        let judges = self.spec.enabled && self.spec.sigmas > 0.0 && self.applied.len() >= samples;
        judges && kind.may_be_high(value, self.clip) && kind.measure(value) > self.bound(kind)
    }

    /// In the kind's measure. Computed from the whole window each time, in its order: a running sum would differ in its last bits after a
    /// resume.
    fn bound(&self, kind: Kind) -> f64 {
        let values: Vec<f64> =
            self.applied.iter().map(|[loss, norm]| kind.measure(if kind == Kind::Loss { *loss } else { *norm })).collect();
        let level = median(values.iter().rev().take(LEVEL).copied().collect());
        // Of two independent steps, half the mean square of the difference is the variance; a slope adds next to nothing to it.
        let squares: f64 = values.windows(2).map(|pair| (pair[1] - pair[0]) * (pair[1] - pair[0])).sum();
        let deviation = (squares / (2.0 * (values.len().max(2) - 1) as f64)).sqrt();
        level
            + (self.spec.sigmas * deviation).max(match kind {
                Kind::Loss => self.spec.least_rise * (level.abs() / ORDINARY_LOSS).max(1.0),
                Kind::GradNorm => LEAST_NORM_FACTOR.ln(),
            })
    }

    /// Whether enough of the last steps stood out about as far.
    fn is_usual_by_now(&self, kind: Kind, step: u64, value: f64) -> bool {
        let recent = self.exceptions.iter().filter(|e| e.step.saturating_add(RECENT) > step);
        let alike = |seen: &f64| match kind {
            Kind::Loss => value <= seen * SAME_LOSS,
            Kind::GradNorm => value <= seen * SAME_NORM,
        };
        let stood_out = |e: &Exception| if kind == Kind::Loss { e.loss } else { e.grad_norm };
        recent.filter_map(stood_out).filter(alike).count() >= NEW_LEVEL
    }

    /// Everything that later verdicts depend on beside the spec, exactly: floats as the hexadecimal digits of their bits.
    pub fn to_text(&self) -> String {
        let applied = self.applied.iter().flatten().map(|value| hex(*value)).collect::<String>();
        let value = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), hex);
        let exception = |e: &Exception| format!("{}:{}:{}:{}", e.step, value(e.loss), value(e.grad_norm), u8::from(e.skipped));
        let exceptions = self.exceptions.iter().map(exception).collect::<Vec<_>>().join(",");
        format!("2 {} [{exceptions}] {applied}", self.not_finite)
    }

    /// What [`Guard::to_text`] wrote. A window that is shorter now keeps the newest steps. Of a memory that an earlier version wrote the
    /// applied steps are kept; what it skipped came from other rules.
    pub fn from_text(spec: GuardSpec, clip: f64, text: &str) -> Result<Self, InvalidGuard> {
        let broken = |what: &str| InvalidGuard(what.to_owned());
        let [version, not_finite, exceptions, applied] = text.split(' ').collect::<Vec<_>>()[..] else {
            return Err(broken("not four fields"));
        };
        let (not_finite, exceptions) = match version {
            "1" => (0, VecDeque::new()),
            "2" => (
                not_finite.parse().map_err(|_| broken("no count of steps without numbers"))?,
                read_exceptions(exceptions).ok_or_else(|| broken("no list of steps that stood out"))?,
            ),
            _ => return Err(broken("of another version")),
        };
        if !applied.is_ascii() || applied.len() % 32 != 0 || applied.len() > 32 * MAX_WINDOW as usize {
            return Err(broken("its lengths do not fit"));
        }
        let value = |at: usize| number(applied.get(at..at + 16)?).filter(|value| value.is_finite());
        let pairs = (0..applied.len()).step_by(32).map(|at| Some([value(at)?, value(at + 16)?]));
        let mut applied: VecDeque<[f64; 2]> = pairs.collect::<Option<_>>().ok_or_else(|| broken("a value that is no number"))?;
        let surplus = applied.len().saturating_sub(spec.window as usize);
        applied.drain(..surplus);
        Ok(Self { spec, clip, applied, exceptions, not_finite })
    }
}

impl Kind {
    /// Losses are compared by their difference, norms by their ratio.
    fn measure(self, value: f64) -> f64 {
        match self {
            Self::Loss => value,
            Self::GradNorm => value.max(f64::MIN_POSITIVE).ln(),
        }
    }

    /// A gradient that clipping leaves alone makes an ordinary update, however small the ones before it were.
    fn may_be_high(self, value: f64, clip: f64) -> bool {
        self == Self::Loss || value > clip
    }
}

fn not_finite(loss: f64, grad_norm: f64) -> Option<Skipped> {
    if !loss.is_finite() {
        return Some(Skipped::LossNotFinite);
    }
    (!grad_norm.is_finite()).then_some(Skipped::GradNormNotFinite)
}

/// The upper one of two middle values; 0 for none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn hex(value: f64) -> String {
    format!("{:016x}", value.to_bits())
}

fn number(digits: &str) -> Option<f64> {
    u64::from_str_radix(digits, 16).ok().map(f64::from_bits)
}

fn read_exceptions(text: &str) -> Option<VecDeque<Exception>> {
    let entries = text.strip_prefix('[')?.strip_suffix(']')?.split(',').filter(|entry| !entry.is_empty());
    let value = |text: &str| match text {
        "-" => Some(None),
        digits => number(digits).filter(|value| value.is_finite()).map(Some),
    };
    let read = |entry: &str| {
        let [step, loss, grad_norm, skipped] = entry.split(':').collect::<Vec<_>>()[..] else { return None };
        let skipped = match skipped {
            "0" => false,
            "1" => true,
            _ => return None,
        };
        Some(Exception { step: step.parse().ok()?, loss: value(loss)?, grad_norm: value(grad_norm)?, skipped })
    };
    let exceptions: VecDeque<Exception> = entries.take(MAX_WINDOW as usize + 1).map(read).collect::<Option<_>>()?;
    let ascending = exceptions.iter().zip(exceptions.iter().skip(1)).all(|(a, b)| a.step < b.step);
    (ascending && exceptions.len() <= MAX_WINDOW as usize).then_some(exceptions)
}

#[cfg(test)]
mod tests;
