//! Safetensors files, read by range and written by stream: neither side holds a whole file in memory.
//!
//! The reader is osler-model's, which believes nothing. A writer makes the file under another name, forces it to disk and renames it, so that a name
//! always stands for whole bytes.

use crate::EngineError;
use half::{bf16, f16};
use osler_core::digest::Digest;
use osler_core::spec::FloatType;
use osler_model::ModelError;
use osler_model::safetensors::SafeTensors;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file of slices that was opened for reading. The reader is the one of model folders.
#[derive(Debug)]
pub struct SafeFile(SafeTensors);

impl SafeFile {
    /// Errors: damage is [`EngineError::File`], since another copy may be whole.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        SafeTensors::open(path).map(Self).map_err(damaged)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Names in the order of their data.
    pub fn names(&self) -> Vec<String> {
        self.0.names_by_place()
    }

    /// A tensor's shape.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.0.get(name)?.shape)
    }

    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.0.metadata(key)
    }

    /// Values `from..from + count` of a tensor, as f32 whatever float type it is stored in.
    pub fn read_f32(&self, name: &str, from: usize, count: usize) -> Result<Vec<f32>, EngineError> {
        self.0.read_f32(name, from, count).map_err(damaged)
    }
}

fn damaged(error: ModelError) -> EngineError {
    match error {
        ModelError::File { path, reason } => EngineError::File { path, problem: reason },
        ModelError::Malformed { path, offset, field, reason } => {
            EngineError::File { path, problem: format!("byte {offset}: {field}: {reason}") }
        }
        other => other.into(),
    }
}

/// A file that is durable under its final name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub bytes: u64,
    pub digest: Digest,
}

/// Writes f32 tensors. `data(i)` returns the little-endian bytes of tensor `i`, whose length must fit its shape.
pub fn write<D: AsRef<[u8]>>(
    path: &Path,
    metadata: &BTreeMap<String, String>,
    tensors: &[(String, Vec<usize>)],
    data: impl FnMut(usize) -> Result<D, EngineError>,
) -> Result<Written, EngineError> {
    write_as(FloatType::Fp32, path, metadata, tensors, data)
}

/// The same for tensors of another type.
pub fn write_as<D: AsRef<[u8]>>(
    dtype: FloatType,
    path: &Path,
    metadata: &BTreeMap<String, String>,
    tensors: &[(String, Vec<usize>)],
    mut data: impl FnMut(usize) -> Result<D, EngineError>,
) -> Result<Written, EngineError> {
    let (header, sizes) = header(dtype, path, metadata, tensors)?;
    replace(path, |out| {
        out.put(&(header.len() as u64).to_le_bytes())?;
        out.put(&header)?;
        for (i, size) in sizes.iter().enumerate() {
            let data = data(i)?;
            let bytes = data.as_ref();
            if bytes.len() != *size {
                return Err(EngineError::file(path, format!("tensor {i} has {} bytes, its shape needs {size}", bytes.len())));
            }
            out.put(bytes)?;
        }
        Ok(())
    })
}

/// Writes one small file with the same care as tensors.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<Written, EngineError> {
    replace(path, |out| out.put(bytes))
}

/// Little-endian bytes of f32 values.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Little-endian bytes of values rounded to `dtype`. Errors: a value that is finite and would not stay so.
pub fn float_bytes(values: &[f32], dtype: FloatType) -> Result<Vec<u8>, f32> {
    let lost = |v: &f32, rounded: f32| if v.is_finite() && !rounded.is_finite() { Err(*v) } else { Ok(()) };
    let mut bytes = Vec::with_capacity(values.len() * dtype.bytes() as usize);
    for v in values {
        match dtype {
            FloatType::Fp32 => bytes.extend(v.to_le_bytes()),
            FloatType::Bf16 => {
                let rounded = bf16::from_f32(*v);
                lost(v, rounded.to_f32())?;
                bytes.extend(rounded.to_le_bytes());
            }
            FloatType::Fp16 => {
                let rounded = f16::from_f32(*v);
                lost(v, rounded.to_f32())?;
                bytes.extend(rounded.to_le_bytes());
            }
        }
    }
    Ok(bytes)
}

fn header(
    dtype: FloatType,
    path: &Path,
    metadata: &BTreeMap<String, String>,
    tensors: &[(String, Vec<usize>)],
) -> Result<(Vec<u8>, Vec<usize>), EngineError> {
    let (mut sizes, mut at) = (vec![], 0usize);
    let mut fields = serde_json::Map::new();
    fields.insert("__metadata__".into(), serde_json::json!(metadata));
    for (name, shape) in tensors {
        let size = shape.iter().product::<usize>() * dtype.bytes() as usize;
        let kind = match dtype {
            FloatType::Fp32 => "F32",
            FloatType::Bf16 => "BF16",
            FloatType::Fp16 => "F16",
        };
        fields.insert(name.clone(), serde_json::json!({ "dtype": kind, "shape": shape, "data_offsets": [at, at + size] }));
        at += size;
        sizes.push(size);
    }
    let mut header = serde_json::to_vec(&fields).map_err(|e| EngineError::file(path, e.to_string()))?;
    header.resize(header.len().next_multiple_of(8), b' '); // the data begins at a multiple of 8, as the format asks
    Ok((header, sizes))
}

struct Hashed {
    path: PathBuf,
    file: BufWriter<File>,
    sha: Sha256,
    bytes: u64,
}

impl Hashed {
    fn put(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        // A piece that was just digested is still in the cache when it is written.
        for piece in bytes.chunks(1 << 18) {
            self.sha.update(piece);
            self.file.write_all(piece).map_err(EngineError::io(&self.path, "write"))?;
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}

fn replace(path: &Path, fill: impl FnOnce(&mut Hashed) -> Result<(), EngineError>) -> Result<Written, EngineError> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(EngineError::file(path, "is not a file's path"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let mut partial = std::ffi::OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    let partial = folder.join(partial);
    let file = File::create(&partial).map_err(EngineError::io(&partial, "create"))?;
    let mut out = Hashed { path: partial.clone(), file: BufWriter::with_capacity(1 << 20, file), sha: Sha256::new(), bytes: 0 };
    fill(&mut out)?;
    out.file.flush().map_err(EngineError::io(&partial, "write"))?;
    out.file.get_ref().sync_all().map_err(EngineError::io(&partial, "sync"))?;
    std::fs::rename(&partial, path).map_err(EngineError::io(path, "rename to"))?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(EngineError::io(folder, "sync"))?;
    Ok(Written { bytes: out.bytes, digest: Digest::from_bytes(out.sha.finalize().into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_the_digest_is_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensors = [("b".to_owned(), vec![2, 2]), ("a".to_owned(), vec![3])];
        let values = [vec![1.0, -2.5, 3.0, 4.0], vec![f32::MIN_POSITIVE, 0.0, 7.0]];
        let metadata = BTreeMap::from([("step".to_owned(), "7".to_owned())]);
        let written = write(&path, &metadata, &tensors, |i| Ok(f32_bytes(&values[i]))).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(written, Written { bytes: bytes.len() as u64, digest: Digest::of(&bytes) });
        let file = SafeFile::open(&path).unwrap();
        assert_eq!((file.names(), file.metadata("step")), (vec!["b".to_owned(), "a".to_owned()], Some("7")));
        assert_eq!(file.read_f32("b", 1, 2).unwrap(), [-2.5, 3.0]);
        assert!(file.read_f32("a", 1, 3).is_err() && file.read_f32("a", usize::MAX, 2).is_err() && file.read_f32("c", 0, 1).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tensor_of_the_wrong_size_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        write(&path, &BTreeMap::new(), &[("a".to_owned(), vec![3])], |_| Ok(vec![0; 8])).unwrap_err();
        assert!(!path.exists());
    }
}
