//! Reads packed sequences by number, from shards on a local disk. Any sequence can be asked for at any time and by any thread; nothing is
//! kept in memory but the shards' sizes.

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use crate::megatron::Index;
use crate::output::digest_file;
use crate::pack::{DatasetManifest, Frame};
use osler_core::digest::Digest;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much is checked when a dataset is opened. Sizes, and that the manifest agrees with itself, always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// The digest of every file and every field of every index too: reads everything once.
    Full,
    /// For files whose digests were checked when they were fetched.
    Sizes,
}

/// An open dataset.
#[derive(Debug)]
pub struct Dataset {
    manifest: DatasetManifest,
    shards: Vec<OpenShard>,
}

#[derive(Debug)]
struct OpenShard {
    file: File,
    path: PathBuf,
    /// The number of the first sequence behind this shard.
    end: u64,
    sequences: u64,
}

impl Dataset {
    /// Opens the shards of `manifest`, which lie in `folder`.
    ///
    /// # Errors
    /// The manifest contradicts itself; a file is missing, has another size or, with [`Verify::Full`], another content.
    pub fn open(manifest: DatasetManifest, folder: &Path, verify: Verify) -> Result<Self> {
        manifest.check()?;
        let mut shards = Vec::with_capacity(manifest.shards.len());
        let mut end = 0;
        for shard in &manifest.shards {
            let path = folder.join(&shard.bin.name);
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            let size = file.metadata().map_err(Error::io("read", &path))?.len();
            if size != shard.bin.bytes {
                return Err(Error::file(
                    &path,
                    format!("the file has {size} bytes, the manifest says {}; fetch it again", shard.bin.bytes),
                ));
            }
            if verify == Verify::Full {
                let idx = folder.join(&shard.idx.name);
                check_digest(&path, shard.bin.digest)?;
                check_digest(&idx, shard.idx.digest)?;
                let index = Index::read(&idx, shard.bin.bytes)?;
                if (index.kind, index.tokens, index.lengths.len() as u64) != (manifest.token_type, shard.tokens, shard.documents) {
                    return Err(Error::file(&idx, "the index does not agree with the manifest"));
                }
            }
            end += shard.sequences;
            shards.push(OpenShard { file, path, end, sequences: shard.sequences });
        }
        Ok(Self { manifest, shards })
    }

    pub fn manifest(&self) -> &DatasetManifest {
        &self.manifest
    }

    /// The number of sequences.
    pub fn len(&self) -> u64 {
        self.manifest.sequences
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sequence `number`: `out` becomes its `sequence_length + 1` tokens, or in a frame its `sequence_length`, all below the vocabulary's size.
    pub fn sequence(&self, number: u64, out: &mut Vec<u32>) -> Result<()> {
        out.clear();
        let position = self.shards.partition_point(|shard| shard.end <= number);
        let Some(shard) = self.shards.get(position) else {
            return Err(Error::Unusable(format!("sequence {number} was asked for, the dataset has {}", self.len())));
        };
        let within = number - (shard.end - shard.sequences);
        let (windows, width) = (self.manifest.windows(), self.manifest.token_type.bytes());
        let place = within * windows.stride * width;
        let mut bytes = vec![0; usize::try_from(windows.tokens * width).unwrap_or_default()];
        shard.file.read_exact_at(&mut bytes, place).map_err(Error::io("read", &shard.path))?;
        self.manifest.token_type.decode(&bytes, out);
        match out.iter().position(|token| *token >= self.manifest.vocab_size) {
            None => {
                if let Some(Frame { begin, end }) = self.manifest.frame {
                    out.insert(0, begin);
                    out.push(end);
                }
                Ok(())
            }
            Some(i) => {
                let problem = format!("the token {:?} is not in the vocabulary; the shard is damaged", out.get(i));
                Err(Error::Malformed { path: shard.path.clone(), offset: place + i as u64 * width, problem })
            }
        }
    }
}

fn check_digest(path: &Path, expected: Digest) -> Result<()> {
    let (found, _) = digest_file(path)?;
    if found == expected {
        Ok(())
    } else {
        Err(Error::file(path, format!("the content has digest {found}, the manifest says {expected}; fetch it again")))
    }
}
