//! What a stage took beside time: its share of the devices' peak (MFU, HFU), energy, memory. Everything comes from the usage in published
//! manifests; what they do not say is absent, with the reason.

use super::time::{TimeReport, mean};
use crate::accounting::energy::kilowatt_hours;
use crate::accounting::{DeviceUse, EnergyReading, Flops};
use crate::checkpoint::Manifest;
use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostReport {
    pub flops_per_token: Option<Flops>,
    /// Of the newest checkpoint.
    pub devices: Vec<DeviceUse>,
    /// Absent: `no_utilisation` says why.
    pub utilisation: Option<Utilisation>,
    pub no_utilisation: Option<String>,
    /// The largest resident set of a rank, in bytes.
    pub peak_memory: Option<u64>,
    pub energy: Option<EnergyReport>,
}

/// Shares of the devices' dense peak, 0 to 1. Of published tokens: work that was lost counts as time and not as work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Utilisation {
    /// FLOP/s of all devices together, as the steps' time weighs it where their number changed.
    pub peak_flops: f64,
    /// Model FLOPs by peak and the time from the first step to the end, restarts included.
    pub mfu: f64,
    /// Recomputed FLOPs counted too.
    pub hfu: f64,
    /// The same while ranks made steps.
    pub mfu_stepping: f64,
    pub hfu_stepping: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnergyReport {
    pub joules: f64,
    pub kilowatt_hours: f64,
    pub joules_per_1k_tokens: f64,
    pub basis: EnergyBasis,
    /// What was read, or assumed.
    pub readings: Vec<EnergyReading>,
    /// The time that the readings cover: published work of attempts that are over. What failures lost is not in it.
    pub covers_seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EnergyBasis {
    /// All from counters.
    Measured,
    /// Some of it has no counter that could be read, and is estimated.
    PartlyEstimated,
    Estimated,
}

impl EnergyBasis {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::PartlyEstimated => "partly an estimate",
            Self::Estimated => "an estimate",
        }
    }
}

/// `manifests`: those of attempts that are over. None when there are none.
pub(super) fn cost(manifests: &[&Manifest], time: &TimeReport, tokens_per_step: u64) -> Option<CostReport> {
    let newest = manifests.last()?;
    let (utilisation, no_utilisation) = match utilisation(manifests, time, tokens_per_step as f64) {
        Ok(found) => (Some(found), None),
        Err(why) => (None, Some(why)),
    };
    let peak_memory = manifests.iter().map(|m| m.usage.peak_memory).max().filter(|bytes| *bytes > 0);
    Some(CostReport {
        flops_per_token: newest.usage.flops_per_token,
        devices: newest.usage.devices.clone(),
        utilisation,
        no_utilisation,
        peak_memory,
        energy: energy(manifests, tokens_per_step as f64),
    })
}

fn utilisation(manifests: &[&Manifest], time: &TimeReport, tokens_per_step: f64) -> Result<Utilisation, String> {
    let (mut model, mut hardware, mut could, mut stepping) = (0.0, 0.0, 0.0, 0.0);
    for manifest in manifests {
        let usage = &manifest.usage;
        let flops = usage.flops_per_token.ok_or("the checkpoints do not say how many FLOPs a token took: an older version wrote them")?;
        let tokens = manifest.ledger.len() as f64 * tokens_per_step;
        model += flops.model * tokens;
        hardware += flops.hardware * tokens;
        let seconds = mean(manifest).stepping();
        could += peak(&usage.devices)? * seconds;
        stepping += seconds;
    }
    if could <= 0.0 || time.end_to_end <= 0.0 {
        return Err("no time of steps was measured".to_owned());
    }
    let peak_flops = could / stepping;
    let all = peak_flops * time.end_to_end;
    Ok(Utilisation { peak_flops, mfu: model / all, hfu: hardware / all, mfu_stepping: model / could, hfu_stepping: hardware / could })
}

/// The peak of all devices together, or whose is unknown.
fn peak(devices: &[DeviceUse]) -> Result<f64, String> {
    if devices.is_empty() {
        return Err("the checkpoints do not say what computed".to_owned());
    }
    devices.iter().try_fold(0.0, |sum, device| match device.peak {
        Some(peak) => Ok(sum + peak.flops),
        None => Err(format!("no peak is known for {} in {}", device.name, device.dtype)),
    })
}

fn energy(manifests: &[&Manifest], tokens_per_step: f64) -> Option<EnergyReport> {
    let mut readings = vec![];
    let (mut tokens, mut covers_seconds) = (0.0, 0.0);
    for manifest in manifests.iter().filter(|m| !m.usage.energy.is_empty()) {
        manifest.usage.energy.iter().for_each(|reading| reading.add_stretch(&mut readings));
        tokens += manifest.ledger.len() as f64 * tokens_per_step;
        covers_seconds += manifest.usage.seconds;
    }
    let joules = readings.iter().map(|r| r.joules).sum::<f64>();
    let estimated = readings.iter().filter(|r| r.estimate.is_some()).count();
    let basis = match estimated {
        0 => EnergyBasis::Measured,
        n if n == readings.len() => EnergyBasis::Estimated,
        _ => EnergyBasis::PartlyEstimated,
    };
    (tokens > 0.0).then(|| EnergyReport {
        joules,
        kilowatt_hours: kilowatt_hours(joules),
        joules_per_1k_tokens: joules / tokens * 1e3,
        basis,
        readings,
        covers_seconds,
    })
}
