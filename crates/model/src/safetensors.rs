//! One safetensors file, read by range: memory holds one tensor at most, and a file that is cut short while it is read gives an error (a
//! memory map would kill the process). Nothing in the header is believed before it is checked against the file's length.

use crate::ModelError;
use half::{bf16, f16};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The limit of the reference reader.
const HEADER_LIMIT: u64 = 100_000_000;

/// The type of a tensor's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    F32,
    F16,
    Bf16,
    I32,
    I64,
    /// Known by name and by the bits of a value: never read as weights.
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
            "F4" => Self::Other("F4", 4),
            "F6_E2M3" => Self::Other("F6_E2M3", 6),
            "F6_E3M2" => Self::Other("F6_E3M2", 6),
            "BOOL" => Self::Other("BOOL", 8),
            "U8" => Self::Other("U8", 8),
            "I8" => Self::Other("I8", 8),
            "F8_E4M3" => Self::Other("F8_E4M3", 8),
            "F8_E5M2" => Self::Other("F8_E5M2", 8),
            "F8_E8M0" => Self::Other("F8_E8M0", 8),
            "I16" => Self::Other("I16", 16),
            "U16" => Self::Other("U16", 16),
            "U32" => Self::Other("U32", 32),
            "F64" => Self::Other("F64", 64),
            "U64" => Self::Other("U64", 64),
            "C64" => Self::Other("C64", 64),
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

    fn bits(self) -> u64 {
        match self {
            Self::F32 | Self::I32 => 32,
            Self::F16 | Self::Bf16 => 16,
            Self::I64 => 64,
            Self::Other(_, bits) => bits,
        }
    }

    /// Bytes of a value; of types of less than a byte, none.
    pub fn bytes(self) -> u64 {
        self.bits() / 8
    }

    /// Weights are stored in it.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::Bf16)
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

/// One tensor in a file.
#[derive(Debug, Clone)]
pub struct Entry {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    /// Bytes from the start of the file.
    start: u64,
    len: usize,
}

/// An open file whose header was checked.
#[derive(Debug)]
pub struct SafeTensors {
    path: PathBuf,
    file: File,
    size: u64,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

impl SafeTensors {
    /// # Errors
    /// The file cannot be read, or its tensors do not tile its data exactly, as the format demands.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(ModelError::io("open", path))?;
        let size = file.metadata().map_err(ModelError::io("look at", path))?.len();
        let (entries, metadata) = header(path, &file, size)?;
        Ok(Self { path: path.to_owned(), file, size, entries, metadata })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the whole file.
    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// Names in the order of their data.
    pub fn names_by_place(&self) -> Vec<String> {
        let mut all: Vec<(&String, &Entry)> = self.entries.iter().collect();
        all.sort_by_key(|(_, entry)| (entry.start, entry.len));
        all.into_iter().map(|(name, _)| name.clone()).collect()
    }

    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// A value of the header's own metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    fn entry(&self, name: &str) -> Result<&Entry, ModelError> {
        self.get(name).ok_or_else(|| ModelError::file(&self.path, format!("tensor {name} is missing")))
    }

    /// A tensor's bytes as they are stored.
    pub fn raw(&self, name: &str) -> Result<Vec<u8>, ModelError> {
        let entry = self.entry(name)?;
        let mut raw = vec![0; entry.len];
        self.file.read_exact_at(&mut raw, entry.start).map_err(ModelError::io("read", &self.path))?;
        Ok(raw)
    }

    /// Values `from..from + count` of a tensor, as f32 from any float type that weights are stored in.
    pub fn read_f32(&self, name: &str, from: usize, count: usize) -> Result<Vec<f32>, ModelError> {
        let entry = self.entry(name)?;
        let bad = |problem: String| ModelError::file(&self.path, format!("tensor {name}: {problem}"));
        let unfit = || bad(format!("stored as {}; F32, F16 and BF16 can be read", entry.dtype.name()));
        if !entry.dtype.is_float() {
            return Err(unfit());
        }
        let width = entry.dtype.bytes() as usize;
        let held = entry.len / width;
        if from.checked_add(count).is_none_or(|end| end > held) {
            return Err(bad(format!("{held} values, {count} wanted from value {from}")));
        }
        let mut raw = vec![0; count * width];
        self.file.read_exact_at(&mut raw, entry.start + (from * width) as u64).map_err(ModelError::io("read", &self.path))?;
        entry.dtype.floats(&raw).ok_or_else(unfit)
    }
}

#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// The header's pairs in their order: a map would keep the last of two tensors with one name, and say nothing.
struct Pairs(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = vec![];
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

type Header = (BTreeMap<String, Entry>, BTreeMap<String, String>);

fn header(path: &Path, file: &File, size: u64) -> Result<Header, ModelError> {
    let bad = |offset: u64, field: &str, reason: String| ModelError::malformed(path, offset, field, reason);
    if size < 8 {
        return Err(bad(0, "header length", format!("the file has only {size} bytes: not safetensors, or cut off")));
    }
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0).map_err(ModelError::io("read", path))?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT || length > size - 8 {
        let reason = format!("{length} is more than the file ({size} bytes) or the format allows: not safetensors, or cut off");
        return Err(bad(0, "header length", reason));
    }
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, 8).map_err(ModelError::io("read", path))?;
    let Pairs(pairs) = serde_json::from_slice(&text).map_err(|e| bad(8, "header", e.to_string()))?;

    let data = 8 + length;
    let (mut entries, mut metadata) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in pairs {
        if name == "__metadata__" {
            metadata = serde_json::from_value(value).map_err(|e| bad(8, &name, e.to_string()))?;
            continue;
        }
        let entry = entry(&value, data, size).map_err(|(offset, reason)| bad(offset, &name, reason))?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(bad(8, &name, "two tensors have this name".to_owned()));
        }
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
    Ok((entries, metadata))
}

/// Errors: where and why.
fn entry(value: &Value, data: u64, size: u64) -> Result<Entry, (u64, String)> {
    let RawEntry { dtype: named, shape, data_offsets: [start, end] } = RawEntry::deserialize(value).map_err(|e| (8, e.to_string()))?;
    let dtype = Dtype::parse(&named).ok_or_else(|| (8, format!("unknown type {named:?}")))?;
    let elements = shape.iter().try_fold(1u64, |n, d| n.checked_mul(*d as u64));
    let bits = elements.and_then(|n| n.checked_mul(dtype.bits())).filter(|bits| bits.is_multiple_of(8));
    if end < start || end > size - data || bits.map(|bits| bits / 8) != Some(end - start) {
        let reason = format!("bytes {start}..{end} do not hold {named} {shape:?} within {} data bytes", size - data);
        return Err((data.saturating_add(start), reason));
    }
    let len = usize::try_from(end - start).map_err(|e| (8, e.to_string()))?;
    Ok(Entry { dtype, shape, start: data + start, len })
}

#[cfg(test)]
mod tests;
