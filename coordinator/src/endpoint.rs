//! Where a coordinator can be found: a small file beside the store, written once it listens and kept there, so that nobody has to know the port.

use osler_runtime::files;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Contents of the endpoint file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub address: SocketAddr,
    pub pid: u32,
    pub token_file: PathBuf,
}

impl Endpoint {
    /// In the folder that belongs to a store on this machine, unless told otherwise.
    pub fn default_path(store_root: &Path) -> PathBuf {
        store_root.join("coordinator/endpoint.json")
    }

    /// Replaces the file as a whole: a reader sees the old contents or the new.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files::make_folder(folder)?;
        files::replace(path, &serde_json::to_vec(self)?, 0o644)
    }

    /// Puts the file back if it is another's, or gone. A coordinator that was frozen while it started writes its own over a newer one's,
    /// then finds that it does not lead, and takes it away: without this nobody would find the one that does.
    pub fn restore(&self, path: &Path) -> io::Result<()> {
        if self.is_at(path) { Ok(()) } else { self.write(path) }
    }

    /// Removes the file if it still is this one.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        if self.is_at(path) { fs::remove_file(path) } else { Ok(()) }
    }

    fn is_at(&self, path: &Path) -> bool {
        fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok()).is_some_and(|found| found == *self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_file_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = Endpoint::default_path(folder.path());
        let endpoint = |pid| Endpoint { address: "127.0.0.1:7".parse().unwrap(), pid, token_file: "t".into() };
        endpoint(1).write(&path).unwrap();
        endpoint(2).write(&path).unwrap();
        endpoint(1).remove(&path).unwrap();
        assert_eq!(serde_json::from_slice::<Endpoint>(&fs::read(&path).unwrap()).unwrap(), endpoint(2));
        endpoint(2).remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn the_one_that_reigns_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = Endpoint::default_path(folder.path());
        let endpoint = |pid| Endpoint { address: "127.0.0.1:7".parse().unwrap(), pid, token_file: "t".into() };
        endpoint(2).write(&path).unwrap();
        endpoint(1).write(&path).unwrap(); // an older one, late
        endpoint(2).restore(&path).unwrap();
        assert_eq!(serde_json::from_slice::<Endpoint>(&fs::read(&path).unwrap()).unwrap(), endpoint(2));
        fs::remove_file(&path).unwrap();
        endpoint(2).restore(&path).unwrap();
        assert_eq!(serde_json::from_slice::<Endpoint>(&fs::read(&path).unwrap()).unwrap(), endpoint(2));
    }
}
