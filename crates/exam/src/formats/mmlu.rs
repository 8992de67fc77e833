//! MMLU: one headerless CSV a subject, `{subject}_{split}.csv`: question, four options, the gold letter. Quoted fields hold
//! newlines, so rows are counted by the CSV reader, never by lines.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Item, letter};
use crate::error::ExamError;
use crate::source::{Record, Source, shorten};

const FIELDS: [&str; 6] = ["question", "A", "B", "C", "D", "answer"];

/// The questions of a subject stand together, in the order of the sources. A subject may come in several files of one name.
pub(super) fn read(sources: &[Source]) -> Result<Vec<Item>, ExamError> {
    let mut order: Vec<&str> = Vec::new();
    let mut subjects: BTreeMap<&str, (&Source, Vec<Item>)> = BTreeMap::new();
    for source in sources {
        let subject = subject(source);
        let (first, items) = subjects.entry(subject).or_insert_with(|| {
            order.push(subject);
            (source, Vec::new())
        });
        if first.stem != source.stem || first.file == source.file && !items.is_empty() {
            return Err(source.fail(format!("a second file of subject {subject:?}; give each subject once, or files of one name")));
        }
        read_subject(source, subject, items)?;
    }
    Ok(order.into_iter().filter_map(|subject| subjects.remove(subject)).flat_map(|(_, items)| items).collect())
}

/// `college_biology_test.csv` is of subject `college_biology`.
fn subject(source: &Source) -> &str {
    let splits = ["_test", "_dev", "_val"];
    splits.iter().find_map(|split| source.stem.strip_suffix(split)).unwrap_or(&source.stem)
}

fn read_subject(source: &Source, subject: &str, items: &mut Vec<Item>) -> Result<(), ExamError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(source.text.as_bytes());
    for (index, row) in reader.records().enumerate() {
        let row = row.map_err(|e| source.fail(format!("row {}: {e}", index + 1)))?;
        let line = row.position().map_or(0, csv::Position::line);
        let place = format!("row {} (line {line})", index + 1);
        let record = Record { file: &source.file, place, map: serde_json::Map::new() };
        let fields: Vec<&str> = row.iter().collect();
        let [question, a, b, c, d, answer] = fields[..] else {
            let message = format!("{} columns, expected {}: {}", fields.len(), FIELDS.len(), FIELDS.join(", "));
            return Err(record.fail("(row)", message));
        };
        if question.trim().is_empty() {
            return Err(record.fail("question", "empty"));
        }
        let gold = letter(answer).ok_or_else(|| {
            let hint = if index == 0 { " (these files have no header row)" } else { "" };
            record.fail("answer", format!("{:?} is not one of A, B, C, D{hint}", shorten(answer)))
        })?;
        let choices = [a, b, c, d];
        items.push(Item {
            id: format!("{subject}/{}", items.len()),
            doc_id: items.len(),
            subject: Some(subject.to_owned()),
            passage: None,
            question: question.to_owned(),
            options: choices.map(str::to_owned).to_vec(),
            gold,
            doc: json!({ "question": question, "subject": subject, "choices": choices, "answer": gold }),
        });
    }
    Ok(())
}
