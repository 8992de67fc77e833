//! The compression methods that a run file can name.

use crate::CompressError;
use crate::gguf::GgmlType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Method {
    /// Weight-only int8, one scale per output channel; a compressed-tensors folder (`pack-quantized`).
    Int8,
    /// GGUF, matrices in blocks of 32 int8 with one f16 scale.
    GgufQ8_0,
    /// GGUF, matrices in f16.
    GgufF16,
    /// GGUF, everything in f32: the lossless reference of the other two.
    GgufF32,
}

impl Method {
    pub const ALL: [Method; 4] = [Method::Int8, Method::GgufQ8_0, Method::GgufF16, Method::GgufF32];
    pub(crate) const KNOWN: &'static str = "int8, gguf-q8_0, gguf-f16, gguf-f32";

    pub fn as_str(self) -> &'static str {
        match self {
            Method::Int8 => "int8",
            Method::GgufQ8_0 => "gguf-q8_0",
            Method::GgufF16 => "gguf-f16",
            Method::GgufF32 => "gguf-f32",
        }
    }

    /// The GGUF type of the matrices, or none where the output is a Hugging Face folder.
    pub(crate) fn gguf_type(self) -> Option<GgmlType> {
        match self {
            Method::Int8 => None,
            Method::GgufQ8_0 => Some(GgmlType::Q8_0),
            Method::GgufF16 => Some(GgmlType::F16),
            Method::GgufF32 => Some(GgmlType::F32),
        }
    }

    /// Whether the output is one `.gguf` file rather than a folder.
    pub fn writes_file(self) -> bool {
        self.gguf_type().is_some()
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Method {
    type Err = CompressError;

    fn from_str(text: &str) -> Result<Self, CompressError> {
        Self::ALL.into_iter().find(|m| m.as_str() == text).ok_or_else(|| CompressError::UnknownMethod(text.to_owned()))
    }
}

impl TryFrom<String> for Method {
    type Error = CompressError;

    fn try_from(text: String) -> Result<Self, CompressError> {
        text.parse()
    }
}

impl From<Method> for String {
    fn from(method: Method) -> String {
        method.as_str().to_owned()
    }
}
