//! What lies in the folder of a local store: its objects, everything, and folders that hold nothing.
//!
//! Links are followed, never round a loop. What cannot be an object is passed over with a warning, so that one odd entry hides nothing else. A
//! folder that cannot be read is an error that names it: it may hold what is needed.

use super::local::leads_nowhere;
use std::collections::BTreeSet;
use std::fs::{self, DirEntry, FileType, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The objects below `prefix`, as names below `root`, sorted.
pub fn names(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = vec![];
    each_object(root, prefix, |name, _| {
        names.push(name);
        Ok(())
    })?;
    names.sort();
    Ok(names)
}

/// The same with their sizes.
pub fn sizes(root: &Path, prefix: &str) -> io::Result<Vec<(String, u64)>> {
    let mut sizes = vec![];
    each_object(root, prefix, |name, entry| {
        let path = entry.path();
        match fs::metadata(&path) {
            Ok(about) => sizes.push((name, about.len())),
            Err(e) if leads_nowhere(&e) => {} // deleted since
            Err(e) => return Err(at(&path, e)),
        }
        Ok(())
    })?;
    sizes.sort();
    Ok(sizes)
}

/// The names of the folders directly below `prefix`, sorted.
pub fn folders(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let folder = root.join(prefix);
    let mut names = vec![];
    for entry in entries(&folder)? {
        let entry = entry?;
        if kind_of(&folder, &entry)?.is_some_and(|kind| kind.is_dir()) {
            names.extend(name_of(&entry));
        }
    }
    names.sort();
    Ok(names)
}

/// The files below `prefix`, temporaries and links included, as names below `root`, sorted.
pub fn everything(root: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = vec![];
    let mut open = vec![root.join(prefix)];
    while let Some(folder) = open.pop() {
        for entry in entries(&folder)? {
            let entry = entry?;
            if entry.file_type().map_err(|e| at(&entry.path(), e))?.is_dir() {
                open.push(entry.path());
            } else if let Some(name) = entry.path().strip_prefix(root).ok().and_then(Path::to_str) {
                names.push(name.to_owned());
            }
        }
    }
    names.sort();
    Ok(names)
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

/// A store has hundreds of thousands of objects: only links are looked at, of all others the folder says what they are.
fn each_object(root: &Path, prefix: &str, mut found: impl FnMut(String, &DirEntry) -> io::Result<()>) -> io::Result<()> {
    let mut open = vec![prefix.to_owned()];
    while let Some(below) = open.pop() {
        let folder = root.join(&below);
        for entry in entries(&folder)? {
            let entry = entry?;
            let (Some(kind), Some(name)) = (kind_of(&folder, &entry)?, name_of(&entry)) else { continue };
            if kind.is_file() && is_temporary(&name) {
                continue;
            }
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                found(path, &entry)?;
            }
        }
    }
    Ok(())
}

/// Nothing if there is no such folder.
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<DirEntry>>> {
    let found = match fs::read_dir(folder) {
        Ok(entries) => Some(entries),
        Err(e) if leads_nowhere(&e) => None,
        Err(e) => return Err(at(folder, e)),
    };
    Ok(found.into_iter().flatten().map(move |entry| entry.map_err(|e| at(folder, e))))
}

/// What an entry of `folder` is, or what it leads to. None: nothing that could be followed.
fn kind_of(folder: &Path, entry: &DirEntry) -> io::Result<Option<FileType>> {
    let kind = match entry.file_type() {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None), // deleted since
        found => found.map_err(|e| at(&entry.path(), e))?,
    };
    if !kind.is_symlink() {
        return Ok(Some(kind));
    }
    let path = entry.path();
    match fs::metadata(&path) {
        Ok(target) if target.is_dir() && lies_in(folder, &target) => {
            pass_over(&path, "it leads back to a folder that it lies in");
            Ok(None)
        }
        Ok(target) => Ok(Some(target.file_type())),
        Err(e) if leads_nowhere(&e) => {
            pass_over(&path, "it is a symbolic link that leads nowhere");
            Ok(None)
        }
        Err(e) => Err(at(&path, e)),
    }
}

/// Whether a folder is another, or lies in it.
fn lies_in(folder: &Path, other: &Metadata) -> bool {
    let is_other = |above: &Path| fs::metadata(above).is_ok_and(|above| (above.dev(), above.ino()) == (other.dev(), other.ino()));
    folder.ancestors().any(is_other)
}

/// None for a name that no object can have.
fn name_of(entry: &DirEntry) -> Option<String> {
    let name = entry.file_name().into_string().ok().filter(|name| !name.contains(|c: char| c.is_ascii_control()));
    if name.is_none() {
        pass_over(&entry.path(), "no object has such a name");
    }
    name
}

/// What `object_store` writes before it gets its name.
fn is_temporary(name: &str) -> bool {
    name.split_once('#').is_some_and(|(_, suffix)| !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit()))
}

/// Warns once, however often its folder is listed.
fn pass_over(path: &Path, why: &str) {
    static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned()) {
        tracing::warn!("{path:?} is passed over: {why}");
    }
}

/// A failure with its place.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .place.display())]
struct At {
    place: PathBuf,
    source: io::Error,
}

/// Says where something failed; what the system said stays among the causes.
pub fn at(place: &Path, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), At { place: place.to_owned(), source })
}
