//! Every task's prompt, checked by hand against lm-evaluation-harness's templates, character by character.

use osler_exam::{ExamFormat, ExamSpec, Protocol, load};

use crate::files::{ANATOMY, Folder, MEDMCQA, MEDQA, PUBMEDQA, questions, spec};

fn check(format: ExamFormat, name: &str, text: &str, protocol: Protocol, prompt: &str, choices: [&str; 4], gold: usize) {
    let folder = Folder::new();
    let exam = load(&ExamSpec { protocol, ..spec(format, vec![folder.file(name, text)]) }).unwrap();
    let question = &questions(&exam)[0];
    assert_eq!(question.prompt, prompt);
    let choices: Vec<&str> = choices.into_iter().filter(|c| !c.is_empty()).collect();
    assert_eq!((question.choices.iter().map(String::as_str).collect::<Vec<_>>(), question.gold), (choices, gold));
}

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

#[test]
fn medmcqa() {
    let prompt = "Question: Which bone is in the ear?\nChoices:\nA. Femur\nB. Ulna\nC. Tibia\nD. Stapes\nAnswer:";
    check(ExamFormat::MedMcqa, "dev.json", MEDMCQA, Protocol::Letter, prompt, LETTERS, 3);
    let prompt = "Question: Which bone is in the ear?\nAnswer:";
    check(ExamFormat::MedMcqa, "dev.json", MEDMCQA, Protocol::Cloze, prompt, ["Femur", "Ulna", "Tibia", "Stapes"], 3);
}

#[test]
fn medqa_has_no_choices_line() {
    let prompt = "Question: A man coughs. What next?\nA. Rest\nB. Chest X-ray\nC. Surgery\nD. Nothing\nAnswer:";
    check(ExamFormat::MedQa, "test.jsonl", MEDQA, Protocol::Letter, prompt, LETTERS, 1);
    let hugging_face = r#"{"id":"t-0","sent1":"A man coughs. What next?","sent2":"","ending0":"Rest","ending1":"Chest X-ray","ending2":"Surgery","ending3":"Nothing","label":1}"#;
    check(ExamFormat::MedQa, "test.jsonl", hugging_face, Protocol::Letter, prompt, LETTERS, 1);
    let options = ["Rest", "Chest X-ray", "Surgery", "Nothing"];
    check(ExamFormat::MedQa, "t.jsonl", MEDQA, Protocol::Cloze, "Question: A man coughs. What next?\nAnswer:", options, 1);
}

#[test]
fn pubmedqa_is_the_same_in_both_protocols() {
    let prompt = "Abstract: We rested.\nThey did not.\nQuestion: Is rest good?\nAnswer:";
    for protocol in [Protocol::Letter, Protocol::Cloze] {
        check(ExamFormat::PubMedQa, "ori_pqal.json", PUBMEDQA, protocol, prompt, ["yes", "no", "maybe", ""], 2);
    }
    let hugging_face = r#"{"pubid": 30, "question": "Is rest good?", "context": {"contexts": ["We rested.", "They did not."], "labels": [], "meshes": []}, "final_decision": "maybe"}"#;
    check(ExamFormat::PubMedQa, "a.jsonl", hugging_face, Protocol::Letter, prompt, ["yes", "no", "maybe", ""], 2);
}

#[test]
fn mmlu_has_a_description_and_a_stripped_question() {
    let prompt = "The following are multiple choice questions (with answers) about college biology.\n\n\
                  A question\nover two lines, \"quoted\"\nA. one\nB. two\nC. three, with comma\nD. four\nAnswer:";
    check(ExamFormat::Mmlu, "college_biology_test.csv", ANATOMY, Protocol::Letter, prompt, LETTERS, 2);
    let prompt = "The following are questions (with answers) about anatomy.\n\n\
                  Question: A question\nover two lines, \"quoted\"\nAnswer:";
    let options = ["one", "two", "three, with comma", "four"];
    check(ExamFormat::Mmlu, "anatomy_test.csv", ANATOMY, Protocol::Cloze, prompt, options, 2);
}
