//! Model constants as GGUF metadata, and back.

use super::{GgmlType, GgufFile, Value};
use crate::CompressError;
use crate::arch::{Arch, Family, SUPPORTED};
use std::path::Path;

/// Block formats have had one revision; files with quantized tensors must say so.
const QUANTIZATION_VERSION: u32 = 2;

impl Family {
    fn gguf_name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Gemma => "gemma",
            Family::Gpt2 => "gpt2",
        }
    }

    fn epsilon_key(self) -> &'static str {
        match self {
            Family::Llama | Family::Qwen2 | Family::Gemma => "attention.layer_norm_rms_epsilon",
            Family::Gpt2 => "attention.layer_norm_epsilon",
        }
    }
}

/// The keys that describe the model; `ty` is the type of its matrices.
pub(crate) fn from_arch(path: &Path, arch: &Arch, ty: GgmlType) -> Result<Vec<(String, Value)>, CompressError> {
    let name = arch.family.gguf_name();
    let file_type = match ty {
        GgmlType::F32 => 0,
        GgmlType::F16 => 1,
        GgmlType::Q8_0 => 7,
        GgmlType::Bf16 => 32,
    };
    let mut out = vec![
        ("general.architecture".to_owned(), Value::String(name.to_owned())),
        ("general.type".to_owned(), Value::String("model".to_owned())),
        ("general.file_type".to_owned(), Value::U32(file_type)),
    ];
    if ty == GgmlType::Q8_0 {
        out.push(("general.quantization_version".to_owned(), Value::U32(QUANTIZATION_VERSION)));
    }
    let mut sizes = vec![
        ("block_count", arch.layers),
        ("context_length", arch.context),
        ("embedding_length", arch.hidden),
        ("feed_forward_length", arch.inner),
        ("attention.head_count", arch.heads),
        ("vocab_size", arch.vocab),
    ];
    if arch.family.rotary() {
        sizes.extend([("attention.head_count_kv", arch.kv_heads), ("rope.dimension_count", arch.head_dim)]);
        if arch.family == Family::Gemma || arch.heads * arch.head_dim != arch.hidden {
            sizes.extend([("attention.key_length", arch.head_dim), ("attention.value_length", arch.head_dim)]);
        }
    }
    for (key, size) in sizes {
        let size = u32::try_from(size).map_err(|e| CompressError::field(path, key, e.to_string()))?;
        out.push((format!("{name}.{key}"), Value::U32(size)));
    }
    out.push((format!("{name}.{}", arch.family.epsilon_key()), Value::F32(arch.eps as f32)));
    if arch.family.rotary() {
        out.push((format!("{name}.rope.freq_base"), Value::F32(arch.rope_theta as f32)));
    }
    Ok(out)
}

/// Reads the constants back, checked against the tensors that are there.
pub(crate) fn to_arch(file: &GgufFile) -> Result<Arch, CompressError> {
    let found = file.metadata().get("general.architecture").and_then(Value::as_str).unwrap_or("none");
    let family = match found {
        "llama" => Family::Llama,
        "qwen2" => Family::Qwen2,
        "gemma" => Family::Gemma,
        "gpt2" => Family::Gpt2,
        _ => {
            let found = found.to_owned();
            return Err(CompressError::UnknownArchitecture { path: file.path().to_owned(), found, supported: SUPPORTED });
        }
    };
    let keys = Keys { file, family };
    keys.refuse_scaled_rope()?;
    let hidden = keys.size("embedding_length")?;
    let heads = keys.size("attention.head_count")?;
    let head_dim = match keys.get("attention.key_length") {
        Some(_) => keys.size("attention.key_length")?,
        None => hidden / heads,
    };
    for key in ["rope.dimension_count", "attention.value_length"] {
        if keys.get(key).is_some() && keys.size(key)? != head_dim {
            return keys.fail(key, format!("must equal the head size {head_dim}"));
        }
    }
    // Rows of the embedding are the vocabulary, whatever the metadata may say besides.
    let embedding = file.tensor("token_embd.weight")?;
    let vocab = embedding.shape.first().copied().unwrap_or(0);
    let has = |name: &str| file.tensors().contains_key(name);
    let arch = Arch {
        family,
        layers: keys.size("block_count")?,
        hidden,
        inner: keys.size("feed_forward_length")?,
        heads,
        kv_heads: if keys.get("attention.head_count_kv").is_some() { keys.size("attention.head_count_kv")? } else { heads },
        head_dim,
        vocab,
        context: keys.size("context_length")?,
        eps: keys.number(family.epsilon_key(), None)?,
        rope_theta: keys.number("rope.freq_base", Some(10_000.0))?,
        tied: !has("output.weight"),
        attention_bias: family == Family::Gpt2 || has("blk.0.attn_q.bias"),
        mlp_bias: family == Family::Gpt2 || has("blk.0.ffn_gate.bias"),
    };
    arch.check(file.path(), file.tensors().len())
}

/// Metadata under the architecture's prefix.
struct Keys<'a> {
    file: &'a GgufFile,
    family: Family,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.file.metadata().get(&format!("{}.{key}", self.family.gguf_name()))
    }

    fn fail<T>(&self, key: &str, reason: impl Into<String>) -> Result<T, CompressError> {
        Err(CompressError::field(self.file.path(), format!("{}.{key}", self.family.gguf_name()), reason))
    }

    fn size(&self, key: &str) -> Result<usize, CompressError> {
        match self.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok()) {
            Some(n) if n > 0 => Ok(n),
            _ => self.fail(key, "must be an integer of at least 1"),
        }
    }

    fn number(&self, key: &str, default: Option<f64>) -> Result<f64, CompressError> {
        match (self.get(key), default) {
            (None, Some(default)) => Ok(default),
            (value, _) => match value.and_then(Value::as_f64) {
                Some(number) => Ok(number),
                None => self.fail(key, "must be a float"),
            },
        }
    }

    fn refuse_scaled_rope(&self) -> Result<(), CompressError> {
        match self.get("rope.scaling.type").map(Value::as_str) {
            None | Some(Some("none")) => Ok(()),
            _ => self.fail("rope.scaling.type", "scaled rotary embeddings are not supported"),
        }
    }
}
