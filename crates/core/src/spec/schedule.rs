//! The learning rate as a function of the step. The curves are those of torch and transformers of the same names, value by value.

use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The learning rate as a factor of `optimizer.lr`, by step. All begin with a linear warm-up from `warmup_from`: a stage that goes on
/// from a trained model begins it where the rate of that model ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum ScheduleSpec {
    Constant {
        warmup_steps: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        warmup_from: f64,
    },
    /// A straight line down to `min_ratio` at the stage's end.
    Linear {
        warmup_steps: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        warmup_from: f64,
        min_ratio: f64,
    },
    /// Half a cosine down to `min_ratio` at the stage's end.
    Cosine {
        warmup_steps: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        warmup_from: f64,
        min_ratio: f64,
    },
    /// Warm-up, stable, then a decay to `min_ratio` over the last `decay_steps`.
    Wsd {
        warmup_steps: u64,
        #[serde(default, skip_serializing_if = "is_zero")]
        warmup_from: f64,
        decay_steps: u64,
        #[serde(default)]
        decay: DecayShape,
        min_ratio: f64,
    },
}

/// How [`ScheduleSpec::Wsd`] goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecayShape {
    #[default]
    Linear,
    /// One minus the square root of the part of the decay that is done (Hägele et al., arXiv 2405.18392).
    #[serde(rename = "1-sqrt")]
    OneMinusSqrt,
    Cosine,
}

impl DecayShape {
    /// What is left of the way down when the part `done` of it, 0 to 1, is behind.
    fn left(self, done: f64) -> f64 {
        match self {
            Self::Linear => 1.0 - done,
            Self::OneMinusSqrt => 1.0 - done.sqrt(),
            Self::Cosine => 0.5 * (1.0 + (PI * done).cos()),
        }
    }
}

impl ScheduleSpec {
    pub fn constant() -> Self {
        Self::Constant { warmup_steps: 0, warmup_from: 0.0 }
    }

    /// Steps of the warm-up, and the factor that it begins above.
    pub fn warmup(&self) -> (u64, f64) {
        let (Self::Constant { warmup_steps, warmup_from }
        | Self::Linear { warmup_steps, warmup_from, .. }
        | Self::Cosine { warmup_steps, warmup_from, .. }
        | Self::Wsd { warmup_steps, warmup_from, .. }) = *self;
        (warmup_steps, warmup_from)
    }

    /// The factor for the update that makes `step` (counted from 0) into `step + 1`, of `total` steps. 0 to 1.
    pub fn factor(&self, step: u64, total: u64) -> f64 {
        let (warmup, from) = self.warmup();
        if step < warmup {
            return from + (1.0 - from) * (step + 1) as f64 / warmup as f64;
        }
        let down = |shape: DecayShape, min_ratio: f64, begin: u64| {
            let span = total.saturating_sub(begin).max(1);
            let done = (step.saturating_sub(begin) as f64 / span as f64).min(1.0);
            min_ratio + (1.0 - min_ratio) * shape.left(done)
        };
        match *self {
            Self::Constant { .. } => 1.0,
            Self::Linear { min_ratio, .. } => down(DecayShape::Linear, min_ratio, warmup),
            Self::Cosine { min_ratio, .. } => down(DecayShape::Cosine, min_ratio, warmup),
            Self::Wsd { decay_steps, decay, min_ratio, .. } => down(decay, min_ratio, total.saturating_sub(decay_steps)),
        }
    }
}

fn is_zero(number: &f64) -> bool {
    *number == 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Case {
        schedule: serde_json::Value,
        total: u64,
        first: u64,
        factors: Vec<f64>,
    }

    /// `tests/python/check_schedules.py` wrote the file and compares it with the libraries again.
    #[test]
    fn factors_are_those_of_torch_and_transformers() {
        let cases: Vec<Case> = serde_json::from_str(include_str!("schedule/reference.json")).unwrap();
        assert!(cases.len() >= 12);
        for Case { schedule, total, first, factors } in cases {
            let text = schedule.to_string();
            let spec: ScheduleSpec = serde_json::from_value(schedule).unwrap_or_else(|e| panic!("{e}: {text}"));
            assert!(!factors.is_empty());
            for (step, expected) in (first..).zip(factors) {
                let found = spec.factor(step, total);
                assert!((found - expected).abs() < 1e-12, "{text} step {step}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn a_factor_is_never_beyond_its_ends() {
        let wsd = |decay| ScheduleSpec::Wsd { warmup_steps: 3, warmup_from: 0.5, decay_steps: 4, decay, min_ratio: 0.25 };
        for spec in [
            ScheduleSpec::Constant { warmup_steps: 3, warmup_from: 0.5 },
            ScheduleSpec::Linear { warmup_steps: 3, warmup_from: 0.5, min_ratio: 0.25 },
            ScheduleSpec::Cosine { warmup_steps: 3, warmup_from: 0.5, min_ratio: 0.25 },
            wsd(DecayShape::Linear),
            wsd(DecayShape::OneMinusSqrt),
            wsd(DecayShape::Cosine),
        ] {
            for total in [1, 2, 3, 4, 7, 20] {
                for step in 0..total + 3 {
                    let factor = spec.factor(step, total);
                    assert!((0.25..=1.0).contains(&factor), "{spec:?} step {step} of {total}: {factor}");
                }
            }
            assert_eq!(spec.factor(2, 20), 1.0, "{spec:?}: the last step of the warm-up has the whole rate");
        }
    }

    #[test]
    fn a_schedule_without_the_later_keys_is_read_and_written_as_before() {
        let text = r#"{"kind":"cosine","warmup_steps":4,"min_ratio":0.1}"#;
        let spec: ScheduleSpec = serde_json::from_str(text).unwrap();
        assert_eq!(spec, ScheduleSpec::Cosine { warmup_steps: 4, warmup_from: 0.0, min_ratio: 0.1 });
        assert_eq!(serde_json::to_string(&spec).unwrap(), text);
    }
}
