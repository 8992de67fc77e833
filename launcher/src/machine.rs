//! What this machine has: cores, free disk. None where the system does not say.

use std::path::Path;

/// Cores that this process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(u32::MAX))
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
    fn free_disk_is_known_for_folders_that_do_not_exist_yet() {
        assert!(free_disk(Path::new("no/such/folder/yet")).is_some_and(|free| free > 0));
    }
}
