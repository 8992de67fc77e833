//! Energy of a node's processors and their memory, from the kernel's powercap folder (Intel's and AMD's RAPL counters).
//!
//! Packages and DRAM are counted: cores and uncore are parts of a package, psys contains it. Newer kernels let only the superuser read
//! the counters; then there is no reading.

use osler_core::accounting::{EnergyReading, energy};
use std::fs;
use std::path::{Path, PathBuf};

pub struct Rapl {
    node: String,
    zones: Vec<Zone>,
    microjoules: u64,
    /// A counter could not be followed since the last reading: what it missed is unknown, so there is no reading.
    broken: bool,
}

struct Zone {
    counter: PathBuf,
    range: u64,
    last: u64,
}

impl Rapl {
    /// None where a counter is missing or may not be read: half of a node's energy would pass for all of it.
    pub fn open(powercap: &Path, node: String) -> Option<Self> {
        let mut zones = vec![];
        for entry in fs::read_dir(powercap).ok()? {
            let folder = entry.ok()?.path();
            // `intel-rapl:0` and `intel-rapl:0:1`, on AMD too; `intel-rapl-mmio` shows the same counters again.
            let rapl = folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("intel-rapl:"));
            if !rapl {
                continue;
            }
            let name = fs::read_to_string(folder.join("name")).ok()?;
            if name.trim().starts_with("package") || name.trim() == "dram" {
                zones.push(Zone {
                    range: number(&folder.join("max_energy_range_uj"))?,
                    last: number(&folder.join("energy_uj"))?,
                    counter: folder.join("energy_uj"),
                });
            }
        }
        (!zones.is_empty()).then_some(Self { node, zones, microjoules: 0, broken: false })
    }

    /// Follows the counters. They start again after some minutes, so this must be called more often than that.
    pub fn look(&mut self) {
        for zone in &mut self.zones {
            match number(&zone.counter).and_then(|now| Some((now, energy::counted(zone.last, now, zone.range)?))) {
                Some((now, moved)) => {
                    self.microjoules = self.microjoules.saturating_add(moved);
                    zone.last = now;
                }
                None => self.broken = true,
            }
        }
    }

    /// What was counted since the last call.
    pub fn take(&mut self) -> Option<EnergyReading> {
        let joules = std::mem::take(&mut self.microjoules) as f64 / 1e6;
        let reading = EnergyReading { source: format!("rapl:{}", self.node), joules, estimate: None };
        (!std::mem::take(&mut self.broken)).then_some(reading)
    }
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A powercap folder as a machine with two packages has it: links to zones, with a part and a duplicate that must not be counted.
    fn machine() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (zone, name, energy) in [
            ("intel-rapl:0", "package-0", 900),
            ("intel-rapl:0:0", "core", 500),
            ("intel-rapl:0:1", "dram", 100),
            ("intel-rapl:1", "package-1", 10),
            ("intel-rapl-mmio:0", "package-0", 900),
            ("intel-rapl:2", "psys", 5000),
        ] {
            let real = folder.path().join("devices").join(zone);
            fs::create_dir_all(&real).unwrap();
            fs::write(real.join("name"), format!("{name}\n")).unwrap();
            fs::write(real.join("max_energy_range_uj"), "1000\n").unwrap();
            fs::write(real.join("energy_uj"), format!("{energy}\n")).unwrap();
            fs::create_dir_all(folder.path().join("class")).unwrap();
            symlink(real, folder.path().join("class").join(zone)).unwrap();
        }
        folder
    }

    fn set(machine: &tempfile::TempDir, zone: &str, energy: &str) {
        fs::write(machine.path().join("class").join(zone).join("energy_uj"), energy).unwrap();
    }

    #[test]
    fn packages_and_memory_are_counted_and_followed_around() {
        let machine = machine();
        let mut rapl = Rapl::open(&machine.path().join("class"), "n".into()).unwrap();
        set(&machine, "intel-rapl:0", "50"); // went round: 150 since
        set(&machine, "intel-rapl:0:0", "999"); // a part of package-0
        set(&machine, "intel-rapl:0:1", "130");
        rapl.look();
        set(&machine, "intel-rapl:1", "30");
        rapl.look();
        let reading = rapl.take().unwrap();
        assert_eq!((reading.source.as_str(), reading.joules), ("rapl:n", 200e-6));
        rapl.look();
        assert_eq!(rapl.take().unwrap().joules, 0.0, "each microjoule is counted once");
    }

    #[test]
    fn a_counter_that_cannot_be_read_gives_no_reading_instead_of_a_small_one() {
        let machine = machine();
        let class = machine.path().join("class");
        let mut rapl = Rapl::open(&class, "n".into()).unwrap();
        set(&machine, "intel-rapl:1", "not a number");
        rapl.look();
        assert_eq!(rapl.take(), None);
        set(&machine, "intel-rapl:1", "40");
        rapl.look();
        assert_eq!(rapl.take().map(|r| r.joules), Some(30e-6), "it is back, and its counter went on meanwhile");

        fs::remove_file(class.join("intel-rapl:1").join("energy_uj")).unwrap();
        assert!(Rapl::open(&class, "n".into()).is_none());
        assert!(Rapl::open(&machine.path().join("nowhere"), "n".into()).is_none());
        assert!(Rapl::open(tempfile::tempdir().unwrap().path(), "n".into()).is_none(), "a machine without RAPL");
    }
}
