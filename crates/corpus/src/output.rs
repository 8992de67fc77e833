//! Files that are whole or absent: written under another name, digested on the way, synced, then renamed. A crash leaves at most a
//! `.partial` file, which the next attempt overwrites.

use crate::error::{Error, Result};
use osler_core::digest::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// A finished file: its name in the output folder and what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    pub name: String,
    pub bytes: u64,
    pub digest: Digest,
    /// Lines, or whatever the file counts.
    pub records: u64,
}

pub(crate) struct Output {
    folder: PathBuf,
    name: String,
    writer: BufWriter<File>,
    sha: Sha256,
    bytes: u64,
    records: u64,
    finished: bool,
}

impl Output {
    pub(crate) fn create(folder: &Path, name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        std::fs::create_dir_all(folder).map_err(Error::io("create folder", folder))?;
        let partial = partial(folder, &name);
        let file = File::create(&partial).map_err(Error::io("create", &partial))?;
        let writer = BufWriter::with_capacity(1 << 20, file);
        Ok(Self { folder: folder.to_path_buf(), name, writer, sha: Sha256::new(), bytes: 0, records: 0, finished: false })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|source| self.error("write", source))?;
        self.sha.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// One record: the line and its end.
    pub(crate) fn line(&mut self, line: &[u8]) -> Result<()> {
        self.write(line)?;
        self.write(b"\n")?;
        self.records += 1;
        Ok(())
    }

    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<()> {
        let line = serde_json::to_vec(value).map_err(|e| self.error("write", e.into()))?;
        self.line(&line)
    }

    /// For files that are not lines.
    pub(crate) fn count_record(&mut self) {
        self.records += 1;
    }

    pub(crate) fn finish(mut self) -> Result<FileInfo> {
        let path = self.folder.join(&self.name);
        self.writer.flush().map_err(|source| self.error("write", source))?;
        self.writer.get_ref().sync_all().map_err(|source| self.error("sync", source))?;
        std::fs::rename(partial(&self.folder, &self.name), &path).map_err(|source| self.error("rename", source))?;
        self.finished = true;
        let folder = File::open(&self.folder).map_err(|source| self.error("open folder of", source))?;
        folder.sync_all().map_err(|source| self.error("sync folder of", source))?;
        let digest = Digest::from_bytes(std::mem::take(&mut self.sha).finalize().into());
        Ok(FileInfo { name: std::mem::take(&mut self.name), bytes: self.bytes, digest, records: self.records })
    }

    fn error(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Io { action, path: self.folder.join(&self.name), source }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: a leftover is harmless, it is overwritten or ignored.
            let _ = std::fs::remove_file(partial(&self.folder, &self.name));
        }
    }
}

fn partial(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.partial"))
}

/// The digest and size of a whole file.
pub fn digest_file(path: &Path) -> Result<(Digest, u64)> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut sha, mut bytes, mut buf) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        let n = file.read(&mut buf).map_err(Error::io("read", path))?;
        if n == 0 {
            return Ok((Digest::from_bytes(sha.finalize().into()), bytes));
        }
        sha.update(buf.get(..n).unwrap_or_default());
        bytes += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_whole_with_its_digest_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let mut abandoned = Output::create(folder.path(), "a.jsonl").unwrap();
        abandoned.line(b"x").unwrap();
        drop(abandoned);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        let mut output = Output::create(folder.path(), "a.jsonl").unwrap();
        output.line(b"x").unwrap();
        let info = output.finish().unwrap();
        assert_eq!((info.bytes, info.records), (2, 1));
        assert_eq!(info.digest, Digest::of(b"x\n"));
        assert_eq!(digest_file(&folder.path().join("a.jsonl")).unwrap(), (info.digest, 2));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
