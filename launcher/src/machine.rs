//! What this machine has: cores, memory, free disk. None where the system does not say.

use std::path::Path;

/// Cores that this process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
}

/// Bytes that can be had without swapping.
pub fn available_memory() -> Option<u64> {
    available_in(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Bytes free for this user where `path` is, or will be.
pub fn free_disk(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let existing = path.ancestors().find(|p| p.exists())?;
    let about = nix::sys::statvfs::statvfs(existing).ok()?;
    about.blocks_available().checked_mul(about.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(available_in("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        for strange in ["", "MemAvailable: many kB", "MemAvailable: 99999999999999999999 kB", "MemAvailable: 18446744073709551615 kB"] {
            assert_eq!(available_in(strange), None, "{strange}");
        }
    }

    #[test]
    fn free_disk_is_known_for_folders_that_do_not_exist_yet() {
        assert!(free_disk(Path::new("no/such/folder/yet")).is_some_and(|free| free > 0));
    }
}
