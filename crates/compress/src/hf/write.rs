//! Writes one safetensors file as a stream: the header follows from names, types and shapes alone, then the data in that order.

use osler_model::safetensors::Dtype;
use serde_json::{Map, Value, json};

/// One tensor to be written. `I` says where its bytes will come from.
pub(crate) struct Planned<I> {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub item: I,
}

impl<I> Planned<I> {
    pub fn bytes(&self) -> u64 {
        self.shape.iter().map(|d| *d as u64).product::<u64>() * self.dtype.bytes()
    }
}

/// Sorts the tensors into file order, widest types first so that all are aligned, then by name; returns the bytes that go before
/// the data.
pub(crate) fn header<I>(tensors: &mut [Planned<I>]) -> Vec<u8> {
    tensors.sort_by(|a, b| b.dtype.bytes().cmp(&a.dtype.bytes()).then_with(|| a.name.cmp(&b.name)));
    let mut map = Map::new();
    map.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut offset = 0;
    for tensor in tensors.iter() {
        let end = offset + tensor.bytes();
        map.insert(tensor.name.clone(), json!({"dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    let mut text = Value::Object(map).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut text);
    bytes
}
