//! Damaged exam files: questions or an error that names the file, and never a panic.

use super::read;
use crate::source::FileRole;
use crate::spec::{ExamFormat, ExamSpec};
use osler_core::mutate::{damaged, rounds};
use std::fs;

const MEDMCQA: &str = r#"{"question":"Q1","exp":"e","cop":1,"opa":"a","opb":"b","opc":"c","opd":"d","subject_name":"s","topic_name":null,"id":"x1","choice_type":"single"}
{"question":"Q2","exp":null,"cop":4,"opa":"a","opb":"b","opc":"c","opd":"d","subject_name":"s","topic_name":"t","id":"x2","choice_type":"multi"}
"#;
const MEDQA: &str = r#"{"question":"Q1","answer":"yes","options":{"A":"no","B":"yes","C":"x","D":"y"},"meta_info":"step1","answer_idx":"B"}
{"question":"Q2","answer":"no","options":{"A":"no","B":"yes","C":"x","D":"y"},"meta_info":"step1","answer_idx":"A"}
"#;
const PUBMEDQA: &str = r#"{"1": {"QUESTION":"Q","CONTEXTS":["c1","c2"],"LABELS":["A","B"],"MESHES":[],"YEAR":"2011","reasoning_required_pred":"yes","reasoning_free_pred":"yes","final_decision":"yes","LONG_ANSWER":"l"},
 "2": {"QUESTION":"R","CONTEXTS":["c"],"LABELS":["A"],"MESHES":[],"YEAR":"2011","reasoning_required_pred":"no","reasoning_free_pred":"no","final_decision":"no","LONG_ANSWER":"l"}}"#;
const MMLU: &str = "\"Q, 1\",a,b,c,d,A\nQ2,a,b,\"c\"\"c\",d,D\n";

#[test]
fn damaged_exams_are_read_or_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = rounds(std::env::var("OSLER_FUZZ").ok().as_deref());
    for (format, name, whole) in [
        (ExamFormat::MedMcqa, "exam.jsonl", MEDMCQA),
        (ExamFormat::MedQa, "exam.jsonl", MEDQA),
        (ExamFormat::PubMedQa, "exam.json", PUBMEDQA),
        (ExamFormat::Mmlu, "anatomy_test.csv", MMLU),
    ] {
        let path = folder.path().join(name);
        let spec =
            ExamSpec { format, files: vec![path.clone()], ..serde_json::from_str(r#"{"name":"e","format":"medqa","files":[]}"#).unwrap() };
        fs::write(&path, whole).unwrap();
        assert_eq!(read(&spec, &spec.files, FileRole::Questions).unwrap().items.len(), 2, "{format:?}");
        let mut refused = 0;
        for round in 0..wanted {
            fs::write(&path, damaged(&[whole.into()], round)).unwrap();
            if let Err(error) = read(&spec, &spec.files, FileRole::Questions) {
                refused += 1;
                let stem = name.split('.').next().unwrap();
                assert!(error.to_string().contains(stem) || error.to_string().contains("exam e"), "round {round} of {format:?}: {error}");
            }
        }
        assert!(refused > 0 && refused < wanted, "{format:?}: {refused} of {wanted}");
    }
}
