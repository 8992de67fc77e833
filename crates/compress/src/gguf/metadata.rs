//! Model constants as GGUF metadata, and back.

use super::{GgmlType, GgufFile, Value};
use crate::CompressError;
use crate::arch::{Arch, SUPPORTED};
use osler_core::spec::{Family, ModelSpec, RopeScaling};
use std::path::Path;

/// Block formats have had one revision; files with quantized tensors must say so.
const QUANTIZATION_VERSION: u32 = 2;

/// What llama 3's divisors come from. No other program knows these keys.
const LLAMA3: [&str; 4] = ["factor", "low_freq_factor", "high_freq_factor", "original_max_positions"];

fn epsilon_key(family: Family) -> &'static str {
    if family == Family::Gpt2 { "attention.layer_norm_epsilon" } else { "attention.layer_norm_rms_epsilon" }
}

/// The keys that describe the model; `ty` is the type of its matrices.
pub(crate) fn from_arch(path: &Path, arch: &Arch, ty: GgmlType) -> Result<Vec<(String, Value)>, CompressError> {
    let spec = &arch.spec;
    let name = spec.family.as_str();
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
        ("block_count", spec.layers),
        ("context_length", spec.max_positions),
        ("embedding_length", spec.dim),
        ("feed_forward_length", spec.ffn),
        ("attention.head_count", spec.heads),
        ("vocab_size", u32::try_from(arch.vocab).map_err(|e| CompressError::field(path, "vocab_size", e.to_string()))?),
    ];
    if spec.family.rotary() {
        sizes.extend([("attention.head_count_kv", spec.kv_heads), ("rope.dimension_count", spec.head_dim())]);
        if spec.family == Family::Gemma || spec.heads * spec.head_dim() != spec.dim {
            sizes.extend([("attention.key_length", spec.head_dim()), ("attention.value_length", spec.head_dim())]);
        }
    }
    out.extend(sizes.into_iter().map(|(key, size)| (format!("{name}.{key}"), Value::U32(size))));
    out.push((format!("{name}.{}", epsilon_key(spec.family)), Value::F32(spec.norm_eps as f32)));
    if spec.family.rotary() {
        out.push((format!("{name}.rope.freq_base"), Value::F32(spec.rope_theta as f32)));
        out.extend(scaling(name, spec));
    }
    Ok(out)
}

fn scaling(name: &str, spec: &ModelSpec) -> Vec<(String, Value)> {
    match spec.rope_scaling {
        None => vec![],
        Some(RopeScaling::Linear { factor }) => vec![
            (format!("{name}.rope.scaling.type"), Value::String("linear".to_owned())),
            (format!("{name}.rope.scaling.factor"), Value::F32(factor as f32)),
        ],
        // The scaling itself is a tensor.
        Some(RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions }) => {
            let numbers = [factor, low_freq_factor, high_freq_factor, f64::from(original_max_positions)];
            LLAMA3.iter().zip(numbers).map(|(key, number)| (format!("osler.rope.llama3.{key}"), Value::F64(number))).collect()
        }
    }
}

/// Reads the constants back, checked against the tensors that are there.
pub(crate) fn to_arch(file: &GgufFile) -> Result<Arch, CompressError> {
    let found = file.metadata().get("general.architecture").and_then(Value::as_str).unwrap_or("none");
    let family = Family::ALL.into_iter().find(|family| family.as_str() == found && family.causal());
    let Some(family) = family else {
        let found = found.to_owned();
        return Err(CompressError::UnknownArchitecture { path: file.path().to_owned(), found, supported: SUPPORTED });
    };
    let keys = Keys { file, family };
    let (dim, heads) = (keys.size("embedding_length")?, keys.size("attention.head_count")?);
    let head_dim = if keys.get("attention.key_length").is_some() { keys.size("attention.key_length")? } else { dim / heads };
    for key in ["rope.dimension_count", "attention.value_length"] {
        if keys.get(key).is_some() && keys.size(key)? != head_dim {
            return keys.fail(key, format!("must equal the head size {head_dim}"));
        }
    }
    // Rows of the embedding are the vocabulary, whatever the metadata may say besides.
    let vocab = file.tensor("token_embd.weight")?.shape.first().copied().unwrap_or(0);
    let spec = ModelSpec {
        family,
        dim,
        layers: keys.size("block_count")?,
        heads,
        kv_heads: if keys.get("attention.head_count_kv").is_some() { keys.size("attention.head_count_kv")? } else { heads },
        head_dim: Some(head_dim).filter(|width| heads.checked_mul(*width) != Some(dim)),
        ffn: keys.size("feed_forward_length")?,
        max_positions: keys.size("context_length")?,
        tied: !file.tensors().contains_key("output.weight"),
        norm_eps: keys.number(epsilon_key(family), None)?,
        rope_theta: keys.number("rope.freq_base", Some(10_000.0))?,
        rope_scaling: keys.scaling()?,
        init_std: 0.02,
    };
    Arch::new(file.path(), spec, vocab)
}

/// Metadata under the architecture's prefix.
struct Keys<'a> {
    file: &'a GgufFile,
    family: Family,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.file.metadata().get(&format!("{}.{key}", self.family))
    }

    fn fail<T>(&self, key: &str, reason: impl Into<String>) -> Result<T, CompressError> {
        Err(CompressError::field(self.file.path(), format!("{}.{key}", self.family), reason))
    }

    fn size(&self, key: &str) -> Result<u32, CompressError> {
        match self.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()) {
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

    fn scaling(&self) -> Result<Option<RopeScaling>, CompressError> {
        let kind = self.get("rope.scaling.type").map(|kind| kind.as_str().unwrap_or("no text"));
        if self.file.metadata().contains_key("osler.rope.llama3.factor") && kind.is_none() {
            return self.llama3().map(Some);
        }
        match kind {
            None | Some("none") => Ok(None),
            Some("linear") => Ok(Some(RopeScaling::Linear { factor: self.number("rope.scaling.factor", None)? })),
            Some(other) => self.fail("rope.scaling.type", format!("{other:?} is not supported; none and linear are")),
        }
    }

    fn llama3(&self) -> Result<RopeScaling, CompressError> {
        let number = |key: &str| {
            let key = format!("osler.rope.llama3.{key}");
            let found = self.file.metadata().get(&key).and_then(Value::as_f64);
            found.ok_or_else(|| CompressError::field(self.file.path(), key, "must be a float"))
        };
        let [factor, low_freq_factor, high_freq_factor, original] = LLAMA3.map(number);
        let original = original?;
        let whole = original.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&original);
        if !whole {
            return Err(CompressError::field(self.file.path(), "osler.rope.llama3.original_max_positions", "must be a whole number"));
        }
        Ok(RopeScaling::Llama3 {
            factor: factor?,
            low_freq_factor: low_freq_factor?,
            high_freq_factor: high_freq_factor?,
            original_max_positions: original as u32,
        })
    }
}
