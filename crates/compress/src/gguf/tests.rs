//! The container: what is written is read, and nothing hostile is believed.

use super::*;
use crate::CompressError;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn metadata() -> Vec<(String, Value)> {
    let values = [
        Value::U8(7),
        Value::I8(-7),
        Value::U16(700),
        Value::I16(-700),
        Value::U32(70_000),
        Value::I32(-70_000),
        Value::F32(1e-5),
        Value::Bool(true),
        Value::String("Fieber, 38 °C".to_owned()),
        Value::U64(1 << 40),
        Value::I64(-(1 << 40)),
        Value::F64(0.1),
        Value::Array(Array::Strings(vec![String::new(), "Ġa".to_owned()])),
        Value::Array(Array::F32(vec![-1.5, 0.0])),
        Value::Array(Array::I32(vec![1, -1])),
    ];
    values.into_iter().enumerate().map(|(i, v)| (format!("key.{i:02}"), v)).collect()
}

/// Two tensors: 2 x 32 in Q8_0 and 3 in F32.
fn small_file() -> Vec<u8> {
    let plan = [
        Planned { name: "a.weight".to_owned(), shape: vec![2, 32], ty: GgmlType::Q8_0 },
        Planned { name: "b.bias".to_owned(), shape: vec![3], ty: GgmlType::F32 },
    ];
    let mut out = header(&metadata(), &plan);
    let values: [Vec<f32>; 2] = [(0..64).map(|i| i as f32).collect(), vec![1.0, -2.0, 0.5]];
    for (planned, values) in plan.iter().zip(&values) {
        let (bytes, _) = encode_tensor(planned.ty, values).unwrap();
        assert_eq!(bytes.len() as u64, planned.bytes());
        out.extend(&bytes);
        out.extend(padding(bytes.len() as u64));
    }
    out
}

struct Scratch(#[allow(dead_code)] TempDir, PathBuf);

fn scratch(bytes: &[u8]) -> Scratch {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    Scratch(dir, path)
}

fn open(bytes: &[u8]) -> Result<GgufFile, CompressError> {
    GgufFile::open(&scratch(bytes).1)
}

#[test]
fn what_is_written_is_read() {
    let Scratch(_dir, path) = scratch(&small_file());
    let file = GgufFile::open(&path).unwrap();
    assert_eq!(file.metadata().clone().into_iter().collect::<Vec<_>>(), metadata());
    assert_eq!(file.tensor("a.weight").unwrap().shape, [2, 32]);
    assert_eq!(file.tensor("a.weight").unwrap().ty, GgmlType::Q8_0);
    assert_eq!(file.values("b.bias").unwrap(), [1.0, -2.0, 0.5]);
    assert_eq!(file.values("a.weight").unwrap().len(), 64);
    assert!(matches!(file.values("c"), Err(CompressError::MissingTensor { .. })));
}

#[test]
fn every_proper_prefix_is_an_error() {
    let whole = small_file();
    let Scratch(_dir, path) = scratch(&whole);
    for len in 0..whole.len() {
        std::fs::write(&path, &whole[..len]).unwrap();
        let error = GgufFile::open(&path).expect_err(&format!("prefix of {len} bytes"));
        assert!(matches!(error, CompressError::Malformed { .. }), "{len}: {error}");
    }
}

/// Builds a header by hand: magic, version, counts, then whatever follows.
fn raw(tensors: u64, kvs: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend(tensors.to_le_bytes());
    out.extend(kvs.to_le_bytes());
    rest.iter().for_each(|part| out.extend(*part));
    out.resize(out.len() + 256, 0);
    out
}

fn text(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes()[..], s.as_bytes()].concat()
}

fn tensor(name: &str, dims: &[u64], ty: u32, offset: u64) -> Vec<u8> {
    let mut out = text(name);
    out.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
    out.extend(ty.to_le_bytes());
    out.extend(offset.to_le_bytes());
    out
}

fn kv(key: &str, type_id: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &type_id.to_le_bytes(), value].concat()
}

#[test]
fn hostile_files_are_refused_with_the_place_and_the_reason() {
    let huge = u64::MAX.to_le_bytes();
    let ok = || tensor("t", &[4], 0, 0);
    let mut version2 = raw(1, 0, &[&ok()]);
    version2[4] = 2;
    let array = |type_id: u32, len: u64| [&type_id.to_le_bytes()[..], &len.to_le_bytes()].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"GGML\x03\0\0\0aaaaaaaaaaaaaaaa".to_vec(), "byte 0: magic"),
        (version2, "byte 4: version"),
        (raw(u64::MAX, 0, &[]), "tensor count"),
        (raw(1 << 40, 0, &[]), "tensor count"),
        (raw(1, u64::MAX, &[]), "metadata count"),
        (raw(0, 0, &[]), "no tensors"),
        (raw(1, 1, &[&huge]), "metadata key"),
        (raw(1, 1, &[&text("")]), "is empty"),
        (raw(1, 1, &[&kv("k", 99, &[])]), "unknown value type 99"),
        (raw(1, 1, &[&kv("k", 7, &[2])]), "a bool must be 0 or 1"),
        (raw(1, 1, &[&kv("k", 8, &huge)]), "at most"),
        (raw(1, 1, &[&kv("k", 8, &(1u64 << 26).to_le_bytes())]), "truncated or hostile"),
        (raw(1, 1, &[&kv("k", 8, &[2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe])]), "not UTF-8"),
        (raw(1, 1, &[&kv("k", 9, &array(8, u64::MAX))]), "truncated or hostile"),
        (raw(1, 1, &[&kv("k", 9, &array(6, 1 << 62))]), "truncated or hostile"),
        (raw(1, 1, &[&kv("k", 9, &array(0, u64::MAX))]), "truncated or hostile"),
        (raw(1, 1, &[&kv("k", 9, &array(9, 1))]), "not supported"),
        (raw(1, 2, &[&kv("k", 0, &[1]), &kv("k", 0, &[1])]), "is there twice"),
        (raw(1, 1, &[&kv("general.alignment", 4, &0u32.to_le_bytes()), &ok()]), "power of two"),
        (raw(1, 1, &[&kv("general.alignment", 4, &48u32.to_le_bytes()), &ok()]), "power of two"),
        (raw(1, 1, &[&kv("general.alignment", 8, &text("32")), &ok()]), "power of two"),
        (raw(1, 0, &[&tensor("t", &[], 0, 0)]), "0 dimensions"),
        (raw(1, 0, &[&tensor("t", &[1, 1, 1, 1, 1], 0, 0)]), "5 dimensions"),
        (raw(1, 0, &[&tensor("t", &[0, 4], 0, 0)]), "is empty, too large"),
        (raw(1, 0, &[&tensor("t", &[1 << 40, 1 << 40], 0, 0)]), "is empty, too large"),
        (raw(1, 0, &[&tensor("t", &[1 << 62], 0, 0)]), "too large"),
        (raw(1, 0, &[&tensor("t", &[1 << 50], 0, 0)]), "outside the file"),
        (raw(1, 0, &[&tensor("t", &[33], 8, 0)]), "no whole number of Q8_0 blocks"),
        (raw(1, 0, &[&tensor("t", &[32], 2, 0)]), "tensor type 2"),
        (raw(1, 0, &[&tensor("t", &[4], 0, 8)]), "not a multiple"),
        (raw(1, 0, &[&tensor("t", &[4], 0, 1 << 20)]), "outside the file"),
        (raw(1, 0, &[&tensor("t", &[4], 0, u64::MAX - 31)]), "outside the file"),
        (raw(1, 0, &[&tensor(&"n".repeat(65), &[4], 0, 0)]), "at most 64"),
        (raw(1, 0, &[&tensor("", &[4], 0, 0)]), "is empty"),
        (raw(2, 0, &[&ok(), &ok()]), "is there twice"),
        (raw(2, 0, &[&tensor("t", &[16], 0, 0), &tensor("u", &[4], 0, 32)]), "overlaps"),
        (raw(2, 0, &[&ok(), &tensor("u", &[4], 0, 0)]), "overlaps"),
    ];
    for (bytes, expected) in cases {
        let error = open(&bytes).expect_err(expected);
        assert!(matches!(error, CompressError::Malformed { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains("model.gguf: byte "), "wanted {expected:?}, got {message}");
    }
    open(&raw(1, 0, &[&ok()])).expect("the harmless base of these cases is fine");
}

#[test]
fn other_alignments_are_understood() {
    let info = tensor("t", &[4], 0, 64);
    let bytes = raw(1, 1, &[&kv("general.alignment", 4, &64u32.to_le_bytes()), &info]);
    let file = open(&bytes).unwrap();
    assert!(file.tensor("t").unwrap().offset.is_multiple_of(64));
}

#[test]
fn a_stored_nan_is_refused_when_read() {
    let mut bytes = small_file();
    let at = bytes.len() - 32; // "b.bias" is the last tensor, padded to 32 bytes
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let Scratch(_dir, path) = scratch(&bytes);
    let error = GgufFile::open(&path).unwrap().values("b.bias").unwrap_err();
    assert!(error.to_string().contains("tensor b.bias holds NaN at element 0"), "{error}");
}

#[test]
fn a_missing_file_is_an_io_error() {
    assert!(matches!(GgufFile::open(Path::new("nowhere/model.gguf")), Err(CompressError::Io { .. })));
}
