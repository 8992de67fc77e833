//! An exam ready to be taken: files read, questions selected, prompts made. Nothing here depends on a tokenizer or a model.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::ExamError;
use crate::formats::{self, Item};
use crate::prompt;
use crate::shots::Shots;
use crate::source::FileDigest;
use crate::spec::{ExamFormat, ExamSpec, Protocol, select};

#[derive(Debug, Clone)]
pub struct Exam {
    pub spec: ExamSpec,
    pub content: Content,
    /// How many questions or documents there were before the limit.
    pub available: usize,
    /// The same for each MMLU subject; empty otherwise.
    pub available_by_subject: BTreeMap<String, usize>,
    pub digests: Vec<FileDigest>,
}

#[derive(Debug, Clone)]
pub enum Content {
    Questions(Vec<Question>),
    Documents(Vec<Document>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Unique within the exam and stable across runs: paired comparisons match by it.
    pub id: String,
    /// Position within its task (for MMLU: within its subject), from 0, before any limit.
    pub doc_id: usize,
    /// MMLU only.
    pub subject: Option<String>,
    /// Description, demonstrations and question, ending in `Answer:`.
    pub prompt: String,
    /// The answers that are compared, without the space that precedes them; see [`Question::continuation`].
    pub choices: Vec<String>,
    /// Position of the right choice.
    pub gold: usize,
    /// The record as its file has it.
    pub doc: Value,
}

impl Question {
    /// What the model is asked to continue with: a space and the choice.
    pub fn continuation(choice: &str) -> String {
        format!(" {choice}")
    }
}

/// A held-out text, scored whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    pub id: String,
    pub text: String,
}

/// Reads the spec's files and makes the exam. An exam without questions is an error.
pub fn load(spec: &ExamSpec) -> Result<Exam, ExamError> {
    spec.check()?;
    if spec.format == ExamFormat::Perplexity {
        let (documents, digests) = formats::text::read(spec)?;
        return Exam::of_documents(spec.clone(), documents, digests);
    }
    let loaded = formats::read(spec, &spec.files, crate::source::FileRole::Questions)?;
    let (mut shots, shot_digests) = Shots::read(spec, &loaded.items)?;
    let mut questions = Vec::new();
    for item in selected(spec, &loaded.items) {
        questions.push(question(spec, item, &mut shots)?);
    }
    if questions.is_empty() {
        return Err(ExamError::NoQuestions { exam: spec.name.clone(), message: "its files hold no record".into() });
    }
    let digests = loaded.digests.into_iter().chain(shot_digests).collect();
    let mut available_by_subject = BTreeMap::new();
    for subject in loaded.items.iter().filter_map(|item| item.subject.clone()) {
        *available_by_subject.entry(subject).or_default() += 1;
    }
    let (available, content) = (loaded.items.len(), Content::Questions(questions));
    Ok(Exam { spec: spec.clone(), content, available, available_by_subject, digests })
}

impl Exam {
    /// A perplexity exam over documents that are already in memory, such as a corpus's held-out split.
    pub fn perplexity(name: impl Into<String>, documents: Vec<Document>) -> Result<Self, ExamError> {
        Self::of_documents(ExamSpec::new(name, ExamFormat::Perplexity, Vec::new()), documents, Vec::new())
    }

    /// Questions or documents that will be scored.
    pub fn len(&self) -> usize {
        match &self.content {
            Content::Questions(questions) => questions.len(),
            Content::Documents(documents) => documents.len(),
        }
    }

    /// Never true of a loaded exam.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn of_documents(spec: ExamSpec, documents: Vec<Document>, digests: Vec<FileDigest>) -> Result<Self, ExamError> {
        let none = |message: String| ExamError::NoQuestions { exam: spec.name.clone(), message };
        if let Some(empty) = documents.iter().find(|d| d.text.is_empty()) {
            return Err(none(format!("document {:?} has no text", empty.id)));
        }
        let documents = told_apart(documents);
        let available = documents.len();
        if available == 0 {
            return Err(none("its files hold no document".into()));
        }
        let keep = select(available, spec.limit, spec.limit_mode);
        let kept = keep.into_iter().filter_map(|i| documents.get(i).cloned()).collect();
        Ok(Self { spec, content: Content::Documents(kept), available, available_by_subject: BTreeMap::new(), digests })
    }
}

/// Corpora may use an id more than once, so a later document of an id gets a number behind it.
fn told_apart(mut documents: Vec<Document>) -> Vec<Document> {
    let mut ids: std::collections::BTreeSet<String> = documents.iter().map(|document| document.id.clone()).collect();
    let mut seen = std::collections::BTreeSet::new();
    for document in &mut documents {
        if !seen.insert(document.id.clone()) {
            let free = (2..).map(|n: u64| format!("{}#{n}", document.id)).find(|id| !ids.contains(id));
            document.id = free.unwrap_or_default();
            ids.insert(document.id.clone());
        }
    }
    documents
}

/// The items that the limit keeps, in file order; the limit counts per subject.
fn selected<'a>(spec: &ExamSpec, items: &'a [Item]) -> Vec<&'a Item> {
    let same_subject = |a: &Item, b: &Item| a.subject == b.subject;
    let mut kept = Vec::new();
    for subject in items.chunk_by(same_subject) {
        kept.extend(select(subject.len(), spec.limit, spec.limit_mode).into_iter().filter_map(|i| subject.get(i)));
    }
    kept
}

fn question(spec: &ExamSpec, item: &Item, shots: &mut Shots) -> Result<Question, ExamError> {
    let mut text = prompt::description(spec.protocol, item.subject.as_deref());
    text.push_str(&shots.before(spec, item)?);
    text.push_str(&prompt::prompt(spec.format, spec.protocol, item));
    let choices = prompt::choices(spec.format, spec.protocol, item);
    if spec.protocol == Protocol::Cloze
        && let Some(empty) = choices.iter().position(|c| c.trim().is_empty())
    {
        let message = format!("option {empty} is empty and has no likelihood per character; use letter, or drop the record");
        return Err(ExamError::Encode { id: item.id.clone(), choice: empty, message });
    }
    Ok(Question {
        id: item.id.clone(),
        doc_id: item.doc_id,
        subject: item.subject.clone(),
        prompt: text,
        choices,
        gold: item.gold,
        doc: item.doc.clone(),
    })
}
