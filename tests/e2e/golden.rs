//! Log-likelihoods that others computed, against what the shipped binaries say of the same models and questions.
//!
//! The small model is ours: tests/python/make_small_golden.py made it and its scores with transformers. The real one is in the shared data.

use crate::cluster::binary;
use osler_exam::{ExamReport, GoldenDiff, compare_golden};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Sums of float32 log-softmaxes against float64.
const TOLERANCE: f64 = 1e-3;

fn output(program: &str, args: &[&OsStr]) -> Vec<u8> {
    let done = Command::new(binary(program)).args(args).output().unwrap();
    assert!(done.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// `osler-rank exam MODEL --task FORMAT=FILE ...`
fn examine(model: &Path, format: &str, questions: &Path, more: &[&str]) -> ExamReport {
    let task = format!("{format}={}", questions.display());
    let mut args: Vec<&OsStr> =
        vec!["exam".as_ref(), model.as_ref(), "--task".as_ref(), task.as_ref(), "--output".as_ref(), "json".as_ref()];
    args.extend(more.iter().map(OsStr::new));
    let mut reports: Vec<ExamReport> = serde_json::from_slice(&output("osler-rank", &args)).unwrap();
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

fn check(report: &ExamReport, golden: &str, n: usize, what: &str) -> GoldenDiff {
    let diff = compare_golden(report, golden).unwrap();
    assert_eq!((diff.n, report.n), (n, n), "{what}: {diff:?}");
    assert!(diff.max_abs_delta <= TOLERANCE, "{what}: {diff:?}");
    assert_eq!((diff.prediction_mismatches, diff.greedy_mismatches, diff.context_mismatches), (0, 0, 0), "{what}: {diff:?}");
    diff
}

#[test]
fn a_small_model_of_our_own_scores_as_recorded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/golden");
    let recorded = |protocol: &str| fs::read_to_string(folder.join(format!("{protocol}.jsonl"))).unwrap();
    for protocol in ["letter", "cloze"] {
        let report = examine(&folder.join("model"), "medmcqa", &folder.join("questions.jsonl"), &["--protocol", protocol]);
        let golden = recorded(protocol);
        check(&report, &golden, 12, protocol);
        let scores = report.choice().unwrap();
        assert_eq!(scores.truncated, 1, "{protocol}: one prompt is longer than the model");
        for (row, line) in scores.questions.iter().zip(golden.lines()) {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["truncated"], row.truncated, "{protocol} {}", row.id);
            assert_eq!(line["pred_norm"], row.prediction_norm, "{protocol} {}", row.id);
            let chosen = if protocol == "cloze" { row.prediction_norm } else { row.prediction_raw };
            assert_eq!(row.prediction, chosen, "{protocol} {}", row.id);
        }
        // The comparison would see a wrong model: the same answers are not those of the next question.
        let mut lines: Vec<Value> = golden.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let first = lines[0]["lls"].clone();
        for i in 0..lines.len() {
            lines[i]["lls"] = if i + 1 < lines.len() { lines[i + 1]["lls"].clone() } else { first.clone() };
        }
        let shifted: Vec<String> = lines.iter().map(Value::to_string).collect();
        assert!(compare_golden(&report, &shifted.join("\n")).unwrap().max_abs_delta > 100.0 * TOLERANCE);
    }
    assert_ne!(recorded("letter"), recorded("cloze"));
}

/// `data` of OSLER_SHARED, else of `shared` beside the checkout.
fn shared_data(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let data = std::env::var_os("OSLER_SHARED").map_or(beside, PathBuf::from).join("data");
    let found = data.join("stories260k").is_dir();
    if !found {
        eprintln!("SKIPPED: {test}: no shared data");
    }
    found.then_some(data)
}

#[test]
fn the_real_llama_scores_as_the_golden_files_say() {
    let Some(data) = shared_data("the_real_llama_scores_as_the_golden_files_say") else { return };
    let model = data.join("stories260k/hf");
    let shots = data.join("mmlu/dev/anatomy_dev.csv").display().to_string();
    let (medmcqa, anatomy) = (data.join("medmcqa/dev.json"), data.join("mmlu/test/anatomy_test.csv"));
    let table: [(&str, &str, &Path, usize, &[&str]); 3] = [
        ("medmcqa_0shot", "medmcqa", &medmcqa, 300, &["--limit", "300", "--limit-mode", "head"]),
        ("mmlu_anatomy_0shot", "mmlu", &anatomy, 100, &["--limit", "100", "--limit-mode", "head"]),
        ("mmlu_anatomy_5shot", "mmlu", &anatomy, 10, &["--limit", "10", "--limit-mode", "head", "--shots", "5", "--shots-file", &shots]),
    ];
    for (name, format, questions, n, more) in table {
        let golden = fs::read_to_string(data.join(format!("stories260k/stories260K_{name}.jsonl"))).unwrap();
        let diff = check(&examine(&model, format, questions, more), &golden, n, name);
        eprintln!("{name}: {n} questions, largest difference {:.1e}", diff.max_abs_delta);
    }
}

#[test]
fn the_real_llama_has_the_known_perplexities_as_it_is_and_compressed() {
    let Some(data) = shared_data("the_real_llama_has_the_known_perplexities_as_it_is_and_compressed") else { return };
    let folder = tempfile::tempdir().unwrap();
    let model = data.join("stories260k/hf");

    // The reference table's documents: the sample's five stories without surrounding space, each after BOS.
    let sample = fs::read_to_string(data.join("tinystories-bpe/tinystories_sample.txt")).unwrap();
    let stories = sample.split("<|endoftext|>").map(str::trim).filter(|s| !s.is_empty());
    let lines: Vec<String> = stories.map(|s| serde_json::json!({ "text": s }).to_string()).collect();
    let documents = folder.path().join("stories.jsonl");
    fs::write(&documents, lines.join("\n")).unwrap();

    let perplexity = |of: &Path| {
        let report = examine(of, "perplexity", &documents, &["--tokenizer", model.to_str().unwrap()]);
        let scores = report.perplexity().unwrap();
        assert_eq!((report.n, scores.tokens), (5, 1804), "{}: other documents than the table's", of.display());
        scores.token_perplexity
    };
    let mut found = vec![("as it is", perplexity(&model), 3.5482)];
    // The table's int8 (3.5520) divides by 127 and takes the embeddings too. Ours is compressed-tensors' (by 127.5, the linear layers), for which
    // transformers computes 3.54507 in float64.
    for (method, expected) in [("gguf-f32", 3.5482), ("gguf-f16", 3.5483), ("gguf-q8_0", 3.5517), ("int8", 3.5451)] {
        let out = folder.path().join(method);
        output("osler-worker", &["quantize".as_ref(), model.as_ref(), "--to".as_ref(), method.as_ref(), out.as_ref()]);
        found.push((method, perplexity(&out), expected));
    }
    for (what, ours, expected) in &found {
        assert!((ours - expected).abs() <= 1e-4, "{what}: {ours:.5}, expected {expected}; all: {found:?}");
    }
}
