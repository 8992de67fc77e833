//! Putting the planned files into a folder, without ever touching what somebody else put there.

use crate::DemoError;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A file to be: its path below the folder ("exams/seen.jsonl") and its bytes.
pub(crate) struct Planned {
    pub(crate) path: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// A file that an interrupted run left half written; it is ours and is written again.
const PARTIAL: &str = ".partial";

/// Writes what is missing and returns how many files that were. Refuses, before it writes anything, when the folder has an
/// entry that is not planned or a file with other bytes.
pub(crate) fn place(dir: &Path, planned: &[Planned]) -> Result<usize, DemoError> {
    check_entries(dir, planned)?;
    let mut missing = Vec::new();
    for file in planned {
        let path = dir.join(file.path);
        match fs::read(&path) {
            Ok(bytes) if bytes == file.bytes => {}
            Ok(_) => return Err(DemoError::Different { path }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing.push(file),
            Err(source) => {
                return Err(DemoError::Io { verb: "read", path, source });
            }
        }
    }
    for file in &missing {
        write(&dir.join(file.path), &file.bytes)?;
    }
    Ok(missing.len())
}

/// Every entry below the folder is a planned file, a folder of one, or a partial one.
fn check_entries(dir: &Path, planned: &[Planned]) -> Result<(), DemoError> {
    let mut known: BTreeSet<PathBuf> = BTreeSet::new();
    for file in planned {
        known.extend(Path::new(file.path).ancestors().map(|path| dir.join(path)));
        known.insert(dir.join(format!("{}{PARTIAL}", file.path)));
    }
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let listed = match fs::read_dir(&folder) {
            Ok(listed) => listed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => {
                return Err(DemoError::Io { verb: "list", path: folder, source });
            }
        };
        for entry in listed {
            let entry = entry.map_err(|source| DemoError::Io { verb: "list", path: folder.clone(), source })?;
            let path = entry.path();
            if !known.contains(&path) {
                return Err(DemoError::Foreign { path });
            }
            let kind = entry.file_type().map_err(|source| DemoError::Io { verb: "look at", path: path.clone(), source })?;
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// Whole or not at all: a reader never finds half a file under the final name.
fn write(path: &Path, bytes: &[u8]) -> Result<(), DemoError> {
    let io = |verb: &'static str| move |source| DemoError::Io { verb, path: path.to_path_buf(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io("make the folder of"))?;
    }
    let mut partial = path.as_os_str().to_owned();
    partial.push(PARTIAL);
    fs::write(&partial, bytes).map_err(io("write"))?;
    fs::rename(&partial, path).map_err(io("put into place"))
}
