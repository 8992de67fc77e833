//! Small files of this machine: replaced as a whole, and where a user's programs keep what should outlive them.

use nix::sys::stat::{Mode, umask};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// Replaces a file: a reader sees the old bytes or the new, also after a crash. It never has another mode than `mode`, and a failure
/// leaves nothing behind. The folder must be there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    // Left by a process of the same number that was killed here.
    match fs::remove_file(&temporary) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// Makes a folder for what this user's programs keep, with those that it lies in: nobody else's, unless a folder above is shared with a
/// group ([`shared`]).
pub fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), make_folder)?;
    let group = parent.unwrap_or(Path::new(".")).metadata().is_ok_and(|about| shared(&about));
    match fs::DirBuilder::new().mode(if group { 0o2770 } else { 0o700 }).create(path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// Whether what is made in a folder belongs to the folder's group too: somebody has run `chmod g+rwxs` on it, which no default does.
pub fn shared(folder: &fs::Metadata) -> bool {
    folder.permissions().mode() & 0o2020 == 0o2020
}

/// Sees to it that what this process and its children write from now on is for its user alone, or for the group of a shared folder.
pub fn keep_private(folder: Option<&Path>) {
    let group = folder.is_some_and(|folder| folder.metadata().is_ok_and(|about| shared(&about)));
    umask(Mode::from_bits_truncate(if group { 0o007 } else { 0o077 }));
}

/// Gives a file that was made elsewhere the rights of those that are made in `folder`.
pub fn settle(file: &Path, folder: &Path) -> io::Result<()> {
    let about = folder.metadata()?;
    if shared(&about) {
        chown(file, None, Some(about.gid()))?;
    }
    fs::set_permissions(file, fs::Permissions::from_mode(if shared(&about) { 0o660 } else { 0o600 }))
}

/// In words.
pub fn what(kind: fs::FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        kind if kind.is_block_device() || kind.is_char_device() => "a device",
        _ => "a file",
    }
}

/// `$XDG_STATE_HOME/osler`, or below `~/.local/state`; none without a home.
pub fn state_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("osler"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_their_owners_unless_one_above_is_shared() {
        let folder = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        make_folder(&folder.path().join("a/b")).unwrap();
        assert_eq!((mode(&folder.path().join("a")), mode(&folder.path().join("a/b"))), (0o700, 0o700));
        let (team, file) = (folder.path().join("team"), folder.path().join("file"));
        fs::write(&file, "x").unwrap();
        settle(&file, folder.path()).unwrap();
        assert_eq!(mode(&file), 0o600);
        fs::create_dir(&team).unwrap();
        fs::set_permissions(&team, fs::Permissions::from_mode(0o2770)).unwrap();
        settle(&file, &team).unwrap();
        assert_eq!(mode(&file), 0o660);
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(path.with_extension(format!("new-{}", std::process::id())), "half of what a dead process").unwrap();
        for text in ["first", "second"] {
            replace(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(replace(&folder.path().join("taken"), b"x", 0o600).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "a failure leaves nothing behind");
    }
}
