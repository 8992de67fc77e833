//! File work of the local store: digests, moving a finished file to its name, and what is no file although it has an object's name.

use crate::files;
use nix::errno::Errno;
use object_store::local::LocalFileSystem;
use osler_core::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Something else has an object's name.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, not a file")]
struct NotAFile(&'static str);

/// The objects of a folder, each durable when a write returns.
///
/// A folder that a deletion leaves empty is removed. Writers make the folders that they need, again if need be.
pub fn objects(root: &Path) -> object_store::Result<LocalFileSystem> {
    Ok(LocalFileSystem::new_with_prefix(root)?.with_fsync(true).with_automatic_cleanup(true))
}

/// What has a name, in words, unless it is a file or a link to one, or there is nothing.
pub fn no_file(path: &Path) -> Option<&'static str> {
    match fs::metadata(path) {
        Ok(about) => (!about.is_file()).then(|| files::what(about.file_type())),
        Err(e) if leads_nowhere(&e) => {
            let link = fs::symlink_metadata(path).map_or_else(|e| is_loop(&e), |about| about.is_symlink());
            link.then_some("a symbolic link that leads nowhere")
        }
        Err(_) => None,
    }
}

/// For what is to be read: a named pipe would wait for its other end, a device may do anything. For what could not be created: then it
/// was no object that has the name.
pub fn expect_file(path: &Path) -> io::Result<()> {
    no_file(path).map_or(Ok(()), |what| Err(io::Error::other(NotAFile(what))))
}

/// For what could not be replaced or deleted: a folder withstands both, all else gives way.
pub fn expect_no_folder(path: &Path) -> io::Result<()> {
    let folder = fs::symlink_metadata(path).is_ok_and(|about| about.is_dir());
    if folder { Err(io::Error::other(NotAFile("a folder"))) } else { Ok(()) }
}

/// What the two above have found.
pub fn not_a_file(error: &io::Error) -> Option<&'static str> {
    error.get_ref()?.downcast_ref::<NotAFile>().map(|found| found.0)
}

/// Whether a path, or a link on it, has nothing at its end.
pub fn leads_nowhere(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) || is_loop(error)
}

fn is_loop(error: &io::Error) -> bool {
    error.raw_os_error().map(Errno::from_raw) == Some(Errno::ELOOP)
}

/// Size and SHA-256 of a file, in bounded memory. Never waits for a writer.
pub fn digest(file: &Path) -> io::Result<(u64, Digest)> {
    let mut reader = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open(file)?;
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

/// Gives `file` its place in the store: durable contents first, then one rename; [`sync_folder`] makes the name durable. `known` spares
/// reading the file again when its writer has just digested what it wrote.
pub fn place(file: &Path, to: &Path, known: Option<(u64, Digest)>) -> io::Result<(u64, Digest)> {
    let folder = folder_of(to)?;
    files::make_folder(folder)?;
    let (bytes, digest) = known.map_or_else(|| digest(file), Ok)?;
    let found = fs::metadata(file)?.len();
    if found != bytes {
        return Err(io::Error::other(format!("{} has {found} bytes, its writer said {bytes}", file.display())));
    }
    files::settle(file, folder)?;
    File::open(file)?.sync_all()?;
    let mut moved = fs::rename(file, to);
    if moved.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        // Whoever sweeps the store removes empty folders, and may have come between.
        files::make_folder(folder)?;
        moved = fs::rename(file, to);
    }
    let placed = match moved {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => copy_beside(file, to),
        other => other,
    };
    placed.map_err(|e| expect_no_folder(to).err().unwrap_or(e))?;
    Ok((bytes, digest))
}

pub fn sync_folder(to: &Path) -> io::Result<()> {
    File::open(folder_of(to)?)?.sync_all()
}

fn folder_of(to: &Path) -> io::Result<&Path> {
    to.parent().ok_or_else(|| io::Error::other("an object needs a folder"))
}

/// The file is on another file system: copy under a temporary name, then rename. A copy that fails leaves nothing.
fn copy_beside(file: &Path, to: &Path) -> io::Result<()> {
    let temporary = to.with_extension(format!("partial-{}", std::process::id()));
    let copied = fs::copy(file, &temporary).and_then(|_| File::open(&temporary)?.sync_all()).and_then(|()| fs::rename(&temporary, to));
    if copied.is_err() {
        let _costs_space_only = fs::remove_file(&temporary);
    }
    copied?;
    fs::remove_file(file)
}

pub fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
