//! How training goes, as lines of rank 0's log: step, loss, gradient norm, rate, speed and skipped updates at intervals.
//!
//! When a line is due is a pure rule; the time is an argument.

use osler_engine::step::StepStats;
use std::time::{Duration, Instant};

/// Steps between two lines, where they do not come too fast.
const EVERY_STEPS: u64 = 100;
/// Fast steps give no more lines than one in this time.
const AT_LEAST: Duration = Duration::from_secs(1);
/// Slow steps give a line after this time.
const AT_MOST: Duration = Duration::from_secs(10);

/// What happened since the last line.
#[derive(Debug, Default)]
struct Interval {
    /// When the last line was said, from the beginning of training.
    since: Duration,
    begun: bool,
    steps: u64,
    skipped: u64,
}

/// Numbers of an interval that a line ends.
#[derive(Debug, PartialEq)]
struct Past {
    steps: u64,
    skipped: u64,
    seconds: f64,
}

impl Interval {
    /// Counts a step that ended at `now`. Some: a line is due, and the next interval begins. `last`: no step comes after this one.
    fn step(&mut self, now: Duration, skipped: bool, last: bool) -> Option<Past> {
        self.steps += 1;
        self.skipped += u64::from(skipped);
        let passed = now.saturating_sub(self.since);
        let due = last || !self.begun || passed >= AT_MOST || (self.steps >= EVERY_STEPS && passed >= AT_LEAST);
        if !due {
            return None;
        }
        let past = Past { steps: self.steps, skipped: self.skipped, seconds: passed.as_secs_f64() };
        *self = Self { since: now, begun: true, steps: 0, skipped: 0 };
        Some(past)
    }
}

pub struct StepLog {
    started: Instant,
    interval: Interval,
    /// The stage's number of steps.
    of: u64,
    tokens_per_step: u64,
}

impl StepLog {
    pub fn new(of: u64, tokens_per_step: u64) -> Self {
        Self { started: Instant::now(), interval: Interval::default(), of, tokens_per_step }
    }

    /// Says a line if one is due. Loss, norm and rate are the step's own.
    pub fn step(&mut self, stats: &StepStats) {
        let step = stats.step + 1;
        let Some(past) = self.interval.step(self.started.elapsed(), stats.skipped.is_some(), step >= self.of) else { return };
        let speed = (past.steps * self.tokens_per_step) as f64 / past.seconds.max(1e-9);
        tracing::info!(
            step,
            of = self.of,
            loss = %format_args!("{:.4}", stats.loss),
            grad_norm = %format_args!("{:.4}", stats.grad_norm),
            lr = %format_args!("{:.3e}", stats.lr),
            tokens_per_second = %format_args!("{speed:.0}"),
            skipped = past.skipped,
            "trained"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The steps after which a line is said, and the updates that these lines call skipped.
    fn lines(steps: u64, milliseconds: u64, skipped: &[u64]) -> (Vec<u64>, u64) {
        let mut interval = Interval::default();
        let mut said = vec![];
        let mut counted = 0;
        for step in 1..=steps {
            let now = Duration::from_millis(step * milliseconds);
            if let Some(past) = interval.step(now, skipped.contains(&step), step == steps) {
                said.push(step);
                counted += past.skipped;
            }
        }
        (said, counted)
    }

    #[test]
    fn steps_of_a_usual_pace_give_a_line_a_hundred() {
        assert_eq!(lines(350, 50, &[7, 120, 350]), (vec![1, 101, 201, 301, 350], 3));
    }

    #[test]
    fn fast_steps_give_a_line_a_second() {
        assert_eq!(lines(5_000, 1, &[]).0, [1, 1001, 2001, 3001, 4001, 5000]);
    }

    #[test]
    fn slow_steps_give_a_line_each_and_none_is_said_more_often_than_every_ten_seconds() {
        assert_eq!(lines(4, 30_000, &[2]), (vec![1, 2, 3, 4], 1));
        assert_eq!(lines(12, 4_000, &[]).0, [1, 4, 7, 10, 12]);
    }

    #[test]
    fn an_interval_counts_its_own_steps_and_time() {
        let mut interval = Interval::default();
        interval.step(Duration::from_secs(3), false, false);
        assert_eq!(interval.step(Duration::from_secs(5), true, false), None);
        let past = interval.step(Duration::from_secs(13), false, false);
        assert_eq!(past, Some(Past { steps: 2, skipped: 1, seconds: 10.0 }));
    }
}
