//! Reads safetensors, one file or shards with an index, tensor by tensor with positioned reads: memory holds one tensor, and a file
//! cut short while it is read gives an error (a memory map would kill the process, and mapping needs `unsafe`).

use super::read_json_if_there;
use crate::CompressError;
use half::{bf16, f16};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The limit of the reference reader.
const HEADER_LIMIT: u64 = 100_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    F32,
    F16,
    Bf16,
    I32,
    I64,
    /// Known in size only: masks and the like, which are never weights.
    Other(&'static str, u64),
}

impl Dtype {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            "I32" => Self::I32,
            "I64" => Self::I64,
            "BOOL" => Self::Other("BOOL", 1),
            "U8" => Self::Other("U8", 1),
            "I8" => Self::Other("I8", 1),
            "F8_E4M3" => Self::Other("F8_E4M3", 1),
            "F8_E5M2" => Self::Other("F8_E5M2", 1),
            "I16" => Self::Other("I16", 2),
            "U16" => Self::Other("U16", 2),
            "U32" => Self::Other("U32", 4),
            "F64" => Self::Other("F64", 8),
            "U64" => Self::Other("U64", 8),
            _ => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::I32 => "I32",
            Self::I64 => "I64",
            Self::Other(name, _) => name,
        }
    }

    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I64 => 8,
            Self::Other(_, bytes) => bytes,
        }
    }

    /// Little-endian floats as f32; none if this is not a float type of weights.
    pub fn floats(self, raw: &[u8]) -> Option<Vec<f32>> {
        let pairs = || raw.as_chunks::<2>().0.iter();
        Some(match self {
            Self::F32 => raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::Bf16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
            _ => return None,
        })
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Bytes from the start of the file.
    start: u64,
    len: usize,
    file: usize,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
}

/// All tensors of a folder, wherever they lie.
#[derive(Debug)]
pub(crate) struct WeightSource {
    parts: Vec<Part>,
    entries: BTreeMap<String, Entry>,
    /// Bytes of all weight files.
    pub bytes: u64,
    /// The single file, or the index: what an error about the whole names.
    pub path: PathBuf,
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

impl WeightSource {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    pub fn open(dir: &Path) -> Result<Self, CompressError> {
        let single = dir.join("model.safetensors");
        let mut source = Self { parts: Vec::new(), entries: BTreeMap::new(), bytes: 0, path: single.clone() };
        if single.exists() {
            for (name, entry) in source.add(&single)? {
                source.entries.insert(name, entry);
            }
            return Ok(source);
        }
        let index_path = dir.join("model.safetensors.index.json");
        let Some(index) = read_json_if_there(&index_path)? else {
            let missing = std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "neither it nor model.safetensors.index.json is there; other weight formats must be converted to safetensors first",
            );
            return Err(CompressError::io("open", &single)(missing));
        };
        source.path = index_path;
        source.add_shards(dir, &index)?;
        Ok(source)
    }

    fn add_shards(&mut self, dir: &Path, index: &Value) -> Result<(), CompressError> {
        let index_path = self.path.clone();
        let blame = |field: &str, reason: String| CompressError::field(&index_path, field, reason);
        let map = index.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| blame("weight_map", "must be an object of tensor name to file name".to_owned()))?;
        let mut by_file: BTreeMap<&str, Vec<&String>> = BTreeMap::new();
        for (tensor, file) in map {
            let file = file.as_str().ok_or_else(|| blame(tensor, format!("must be a file name, not {file}")))?;
            if file.contains(['/', '\\', '\0']) || file.starts_with('.') || !file.ends_with(".safetensors") {
                return Err(blame(tensor, format!("{file:?} must be the plain name of a .safetensors file in the same folder")));
            }
            by_file.entry(file).or_default().push(tensor);
        }
        for (file, tensors) in by_file {
            let path = dir.join(file);
            let mut there = self.add(&path)?;
            for tensor in tensors {
                let missing = || CompressError::MissingTensor { path: path.clone(), tensor: tensor.clone() };
                let entry = there.remove(tensor).ok_or_else(missing)?;
                self.entries.insert(tensor.clone(), entry);
            }
            if let Some(tensor) = there.into_keys().next() {
                return Err(blame(&tensor, format!("is in {file} but not in weight_map")));
            }
        }
        Ok(())
    }

    /// Opens one file and reads its header; the entries are checked against its length.
    fn add(&mut self, path: &Path) -> Result<BTreeMap<String, Entry>, CompressError> {
        let file = File::open(path).map_err(CompressError::io("open", path))?;
        let size = file.metadata().map_err(CompressError::io("look at", path))?.len();
        let entries = read_header(path, &file, size, self.parts.len())?;
        self.parts.push(Part { path: path.to_owned(), file });
        self.bytes += size;
        Ok(entries)
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub fn entry(&self, name: &str) -> Result<&Entry, CompressError> {
        let missing = || CompressError::MissingTensor { path: self.path.clone(), tensor: name.to_owned() };
        self.entries.get(name).ok_or_else(missing)
    }

    /// The entry, checked to have this shape.
    pub fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Entry, CompressError> {
        let entry = self.entry(name)?;
        if entry.shape != shape {
            let (expected, found) = (shape.to_vec(), entry.shape.clone());
            return Err(CompressError::Shape { path: self.file_of(entry), tensor: name.to_owned(), expected, found });
        }
        Ok(entry)
    }

    /// The file that an entry lies in.
    pub fn file_of(&self, entry: &Entry) -> PathBuf {
        self.parts.get(entry.file).map_or_else(|| self.path.clone(), |part| part.path.clone())
    }

    pub fn raw(&self, name: &str) -> Result<Vec<u8>, CompressError> {
        let entry = self.entry(name)?;
        let missing = || CompressError::MissingTensor { path: self.path.clone(), tensor: name.to_owned() };
        let part = self.parts.get(entry.file).ok_or_else(missing)?;
        let mut raw = vec![0; entry.len];
        part.file.read_exact_at(&mut raw, entry.start).map_err(CompressError::io("read", &part.path))?;
        Ok(raw)
    }

    /// A float tensor with its raw bytes, checked to be finite.
    pub fn floats(&self, name: &str) -> Result<(Vec<u8>, Vec<f32>), CompressError> {
        let entry = self.entry(name)?;
        let raw = self.raw(name)?;
        let values = entry.dtype.floats(&raw).ok_or_else(|| CompressError::Dtype {
            path: self.file_of(entry),
            tensor: name.to_owned(),
            found: entry.dtype.name().to_owned(),
            expected: "F32, F16 or BF16",
        })?;
        if let Some((index, value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(CompressError::NonFinite { path: self.file_of(entry), tensor: name.to_owned(), index, value: *value });
        }
        Ok((raw, values))
    }
}

/// Reads and checks one header: tensors must tile the data section exactly, as the format demands.
fn read_header(path: &Path, file: &File, size: u64, part: usize) -> Result<BTreeMap<String, Entry>, CompressError> {
    let bad = |offset: u64, field: &str, reason: String| CompressError::malformed(path, offset, field, reason);
    if size < 8 {
        return Err(bad(0, "header length", format!("the file has only {size} bytes")));
    }
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0).map_err(CompressError::io("read", path))?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT || length > size - 8 {
        return Err(bad(0, "header length", format!("{length} is more than the file ({size} bytes) or the format allows")));
    }
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, 8).map_err(CompressError::io("read", path))?;
    let header: BTreeMap<String, Value> = serde_json::from_slice(&text).map_err(|e| bad(8, "header", e.to_string()))?;

    let data = 8 + length;
    let mut entries = BTreeMap::new();
    for (name, value) in header {
        if name == "__metadata__" {
            continue;
        }
        let raw: RawEntry = serde_json::from_value(value).map_err(|e| bad(8, &name, e.to_string()))?;
        let dtype = Dtype::parse(&raw.dtype).ok_or_else(|| bad(8, &name, format!("unknown type {:?}", raw.dtype)))?;
        let [start, end] = raw.data_offsets;
        let elements = raw.shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64));
        let len = elements.and_then(|n| n.checked_mul(dtype.bytes()));
        if end < start || end > size - data || len != Some(end - start) {
            let reason = format!("bytes {start}..{end} do not hold {} {:?} within {} data bytes", raw.dtype, raw.shape, size - data);
            return Err(bad(data.saturating_add(start), &name, reason));
        }
        let len = usize::try_from(end - start).map_err(|e| bad(8, &name, e.to_string()))?;
        entries.insert(name, Entry { dtype, shape: raw.shape, start: data + start, len, file: part });
    }
    let mut in_order: Vec<(&String, &Entry)> = entries.iter().collect();
    in_order.sort_by_key(|(_, e)| (e.start, e.len));
    let mut next = data;
    for (name, entry) in in_order {
        if entry.start != next {
            return Err(bad(entry.start, name, format!("overlaps another tensor or leaves a gap; expected at byte {next}")));
        }
        next += entry.len as u64;
    }
    if next != size {
        return Err(bad(next, "end of file", format!("{} bytes belong to no tensor", size - next)));
    }
    Ok(entries)
}
