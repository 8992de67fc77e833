//! Safetensors files, read by range and written by stream: neither side holds a whole file in memory.
//!
//! A reader believes nothing: the header's size is bounded, the library checks that offsets are gapless and fit their shapes, and the
//! file's length must agree. A writer makes the file under another name, forces it to disk and renames it, so that a name
//! always stands for whole bytes.

use crate::EngineError;
use half::{bf16, f16};
use osler_core::digest::Digest;
use osler_core::spec::FloatType;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Headers of real models stay below 1 MiB.
const MAX_HEADER: u64 = 16 << 20;

#[derive(Debug)]
pub struct SafeFile {
    path: PathBuf,
    file: File,
    data_start: u64,
    header: Metadata,
}

impl SafeFile {
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let mut file = File::open(path).map_err(EngineError::io(path, "open"))?;
        let length = file.metadata().map_err(EngineError::io(path, "inspect"))?.len();
        let mut prefix = [0; 8];
        file.read_exact(&mut prefix).map_err(|_| EngineError::file(path, format!("{length} bytes, too short for safetensors")))?;
        let size = u64::from_le_bytes(prefix);
        if size > MAX_HEADER || size + 8 > length {
            return Err(EngineError::file(
                path,
                format!("byte 0: header of {size} bytes in a file of {length}; not safetensors, or cut off"),
            ));
        }
        let mut bytes = vec![0; size as usize];
        file.read_exact(&mut bytes).map_err(EngineError::io(path, "read the header of"))?;
        let header: Metadata =
            serde_json::from_slice(&bytes).map_err(|e| EngineError::file(path, format!("safetensors header at byte 8: {e}")))?;
        let data_start = 8 + size;
        if data_start.checked_add(header.data_len() as u64) != Some(length) {
            let problem = format!("the header describes {} bytes of data, the file has {}", header.data_len(), length - data_start);
            return Err(EngineError::file(path, problem));
        }
        Ok(Self { path: path.to_path_buf(), file, data_start, header })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names in the order of their data.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.header.metadata().as_ref()?.get(key).map(String::as_str)
    }

    /// Values `from..from + count` of a tensor, as f32 whatever float type it is stored in.
    pub fn read_f32(&self, name: &str, from: usize, count: usize) -> Result<Vec<f32>, EngineError> {
        let bad = |problem: String| EngineError::file(&self.path, format!("tensor {name}: {problem}"));
        let info = self.info(name).ok_or_else(|| bad("missing".into()))?;
        let width = match info.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => return Err(bad(format!("stored as {other:?}; F32, F16 and BF16 can be read"))),
        };
        let held = (info.data_offsets.1 - info.data_offsets.0) / width;
        if from.checked_add(count).is_none_or(|end| end > held) {
            return Err(bad(format!("{held} values, {count} wanted from value {from}")));
        }
        let mut bytes = vec![0; count * width];
        let start = self.data_start + (info.data_offsets.0 + from * width) as u64;
        self.file.read_exact_at(&mut bytes, start).map_err(EngineError::io(&self.path, "read"))?;
        Ok(match info.dtype {
            Dtype::F16 => bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            _ => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        })
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

    #[test]
    fn hostile_headers_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.safetensors");
        let with = |header: &str, data: usize| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat();
        let cases: &[(&str, Vec<u8>)] = &[
            ("empty", vec![]),
            ("short", vec![1, 2, 3]),
            ("huge header", [u64::MAX.to_le_bytes().to_vec(), vec![b'{'; 64]].concat()),
            ("header past the end", [100u64.to_le_bytes().to_vec(), b"{}".to_vec()].concat()),
            ("not JSON", with("{\"a\":", 0)),
            ("a list", with("[]", 0)),
            ("past the end", with(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, 8)),
            ("trailing bytes", with(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 8)),
            ("gap", with(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8)),
            ("shape and offsets differ", with(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8)),
            ("overflow", with(r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#, 8)),
            ("negative", with(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4)),
            ("backwards", with(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#, 8)),
            ("unknown dtype", with(r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, 4)),
        ];
        for (name, bytes) in cases {
            std::fs::write(&path, bytes).unwrap();
            assert!(SafeFile::open(&path).is_err(), "{name}");
        }
    }
}
