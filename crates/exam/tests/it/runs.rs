//! Whole exams with fake models whose right results can be worked out by hand.

use osler_exam::fake::{FakeRule, FakeScorer, byte_tokenizer};
use osler_exam::{
    Document, Exam, ExamError, ExamFormat, ExamReport, ExamSpec, Protocol, Request, RunOptions, Score, Scorer, ScorerError, load, paired,
    run,
};

use crate::files::{Folder, MEDMCQA, spec};

fn sit(exam: &Exam, scorer: &mut dyn Scorer, max_batch_tokens: usize) -> Result<ExamReport, ExamError> {
    run(exam, &byte_tokenizer(&[], true).unwrap(), scorer, &RunOptions { max_batch_tokens }, &mut |_, _| ())
}

/// Likes an answer by its last byte: log-likelihood is minus that byte's table entry.
struct Likes(fn(u32) -> f64);

impl Scorer for Likes {
    fn max_length(&self) -> usize {
        4096
    }
    fn score(&mut self, requests: &[Request]) -> Result<Vec<Score>, ScorerError> {
        let score = |r: &Request| {
            let log_likelihood = -(self.0)(*r.tokens.last().unwrap());
            Score { log_likelihood, greedy: log_likelihood == 0.0 }
        };
        Ok(requests.iter().map(score).collect())
    }
}

/// The id of an ASCII byte in the fake tokenizer: printable characters come first, in order.
fn byte(c: char) -> u32 {
    c as u32 - '!' as u32
}

fn mmlu(folder: &Folder) -> Exam {
    let files = vec![
        folder.file("anatomy_test.csv", "q,a,b,c,d,A\nr,a,b,c,d,B\ns,a,b,c,d,A\nt,a,b,c,d,A\n"),
        folder.file("virology_test.csv", "u,a,b,c,d,B\nv,a,b,c,d,B\nw,a,b,c,d,A\n"),
    ];
    load(&spec(ExamFormat::Mmlu, files)).unwrap()
}

#[test]
fn accuracy_errors_and_baseline_by_hand() {
    let folder = Folder::new();
    // Always B.
    let report = sit(&mmlu(&folder), &mut Likes(|t| if t == byte('B') { 0.0 } else { 1.0 }), 4096).unwrap();
    let scores = report.choice().unwrap();
    assert_eq!((report.n, report.available, scores.accuracy), (7, 7, 3.0 / 7.0));
    assert_eq!((scores.accuracy_raw, scores.accuracy_norm, scores.accuracy_bytes), (3.0 / 7.0, 3.0 / 7.0, 3.0 / 7.0));
    assert_eq!((scores.majority_baseline, scores.majority_answer.as_str()), (4.0 / 7.0, "A"));
    assert_eq!((scores.greedy, scores.truncated), (3, 0));
    let subjects: Vec<_> = scores.subjects.iter().map(|s| (s.subject.as_str(), s.n, s.accuracy)).collect();
    assert_eq!(subjects, [("anatomy", 4, 0.25), ("virology", 3, 2.0 / 3.0)]);
    assert_eq!(scores.subjects[0].stderr, Some(0.25));
    // Pooled: (3 * 1/16 * 4 + 2 * 1/9 * 3) / (7 - 2) / 7
    let pooled = ((0.75 + 2.0 / 3.0) / 35.0f64).sqrt();
    assert!((scores.stderr.unwrap() - pooled).abs() < 1e-15);
}

#[test]
fn the_first_of_equal_answers_wins() {
    let folder = Folder::new();
    let report = sit(&mmlu(&folder), &mut Likes(|_| 1.0), 4096).unwrap();
    assert!(report.choice().unwrap().questions.iter().all(|q| q.prediction == 0));
}

#[test]
fn cloze_predicts_per_character_and_also_reports_raw() {
    let folder = Folder::new();
    let record = "{\"question\":\"q\",\"opa\":\"ab\",\"opb\":\"abcdefgh\",\"opc\":\"\u{e9}\u{e9}\",\"opd\":\"x\",\"cop\":2}\n{\"question\":\"z\",\"opa\":\"p\",\"opb\":\"q\",\"opc\":\"r\",\"opd\":\"s\",\"cop\":4}";
    let letter = spec(ExamFormat::MedMcqa, vec![folder.file("m.jsonl", record)]);
    let exam = load(&ExamSpec { protocol: Protocol::Cloze, ..letter }).unwrap();
    // The uniform model: a choice's log-likelihood is minus its tokens (the space and its bytes) times ln 256.
    let report = sit(&exam, &mut FakeScorer::new(FakeRule::Uniform { vocabulary: 256 }, 512), 4096).unwrap();
    let row = &report.choice().unwrap().questions[0];
    let unit = 256f64.ln();
    for (ll, tokens) in row.log_likelihoods.iter().zip([3.0, 9.0, 5.0, 2.0]) {
        assert!((ll + tokens * unit).abs() < 1e-9, "{ll}");
    }
    // raw: shortest. Per character: 3/2, 9/8, 5/2, 2/1. Per byte: 3/2, 9/8, 5/4, 2/1.
    assert_eq!((row.prediction_raw, row.prediction_norm, row.prediction_bytes, row.prediction), (3, 1, 1, 1));
    let scores = report.choice().unwrap();
    assert_eq!((scores.accuracy, scores.accuracy_raw, scores.accuracy_norm), (0.5, 0.0, 0.5));
}

#[test]
fn batching_changes_nothing() {
    let folder = Folder::new();
    let exam = mmlu(&folder);
    let bigram = FakeScorer::new(FakeRule::Bigram { seed: 5 }, 64);
    let whole = sit(&exam, &mut bigram.clone(), 1 << 20).unwrap();
    let mut one_by_one = bigram.clone();
    assert_eq!(sit(&exam, &mut one_by_one, 1).unwrap(), whole);
    assert!(one_by_one.batches.len() >= exam.len());
    assert!(whole.choice().unwrap().truncated > 0, "the description does not fit 64 bytes");
}

#[test]
fn a_model_that_fails_or_an_exam_that_is_empty_is_an_error() {
    let folder = Folder::new();
    let exam = load(&spec(ExamFormat::MedMcqa, vec![folder.file("m.json", MEDMCQA)])).unwrap();
    let mut scorer = FakeScorer { fail_at: Some(1), ..FakeScorer::new(FakeRule::Bigram { seed: 1 }, 512) };
    let error = sit(&exam, &mut scorer, 1).unwrap_err();
    assert!(matches!(error, ExamError::Scorer { total: 8, .. }), "{error}");
    let error = sit(&exam, &mut FakeScorer::new(FakeRule::Bigram { seed: 1 }, 0), 1).unwrap_err();
    assert!(matches!(error, ExamError::Contract { .. }), "{error}");
    assert!(matches!(Exam::perplexity("t", vec![]), Err(ExamError::NoQuestions { .. })));
}

fn documents() -> Exam {
    let long: String = (0..500).map(|i| if i % 7 == 0 { ' ' } else { 'x' }).collect();
    let texts = [("a", "Two words"), ("b", " caf\u{e9}\n"), ("c", long.as_str())];
    Exam::perplexity("t", texts.map(|(id, text)| Document { id: id.into(), text: text.into() }).to_vec()).unwrap()
}

#[test]
fn a_uniform_models_perplexity_is_its_vocabulary() {
    for max_length in [1, 7, 64, 512] {
        let report = sit(&documents(), &mut FakeScorer::new(FakeRule::Uniform { vocabulary: 256 }, max_length), 256).unwrap();
        let scores = report.perplexity().unwrap();
        assert_eq!((scores.tokens, scores.bytes), (516, 516));
        // 2 + 3 + 73: the leading blank counts an empty word, as in the reference.
        assert_eq!(scores.words, 2 + 3 + 73);
        assert!((scores.token_perplexity - 256.0).abs() < 1e-9);
        assert!((scores.bits_per_byte - 8.0).abs() < 1e-12);
        assert!((scores.byte_perplexity - 256.0).abs() < 1e-9);
        assert!((scores.word_perplexity.ln() - 516.0 * 256f64.ln() / 78.0).abs() < 1e-9);
        assert_eq!((report.protocol, report.n), (Protocol::Rolling, 3));
    }
}

#[test]
fn windows_do_not_change_what_a_bigram_model_says() {
    let sums = |max_length| {
        let report = sit(&documents(), &mut FakeScorer::new(FakeRule::Bigram { seed: 9 }, max_length), 256).unwrap();
        report.perplexity().unwrap().documents.iter().map(|d| d.log_likelihood).collect::<Vec<_>>()
    };
    let whole = sums(1000);
    for max_length in [1, 2, 3, 50, 499, 500] {
        assert_eq!(sums(max_length), whole, "length {max_length}");
    }
}

#[test]
fn a_report_survives_its_json() {
    let folder = Folder::new();
    for exam in [mmlu(&folder), documents()] {
        let report = sit(&exam, &mut FakeScorer::new(FakeRule::Bigram { seed: 3 }, 80), 256).unwrap();
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ExamReport>(&text).unwrap(), report);
        assert!(text.contains("\"kind\":"), "{text}");
    }
}

#[test]
fn pairing_counts_every_question_once() {
    let folder = Folder::new();
    let exam = mmlu(&folder);
    let a = sit(&exam, &mut Likes(|t| if t == byte('A') { 0.0 } else { 1.0 }), 4096).unwrap();
    let b = sit(&exam, &mut Likes(|t| if t == byte('B') { 0.0 } else { 1.0 }), 4096).unwrap();
    let pair = paired(&a, &b).unwrap();
    assert_eq!((pair.n, pair.both_right, pair.a_only, pair.b_only, pair.neither), (7, 0, 4, 3, 0));
    assert!((pair.delta + 1.0 / 7.0).abs() < 1e-15 && pair.mcnemar_exact_p == 1.0);
    assert!(pair.ci95[0] < pair.delta && pair.delta < pair.ci95[1]);
    let same = paired(&a, &a).unwrap();
    assert_eq!((same.both_right, same.neither, same.delta, same.mcnemar_exact_p), (4, 3, 0.0, 1.0));

    let fewer = load(&ExamSpec { limit: Some(1), ..exam.spec.clone() }).unwrap();
    let fewer = sit(&fewer, &mut Likes(|_| 1.0), 4096).unwrap();
    for (x, y) in [(&a, &fewer), (&fewer, &a)] {
        assert!(paired(x, y).unwrap_err().to_string().contains("same questions"));
    }
    let text = sit(&documents(), &mut FakeScorer::new(FakeRule::Bigram { seed: 3 }, 80), 256).unwrap();
    assert!(matches!(paired(&text, &text), Err(ExamError::Mismatch { .. })));
}
