//! File work of the local store: digests, and moving a finished file to its name.

use crate::files;
use object_store::local::LocalFileSystem;
use osler_core::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// The objects of a folder, each durable when a write returns.
///
/// A folder that a deletion leaves empty is removed. Writers make the folders that they need, again if need be.
pub fn objects(root: &Path) -> object_store::Result<LocalFileSystem> {
    Ok(LocalFileSystem::new_with_prefix(root)?.with_fsync(true).with_automatic_cleanup(true))
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
    match moved {
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => copy_beside(file, to)?,
        other => other?,
    }
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

/// The files below `prefix`, temporaries included, as names below `root`, sorted.
pub fn walk(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = vec![];
    let mut open = vec![root.join(prefix)];
    while let Some(folder) = open.pop() {
        for entry in entries(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            } else if let Some(name) = entry.path().strip_prefix(root).ok().and_then(Path::to_str) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    Ok(names)
}

pub fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Removes the folders below this one that hold nothing, the innermost first. One that somebody fills meanwhile stays.
pub fn remove_empty(folder: &Path) -> io::Result<()> {
    for entry in entries(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
            remove_if_empty(&entry.path());
        }
    }
    Ok(())
}

pub fn remove_if_empty(folder: &Path) {
    let _holds_something = fs::remove_dir(folder);
}

/// None if there is no such folder.
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(e) => Err(e),
    }
}
