//! Writes the part of a GGUF file before its tensor data; the data follow as a stream, each tensor padded to the alignment.

use super::value::id;
use super::{Array, DEFAULT_ALIGNMENT, GgmlType, MAGIC, VERSION, Value};

/// One tensor of the file to be written. `shape` is row-major, columns last; the file lists it the other way round.
pub(crate) struct Planned {
    pub name: String,
    pub shape: Vec<usize>,
    pub ty: GgmlType,
}

impl Planned {
    pub fn bytes(&self) -> u64 {
        let elements: u64 = self.shape.iter().map(|d| *d as u64).product();
        elements / self.ty.block() as u64 * self.ty.block_bytes() as u64
    }
}

/// Zero bytes that bring `length` to the alignment.
pub(crate) fn padding(length: u64) -> Vec<u8> {
    vec![0; (length.next_multiple_of(DEFAULT_ALIGNMENT) - length) as usize]
}

/// Everything before the tensor data, padding included.
pub(crate) fn header(metadata: &[(String, Value)], tensors: &[Planned]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(&mut out, key);
        out.extend(value.type_id().to_le_bytes());
        put(&mut out, value);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        string(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        for dim in tensor.shape.iter().rev() {
            out.extend((*dim as u64).to_le_bytes());
        }
        out.extend(tensor.ty.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset = (offset + tensor.bytes()).next_multiple_of(DEFAULT_ALIGNMENT);
    }
    out.extend(padding(out.len() as u64));
    out
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(v) => out.extend(v.to_le_bytes()),
        Value::I8(v) => out.extend(v.to_le_bytes()),
        Value::U16(v) => out.extend(v.to_le_bytes()),
        Value::I16(v) => out.extend(v.to_le_bytes()),
        Value::U32(v) => out.extend(v.to_le_bytes()),
        Value::I32(v) => out.extend(v.to_le_bytes()),
        Value::F32(v) => out.extend(v.to_le_bytes()),
        Value::Bool(v) => out.push(u8::from(*v)),
        Value::String(v) => string(out, v),
        Value::U64(v) => out.extend(v.to_le_bytes()),
        Value::I64(v) => out.extend(v.to_le_bytes()),
        Value::F64(v) => out.extend(v.to_le_bytes()),
        Value::Array(array) => put_array(out, array),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    let mut start = |type_id: u32, len: usize| {
        out.extend(type_id.to_le_bytes());
        out.extend((len as u64).to_le_bytes());
    };
    match array {
        Array::Strings(items) => {
            start(id::STRING, items.len());
            items.iter().for_each(|item| string(out, item));
        }
        Array::F32(items) => {
            start(id::F32, items.len());
            items.iter().for_each(|item| out.extend(item.to_le_bytes()));
        }
        Array::I32(items) => {
            start(id::I32, items.len());
            items.iter().for_each(|item| out.extend(item.to_le_bytes()));
        }
        // Its items were not kept, so it is written as what is known of it: an empty array of that type.
        Array::Skipped { type_id, .. } => start(*type_id, 0),
    }
}
