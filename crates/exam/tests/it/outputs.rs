//! Files for others to read: lm-evaluation-harness's results and samples, and golden lines.

use osler_exam::fake::{FakeRule, FakeScorer, byte_tokenizer};
use osler_exam::lm_eval::{RunMeta, results, results_file_name, samples_file_name, tasks, write_samples};
use osler_exam::{Exam, ExamFormat, ExamReport, ExamSpec, RunOptions, compare_golden, load, run, write_golden};
use serde_json::{Value, json};

use crate::files::{ANATOMY, Folder, MEDMCQA, PUBMEDQA, spec};

fn sit(exam: &Exam, seed: u64) -> ExamReport {
    let mut scorer = FakeScorer::new(FakeRule::Bigram { seed }, 512);
    run(exam, &byte_tokenizer(&[], true).unwrap(), &mut scorer, &RunOptions::default(), &mut |_, _| ()).unwrap()
}

fn meta() -> RunMeta {
    RunMeta {
        model: "osler".into(),
        model_args: "stage=domain".into(),
        model_num_parameters: Some(260_000),
        model_dtype: "torch.float32".into(),
        batch_size: "8192 tokens".into(),
        device: "cpu".into(),
        git_hash: None,
        date: 1.5,
        total_evaluation_time_seconds: 2.25,
    }
}

fn named(name: &str, format: ExamFormat, files: Vec<std::path::PathBuf>) -> Exam {
    load(&ExamSpec { name: name.into(), ..spec(format, files) }).unwrap()
}

#[test]
fn results_have_the_reference_keys() {
    let folder = Folder::new();
    let medmcqa = sit(&named("medmcqa", ExamFormat::MedMcqa, vec![folder.file("dev.json", MEDMCQA)]), 1);
    let pubmedqa = sit(&named("pubmedqa", ExamFormat::PubMedQa, vec![folder.file("p.json", PUBMEDQA)]), 1);
    let files = vec![folder.file("anatomy_test.csv", ANATOMY), folder.file("virology_test.csv", ANATOMY)];
    let mmlu = sit(&named("mmlu", ExamFormat::Mmlu, files), 1);
    let limited = load(&ExamSpec {
        limit: Some(1),
        name: "limited".into(),
        ..spec(ExamFormat::Mmlu, vec![folder.file("biology_test.csv", ANATOMY)])
    });
    let limited = sit(&limited.unwrap(), 1);
    let text = sit(&named("heldout", ExamFormat::Perplexity, vec![folder.file("t.txt", "Some words.")]), 1);
    let tokenizer = byte_tokenizer(&[], true).unwrap();
    let value = results(&[&medmcqa, &pubmedqa, &mmlu, &limited, &text], &tokenizer, &meta()).unwrap();
    for key in [
        "results",
        "groups",
        "group_subtasks",
        "configs",
        "versions",
        "n-shot",
        "higher_is_better",
        "n-samples",
        "config",
        "git_hash",
        "date",
        "tokenizer_pad_token",
        "tokenizer_eos_token",
        "tokenizer_bos_token",
        "eot_token_id",
        "max_length",
        "task_hashes",
        "total_evaluation_time_seconds",
    ] {
        assert!(value.get(key).is_some(), "{key}");
    }
    let keys = |task: &str| value["results"][task].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys("medmcqa"), ["acc,none", "acc_norm,none", "acc_norm_stderr,none", "acc_stderr,none", "alias"]);
    assert_eq!(keys("pubmedqa"), ["acc,none", "acc_stderr,none", "alias"]);
    assert_eq!(value["group_subtasks"]["mmlu"], json!(["mmlu_anatomy", "mmlu_virology"]));
    assert_eq!(value["groups"]["mmlu"], value["results"]["mmlu"]);
    assert_eq!(value["groups"]["mmlu"]["acc_stderr,none"].as_f64(), mmlu.choice().unwrap().stderr);
    assert_eq!(value["n-samples"]["mmlu_anatomy"], json!({"original": 2, "effective": 2}));
    assert_eq!(value["n-samples"]["limited_biology"], json!({"original": 2, "effective": 1}));
    assert_eq!(value["results"]["heldout"]["bits_per_byte_stderr,none"], "N/A");
    assert_eq!(value["higher_is_better"]["heldout"]["bits_per_byte"], false);
    assert_eq!(value["tokenizer_bos_token"], json!(["<s>", "256"]));
    assert_eq!((&value["date"], &value["total_evaluation_time_seconds"]), (&json!(1.5), &json!("2.25")));
    assert!(results(&[&medmcqa, &medmcqa], &tokenizer, &meta()).is_err(), "one would hide the other");
    assert_eq!(results_file_name("2026-01-02T03:04:05.6"), "results_2026-01-02T03-04-05.6.json");
    assert_eq!(samples_file_name("medmcqa", "2026-01-02T03:04:05"), "samples_medmcqa_2026-01-02T03-04-05.jsonl");
}

fn samples(exam: &Exam, report: &ExamReport, subject: Option<&str>) -> Vec<Value> {
    let mut out = Vec::new();
    write_samples(exam, report, subject, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn sample_lines_have_the_reference_form() {
    let folder = Folder::new();
    let exam = named("medmcqa", ExamFormat::MedMcqa, vec![folder.file("dev.json", MEDMCQA)]);
    let report = sit(&exam, 4);
    let lines = samples(&exam, &report, None);
    assert_eq!(lines.len(), 2);
    let (line, row) = (&lines[0], &report.choice().unwrap().questions[0]);
    assert_eq!((&line["doc_id"], &line["target"], &line["filter"]), (&json!(0), &json!("3"), &json!("none")));
    assert_eq!(line["arguments"]["gen_args_1"]["arg_1"], " B");
    assert!(line["arguments"]["gen_args_0"]["arg_0"].as_str().unwrap().ends_with("Answer:"));
    assert_eq!(line["resps"][2][0][0], format!("{:?}", row.log_likelihoods[2]));
    assert_eq!(line["filtered_resps"][2], line["resps"][2][0]);
    assert_eq!(line["acc"], f64::from(u8::from(row.prediction_raw == 3)));
    assert_eq!(line["metrics"], json!(["acc", "acc_norm"]));
    assert_eq!(line["doc"]["id"], "q-ear");
    // sha256("3")
    assert_eq!(line["target_hash"], "4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce");

    let exam = named("p", ExamFormat::PubMedQa, vec![folder.file("p.json", PUBMEDQA)]);
    assert_eq!(samples(&exam, &sit(&exam, 4), None)[0]["target"], "maybe");
    let files = vec![folder.file("anatomy_test.csv", ANATOMY), folder.file("virology_test.csv", ANATOMY)];
    let mmlu = named("mmlu", ExamFormat::Mmlu, files);
    let mmlu_report = sit(&mmlu, 4);
    assert_eq!(tasks(&mmlu_report)[1], ("mmlu_virology".into(), Some("virology".into())));
    assert_eq!(samples(&mmlu, &mmlu_report, Some("virology")).len(), 2);
    assert!(write_samples(&mmlu, &report, None, &mut Vec::new()).is_err(), "another exam's report");
}

#[test]
fn golden_lines_compare_with_themselves_and_show_differences() {
    let folder = Folder::new();
    let exam = named("mmlu", ExamFormat::Mmlu, vec![folder.file("anatomy_test.csv", ANATOMY), folder.file("virology_test.csv", ANATOMY)]);
    let report = sit(&exam, 4);
    let mut out = Vec::new();
    write_golden(&report, &mut out).unwrap();
    let golden = String::from_utf8(out).unwrap();
    let diff = compare_golden(&report, &golden).unwrap();
    assert_eq!((diff.n, diff.max_abs_delta, diff.prediction_mismatches), (4, 0.0, 0));
    assert_eq!((diff.greedy_mismatches, diff.context_mismatches), (0, 0));

    let mut other = report.clone();
    let osler_exam::Outcome::Choice(scores) = &mut other.outcome else { panic!() };
    scores.questions[2].log_likelihoods[1] -= 0.25;
    scores.questions[3].prediction_raw = (scores.questions[3].prediction_raw + 1) % 4;
    scores.questions[0].context_tokens += 1;
    let diff = compare_golden(&other, &golden).unwrap();
    assert!((diff.max_abs_delta - 0.25).abs() < 1e-12);
    assert_eq!((diff.worst.as_str(), diff.prediction_mismatches, diff.context_mismatches), ("virology/0", 1, 1));

    let line = |doc: usize, gold: usize, rest: &str| format!("{{\"doc_id\":{doc},\"gold\":{gold},\"pred\":0,\"lls\":[-1,-1,-1,-1]{rest}}}");
    for (golden, part) in [
        (String::new(), "no golden lines"),
        ("{".into(), "golden line 1"),
        (line(0, 2, ""), "name its `subject`"),
        (line(9, 2, ",\"subject\":\"anatomy\""), "doc_id 9 is not in the report"),
        (line(0, 1, ",\"subject\":\"anatomy\""), "other questions"),
        (line(0, 2, ",\"subject\":\"anatomy\"").replace("[-1,", "["), "3 choices are 4"),
    ] {
        let error = compare_golden(&report, &golden).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
}
