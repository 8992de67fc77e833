//! What training takes: FLOPs, peaks of devices, energy, memory. Everything here is for reports; no result depends on it.
//!
//! A rank measures, puts its [`Usage`] into its part of a checkpoint, and the manifest keeps what the ranks' add up to. So each number
//! of a report leads back to a manifest. What is unknown stays absent: nothing is guessed, and an estimate says what it assumes.

pub mod energy;
pub mod flops;
pub mod peaks;

pub use energy::{Assumption, EnergyReading};
pub use flops::Flops;
pub use peaks::{Basis, DeviceUse, Dtype, Peak};

use serde::{Deserialize, Serialize};

/// The most devices and energy counters that one rank may name; each is a few words.
const MAX_NAMED: usize = 256;
const MAX_NAME: usize = 256;

/// In a part: what one rank used since its checkpoint before, or since its process began. In a manifest: all of its ranks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// Wall time that this covers; of all ranks, the longest.
    pub seconds: f64,
    pub flops_per_token: Option<Flops>,
    /// What the matrix products run on; a part has one.
    pub devices: Vec<DeviceUse>,
    pub energy: Vec<EnergyReading>,
    /// The largest resident set of the process so far, in bytes; of all ranks, the largest. 0: unknown.
    pub peak_memory: u64,
}

impl Usage {
    /// Joins the ranks' usage, given in the order of ranks. What cannot be believed (a number that is none, a name without end) is left out:
    /// a broken meter must not end a run.
    pub fn join<'a>(ranks: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for rank in ranks {
            if believable(rank.seconds) {
                all.seconds = all.seconds.max(rank.seconds);
            }
            all.peak_memory = all.peak_memory.max(rank.peak_memory);
            let flops = rank.flops_per_token.filter(|f| believable(f.model) && believable(f.hardware));
            all.flops_per_token = all.flops_per_token.or(flops);
            rank.devices.iter().take(MAX_NAMED).filter(|d| d.name.len() <= MAX_NAME).for_each(|device| device.add_to(&mut all.devices));
            rank.energy.iter().take(MAX_NAMED).filter(|e| e.source.len() <= MAX_NAME).for_each(|reading| reading.add_to(&mut all.energy));
        }
        all
    }
}

/// Whether a measured number can be one: finite and not negative.
fn believable(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(source: &str, joules: f64) -> Usage {
        let peak = Peak { flops: 6e10, basis: Basis::Measured };
        Usage {
            seconds: 10.0,
            flops_per_token: Some(Flops { model: 100.0, hardware: 120.0 }),
            devices: vec![DeviceUse { name: "a processor".into(), dtype: Dtype::Fp32, threads: 1, ranks: 1, peak: Some(peak) }],
            energy: vec![EnergyReading { source: source.into(), joules, estimate: None }],
            peak_memory: 1000,
        }
    }

    #[test]
    fn a_counter_that_two_ranks_of_a_node_read_counts_once() {
        let all = Usage::join(&[rank("rapl:node-a", 50.0), rank("rapl:node-a", 51.0), rank("rapl:node-b", 7.0)]);
        let readings: Vec<_> = all.energy.iter().map(|e| (e.source.as_str(), e.joules)).collect();
        assert_eq!(readings, [("rapl:node-a", 50.0), ("rapl:node-b", 7.0)], "the lowest rank's reading counts");
    }

    #[test]
    fn devices_of_one_kind_add_up() {
        let other =
            Usage { devices: vec![DeviceUse { name: "another".into(), peak: None, ..rank("", 0.0).devices[0].clone() }], ..rank("", 0.0) };
        let all = Usage::join(&[rank("a", 1.0), other, rank("b", 1.0)]);
        let devices: Vec<_> = all.devices.iter().map(|d| (d.name.as_str(), d.ranks, d.peak.map(|p| p.flops))).collect();
        assert_eq!(devices, [("a processor", 2, Some(1.2e11)), ("another", 1, None)]);
        assert_eq!((all.seconds, all.peak_memory), (10.0, 1000));
    }

    #[test]
    fn estimates_of_all_ranks_add_up_with_their_assumption() {
        let estimated = |seconds: f64| Usage { energy: vec![EnergyReading::estimated("cpu", 12.0, seconds)], ..Usage::default() };
        let all = Usage::join(&[estimated(2.0), estimated(3.0)]);
        assert_eq!(all.energy, [EnergyReading::estimated("cpu", 12.0, 5.0)]);
        assert_eq!(all.energy[0].joules, 60.0);
    }

    #[test]
    fn numbers_that_are_none_are_left_out() {
        let mut bad = rank("a", f64::INFINITY);
        bad.seconds = f64::NAN;
        bad.flops_per_token = Some(Flops { model: -1.0, hardware: 0.0 });
        bad.devices[0].peak = Some(Peak { flops: f64::NAN, basis: Basis::Measured });
        let all = Usage::join(&[bad, rank("a", 3.0)]);
        assert_eq!((all.seconds, all.energy[0].joules, all.energy.len()), (10.0, 3.0, 1));
        assert_eq!(all.flops_per_token, Some(Flops { model: 100.0, hardware: 120.0 }));
        let peaks: Vec<_> = all.devices.iter().map(|d| (d.ranks, d.peak.map(|p| p.flops))).collect();
        assert_eq!(peaks, [(1, None), (1, Some(6e10))]);
    }

    #[test]
    fn a_part_of_an_older_version_has_no_usage() {
        assert_eq!(serde_json::from_str::<Usage>("{}").unwrap(), Usage::default());
    }
}
