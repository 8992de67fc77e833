//! Well-formed files of all readable types, and nothing hostile believed.

use super::*;

/// A file with this header and so many bytes of data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn open(bytes: &[u8]) -> Result<SafeTensors, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    std::fs::write(&path, bytes).unwrap();
    SafeTensors::open(&path)
}

#[test]
fn values_are_read_by_range_from_every_float_type() {
    let header = r#"{"__metadata__":{"step":"7"},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"BF16","shape":[2],"data_offsets":[8,12]},"c":{"dtype":"F16","shape":[1,1],"data_offsets":[12,14]}}"#;
    let data = [1.5f32.to_le_bytes().as_slice(), &(-2.0f32).to_le_bytes(), &[0x80, 0x3f, 0x00, 0xc0], &[0x00, 0x3c]].concat();
    let found = open(&file(header, &data)).unwrap();
    assert_eq!((found.names_by_place(), found.metadata("step")), (vec!["b".to_owned(), "a".into(), "c".into()], Some("7")));
    assert_eq!(found.read_f32("b", 1, 1).unwrap(), [-2.0]);
    assert_eq!(found.read_f32("a", 0, 2).unwrap(), [1.0, -2.0]);
    assert_eq!(found.read_f32("c", 0, 1).unwrap(), [1.0]);
    assert_eq!(found.raw("c").unwrap(), [0x00, 0x3c]);
    assert!(found.read_f32("b", 1, 2).is_err() && found.read_f32("b", usize::MAX, 2).is_err() && found.read_f32("d", 0, 1).is_err());
}

#[test]
fn hostile_headers_are_errors_with_their_place() {
    let cases: &[(&str, Vec<u8>)] = &[
        ("byte 0", vec![]),
        ("byte 0", vec![1, 2, 3]),
        ("byte 0", [u64::MAX.to_le_bytes().to_vec(), vec![b'{'; 64]].concat()),
        ("byte 0", [100u64.to_le_bytes().to_vec(), b"{}".to_vec()].concat()),
        ("header", file("{\"a\":", &[])),
        ("header", file("[]", &[])),
        ("do not hold", file(r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}"#, &[0; 8])),
        ("belong to no tensor", file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, &[0; 8])),
        ("leaves a gap", file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8])),
        ("do not hold", file(r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, &[0; 8])),
        ("do not hold", file(r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}"#, &[0; 8])),
        ("do not hold", file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}"#, &[0; 8])),
        ("do not hold", file(r#"{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}"#, &[0; 1])),
        ("invalid value", file(r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, &[0; 4])),
        ("unknown type", file(r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, &[0; 4])),
        (
            "two tensors have this name",
            file(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, &[0; 8]),
        ),
    ];
    for (word, bytes) in cases {
        let told = open(bytes).unwrap_err().to_string();
        assert!(told.contains(word) && told.contains("a.safetensors"), "{word}: {told}");
    }
}

#[test]
fn other_types_are_known_by_name_and_never_read_as_weights() {
    let found = open(&file(r#"{"a":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]}}"#, &[0; 4])).unwrap();
    assert_eq!(found.get("a").unwrap().dtype.name(), "F8_E4M3");
    assert!(found.read_f32("a", 0, 1).unwrap_err().to_string().contains("stored as F8_E4M3"));
}
