//! The real exam files and the real 260 K LLaMA's tokenizer, where the folder with them is at hand.

use std::path::{Path, PathBuf};

use osler_exam::fake::{FakeRule, FakeScorer, byte_tokenizer};
use osler_exam::{
    ExamFormat, ExamReport, ExamSpec, ExamTokenizer, LimitMode, Protocol, Request, RunOptions, Score, Scorer, ScorerError, compare_golden,
    load, run,
};
use serde_json::Value;

/// The folder `data` of `OSLER_SHARED`, or of `shared` beside the checkout.
fn data(test: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let shared = std::env::var_os("OSLER_SHARED").map_or(beside, PathBuf::from);
    let data = shared.join("data");
    if !data.is_dir() {
        eprintln!("SKIPPED: {test}: no shared data");
        return None;
    }
    Some(data)
}

const SUBJECTS: [&str; 6] =
    ["anatomy", "clinical_knowledge", "college_biology", "college_medicine", "medical_genetics", "professional_medicine"];

fn mmlu(data: &Path, split: &str, subjects: &[&str]) -> Vec<PathBuf> {
    subjects.iter().map(|s| data.join(format!("mmlu/{split}/{s}_{split}.csv"))).collect()
}

fn sit(spec: &ExamSpec) -> ExamReport {
    let mut scorer = FakeScorer::new(FakeRule::Bigram { seed: 1 }, 1024);
    run(&load(spec).unwrap(), &byte_tokenizer(&[], false).unwrap(), &mut scorer, &RunOptions::default(), &mut |_, _| ()).unwrap()
}

#[test]
fn the_real_files_have_the_published_counts_and_constant_answers() {
    let Some(data) = data("the_real_files_have_the_published_counts_and_constant_answers") else { return };
    let pubmedqa = data.join("pubmedqa/ori_pqal.json");
    let test = data.join("pubmedqa/test_ground_truth.json");
    let table = [
        (ExamFormat::MedMcqa, vec![data.join("medmcqa/dev.json")], 4183, 0.322, "A"),
        (ExamFormat::MedQa, vec![data.join("medqa/phrases_no_exclude_test.jsonl")], 1273, 0.277, "A"),
        (ExamFormat::PubMedQa, vec![pubmedqa.clone(), test], 500, 0.552, "yes"),
        (ExamFormat::PubMedQa, vec![pubmedqa], 1000, 0.552, "yes"),
        (ExamFormat::Mmlu, mmlu(&data, "test", &SUBJECTS), 1089, 0.323, "D"),
    ];
    for (format, files, n, baseline, answer) in table {
        let spec = ExamSpec::new("real", format, files);
        let report = sit(&spec);
        let scores = report.choice().unwrap();
        assert_eq!((report.n, scores.questions.len(), scores.majority_answer.as_str()), (n, n, answer), "{format:?}");
        assert!((scores.majority_baseline - baseline).abs() < 0.0005, "{format:?}: {}", scores.majority_baseline);
        // A model that knows nothing is near what choosing blindly gives.
        let blind = if format == ExamFormat::PubMedQa { 1.0 / 3.0 } else { 0.25 };
        assert!((scores.accuracy - blind).abs() < 0.08, "{format:?}: {}", scores.accuracy);
        assert_eq!(load(&ExamSpec { protocol: Protocol::Cloze, ..spec }).unwrap().len(), n, "{format:?}: cloze");
    }
}

#[test]
fn professional_medicine_is_right_with_d_in_449_of_1000() {
    let Some(data) = data("professional_medicine_is_right_with_d_in_449_of_1000") else { return };
    let report = sit(&ExamSpec::new("m", ExamFormat::Mmlu, mmlu(&data, "test", &["professional_medicine"])));
    let scores = report.choice().unwrap();
    assert_eq!((report.n, scores.majority_answer.as_str()), (272, "D"));
    assert!((scores.majority_baseline - 0.449).abs() < 0.0005);
}

/// Answers -1 to everything and keeps the requests.
struct Listener(Vec<Request>);

impl Scorer for Listener {
    fn max_length(&self) -> usize {
        512
    }
    fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>, ScorerError> {
        self.0.extend_from_slice(requests);
        Ok(requests.iter().map(|_| Score { log_likelihood: -1.0, greedy: false }).collect())
    }
}

/// An independent implementation's token counts: context, continuations, model input. Equal counts on 410 prompts leave little room for
/// other prompts, other boundaries or another truncation; the log-likelihoods themselves need the model.
#[test]
fn prompts_have_as_many_tokens_as_in_the_golden_files() {
    let Some(data) = data("prompts_have_as_many_tokens_as_in_the_golden_files") else { return };
    let tokenizer = ExamTokenizer::from_folder(&data.join("stories260k/hf")).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (Some(1), Some(2), true));
    let head =
        |format, files, limit| ExamSpec { limit: Some(limit), limit_mode: LimitMode::Head, ..ExamSpec::new("golden", format, files) };
    let anatomy = || mmlu(&data, "test", &["anatomy"]);
    let table = [
        ("medmcqa_0shot", head(ExamFormat::MedMcqa, vec![data.join("medmcqa/dev.json")], 300), 300, 0),
        ("mmlu_anatomy_0shot", head(ExamFormat::Mmlu, anatomy(), 100), 100, 0),
        (
            "mmlu_anatomy_5shot",
            ExamSpec { shots: 5, shots_files: mmlu(&data, "dev", &["anatomy"]), ..head(ExamFormat::Mmlu, anatomy(), 10) },
            10,
            10,
        ),
    ];
    for (name, spec, n, truncated) in table {
        let golden = std::fs::read_to_string(data.join(format!("stories260k/stories260K_{name}.jsonl"))).unwrap();
        let exam = load(&spec).unwrap();
        let mut listener = Listener(vec![]);
        let report = run(&exam, &tokenizer, &mut listener, &RunOptions::default(), &mut |_, _| ()).unwrap();
        let diff = compare_golden(&report, &golden).unwrap();
        assert_eq!((diff.n, diff.context_mismatches), (n, 0), "{name}");
        assert!(report.choice().unwrap().truncated >= truncated, "{name}");

        // Requests come by length; the golden lines name each one's length and number of scored tokens.
        let mut asked: Vec<_> = listener.0.iter().map(|r| (r.input().len(), r.scored)).collect();
        let mut expected: Vec<(usize, usize)> = Vec::new();
        for line in golden.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let context = line["ctx_tokens"].as_u64().unwrap() as usize;
            let scored: Vec<usize> = line["cont_tokens"].as_array().unwrap().iter().map(|c| c.as_u64().unwrap() as usize).collect();
            assert_eq!(line["input_len"].as_u64().unwrap() as usize, (context + scored[0] - 1).min(512));
            expected.extend(scored.into_iter().map(|s| ((context + s - 1).min(512), s)));
        }
        asked.sort_unstable();
        expected.sort_unstable();
        assert_eq!(asked, expected, "{name}");
    }
}

#[test]
fn gpt2_adds_no_bos() {
    let Some(data) = data("gpt2_adds_no_bos") else { return };
    let tokenizer = ExamTokenizer::from_folder(&data.join("gpt2-tokenizer")).unwrap();
    assert_eq!(tokenizer.encode("Hello world").unwrap(), [15496, 995]);
    assert!(!tokenizer.adds_bos());
}
