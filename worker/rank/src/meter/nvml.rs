//! Name and energy of the rank's GPU from NVML, which is loaded when it is asked for: a machine without a driver simply has none.

use nvml_wrapper::{Device, Nvml};
use osler_core::accounting::{EnergyReading, energy, peaks};
use std::ffi::OsStr;

/// The name that drivers install; the one without a version comes with development packages only.
const LIBRARY: &str = "libnvidia-ml.so.1";

pub struct Gpu {
    nvml: Nvml,
    uuid: String,
    name: String,
    counted: Counted,
}

enum Counted {
    /// The board's own counter, which Volta and later have.
    Counter {
        last_millijoules: u64,
        millijoules: u64,
        broken: bool,
    },
    /// Watts that the board may draw, times the share of time that it was busy.
    Estimate {
        watts: f64,
        busy_seconds: f64,
    },
    Nothing,
}

/// Which board a CUDA ordinal means.
#[derive(Debug, PartialEq, Eq)]
enum Board {
    Index(u32),
    Uuid(String),
}

impl Gpu {
    /// None without a driver, or if the board cannot be told. `library` is for tests.
    pub fn open(library: Option<&OsStr>, ordinal: usize, visible: Option<&str>) -> Option<Self> {
        let nvml = Nvml::builder().lib_path(library.unwrap_or(OsStr::new(LIBRARY))).init().ok()?;
        let (uuid, name, counted) = {
            let device = match board(ordinal, visible)? {
                Board::Index(index) => nvml.device_by_index(index).ok()?,
                Board::Uuid(uuid) => nvml.device_by_uuid(uuid).ok()?,
            };
            let name = device.name().ok()?;
            (device.uuid().ok()?, name.clone(), counted(&device, &name))
        };
        Some(Self { nvml, uuid, name, counted })
    }

    /// The product's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Follows the counter, or the board's utilisation over the last `seconds`.
    pub fn look(&mut self, seconds: f64) {
        let device = self.nvml.device_by_uuid(self.uuid.as_str());
        match &mut self.counted {
            Counted::Counter { last_millijoules, millijoules, broken } => {
                // It starts again when the driver is loaded anew; then what it missed is unknown.
                let now = device.and_then(|device| device.total_energy_consumption()).ok();
                match now.and_then(|now| Some((now, energy::counted(*last_millijoules, now, 0)?))) {
                    Some((now, moved)) => {
                        *millijoules = millijoules.saturating_add(moved);
                        *last_millijoules = now;
                    }
                    None => *broken = true,
                }
            }
            Counted::Estimate { busy_seconds, .. } => {
                // A board that does not say how busy it is counts as busy.
                let percent = device.and_then(|device| device.utilization_rates()).map_or(100, |rates| rates.gpu.min(100));
                *busy_seconds += seconds * f64::from(percent) / 100.0;
            }
            Counted::Nothing => {}
        }
    }

    /// What was counted since the last call.
    pub fn take(&mut self) -> Option<EnergyReading> {
        match &mut self.counted {
            Counted::Counter { millijoules, broken, .. } => {
                let joules = std::mem::take(millijoules) as f64 / 1e3;
                let source = format!("nvml:{}", self.uuid);
                (!std::mem::take(broken)).then_some(EnergyReading { source, joules, estimate: None })
            }
            Counted::Estimate { watts, busy_seconds } => Some(EnergyReading::estimated("gpu", *watts, std::mem::take(busy_seconds))),
            Counted::Nothing => None,
        }
    }
}

fn counted(device: &Device<'_>, name: &str) -> Counted {
    if let Ok(last_millijoules) = device.total_energy_consumption() {
        return Counted::Counter { last_millijoules, millijoules: 0, broken: false };
    }
    let limit = device.enforced_power_limit().ok().map(|milliwatts| f64::from(milliwatts) / 1e3);
    match limit.or_else(|| peaks::board_watts(name)) {
        Some(watts) => Counted::Estimate { watts, busy_seconds: 0.0 },
        None => Counted::Nothing,
    }
}

/// CUDA counts the boards that its environment variable leaves visible; NVML counts all of them, in the order of the bus.
fn board(ordinal: usize, visible: Option<&str>) -> Option<Board> {
    let Some(visible) = visible else { return u32::try_from(ordinal).ok().map(Board::Index) };
    let entry = visible.split(',').nth(ordinal)?.trim();
    match entry.parse() {
        Ok(index) => Some(Board::Index(index)),
        // A part of a board (MIG) has no counter of its own.
        Err(_) => entry.starts_with("GPU-").then(|| Board::Uuid(entry.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    #[test]
    fn a_machine_without_a_driver_has_no_gpu() {
        assert!(Gpu::open(Some(OsStr::new("/nowhere/libnvidia-ml.so.1")), 0, None).is_none());
    }

    #[test]
    fn an_ordinal_counts_visible_boards() {
        assert_eq!(board(1, None), Some(Board::Index(1)));
        assert_eq!(board(1, Some("4, 6")), Some(Board::Index(6)));
        assert_eq!(board(0, Some("GPU-abc")), Some(Board::Uuid("GPU-abc".into())));
        assert_eq!(board(2, Some("4,6")), None);
        assert_eq!(board(0, Some("MIG-1")), None);
    }

    /// A library with NVML's calls for one board, whose counter moves by 1,500 mJ at each look, or is not there.
    fn library(folder: &Path, has_counter: bool) -> PathBuf {
        let (source, built) = (folder.join("nvml.c"), folder.join("libnvml.so"));
        let counter = if has_counter { "static unsigned long long mj = 7000; mj += 1500; *out = mj; return 0;" } else { "return 3;" };
        let code = format!(
            r#"#include <string.h>
            static int board;
            int nvmlInit_v2(void) {{ return 0; }}
            int nvmlShutdown(void) {{ return 0; }}
            int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **out) {{ if (i) return 2; *out = &board; return 0; }}
            int nvmlDeviceGetHandleByUUID(const char *id, void **out) {{ if (strcmp(id, "GPU-1")) return 6; *out = &board; return 0; }}
            int nvmlDeviceGetName(void *d, char *out, unsigned n) {{ strncpy(out, "NVIDIA L4", n); return d != &board; }}
            int nvmlDeviceGetUUID(void *d, char *out, unsigned n) {{ strncpy(out, "GPU-1", n); return d != &board; }}
            int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *out) {{ {counter} }}
            int nvmlDeviceGetUtilizationRates(void *d, unsigned *out) {{ out[0] = 50; out[1] = 0; return 0; }}
            "#
        );
        std::fs::write(&source, code).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let done = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&built, &source]).status().unwrap();
        assert!(done.success());
        built
    }

    #[test]
    fn the_boards_counter_is_read_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut gpu = Gpu::open(Some(library(folder.path(), true).as_os_str()), 0, None).unwrap();
        assert_eq!(gpu.name(), "NVIDIA L4");
        gpu.look(5.0);
        gpu.look(5.0);
        assert_eq!(gpu.take(), Some(EnergyReading { source: "nvml:GPU-1".into(), joules: 3.0, estimate: None }));
        assert_eq!(gpu.take().unwrap().joules, 0.0);
    }

    #[test]
    fn a_board_without_a_counter_is_estimated_from_its_datasheet_and_how_busy_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut gpu = Gpu::open(Some(library(folder.path(), false).as_os_str()), 0, Some("GPU-1")).unwrap();
        gpu.look(4.0);
        assert_eq!(gpu.take(), Some(EnergyReading::estimated("gpu", 72.0, 2.0)));
        assert!(Gpu::open(Some(library(folder.path(), false).as_os_str()), 1, None).is_none(), "there is one board");
    }
}
