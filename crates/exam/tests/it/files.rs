//! Small exam files in every format, written to a temporary folder.

use std::path::PathBuf;

use osler_exam::{Content, Exam, ExamError, ExamFormat, ExamSpec, Question, load};
use tempfile::TempDir;

pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }
}

/// Two official records: `cop` counts from 1, one of them is 4.
pub const MEDMCQA: &str = r#"{"question":"Which bone is in the ear?","exp":null,"cop":4,"opa":"Femur","opb":"Ulna","opc":"Tibia","opd":"Stapes","subject_name":"Anatomy","topic_name":null,"id":"q-ear","choice_type":"single"}
{"question":"Scurvy lacks vitamin:","exp":"C.","cop":2,"opa":"A","opb":"C","opc":"D","opd":"K","subject_name":"Medicine","topic_name":null,"id":"q-scurvy","choice_type":"multi"}
"#;

pub const MEDQA: &str = r#"{"question": "A man coughs. What next?", "answer": "Chest X-ray", "options": {"A": "Rest", "B": "Chest X-ray", "C": "Surgery", "D": "Nothing"}, "meta_info": "step1", "answer_idx": "B", "metamap_phrases": ["man"]}
"#;

pub const PUBMEDQA: &str = r#"{
  "30": {"QUESTION": "Is rest good?", "CONTEXTS": ["We rested.", "They did not."], "LABELS": ["A", "B"], "final_decision": "maybe"},
  "10": {"QUESTION": "Is tea good?", "CONTEXTS": ["Tea was drunk."], "LABELS": ["A"], "final_decision": "yes"},
  "20": {"QUESTION": "Is smoke good?", "CONTEXTS": ["Smoke rose."], "LABELS": ["A"], "final_decision": "no"}
}"#;

pub const ANATOMY: &str = "\"A question\nover two lines, \"\"quoted\"\" \",one,two,\"three, with comma\",four,C\n  Second?  ,a,b,c,d,A\n";

pub fn spec(format: ExamFormat, files: Vec<PathBuf>) -> ExamSpec {
    ExamSpec::new("exam", format, files)
}

pub fn questions(exam: &Exam) -> &[Question] {
    match &exam.content {
        Content::Questions(questions) => questions,
        Content::Documents(_) => panic!("no questions"),
    }
}

pub fn load_text(format: ExamFormat, name: &str, text: impl AsRef<[u8]>) -> Result<Exam, ExamError> {
    let folder = Folder::new();
    load(&spec(format, vec![folder.file(name, text)]))
}
