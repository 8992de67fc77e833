//! The real 260K-parameter LLaMA, when the shared data are there.

use crate::gguf::{Array, GgufFile, Value as Meta};
use crate::{Method, QuantReport, open_quantized, quantize};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

#[test]
fn the_real_stories_model_goes_through_every_method() {
    let shared =
        std::env::var_os("OSLER_SHARED").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let model = shared.join("data/stories260k/hf");
    if !model.exists() {
        eprintln!("SKIPPED: the_real_stories_model_goes_through_every_method: no shared data");
        return;
    }
    let dir = TempDir::new().unwrap();
    for method in Method::ALL {
        let out = dir.path().join(method.as_str());
        let report = quantize(&model, method, &out).unwrap();
        assert_eq!(report.notes, [""; 0], "{method}");
        assert_eq!(report.fallback.len(), if method == Method::GgufQ8_0 { 5 } else { 0 }, "ffn_down has 172 columns");
        let worst = report.worst().unwrap();
        let limit = match method {
            Method::Int8 | Method::GgufQ8_0 => 0.02,
            Method::GgufF16 => 5e-4,
            Method::GgufF32 => 0.0,
        };
        assert!(worst.relative_rms_error <= limit, "{method}: {worst:?}");
        let opened = open_quantized(&out).unwrap();
        assert_eq!(opened.names().count(), 47);
        let again = quantize(&model, method, &dir.path().join("again")).unwrap();
        assert_eq!(again, QuantReport { outputs: again.outputs.clone(), ..report.clone() });
        let digests = |r: &QuantReport| r.outputs.iter().map(|o| o.sha256.clone()).collect::<Vec<_>>();
        assert_eq!(digests(&again), digests(&report), "the same input gives the same bytes");
        if method.writes_file() { fs::remove_file(dir.path().join("again")) } else { fs::remove_dir_all(dir.path().join("again")) }
            .unwrap();
    }
    // The original SentencePiece scores of this tokenizer are minus the id, counted from the first merged token.
    let file = GgufFile::open(&dir.path().join("gguf-q8_0")).unwrap();
    let Some(Meta::Array(Array::F32(scores))) = file.metadata().get("tokenizer.ggml.scores") else { panic!("no scores") };
    let expected: Vec<f32> = (0..512i32).map(|id| (259 - id).min(0) as f32).collect();
    assert_eq!(scores, &expected);
}
