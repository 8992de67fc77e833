//! Reads a GGUF file that may be hostile: every length is compared with what is left of the file before memory is taken for it,
//! every tensor must lie inside the file, aligned, overlapping no other. Errors name the byte and the field.

use super::value::id;
use super::{ALIGNMENT_KEY, Array, DEFAULT_ALIGNMENT, GgmlType, MAGIC, VERSION, Value};
use crate::CompressError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Metadata and tensor list of any real model fit: a vocabulary of 256,000 tokens takes about 12 MB.
const HEADER_LIMIT: u64 = 128 << 20;
const KEY_LIMIT: u64 = 65_535;
const NAME_LIMIT: u64 = 64;
const MAX_DIMS: u32 = 4;

/// An opened file: its metadata and tensor list, checked; tensor data are read on demand.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    file: File,
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Row-major, columns last.
    pub shape: Vec<usize>,
    pub ty: GgmlType,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes of data, without padding.
    pub bytes: u64,
}

impl GgufFile {
    pub fn open(path: &Path) -> Result<Self, CompressError> {
        let file = File::open(path).map_err(CompressError::io("open", path))?;
        let size = file.metadata().map_err(CompressError::io("look at", path))?.len();
        let handle = file.try_clone().map_err(CompressError::io("open", path))?;
        let mut cursor = Cursor { path, reader: BufReader::new(handle), at: 0, size };
        let (metadata, tensors) = cursor.header()?;
        Ok(Self { path: path.to_owned(), file, metadata, tensors })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.metadata
    }

    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    pub fn tensor(&self, name: &str) -> Result<&TensorInfo, CompressError> {
        let missing = || CompressError::MissingTensor { path: self.path.clone(), tensor: name.to_owned() };
        self.tensors.get(name).ok_or_else(missing)
    }

    /// The stored bytes of one tensor.
    pub fn bytes(&self, name: &str) -> Result<Vec<u8>, CompressError> {
        let info = self.tensor(name)?;
        let len = usize::try_from(info.bytes).map_err(|e| CompressError::malformed(&self.path, info.offset, name, e.to_string()))?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, info.offset).map_err(CompressError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// The values of one tensor in the order of the file, checked to be finite.
    pub fn values(&self, name: &str) -> Result<Vec<f32>, CompressError> {
        let values = self.tensor(name)?.ty.decode(&self.bytes(name)?);
        if let Some((index, value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            return Err(CompressError::NonFinite { path: self.path.clone(), tensor: name.to_owned(), index, value: *value });
        }
        Ok(values)
    }
}

/// A reader that knows where it is and how much is left.
struct Cursor<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    at: u64,
    size: u64,
}

type Header = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>);

impl Cursor<'_> {
    fn bad<T>(&self, offset: u64, field: &str, reason: impl Into<String>) -> Result<T, CompressError> {
        Err(CompressError::malformed(self.path, offset, field, reason))
    }

    /// Refuses to go on unless `n` more bytes can be there.
    fn need(&self, n: u64, field: &str) -> Result<(), CompressError> {
        let left = self.size.min(HEADER_LIMIT) - self.at;
        match n <= left {
            true => Ok(()),
            false if self.size > HEADER_LIMIT => {
                self.bad(self.at, field, format!("needs {n} bytes; {left} are left of the {HEADER_LIMIT} that a header may have"))
            }
            false => self.bad(self.at, field, format!("needs {n} bytes, the file has {left} more; it is truncated or hostile")),
        }
    }

    fn take(&mut self, n: u64, field: &str) -> Result<Vec<u8>, CompressError> {
        self.need(n, field)?;
        let mut bytes = vec![0; n as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self, field: &str) -> Result<[u8; N], CompressError> {
        self.need(N as u64, field)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), CompressError> {
        self.reader.read_exact(bytes).map_err(CompressError::io("read", self.path))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn u32(&mut self, field: &str) -> Result<u32, CompressError> {
        Ok(u32::from_le_bytes(self.fixed(field)?))
    }

    fn u64(&mut self, field: &str) -> Result<u64, CompressError> {
        Ok(u64::from_le_bytes(self.fixed(field)?))
    }

    fn string(&mut self, limit: u64, field: &str) -> Result<String, CompressError> {
        let start = self.at;
        let len = self.u64(field)?;
        if len > limit {
            return self.bad(start, field, format!("a string of {len} bytes; at most {limit} are allowed"));
        }
        let bytes = self.take(len, field)?;
        String::from_utf8(bytes).or_else(|_| self.bad(start + 8, field, "is not UTF-8"))
    }

    fn header(&mut self) -> Result<Header, CompressError> {
        if self.fixed::<4>("magic")? != MAGIC {
            return self.bad(0, "magic", "is not \"GGUF\"; this is another kind of file");
        }
        let version = self.u32("version")?;
        if version != VERSION {
            return self.bad(4, "version", format!("{version}; only little-endian version {VERSION} is read"));
        }
        let tensor_count = self.u64("tensor count")?;
        let metadata_count = self.u64("metadata count")?;
        // Smallest entries: an empty key with a one-byte value; an empty name without dimensions.
        self.need(metadata_count.saturating_mul(13), "metadata count")?;
        self.need(tensor_count.saturating_mul(24), "tensor count")?;

        let mut metadata = BTreeMap::new();
        for _ in 0..metadata_count {
            let start = self.at;
            let key = self.string(KEY_LIMIT, "metadata key")?;
            if key.is_empty() {
                return self.bad(start, "metadata key", "is empty");
            }
            let type_id = self.u32(&key)?;
            let value = self.value(type_id, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return self.bad(start, &key, "is there twice");
            }
        }
        let alignment = self.alignment(&metadata)?;

        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let start = self.at;
            let (name, info) = self.tensor_info(alignment)?;
            if tensors.insert(name.clone(), info).is_some() {
                return self.bad(start, &name, "is there twice");
            }
        }
        if tensors.is_empty() {
            return self.bad(8, "tensor count", "there are no tensors");
        }
        self.place(&mut tensors, alignment)?;
        Ok((metadata, tensors))
    }

    fn alignment(&self, metadata: &BTreeMap<String, Value>) -> Result<u64, CompressError> {
        match metadata.get(ALIGNMENT_KEY).map(Value::as_u64) {
            None => Ok(DEFAULT_ALIGNMENT),
            Some(Some(n)) if n.is_power_of_two() && (8..=65_536).contains(&n) => Ok(n),
            Some(_) => self.bad(self.at, ALIGNMENT_KEY, "must be a power of two from 8 to 65536"),
        }
    }

    fn value(&mut self, type_id: u32, key: &str) -> Result<Value, CompressError> {
        let start = self.at;
        Ok(match type_id {
            id::U8 => Value::U8(u8::from_le_bytes(self.fixed(key)?)),
            id::I8 => Value::I8(i8::from_le_bytes(self.fixed(key)?)),
            id::U16 => Value::U16(u16::from_le_bytes(self.fixed(key)?)),
            id::I16 => Value::I16(i16::from_le_bytes(self.fixed(key)?)),
            id::U32 => Value::U32(self.u32(key)?),
            id::I32 => Value::I32(i32::from_le_bytes(self.fixed(key)?)),
            id::F32 => Value::F32(f32::from_le_bytes(self.fixed(key)?)),
            id::U64 => Value::U64(self.u64(key)?),
            id::I64 => Value::I64(i64::from_le_bytes(self.fixed(key)?)),
            id::F64 => Value::F64(f64::from_le_bytes(self.fixed(key)?)),
            id::BOOL => match self.fixed(key)? {
                [0] => Value::Bool(false),
                [1] => Value::Bool(true),
                [other] => {
                    return self.bad(start, key, format!("a bool must be 0 or 1, not {other}"));
                }
            },
            id::STRING => Value::String(self.string(HEADER_LIMIT, key)?),
            id::ARRAY => Value::Array(self.array(key)?),
            other => return self.bad(start - 4, key, format!("unknown value type {other}")),
        })
    }

    fn array(&mut self, key: &str) -> Result<Array, CompressError> {
        let start = self.at;
        let type_id = self.u32(key)?;
        let len = self.u64(key)?;
        // The smallest string is its length field.
        let item = if type_id == id::STRING { Some(8) } else { id::width(type_id) };
        let Some(item) = item else {
            return self.bad(start, key, format!("an array of value type {type_id} is not supported"));
        };
        self.need(len.saturating_mul(item), key)?;
        Ok(match type_id {
            id::STRING => Array::Strings((0..len).map(|_| self.string(HEADER_LIMIT, key)).collect::<Result<_, _>>()?),
            id::F32 => {
                let bytes = self.take(len * item, key)?;
                Array::F32(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
            }
            id::I32 => {
                let bytes = self.take(len * item, key)?;
                Array::I32(bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect())
            }
            _ => {
                self.take(len * item, key)?;
                Array::Skipped { type_id, len }
            }
        })
    }

    /// One entry of the tensor list; its offset still counts from the start of the data.
    fn tensor_info(&mut self, alignment: u64) -> Result<(String, TensorInfo), CompressError> {
        let start = self.at;
        let name = self.string(NAME_LIMIT, "tensor name")?;
        if name.is_empty() {
            return self.bad(start, "tensor name", "is empty");
        }
        let dims_at = self.at;
        let dims = self.u32(&name)?;
        if dims == 0 || dims > MAX_DIMS {
            return self.bad(dims_at, &name, format!("{dims} dimensions; 1 to {MAX_DIMS} are allowed"));
        }
        let mut shape = Vec::new();
        let mut elements = Some(1u64);
        for _ in 0..dims {
            let dim = self.u64(&name)?;
            elements = elements.and_then(|n| n.checked_mul(dim)).filter(|n| *n > 0);
            shape.push(usize::try_from(dim).or_else(|e| self.bad(dims_at, &name, e.to_string()))?);
        }
        let columns = shape.first().copied().unwrap_or(0) as u64;
        shape.reverse();
        let type_at = self.at;
        let type_id = self.u32(&name)?;
        let Some(ty) = GgmlType::from_id(type_id) else {
            return self.bad(type_at, &name, format!("tensor type {type_id} is not supported; F32, F16, BF16 and Q8_0 are"));
        };
        let offset_at = self.at;
        let offset = self.u64(&name)?;
        if !offset.is_multiple_of(alignment) {
            return self.bad(offset_at, &name, format!("offset {offset} is not a multiple of the alignment {alignment}"));
        }
        let block = ty.block() as u64;
        let Some(elements) = elements.filter(|_| columns.is_multiple_of(block)) else {
            return self.bad(
                dims_at,
                &name,
                format!("shape {shape:?} is empty, too large or no whole number of {} blocks a row", ty.name()),
            );
        };
        match (elements / block).checked_mul(ty.block_bytes() as u64) {
            Some(bytes) => Ok((name, TensorInfo { shape, ty, offset, bytes })),
            None => self.bad(dims_at, &name, format!("shape {shape:?} is too large")),
        }
    }

    /// Turns offsets into positions in the file, and checks that the tensors with their padding lie inside it and apart.
    fn place(&self, tensors: &mut BTreeMap<String, TensorInfo>, alignment: u64) -> Result<(), CompressError> {
        let data = self.at.next_multiple_of(alignment);
        let mut in_order: Vec<(&String, &mut TensorInfo)> = tensors.iter_mut().collect();
        in_order.sort_by_key(|(_, info)| info.offset);
        let mut free = data;
        for (name, info) in in_order {
            let start = data.checked_add(info.offset);
            let end = start.and_then(|s| s.checked_add(info.bytes)).and_then(|e| e.checked_next_multiple_of(alignment));
            let (Some(start), Some(end)) = (start, end.filter(|e| *e <= self.size)) else {
                let reason = format!("{} bytes at data offset {} end outside the file of {} bytes", info.bytes, info.offset, self.size);
                return self.bad(data.saturating_add(info.offset), name, reason);
            };
            if start < free {
                return self.bad(start, name, format!("overlaps the tensor that ends at byte {free}"));
            }
            (info.offset, free) = (start, end);
        }
        Ok(())
    }
}
