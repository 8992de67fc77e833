//! Energy: readings of hardware counters, or an estimate that carries its assumption. Reading the counters is the rank's work.

use super::believable;
use serde::{Deserialize, Serialize};

/// Watts of one busy core of a server processor, for machines whose energy counters cannot be read: our choice, in the middle of what
/// server processors' thermal design power gives when divided by their cores (5 to 20 W).
pub const WATTS_A_CORE: f64 = 12.0;

/// What a counter of a node or a device counted, or what was estimated in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnergyReading {
    /// `rapl:NODE` (processors and their memory, everybody's work on that node included), `nvml:GPU-UUID`, or what an estimate is of:
    /// `cpu`, `gpu`. Two ranks that read one counter name it alike, so that it counts once.
    pub source: String,
    pub joules: f64,
    /// None: measured.
    pub estimate: Option<Assumption>,
}

/// An estimate is a power that is taken as given, times the seconds that it was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumption {
    pub watts: f64,
    /// Of busy cores or devices, summed over ranks: time times utilisation.
    pub busy_seconds: f64,
}

impl EnergyReading {
    pub fn estimated(of: &str, watts: f64, busy_seconds: f64) -> Self {
        Self { source: of.to_owned(), joules: watts * busy_seconds, estimate: Some(Assumption { watts, busy_seconds }) }
    }

    /// A counter counts once, by the first rank that read it; estimates are of one rank each and add up.
    pub(super) fn add_to(&self, all: &mut Vec<Self>) {
        if !believable(self.joules) {
            return;
        }
        let watts = |reading: &Self| reading.estimate.map(|e| e.watts.to_bits());
        let same = all.iter_mut().find(|known| known.source == self.source && watts(known) == watts(self));
        match (same, self.estimate) {
            (None, _) => all.push(self.clone()),
            (Some(known), Some(own)) => {
                known.joules += self.joules;
                if let Some(sum) = &mut known.estimate {
                    sum.busy_seconds += own.busy_seconds;
                }
            }
            (Some(_), None) => {}
        }
    }

    /// The same counter or estimate over another stretch of time: for adding up a stage's checkpoints.
    pub fn add_stretch(&self, all: &mut Vec<Self>) {
        match all.iter_mut().find(|known| known.source == self.source && known.estimate.is_none() && self.estimate.is_none()) {
            Some(known) => known.joules += self.joules,
            None => self.add_to(all),
        }
    }
}

/// What a counter moved by. It starts again at 0 after `range` (its largest value); 0 means that it never does. `None` if it cannot be
/// told: a counter without a range that went back.
pub fn counted(before: u64, after: u64, range: u64) -> Option<u64> {
    match after.checked_sub(before) {
        Some(moved) => Some(moved),
        None => range.checked_sub(before)?.checked_add(after),
    }
}

pub fn kilowatt_hours(joules: f64) -> f64 {
    joules / 3.6e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_starts_again_is_followed() {
        assert_eq!(counted(10, 25, 100), Some(15));
        assert_eq!(counted(90, 5, 100), Some(15));
        assert_eq!(counted(7, 7, 100), Some(0));
        assert_eq!(counted(90, 5, 0), None, "no range: it was reset, and what it counted is unknown");
        assert_eq!(counted(90, 5, 80), None, "beyond its own range");
    }

    #[test]
    fn stretches_of_one_counter_add_up_and_estimates_keep_their_watts() {
        let measured = |joules| EnergyReading { source: "rapl:a".into(), joules, estimate: None };
        let mut all = vec![];
        for reading in
            [measured(1.0), measured(2.0), EnergyReading::estimated("cpu", 12.0, 1.0), EnergyReading::estimated("cpu", 10.0, 1.0)]
        {
            reading.add_stretch(&mut all);
        }
        EnergyReading::estimated("cpu", 12.0, 2.0).add_stretch(&mut all);
        assert_eq!(all, [measured(3.0), EnergyReading::estimated("cpu", 12.0, 3.0), EnergyReading::estimated("cpu", 10.0, 1.0)]);
    }

    #[test]
    fn a_kilowatt_hour_is_3_6_megajoules() {
        assert_eq!(kilowatt_hours(7.2e6), 2.0);
    }
}
