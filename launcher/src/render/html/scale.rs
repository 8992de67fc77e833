//! Axes: from values to places, and where a reader wants lines and numbers.

/// One axis. `to` may lie before `from`: y grows downwards on a screen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
    /// Between ticks, where the ends were chosen to fit it.
    step: Option<f64>,
}

/// A linear scale hides what happens below a tenth of the range.
const LOG_FROM_RATIO: f64 = 10.0;
/// More decades than any loss spans; beyond it numbers would overflow.
const MOST_RATIO: f64 = 1e12;

impl Scale {
    /// From `low` to `high` as given; an empty range is widened.
    pub fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, from, to, log: false, step: None }
    }

    /// For positive measured values: logarithmic when they span a decade, linear otherwise; ends at round numbers.
    pub fn fitting(low: f64, high: f64, from: f64, to: f64) -> Self {
        if low > 0.0 && (LOG_FROM_RATIO..MOST_RATIO).contains(&(high / low)) {
            return Self { low: floor_125(low), high: -floor_125_negative(high), from, to, log: true, step: None };
        }
        let step = step(high - low, 5);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Self { step: Some(step), ..Self::linear(low, high, from, to) }
    }

    pub fn is_log(&self) -> bool {
        self.log
    }

    pub fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Values that get a line and a number, ascending, about `wanted` of them.
    pub fn ticks(&self, wanted: usize) -> Vec<f64> {
        if self.log {
            let all = (-12..=12).flat_map(|decade| [1.0, 2.0, 5.0].map(|digit: f64| digit * 10f64.powi(decade)));
            let inside: Vec<f64> = all.filter(|tick| *tick >= self.low * 0.999 && *tick <= self.high * 1.001).collect();
            let keep = inside.len().div_ceil(wanted.max(1) * 2).max(1);
            return inside.into_iter().step_by(keep).collect();
        }
        let step = self.step.unwrap_or_else(|| step(self.high - self.low, wanted));
        let first = (self.low / step).ceil();
        (0..=4 * wanted.max(1)).map(|i| (first + i as f64) * step).take_while(|tick| *tick <= self.high + step * 1e-6).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that about `wanted` steps make the span.
fn step(span: f64, wanted: usize) -> f64 {
    let rough = span / wanted.max(1) as f64;
    if !rough.is_finite() || rough <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= rough * 0.999).unwrap_or(10.0);
    digit * power
}

/// The largest 1, 2 or 5 times a power of ten that is not above.
fn floor_125(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|digit| digit * power).find(|round| *round <= value * 1.000_001).unwrap_or(power)
}

/// The smallest such number that is not below, negated so that the sign shows which end it is.
fn floor_125_negative(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    -[1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * power).find(|round| *round * 1.000_001 >= value).unwrap_or(10.0 * power)
}

/// A tick's number: no more digits than its neighbours need.
pub fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" || text.is_empty() { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(Scale::linear(0.0, 600.0, 0.0, 1.0).ticks(6), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0]);
        let log = Scale::fitting(0.31, 7.8, 100.0, 0.0);
        assert!(log.is_log());
        assert_eq!(log.ticks(6), [0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
        let linear = Scale::fitting(2.1, 7.8, 100.0, 0.0);
        assert!(!linear.is_log());
        assert_eq!(linear.ticks(5), [2.0, 4.0, 6.0, 8.0]);
        // Ends and ticks belong together: no stretch at the edge is without a number.
        assert_eq!(Scale::fitting(3.9, 8.1, 100.0, 0.0).ticks(5), [3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    }

    #[test]
    fn the_ends_are_where_they_should_be() {
        for scale in [Scale::linear(2.0, 6.0, 100.0, 0.0), Scale::fitting(0.2, 10.0, 100.0, 0.0)] {
            let ticks = scale.ticks(5);
            assert!((scale.place(ticks[0]) - 100.0).abs() < 1e-9, "{scale:?}");
            assert!(scale.place(*ticks.last().unwrap()).abs() < 1e-9, "{scale:?}");
        }
    }

    #[test]
    fn strange_ranges_neither_panic_nor_leave_the_picture() {
        for (low, high) in [(3.0, 3.0), (0.0, 0.0), (-1.0, 1.0), (1e-300, 1e300), (0.0, f64::MAX)] {
            let scale = Scale::fitting(low, high, 0.0, 100.0);
            assert!(scale.ticks(5).len() <= 60, "{low} {high}");
            for value in [low, high, 0.0, f64::MAX] {
                assert!((0.0..=100.0).contains(&scale.place(value)), "{low} {high} {value}");
            }
        }
    }

    #[test]
    fn numbers_have_no_needless_digits() {
        for (value, shown) in [(0.5, "0.5"), (2.0, "2"), (100.0, "100"), (0.02, "0.02"), (-0.0, "0")] {
            assert_eq!(number(value), shown);
        }
    }
}
