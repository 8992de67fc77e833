//! The real 260K-parameter LLaMA, when the shared data are there.

use crate::gguf::{Array, GgufFile, GgufTokenizer, Value as Meta};
use crate::{Method, QuantReport, open_quantized, quantize};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokenizers::Tokenizer;

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
    // The tokenizer that the file carries is the folder's.
    let own = GgufTokenizer::read(&dir.path().join("gguf-q8_0")).unwrap();
    assert_eq!((own.bos, own.eos, own.adds_bos), (Some(1), Some(2), true));
    let own = Tokenizer::from_bytes(own.json.as_bytes()).unwrap();
    let given = Tokenizer::from_file(model.join("tokenizer.json")).unwrap();
    let text = fs::read_to_string(shared.join("data/tinystories-bpe/tinystories_sample.txt")).unwrap();
    let mut tokens = 0;
    for document in text.split("<|endoftext|>").chain(["  two  spaces ", "Zürich 日本 \t\n", "</s> and <s>", ""]) {
        let ids = |tokenizer: &Tokenizer| tokenizer.encode_fast(document, false).unwrap().get_ids().to_vec();
        tokens += ids(&given).len();
        assert_eq!(ids(&own), ids(&given), "{document:?}");
    }
    assert!(tokens > 500, "{tokens}");
}
