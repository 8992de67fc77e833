//! What makes a changed or missing version of a record show: each names the digest of the one before, and may be signed.
//!
//! A sealed object is one JSON document whose last field is `seal`, so that every JSON reader can read it. The seal speaks for the
//! bytes as they were before it was put in.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Where a seal begins. Nothing inside of one can hold these bytes, so the last place of them is its beginning.
const BEGIN: &[u8] = br#","seal":{"#;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// SHA-256 of the whole object before this one; none: it is the first, or the one before bore no seals yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
}

/// Ed25519 over [`Sealed::message`], 128 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature(pub [u8; 64]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a signature is 128 hexadecimal digits")]
pub struct InvalidSignature;

impl TryFrom<String> for Signature {
    type Error = InvalidSignature;
    fn try_from(text: String) -> Result<Self, InvalidSignature> {
        let mut bytes = [0; 64];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidSignature)?;
        Ok(Self(bytes))
    }
}

impl From<Signature> for String {
    fn from(signature: Signature) -> Self {
        hex::encode(signature.0)
    }
}

/// An object, taken apart.
#[derive(Debug)]
pub struct Sealed<'a> {
    /// Without the seal.
    pub document: Cow<'a, [u8]>,
    /// None: it was written without, or what stands there is no seal.
    pub seal: Option<Seal>,
}

impl<'a> Sealed<'a> {
    pub fn open(bytes: &'a [u8]) -> Self {
        let opened = || {
            let at = bytes.windows(BEGIN.len()).rposition(|window| window == BEGIN)?;
            let inner = bytes.get(at + BEGIN.len() - 1..)?.strip_suffix(b"}")?;
            let seal: Seal = serde_json::from_slice(inner).ok()?;
            Some(Self { document: [&bytes[..at], b"}"].concat().into(), seal: Some(seal) })
        };
        opened().unwrap_or(Self { document: bytes.into(), seal: None })
    }

    /// What is signed: the object's name too, so that none can stand in for another.
    pub fn message(path: &str, document: &[u8], before: Option<&Digest>) -> Vec<u8> {
        let before = before.map(ToString::to_string).unwrap_or_default();
        [b"osler seal 1\n", path.as_bytes(), b"\n", before.as_bytes(), b"\n", document].concat()
    }
}

/// Puts a seal into a document, a JSON object that is not empty.
pub fn sealed(document: &[u8], seal: &Seal) -> Vec<u8> {
    let (Some(open), Ok(json)) = (document.strip_suffix(b"}"), serde_json::to_vec(seal)) else { return document.to_vec() };
    [open, &BEGIN[..BEGIN.len() - 1], &json, b"}"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal { before: Some(Digest::of(b"before")), signature: Some(Signature([7; 64])) }
    }

    #[test]
    fn a_sealed_document_is_json_and_gives_both_back() {
        for document in [&br#"{"a":1}"#[..], br#"{"a":",\"seal\":{","b":{"seal":{}}}"#] {
            for seal in [seal(), Seal { before: None, signature: None }] {
                let bytes = sealed(document, &seal);
                let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                assert!(json.get("seal").is_some_and(serde_json::Value::is_object), "{json}");
                let opened = Sealed::open(&bytes);
                assert_eq!((opened.document.as_ref(), opened.seal), (document, Some(seal)));
            }
        }
    }

    #[test]
    fn what_bears_no_seal_is_a_document() {
        for bytes in [&b""[..], b"}", br#"{"a":1}"#, br#"{"a":1,"seal":{"before":7}}"#, br#"{"a":1,"seal":{}"#, b"\xff,\"seal\":{"] {
            let opened = Sealed::open(bytes);
            assert_eq!((opened.document.as_ref(), opened.seal), (bytes, None));
        }
    }

    #[test]
    fn a_signature_speaks_for_name_document_and_what_was_before() {
        let message = Sealed::message("a", b"{}", None);
        let before = Digest::of(b"");
        for other in [Sealed::message("b", b"{}", None), Sealed::message("a", b"{ }", None), Sealed::message("a", b"{}", Some(&before))] {
            assert_ne!(message, other);
        }
    }
}
