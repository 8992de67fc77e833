//! The node's GPUs as NVML sees them: uncorrected memory errors, and critical events since the agent began.

use nvml_wrapper::bitmasks::event::EventTypes;
use nvml_wrapper::enum_wrappers::device::{EccCounter, MemoryError};
use nvml_wrapper::enums::event::XidError;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, EventSet, Nvml};
use osler_core::health::GpuCheck;

/// More different events than this say nothing new.
const MAX_XIDS: usize = 64;
const MAX_EVENTS: usize = 1024;

pub struct Gpus<'n> {
    nvml: &'n Nvml,
    boards: Vec<Watched<'n>>,
}

struct Watched<'n> {
    board: Board,
    /// None where the driver does not tell events.
    events: Option<EventSet<'n>>,
    xids: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Board {
    Index(u32),
    Uuid(String),
}

impl<'n> Gpus<'n> {
    /// The boards that `CUDA_VISIBLE_DEVICES` leaves to this agent, from now on.
    pub fn watch(nvml: &'n Nvml, visible: Option<&str>) -> Self {
        let watched = |board: Board| {
            let events = device(nvml, &board).ok().and_then(|device| {
                let set = nvml.create_event_set().ok()?;
                device.register_events(EventTypes::CRITICAL_XID_ERROR, set).ok()
            });
            Watched { board, events, xids: vec![] }
        };
        let boards = boards(nvml.device_count().unwrap_or(0), visible);
        Self { nvml, boards: boards.into_iter().map(watched).collect() }
    }

    pub fn look(&mut self) -> Vec<GpuCheck> {
        let nvml = self.nvml;
        self.boards.iter_mut().map(|watched| watched.look(nvml)).collect()
    }
}

impl Watched<'_> {
    fn look(&mut self, nvml: &Nvml) -> GpuCheck {
        if let Some(set) = &self.events {
            // A board that does not stop failing must not keep the agent from telling.
            for event in std::iter::from_fn(|| set.wait(0).ok()).take(MAX_EVENTS) {
                if let Some(XidError::Value(xid)) = event.event_data
                    && self.xids.len() < MAX_XIDS
                    && !self.xids.contains(&xid)
                {
                    self.xids.push(xid);
                }
            }
        }
        let number = match &self.board {
            Board::Index(index) => index.to_string(),
            Board::Uuid(uuid) => uuid.clone(),
        };
        let found = device(nvml, &self.board).and_then(|device| Ok((device.name()?, uncorrected(&device)?)));
        let (name, uncorrected, error) = match found {
            Ok((name, uncorrected)) => (format!("{name} {number}"), uncorrected, None),
            Err(error) => (number, None, Some(error.to_string())),
        };
        GpuCheck { name, uncorrected, xids: self.xids.clone(), error }
    }
}

fn device<'n>(nvml: &'n Nvml, board: &Board) -> Result<Device<'n>, NvmlError> {
    match board {
        Board::Index(index) => nvml.device_by_index(*index),
        Board::Uuid(uuid) => nvml.device_by_uuid(uuid.as_str()),
    }
}

/// None where the board does not count them.
fn uncorrected(device: &Device<'_>) -> Result<Option<u64>, NvmlError> {
    match device.total_ecc_errors(MemoryError::Uncorrected, EccCounter::Volatile) {
        Ok(count) => Ok(Some(count)),
        Err(NvmlError::GpuLost | NvmlError::Unknown) => Err(NvmlError::GpuLost),
        Err(_) => Ok(None),
    }
}

/// CUDA stops at the first entry that names nothing; a part of a board (MIG) is not looked at.
fn boards(count: u32, visible: Option<&str>) -> Vec<Board> {
    let Some(visible) = visible else { return (0..count).map(Board::Index).collect() };
    let board = |entry: &str| match entry.parse() {
        Ok(index) if index < count => Some(Board::Index(index)),
        Ok(_) => None,
        Err(_) => entry.starts_with("GPU-").then(|| Board::Uuid(entry.to_owned())),
    };
    visible.split(',').map(str::trim).map_while(board).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    #[test]
    fn only_the_boards_of_this_agent_are_looked_at() {
        assert_eq!(boards(2, None), [Board::Index(0), Board::Index(1)]);
        assert_eq!(boards(8, Some("4, 6")), [Board::Index(4), Board::Index(6)]);
        assert_eq!(boards(2, Some("GPU-a,7,0")), [Board::Uuid("GPU-a".into())]);
        assert_eq!(boards(2, Some("")), []);
    }

    /// A library with NVML's calls for two boards: one with a given number of uncorrected errors and one XID, one that is lost.
    fn library(folder: &Path, errors: u64, xid: u64) -> PathBuf {
        let (source, built) = (folder.join("nvml.c"), folder.join("libnvml.so"));
        let code = format!(
            r#"#include <string.h>
            static int boards[2]; static int told;
            struct event {{ void *device; unsigned long long type, data; unsigned gi, ci; }};
            int nvmlInit_v2(void) {{ return 0; }}
            int nvmlShutdown(void) {{ return 0; }}
            int nvmlDeviceGetCount_v2(unsigned *n) {{ *n = 2; return 0; }}
            int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **out) {{ if (i > 1) return 2; *out = &boards[i]; return 0; }}
            int nvmlDeviceGetName(void *d, char *out, unsigned n) {{ strncpy(out, "NVIDIA L4", n); return 0; }}
            int nvmlDeviceGetTotalEccErrors(void *d, int kind, int counter, unsigned long long *out) {{
                if (kind != 1 || counter != 0) return 2;
                if (d == &boards[1]) return 15;
                *out = {errors}; return 0;
            }}
            int nvmlEventSetCreate(void **out) {{ static int sets[2], n; *out = &sets[n++ % 2]; return 0; }}
            int nvmlEventSetFree(void *set) {{ return 0; }}
            int nvmlDeviceRegisterEvents(void *d, unsigned long long types, void *set) {{ return types == 8 ? 0 : 2; }}
            int nvmlEventSetWait_v2(void *set, struct event *e, unsigned ms) {{
                if (told++ || ms) return 10;
                e->device = &boards[0]; e->type = 8; e->data = {xid}; return 0;
            }}
            "#
        );
        std::fs::write(&source, code).unwrap();
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let done = Command::new(compiler).args(["-shared", "-fPIC", "-o"]).args([&built, &source]).status().unwrap();
        assert!(done.success());
        built
    }

    #[test]
    fn errors_events_and_lost_boards_are_found_and_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let nvml = Nvml::builder().lib_path(library(folder.path(), 3, 79).as_os_str()).init().unwrap();
        let mut gpus = Gpus::watch(&nvml, None);
        let first = gpus.look();
        assert_eq!(first[0], GpuCheck { name: "NVIDIA L4 0".into(), uncorrected: Some(3), xids: vec![79], error: None });
        assert!(first[1].error.is_some(), "{:?}", first[1]);
        assert_eq!(gpus.look()[0].xids, [79], "an event is told once by the driver, and remembered");
    }
}
