//! What an agent finds when it looks at its node, and whether the node may take work. Pure; the looking is the agent's.

use crate::ids::Millis;
use serde::{Deserialize, Serialize};

/// Less room than this cannot hold a checkpoint or a corpus.
pub const LEAST_FREE: u64 = 256 << 20;
/// With less memory the next process dies at once.
pub const LEAST_MEMORY: u64 = 64 << 20;
/// Writing, syncing and reading back a few kilobytes takes milliseconds on a sound disk.
pub const SLOWEST_WRITE_MS: u64 = 30_000;
/// XIDs of NVIDIA's driver that mean broken hardware: double-bit and uncontained memory errors, failed page retirement and row
/// remapping, NVLink, a board that fell off the bus, a dead system processor. Others come from programs' own mistakes.
pub const HARD_XIDS: [u64; 9] = [48, 62, 64, 74, 79, 92, 95, 119, 120];

/// One look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub at: Millis,
    /// Where the node writes: its scratch folder, and its store if that is a folder.
    pub folders: Vec<FolderCheck>,
    pub memory_available: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuCheck>,
    /// None: it was not started, or the agent is of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RankCheck>,
    /// The look that should have replaced this one has not ended for so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue_ms: Option<u64>,
}

/// A small file was written, made durable, read back and compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderCheck {
    pub path: String,
    pub free_bytes: Option<u64>,
    pub ms: u64,
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuCheck {
    pub name: String,
    /// Memory errors since the driver was loaded that ECC could not correct; none where the board does not count them.
    pub uncorrected: Option<u64>,
    /// Critical events since the agent began, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xids: Vec<u64>,
    /// The driver does not answer for it any more.
    pub error: Option<String>,
}

/// What the binary that runs ranks said when it was started to say which build it is. That it answers shows that libtorch can be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RankCheck {
    pub build: Option<String>,
    pub error: Option<String>,
}

impl RankCheck {
    /// Why it may not run ranks beside those of another build, or at all.
    pub fn unfit_for(&self, build: &str) -> Option<String> {
        if let Some(error) = &self.error {
            return Some(format!(
                "osler-rank does not run on this machine: {error}; put libtorch where it looks (LD_LIBRARY_PATH), or build it here"
            ));
        }
        let other = self.build.as_deref().filter(|other| *other != build)?;
        Some(format!("its osler-rank is of build {other}, and {build} is needed: install the same build everywhere"))
    }
}

impl Health {
    /// Why the node may take no work of a coordinator of a build, with the way out.
    pub fn unfit_for(&self, build: &str) -> Option<String> {
        self.unfit().or_else(|| self.ranks.as_ref()?.unfit_for(build))
    }

    /// Why the node may take no work of anybody, ranks left out.
    pub fn unfit(&self) -> Option<String> {
        let overdue = self.overdue_ms.map(|ms| format!("its check hangs since {} s: look at its disks and its GPU driver", ms / 1000));
        let memory = self.memory_available.filter(|bytes| *bytes < LEAST_MEMORY);
        let memory = memory.map(|bytes| format!("only {} MiB of memory are available: end what uses it", bytes >> 20));
        overdue
            .or_else(|| self.folders.iter().find_map(FolderCheck::unfit))
            .or(memory)
            .or_else(|| self.gpus.iter().find_map(GpuCheck::unfit))
    }
}

impl FolderCheck {
    fn unfit(&self) -> Option<String> {
        let Self { path, free_bytes, ms, error } = self;
        if let Some(error) = error {
            return Some(format!("{path} cannot be written: {error}"));
        }
        if let Some(free) = free_bytes.filter(|free| *free < LEAST_FREE) {
            return Some(format!("{path} has {} MiB free, at least {} are needed: delete something", free >> 20, LEAST_FREE >> 20));
        }
        (*ms > SLOWEST_WRITE_MS).then(|| format!("{path} took {} s to write a small file: look at its disk", ms / 1000))
    }
}

impl GpuCheck {
    fn unfit(&self) -> Option<String> {
        let name = &self.name;
        if let Some(error) = &self.error {
            return Some(format!("GPU {name} does not answer ({error}): reset it, or restart the node"));
        }
        if let Some(count) = self.uncorrected.filter(|count| *count > 0) {
            return Some(format!("GPU {name} has {count} memory errors that could not be corrected: reset it, or have it replaced"));
        }
        let hard = self.xids.iter().find(|xid| HARD_XIDS.contains(xid))?;
        Some(format!("GPU {name} had XID {hard}, which means broken hardware: reset it, then restart the agent"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_another_build_or_without_libtorch_are_not_fit() {
        let with = |build: Option<&str>, error: Option<&str>| {
            let ranks = Some(RankCheck { build: build.map(str::to_owned), error: error.map(str::to_owned) });
            Health { ranks, ..sound() }.unfit_for("1.0")
        };
        assert_eq!((sound().unfit_for("1.0"), with(Some("1.0"), None)), (None, None));
        assert!(with(Some("1.1"), None).unwrap().starts_with("its osler-rank is of build 1.1, and 1.0 is needed"));
        let missing = with(None, Some("exit code 127: libtorch_cpu.so: cannot open shared object file")).unwrap();
        assert!(missing.contains("does not run on this machine: exit code 127: libtorch_cpu.so"), "{missing}");
    }

    fn sound() -> Health {
        let folder = FolderCheck { path: "/scratch".into(), free_bytes: Some(1 << 40), ms: 3, error: None };
        let gpu = GpuCheck { name: "L4 0".into(), uncorrected: Some(0), xids: vec![31], error: None };
        Health { at: Millis(1), folders: vec![folder], memory_available: Some(1 << 34), gpus: vec![gpu], ranks: None, overdue_ms: None }
    }

    #[test]
    fn a_node_is_unfit_for_one_reason_that_is_named() {
        assert_eq!(sound().unfit(), None, "a program's own XID is not the board's");
        type Edit = fn(&mut Health);
        let edits: [(Edit, &str); 8] = [
            (|h| h.overdue_ms = Some(90_000), "its check hangs since 90 s"),
            (|h| h.folders[0].error = Some("no space left".into()), "/scratch cannot be written: no space left"),
            (|h| h.folders[0].free_bytes = Some(5 << 20), "/scratch has 5 MiB free"),
            (|h| h.folders[0].ms = 31_000, "/scratch took 31 s"),
            (|h| h.memory_available = Some(9 << 20), "only 9 MiB of memory"),
            (|h| h.gpus[0].error = Some("lost".into()), "GPU L4 0 does not answer (lost)"),
            (|h| h.gpus[0].uncorrected = Some(2), "GPU L4 0 has 2 memory errors"),
            (|h| h.gpus[0].xids.push(79), "GPU L4 0 had XID 79"),
        ];
        for (edit, expected) in edits {
            let mut health = sound();
            edit(&mut health);
            let why = health.unfit().unwrap_or_default();
            assert!(why.starts_with(expected), "{why:?} is not {expected:?}");
            let json = serde_json::to_string(&health).unwrap();
            assert_eq!(serde_json::from_str::<Health>(&json).unwrap(), health);
        }
    }
}
