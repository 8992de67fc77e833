//! What this rank uses: its device, FLOPs, energy and memory, between two checkpoints. For reports; nothing here reaches a result.
//!
//! A counter that cannot be read is an absence, never an error: a run must not end because a meter is broken. Energy counters of a node
//! are read by each of its ranks and named alike, so that the coordinator counts them once.

mod host;
mod nvml;
mod rapl;

use nvml::Gpu;
use osler_core::accounting::energy::WATTS_A_CORE;
use osler_core::accounting::{Basis, DeviceUse, Dtype, EnergyReading, Flops, Peak, Usage, peaks};
use osler_engine::{Device, peak};
use rapl::Rapl;
use std::path::Path;
use std::time::{Duration, Instant};

/// Counters are looked at this often, so that none goes round twice unseen; the smallest last about ten minutes under full load.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the processor's peak is measured, each time.
const PEAK_FOR: Duration = Duration::from_millis(250);

pub struct Meter {
    since: Instant,
    looked: Instant,
    /// Seconds of processor time of this process at `since`.
    cpu_seconds: f64,
    rapl: Option<Rapl>,
    gpu: Option<Gpu>,
    device: Option<DeviceUse>,
    flops: Option<Flops>,
}

impl Meter {
    /// Begins as early as possible: what happens before is not measured.
    pub fn begin() -> Self {
        let now = Instant::now();
        Self {
            since: now,
            looked: now,
            cpu_seconds: host::cpu_seconds(),
            rapl: Rapl::open(Path::new("/sys/class/powercap"), host::node()),
            gpu: None,
            device: None,
            flops: None,
        }
    }

    /// Says what the rank computes, and on what. Measures a processor's peak, so all ranks should come here together, as they compute.
    pub fn computes(&mut self, flops: Flops, device: Device, dtype: Dtype, threads: u32) {
        self.flops = Some(flops);
        self.gpu = match device {
            Device::Cuda(ordinal) => Gpu::open(None, ordinal, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()),
            _ => None,
        };
        let device = match (device, &self.gpu) {
            (Device::Cuda(_), Some(gpu)) => {
                let peak = peaks::datasheet(gpu.name(), dtype).map(|flops| Peak { flops, basis: Basis::Datasheet });
                DeviceUse { name: gpu.name().to_owned(), dtype, threads: 0, ranks: 1, peak }
            }
            (Device::Cuda(_), None) => {
                DeviceUse { name: "a GPU that NVML does not name".to_owned(), dtype, threads: 0, ranks: 1, peak: None }
            }
            // Only fp32 is measured: what a processor does with other types is no one number.
            _ => DeviceUse { name: host::processor(), dtype, threads, ranks: 1, peak: measured(dtype) },
        };
        self.device = Some(device);
    }

    /// Measures a processor's peak once more, when the last step is done: other work may have disturbed the first time. All ranks together.
    pub fn measure_again(&mut self) {
        if let Some(device) = self.device.as_mut().filter(|device| device.peak.is_some_and(|peak| peak.basis == Basis::Measured)) {
            device.peak = measured(device.dtype).or(device.peak);
        }
    }

    /// To be called in every step; looks at the counters from time to time.
    pub fn tick(&mut self) {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look();
        }
    }

    fn look(&mut self) {
        let seconds = self.looked.elapsed().as_secs_f64();
        self.looked = Instant::now();
        self.rapl.iter_mut().for_each(Rapl::look);
        self.gpu.iter_mut().for_each(|gpu| gpu.look(seconds));
    }

    /// What was used since the beginning or the last call.
    pub fn take(&mut self) -> Usage {
        self.look();
        let cpu_seconds = host::cpu_seconds();
        let processors = match self.rapl.as_mut().and_then(Rapl::take) {
            Some(reading) => reading,
            None => EnergyReading::estimated("cpu", WATTS_A_CORE, (cpu_seconds - self.cpu_seconds).max(0.0)),
        };
        let usage = Usage {
            seconds: self.since.elapsed().as_secs_f64(),
            flops_per_token: self.flops,
            devices: self.device.iter().cloned().collect(),
            energy: self.gpu.as_mut().and_then(Gpu::take).into_iter().chain([processors]).collect(),
            peak_memory: host::peak_memory(),
        };
        (self.since, self.cpu_seconds) = (Instant::now(), cpu_seconds);
        usage
    }
}

fn measured(dtype: Dtype) -> Option<Peak> {
    let flops = if dtype == Dtype::Fp32 { peak::sgemm_flops(PEAK_FOR).ok() } else { None };
    flops.map(|flops| Peak { flops, basis: Basis::Measured })
}

/// Seconds since this process was started.
pub fn process_age() -> f64 {
    host::process_age().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_counters_is_estimated_from_its_busy_seconds() {
        let mut meter = Meter { rapl: None, ..Meter::begin() };
        meter.computes(Flops { model: 1.0, hardware: 1.0 }, Device::Cpu, Dtype::Fp32, 1);
        let usage = meter.take();
        let peak = usage.devices[0].peak.unwrap();
        assert!(peak.basis == Basis::Measured && peak.flops > 1e9, "{peak:?}");
        let [reading] = usage.energy.as_slice() else { panic!("{:?}", usage.energy) };
        let assumption = reading.estimate.unwrap();
        assert_eq!((reading.source.as_str(), assumption.watts), ("cpu", WATTS_A_CORE));
        assert!(assumption.busy_seconds > 0.0, "measuring the peak kept it busy");
        assert_eq!(reading.joules, WATTS_A_CORE * assumption.busy_seconds);
        assert!(usage.peak_memory > 1 << 20 && usage.seconds > 0.0);
        let next = meter.take();
        assert!(next.seconds < usage.seconds && next.energy[0].joules < reading.joules, "each stretch is counted once");
    }
}
