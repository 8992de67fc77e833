//! Files that are there and do not fit: each is named before anything starts, with its field.

use super::*;
use crate::resolve::resolve;
use osler_core::spec::parse;
use serde_json::{Value, json};
use std::fs;

const RUN_FILE: &str = r#"
name = "r"
seed = 1
[corpus.c]
format = "jsonl"
files = "c.jsonl"
[tokenizer]
file = "tokenizer.json"
[model]
family = "llama"
dim = 8
layers = 1
heads = 2
ffn = 12
norm_eps = 1e-6
tied = true
[[stage]]
name = "s"
from = "hf:model"
corpus = "c"
steps = 1
sequence_length = 8
global_batch = 1
optimizer = { lr = 1e-3 }
schedule = { kind = "constant", warmup_steps = 0 }
[[after_stage.exam]]
name = "e"
format = "medqa"
files = "exam.jsonl"
"#;

const ROWS: usize = 300;

fn config() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
        "max_position_embeddings": 16, "vocab_size": ROWS, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
    })
}

/// A byte-level BPE of the 256 bytes and an end of text.
fn tokenizer() -> Value {
    let printable = |b: u32| (33..127).contains(&b) || (161..173).contains(&b) || (174..256).contains(&b);
    let mut next = 255;
    let vocab: serde_json::Map<String, Value> = (0..256u32)
        .map(|b| {
            next += u32::from(!printable(b));
            (char::from_u32(if printable(b) { b } else { next }).unwrap().to_string(), json!(b))
        })
        .collect();
    json!({
        "version": "1.0",
        "added_tokens": [{"id": 256, "content": "<|endoftext|>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    })
}

fn question() -> Value {
    json!({"question": "Which?", "options": {"A": "one", "B": "two", "C": "three", "D": "four"}, "answer": "one", "answer_idx": "A"})
}

/// The run's files in a folder, all of them right.
fn world() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("config.json"), config().to_string()).unwrap();
    let config = osler_model::ModelConfig::read(Path::new("config.json"), &config()).unwrap();
    let (mut at, mut header) = (0, serde_json::Map::new());
    for param in osler_model::parameters::parameters(&config.spec, config.vocab).unwrap() {
        let bytes = param.len() * 4;
        header.insert(param.name, json!({"dtype": "F32", "shape": param.shape, "data_offsets": [at, at + bytes]}));
        at += bytes;
    }
    let header = Value::Object(header).to_string();
    fs::write(model.join("model.safetensors"), [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; at]].concat()).unwrap();
    fs::write(model.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    fs::write(folder.path().join("tokenizer.json"), tokenizer().to_string()).unwrap();
    fs::write(folder.path().join("c.jsonl"), "{\"text\": \"a text\"}\n").unwrap();
    fs::write(folder.path().join("exam.jsonl"), format!("{}\n", question())).unwrap();
    folder
}

fn looked(folder: &Path, run_file: &str) -> Resolved {
    let spec = parse(run_file, "run.toml", &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let mut resolved = resolve(spec, &folder.join("run.toml"));
    look(&mut resolved, Path::new("run.toml"));
    resolved
}

#[test]
fn files_that_fit_are_no_problem() {
    let world = world();
    let resolved = looked(world.path(), RUN_FILE);
    assert_eq!((resolved.problems, resolved.warnings), (vec![], vec![]));
}

#[test]
fn a_model_that_the_folder_contradicts_is_named_by_field() {
    let world = world();
    let told = |run_file: &str| looked(world.path(), run_file).problems;
    let problems = told(&RUN_FILE.replace("norm_eps = 1e-6\n", ""));
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("run.toml: stage.s.from: [model] norm_eps is 1e-5 in the run file, or by default, and 1e-6 in "),
        "{problems:?}"
    );
    let problems = told(&RUN_FILE.replace("ffn = 12", "ffn = 16").replace("tied = true", "tied = false"));
    assert!(problems.len() == 2 && problems[0].contains("ffn is 16") && problems[1].contains("tied is false"), "{problems:?}");
    let mut quantized = config();
    quantized["quantization_config"] = json!({"quant_method": "gptq", "bits": 4});
    fs::write(world.path().join("model/config.json"), quantized.to_string()).unwrap();
    let problems = told(RUN_FILE);
    assert!(problems.len() == 1 && problems[0].contains("quantized already (gptq)"), "{problems:?}");
}

#[test]
fn foreign_formats_are_told_by_their_bytes() {
    for (bytes, word) in [
        (&b"PK\x03\x04rest"[..], "a ZIP archive"),
        (b"%PDF-1.7", "a PDF"),
        (b"PAR1\x15\x04", "a Parquet table"),
        (b"\xff\xfe{\x00", "UTF-16"),
        (b"", "empty"),
        (b"{\"body\": \"a text\"}\n", "text_field"),
        (b"\n\n", "no documents"),
    ] {
        let world = world();
        fs::write(world.path().join("c.jsonl"), bytes).unwrap();
        let problems = looked(world.path(), RUN_FILE).problems;
        assert!(problems.len() == 1 && problems[0].contains("corpus.c.files") && problems[0].contains(word), "{word}: {problems:?}");
    }
}

#[test]
fn an_exam_without_questions_a_tokenizer_without_rows_and_a_method_without_blocks_are_problems() {
    let folder = world();
    fs::write(folder.path().join("exam.jsonl"), "\n").unwrap();
    let problems = looked(folder.path(), RUN_FILE).problems;
    assert!(problems.len() == 1 && problems[0].contains("after_stage.exam.e"), "{problems:?}");

    let folder = world();
    let mut large = tokenizer();
    for id in 257..ROWS + 2 {
        large["added_tokens"].as_array_mut().unwrap().push(json!({"id": id, "content": format!("<{id}>"), "special": false, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}));
    }
    fs::write(folder.path().join("tokenizer.json"), large.to_string()).unwrap();
    let problems = looked(folder.path(), RUN_FILE).problems;
    assert!(problems.len() == 1 && problems[0].contains("300 rows") && problems[0].contains("302 tokens"), "{problems:?}");
    large["added_tokens"].as_array_mut().unwrap().truncate(3);
    fs::write(folder.path().join("tokenizer.json"), large.to_string()).unwrap();
    let resolved = looked(folder.path(), RUN_FILE);
    assert!(resolved.problems.is_empty() && resolved.warnings.len() == 1, "{:?}", resolved.problems);
    assert!(resolved.warnings[0].contains("2 tokens") && resolved.warnings[0].contains("extend"), "{:?}", resolved.warnings);

    let quantized = format!("{RUN_FILE}[[after_stage.quantize]]\nmethod = \"gguf-q8_0\"\n");
    let problems = parse(&quantized, "run.toml", &[]).unwrap_err().to_string();
    assert!(problems.contains("gguf-q8_0 packs rows in blocks of 32, and model.dim = 8"), "{problems}");
}
