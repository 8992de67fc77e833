//! Whether a model can be compressed, before there is one: from its shape and its tokenizer.

use crate::arch::Arch;
use crate::quantize::is_quantized;
use crate::{CompressError, Method, gguf};
use osler_core::spec::{self, ModelSpec};
use std::path::Path;

/// `tokenizer` holds the bytes of the `tokenizer.json` that will lie beside the weights, if it is there yet.
///
/// # Errors
/// What [`crate::quantize`] would say of any weights of this shape.
pub fn foresee(spec: &ModelSpec, vocab: usize, tokenizer: Option<&[u8]>, method: Method) -> Result<(), CompressError> {
    let path = Path::new("[model]");
    let arch = Arch::new(path, spec.clone(), vocab)?;
    if !arch.specs().iter().any(|tensor| is_quantized(tensor, method)) {
        return Err(CompressError::NothingQuantized { path: path.to_owned(), method: method.to_string() });
    }
    if method.gguf_type().is_none() {
        return Ok(());
    }
    if let Some(what) = spec.unsayable_in_gguf() {
        return Err(CompressError::field(path, "rope_scaling", what));
    }
    match tokenizer {
        Some(json) => gguf::tokenizer::check(Path::new("tokenizer.json"), json, vocab),
        None => Ok(()),
    }
}

impl From<spec::Method> for Method {
    fn from(method: spec::Method) -> Self {
        match method {
            spec::Method::Int8 => Self::Int8,
            spec::Method::GgufQ8_0 => Self::GgufQ8_0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_model::ModelConfig;

    fn spec(edit: impl Fn(&mut serde_json::Value)) -> ModelSpec {
        let mut config = crate::fixtures::gpt2_config();
        edit(&mut config);
        ModelConfig::read(Path::new("config.json"), &config).unwrap().spec
    }

    #[test]
    fn what_compression_would_refuse_is_known_from_the_shape_and_the_tokenizer() {
        let bpe = crate::fixtures::byte_level_tokenizer().to_string();
        let unigram = r#"{"model": {"type": "Unigram", "vocab": [["a", -1.0]]}}"#;
        let narrow = spec(|c| (c["n_embd"], c["n_inner"]) = (12.into(), 44.into()));
        let fits = spec(|_| {});
        for method in Method::ALL {
            foresee(&fits, 40, Some(bpe.as_bytes()), method).unwrap();
        }
        foresee(&narrow, 40, None, Method::Int8).unwrap();
        assert!(matches!(foresee(&narrow, 40, None, Method::GgufQ8_0), Err(CompressError::NothingQuantized { .. })));
        foresee(&fits, 40, Some(unigram.as_bytes()), Method::Int8).unwrap();
        assert!(foresee(&fits, 40, Some(unigram.as_bytes()), Method::GgufQ8_0).unwrap_err().to_string().contains("Unigram"));
    }

    #[test]
    fn blocks_are_as_long_as_the_run_files_rules_say() {
        for method in spec::Method::ALL {
            let block = Method::from(method).gguf_type().map_or(1, gguf::GgmlType::block);
            assert_eq!(block as u32, method.block(), "{method}");
        }
    }
}
