//! Where the other binaries are: beside this one, or in `OSLER_BIN_DIR`.

use crate::failure::{Failure, Outcome, failed};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub const COORDINATOR: &str = "osler-coordinator";
pub const WORKER: &str = "osler-worker";
pub const RANK: &str = "osler-rank";

/// The path of one of them, which is there.
pub fn find(name: &str) -> Outcome<PathBuf> {
    let folder = match std::env::var_os("OSLER_BIN_DIR") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => std::env::current_exe()?.parent().unwrap_or(Path::new(".")).to_owned(),
    };
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(failed(format!("{} is not there: build it (make build), or set OSLER_BIN_DIR to the folder that has it", path.display())))
}

/// Becomes that binary. Returns only if that fails.
pub fn become_binary(name: &str, arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Failure {
    match find(name) {
        Ok(path) => {
            let error = Command::new(&path).args(arguments).exec();
            failed(format!("start {}: {error}", path.display()))
        }
        Err(failure) => failure,
    }
}
