//! Demonstrations: which ones, in which order, and never the question itself.

use osler_exam::{ExamFormat, ExamSpec, load};

use crate::files::{Folder, PUBMEDQA, questions, spec};

#[test]
fn mmlu_shows_the_first_of_its_dev_file() {
    let folder = Folder::new();
    let test = folder.file("anatomy_test.csv", "T?,t1,t2,t3,t4,D\n");
    let dev = folder.file("anatomy_dev.csv", "One?,a,b,c,d,B\n Two? ,e,f,g,h,A\nThree?,i,j,k,l,C\n");
    let five = ExamSpec { shots: 2, shots_files: vec![dev], ..spec(ExamFormat::Mmlu, vec![test]) };
    let exam = load(&five).unwrap();
    assert_eq!(
        questions(&exam)[0].prompt,
        "The following are multiple choice questions (with answers) about anatomy.\n\n\
         One?\nA. a\nB. b\nC. c\nD. d\nAnswer: B\n\n\
         Two?\nA. e\nB. f\nC. g\nD. h\nAnswer: A\n\n\
         T?\nA. t1\nB. t2\nC. t3\nD. t4\nAnswer:"
    );
    assert_eq!(exam.digests.len(), 2);
    let error = load(&ExamSpec { shots: 5, ..five }).unwrap_err().to_string();
    assert!(error.contains("has 3 demonstrations, 5 are needed") && error.contains("anatomy_dev.csv"), "{error}");
}

fn pool(n: usize, prefix: &str) -> String {
    let record = |i| {
        format!(
            "{{\"id\":\"{prefix}{i}\",\"question\":\"{prefix}{i}\",\"opa\":\"a\",\"opb\":\"b\",\"opc\":\"c\",\"opd\":\"d\",\"cop\":{}}}\n",
            i % 4
        )
    };
    (0..n).map(record).collect()
}

/// The questions of the demonstrations in a MedMCQA prompt, and the asked one last.
fn order(prompt: &str) -> Vec<&str> {
    prompt.lines().filter_map(|line| line.strip_prefix("Question: ")).collect()
}

#[test]
fn draws_follow_pythons_generator_question_by_question() {
    let folder = Folder::new();
    let files = vec![folder.file("dev.jsonl", pool(4, "q"))];
    let train = folder.file("train.jsonl", pool(10, "t"));
    let exam = load(&ExamSpec { shots: 3, shots_files: vec![train], ..spec(ExamFormat::MedMcqa, files) }).unwrap();
    // random.Random(1234): sample(range(10), 3) twice gives [7, 1, 0], [1, 0, 9].
    assert_eq!(order(&questions(&exam)[0].prompt), ["t7", "t1", "t0", "q0"]);
    assert_eq!(order(&questions(&exam)[1].prompt), ["t1", "t0", "t9", "q1"]);
    assert!(questions(&exam)[0].prompt.contains("D. d\nAnswer: D\n\nQuestion: t1"), "t7's answer is D");
}

#[test]
fn a_question_is_never_its_own_demonstration() {
    let folder = Folder::new();
    let file = folder.file("dev.jsonl", pool(6, "q"));
    let whole = ExamSpec { shots: 5, shots_files: vec![file.clone()], ..spec(ExamFormat::MedMcqa, vec![file]) };
    for question in questions(&load(&whole).unwrap()) {
        let mut shown = order(&question.prompt);
        assert_eq!(shown.len(), 6, "five others and the question");
        shown.sort_unstable();
        shown.dedup();
        assert_eq!(shown.len(), 6);
    }
    let error = load(&ExamSpec { shots: 6, ..whole }).unwrap_err().to_string();
    assert!(error.contains("6 records are too few for 6 shots"), "{error}");
}

#[test]
fn pubmedqas_shots_are_the_items_that_are_not_asked() {
    let folder = Folder::new();
    let records = folder.file("ori_pqal.json", PUBMEDQA);
    let test = folder.file("test_ground_truth.json", r#"{"20": "no"}"#);
    let base = spec(ExamFormat::PubMedQa, vec![records.clone(), test.clone()]);
    let exam = load(&ExamSpec { shots: 2, shots_files: vec![records.clone()], ..base.clone() }).unwrap();
    let prompt = &questions(&exam)[0].prompt;
    assert!(prompt.contains("Answer: maybe\n\n") && prompt.contains("Answer: yes\n\n") && !prompt.contains("Answer: no"));
    assert!(prompt.ends_with("Abstract: Smoke rose.\nQuestion: Is smoke good?\nAnswer:"));
    let error = load(&ExamSpec { shots: 1, shots_files: vec![test], ..base }).unwrap_err().to_string();
    assert!(error.contains("cannot provide shots"), "{error}");
}
