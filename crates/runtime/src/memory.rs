//! What the kernel says about memory. None where it does not say.

use std::fs;
use std::path::Path;

/// Bytes that can be had without swapping.
pub fn available() -> Option<u64> {
    of(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")
}

/// Bytes that this process can have at most: the machine's, or those of the smallest control group around it.
pub fn total() -> Option<u64> {
    let machine = of(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Some(machine.min(smallest(Path::new("/sys/fs/cgroup"), group)))
}

/// Of a version 2 group and those above it.
fn smallest(root: &Path, group: &str) -> u64 {
    let place = root.join(group);
    let limits = place.ancestors().take_while(|folder| folder.starts_with(root)).filter_map(|folder| {
        let text = fs::read_to_string(folder.join("memory.max")).ok()?;
        text.trim().parse::<u64>().ok() // `max` is none
    });
    limits.min().unwrap_or(u64::MAX)
}

fn of(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read_in_bytes() {
        assert_eq!(of("MemTotal: 9 kB\nMemAvailable:    2048 kB\n", "MemAvailable"), Some(2 << 20));
        for strange in ["", "MemAvailable: many kB", "MemAvailable: 99999999999999999999 kB", "MemAvailable: 18446744073709551615 kB"] {
            assert_eq!(of(strange, "MemAvailable"), None, "{strange}");
        }
    }

    #[test]
    fn the_smallest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("slurm/job");
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(smallest(root.path(), "slurm/job"), u64::MAX);
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        fs::write(root.path().join("slurm/memory.max"), "4096\n").unwrap();
        assert_eq!(smallest(root.path(), "slurm/job"), 4096);
        assert_eq!(smallest(root.path(), "other"), u64::MAX);
        assert!(total().is_some_and(|bytes| bytes > 1 << 20 && Some(bytes) >= available().map(|free| free.min(bytes))));
    }
}
