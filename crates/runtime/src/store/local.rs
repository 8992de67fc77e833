//! File work of the local store: digests, and moving a finished file to its name.

use crate::files;
use object_store::local::LocalFileSystem;
use osler_core::checkpoint::ObjectRef;
use osler_core::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The objects of a folder, each durable when a write returns.
pub fn objects(root: &Path) -> object_store::Result<LocalFileSystem> {
    Ok(LocalFileSystem::new_with_prefix(root)?.with_fsync(true))
}

/// Size and SHA-256 of a file, in bounded memory.
pub fn digest(file: &Path) -> io::Result<(u64, Digest)> {
    let mut reader = File::open(file)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut bytes = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((bytes, Digest::from_bytes(sha.finalize().into()))),
            n => {
                sha.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

/// Gives `file` its place in the store: durable contents first, then one rename, then the folder. `known` spares reading the file
/// again when its writer has just digested what it wrote.
pub fn adopt(file: &Path, to: &Path, path: String, known: Option<(u64, Digest)>) -> io::Result<ObjectRef> {
    let folder = to.parent().ok_or_else(|| io::Error::other("an object needs a folder"))?;
    files::make_folder(folder)?;
    let (bytes, digest) = known.map_or_else(|| digest(file), Ok)?;
    let found = fs::metadata(file)?.len();
    if found != bytes {
        return Err(io::Error::other(format!("{} has {found} bytes, its writer said {bytes}", file.display())));
    }
    files::settle(file, folder)?;
    File::open(file)?.sync_all()?;
    if let Err(e) = fs::rename(file, to) {
        if e.kind() != io::ErrorKind::CrossesDevices {
            return Err(e);
        }
        copy_beside(file, to)?;
    }
    File::open(folder)?.sync_all()?;
    Ok(ObjectRef { path, bytes, digest })
}

/// The file is on another file system: copy under a temporary name, then rename.
fn copy_beside(file: &Path, to: &Path) -> io::Result<()> {
    let temporary = to.with_extension(format!("partial-{}", std::process::id()));
    fs::copy(file, &temporary)?; // with its rights
    File::open(&temporary)?.sync_all()?;
    fs::rename(&temporary, to)?;
    fs::remove_file(file)
}
