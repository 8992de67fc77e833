//! What a stage cost, in the words of both reports: shares of a peak, devices, energy and what its number rests on.

use crate::show;
use osler_core::accounting::{Basis, DeviceUse};
use osler_core::report::{CostReport, EnergyReport};

/// MFU and HFU end to end, then while stepping, in percent; dashes where the peak is unknown.
pub fn shares(cost: &CostReport) -> [String; 4] {
    match &cost.utilisation {
        Some(u) => [u.mfu, u.hfu, u.mfu_stepping, u.hfu_stepping].map(|share| format!("{:.1}", 100.0 * share)),
        None => [(); 4].map(|()| "-".to_owned()),
    }
}

/// "2 x Xeon, 1 thread, fp32, peak 128.40 G FLOP/s measured".
pub fn devices(devices: &[DeviceUse]) -> String {
    let one = |device: &DeviceUse| {
        let threads = if device.threads > 0 { format!(", {}", show::plural(device.threads.into(), "thread")) } else { String::new() };
        let peak = device.peak.map_or_else(
            || ", peak unknown".to_owned(),
            |peak| {
                let basis = if peak.basis == Basis::Measured { "measured" } else { "by datasheet" };
                format!(", peak {}FLOP/s {basis}", show::short(peak.flops))
            },
        );
        format!("{} x {}{threads}, {}{peak}", device.ranks, device.name, device.dtype)
    };
    devices.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// What the joules are made of: counters by name, estimates with what they assume.
pub fn energy_basis(energy: &EnergyReport) -> String {
    let reading = |r: &osler_core::accounting::EnergyReading| match r.estimate {
        None => format!("counter {}", r.source),
        Some(e) => {
            let busy = if r.source == "cpu" { "a busy core" } else { "a busy board" };
            format!("{} W {busy} taken as given x {} s", e.watts, show::count(e.busy_seconds as u64))
        }
    };
    let readings: Vec<_> = energy.readings.iter().map(reading).collect();
    format!("{}: {}", energy.basis.as_str(), readings.join(", "))
}
