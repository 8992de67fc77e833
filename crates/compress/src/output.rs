//! Outputs that appear whole or not at all: written beside the target under a temporary name, synced, then renamed.

use crate::{CompressError, OutputFile};
use sha2::{Digest, Sha256};
use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::{NamedTempFile, TempDir};

/// Refuses a target that is there in any form, a dangling link included.
pub(crate) fn check_absent(target: &Path) -> Result<(), CompressError> {
    match fs::symlink_metadata(target) {
        Ok(_) => Err(CompressError::TargetExists(target.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(CompressError::io("look for", target)(error)),
    }
}

fn parent_of(target: &Path) -> Result<PathBuf, CompressError> {
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&parent).map_err(CompressError::io("create the folder", &parent))?;
    Ok(parent)
}

/// A file that counts and hashes what passes through it.
pub(crate) struct HashedFile {
    writer: BufWriter<File>,
    path: PathBuf,
    hash: Sha256,
    bytes: u64,
}

impl HashedFile {
    fn new(file: File, path: &Path) -> Self {
        Self { writer: BufWriter::with_capacity(1 << 20, file), path: path.to_owned(), hash: Sha256::new(), bytes: 0 }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), CompressError> {
        self.writer.write_all(bytes).map_err(CompressError::io("write", &self.path))?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self, name: String) -> Result<OutputFile, CompressError> {
        self.writer.flush().map_err(CompressError::io("write", &self.path))?;
        self.writer.get_ref().sync_all().map_err(CompressError::io("sync", &self.path))?;
        Ok(OutputFile { name, bytes: self.bytes, sha256: hex::encode(self.hash.finalize()) })
    }
}

fn sync_folder(folder: &Path) -> Result<(), CompressError> {
    File::open(folder).and_then(|f| f.sync_all()).map_err(CompressError::io("sync", folder))
}

fn name_of(path: &Path) -> Result<String, CompressError> {
    let name = path.file_name().and_then(|n| n.to_str());
    name.map(str::to_owned).ok_or_else(|| CompressError::field(path, "file name", "must be UTF-8 and not empty"))
}

/// One output file in the making; dropped unpublished, it leaves nothing.
pub(crate) struct StagedFile {
    temporary: NamedTempFile,
    target: PathBuf,
    parent: PathBuf,
    pub file: HashedFile,
}

impl StagedFile {
    pub fn create(target: &Path) -> Result<Self, CompressError> {
        check_absent(target)?;
        let parent = parent_of(target)?;
        let temporary = tempfile::Builder::new()
            .prefix(".osler-partial-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(&parent)
            .map_err(CompressError::io("create a temporary file in", &parent))?;
        let handle = temporary.as_file().try_clone().map_err(CompressError::io("open", target))?;
        Ok(Self { temporary, target: target.to_owned(), parent, file: HashedFile::new(handle, target) })
    }

    pub fn publish(self) -> Result<OutputFile, CompressError> {
        let output = self.file.finish(name_of(&self.target)?)?;
        self.temporary.persist_noclobber(&self.target).map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => CompressError::TargetExists(self.target.clone()),
            _ => CompressError::io("publish", &self.target)(error.error),
        })?;
        sync_folder(&self.parent)?;
        Ok(output)
    }
}

/// An output folder in the making.
pub(crate) struct StagedDir {
    temporary: TempDir,
    target: PathBuf,
    parent: PathBuf,
    outputs: Vec<OutputFile>,
}

impl StagedDir {
    pub fn create(target: &Path) -> Result<Self, CompressError> {
        check_absent(target)?;
        let parent = parent_of(target)?;
        let temporary = tempfile::Builder::new()
            .prefix(".osler-partial-")
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(&parent)
            .map_err(CompressError::io("create a temporary folder in", &parent))?;
        Ok(Self { temporary, target: target.to_owned(), parent, outputs: Vec::new() })
    }

    pub fn file(&self, name: &str) -> Result<HashedFile, CompressError> {
        let path = self.temporary.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(CompressError::io("create the folder", folder))?;
        }
        let file = File::create_new(&path).map_err(CompressError::io("create", &path))?;
        Ok(HashedFile::new(file, &path))
    }

    pub fn add(&mut self, file: HashedFile) -> Result<u64, CompressError> {
        let below = file.path.strip_prefix(self.temporary.path()).unwrap_or(&file.path);
        let name = below.to_str().map(str::to_owned).ok_or_else(|| CompressError::field(below, "file name", "must be UTF-8"))?;
        let output = file.finish(name)?;
        let bytes = output.bytes;
        self.outputs.push(output);
        Ok(bytes)
    }

    pub fn publish(mut self) -> Result<Vec<OutputFile>, CompressError> {
        sync_folder(self.temporary.path())?;
        check_absent(&self.target)?;
        fs::rename(self.temporary.path(), &self.target).map_err(CompressError::io("publish", &self.target))?;
        // Renamed: there is no temporary folder left to remove.
        self.temporary.disable_cleanup(true);
        sync_folder(&self.parent)?;
        self.outputs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(self.outputs)
    }
}
