//! What a stage took beside time: its share of the devices' peak (MFU, HFU), energy, memory. Everything comes from the usage in published
//! manifests; what they do not say is absent, with the reason.

use super::time::{TimeReport, mean};
use crate::accounting::energy::kilowatt_hours;
use crate::accounting::{Basis, DeviceUse, EnergyReading, Flops};
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Why the shares should not be trusted, if they should not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
}

/// A peak that was measured again and differed by more than this share was measured beside other work.
const CALM: f64 = 0.85;

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
    let peaks = Peaks::of(manifests);
    let (mut model, mut hardware, mut could, mut stepping, mut fastest) = (0.0, 0.0, 0.0, 0.0, 0.0f64);
    for manifest in manifests {
        let usage = &manifest.usage;
        let flops = usage.flops_per_token.ok_or("the checkpoints do not say how many FLOPs a token took: an older version wrote them")?;
        let tokens = manifest.ledger.len() as f64 * tokens_per_step;
        model += flops.model * tokens;
        hardware += flops.hardware * tokens;
        let seconds = mean(manifest).stepping();
        let possible = peaks.sum(&usage.devices)? * seconds;
        could += possible;
        stepping += seconds;
        if possible > 0.0 {
            fastest = fastest.max(flops.hardware * tokens / possible);
        }
    }
    if could <= 0.0 || time.end_to_end <= 0.0 {
        return Err("no time of steps was measured".to_owned());
    }
    // What training reached, the processor can do: a measured peak below it was measured beside other work.
    if peaks.measured() {
        could *= fastest.max(1.0);
    }
    let peak_flops = could / stepping;
    let all = peak_flops * time.end_to_end;
    Ok(Utilisation {
        peak_flops,
        mfu: model / all,
        hfu: hardware / all,
        mfu_stepping: model / could,
        hfu_stepping: hardware / could,
        doubt: peaks.doubt(fastest),
    })
}

/// The highest and lowest peak of one rank that was seen of each kind of device.
struct Peaks<'a>(Vec<(&'a DeviceUse, Range)>);

#[derive(Clone, Copy)]
struct Range {
    lowest: f64,
    highest: f64,
}

impl<'a> Peaks<'a> {
    fn of(manifests: &[&'a Manifest]) -> Self {
        let mut found: Vec<(&DeviceUse, Range)> = vec![];
        for device in manifests.iter().flat_map(|m| &m.usage.devices) {
            let Some(peak) = device.peak.filter(|_| device.ranks > 0) else { continue };
            let one = peak.flops / f64::from(device.ranks);
            match found.iter_mut().find(|(known, _)| alike(known, device)) {
                Some((_, range)) => *range = Range { lowest: range.lowest.min(one), highest: range.highest.max(one) },
                None => found.push((device, Range { lowest: one, highest: one })),
            }
        }
        Self(found)
    }

    /// Of all devices together, or whose peak is unknown.
    fn sum(&self, devices: &[DeviceUse]) -> Result<f64, String> {
        if devices.is_empty() {
            return Err("the checkpoints do not say what computed".to_owned());
        }
        devices.iter().try_fold(0.0, |sum, device| {
            let known = self.0.iter().find(|(known, _)| alike(known, device)).filter(|_| device.peak.is_some());
            let (_, range) = known.ok_or_else(|| format!("no peak is known for {} in {}", device.name, device.dtype))?;
            Ok(sum + range.highest * f64::from(device.ranks))
        })
    }

    fn measured(&self) -> bool {
        self.0.iter().any(|(device, _)| device.peak.is_some_and(|peak| peak.basis == Basis::Measured))
    }

    /// `fastest`: the largest share of the peak that any checkpoint's steps reached.
    fn doubt(&self, fastest: f64) -> Option<String> {
        if fastest > 1.0 {
            let reached = 100.0 * fastest;
            return Some(match self.measured() {
                true => format!("training reached {reached:.0} % of the measured peak, so other work ran while it was measured"),
                false => format!("training reached {reached:.0} % of the datasheet's peak: the device is not what its name says"),
            });
        }
        let (_, range) = self.0.iter().find(|(_, range)| range.lowest < CALM * range.highest)?;
        let share = 100.0 * range.lowest / range.highest;
        Some(format!("the peak was measured several times, and once at {share:.0} % of the highest: other work ran on the machine"))
    }
}

fn alike(a: &DeviceUse, b: &DeviceUse) -> bool {
    let basis = |device: &DeviceUse| device.peak.map(|peak| peak.basis);
    (&a.name, a.dtype, a.threads, basis(a)) == (&b.name, b.dtype, b.threads, basis(b))
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
