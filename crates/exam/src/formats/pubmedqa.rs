//! PubMedQA: `ori_pqal.json`, one object keyed by PMID, and optionally `test_ground_truth.json`, `{pmid: label}`, which selects
//! the 500 test items *in its own order*. JSON Lines copies (`.jsonl`) with the same names or Hugging Face's lower-case ones too.
//!
//! That list is sorted by label (276 yes, 169 no, 55 maybe), which is why a limit strides.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Item;
use crate::error::ExamError;
use crate::source::{FileDigest, FileRole, Record, Source, shorten};

pub(crate) const LABELS: [&str; 3] = ["yes", "no", "maybe"];

pub(super) fn read(sources: &[Source], role: FileRole, digests: &mut [FileDigest]) -> Result<Vec<Item>, ExamError> {
    let mut records = Vec::new();
    let mut selection: Option<(&Source, Vec<(String, Value)>)> = None;
    for (source, digest) in sources.iter().zip(digests) {
        if source.extension == "jsonl" {
            for (index, record) in source.json_lines().enumerate() {
                records.push(line_item(source, index, record?)?);
            }
            continue;
        }
        let entries = source.json_entries()?;
        let is_list = !entries.is_empty() && entries.iter().all(|(_, v)| v.is_string());
        if !is_list {
            for (pmid, value) in entries {
                records.push(keyed_item(source, pmid, value)?);
            }
        } else if role == FileRole::Shots {
            return Err(source.fail("a ground-truth list has labels only and cannot provide shots; give ori_pqal.json"));
        } else if selection.is_some() {
            return Err(source.fail("a second ground-truth list; give one"));
        } else {
            digest.role = FileRole::Selection;
            selection = Some((source, entries));
        }
    }
    match selection {
        None => Ok(records),
        Some((source, list)) => choose(source, list, records),
    }
}

fn choose(source: &Source, list: Vec<(String, Value)>, records: Vec<Item>) -> Result<Vec<Item>, ExamError> {
    let mut by_id: BTreeMap<String, Item> = records.into_iter().map(|item| (item.id.clone(), item)).collect();
    list.into_iter()
        .map(|(pmid, label)| {
            let entry = Record { file: &source.file, place: format!("record {:?}", shorten(&pmid)), map: Map::new() };
            let item = by_id
                .remove(&pmid)
                .ok_or_else(|| entry.fail("pmid", "not among the records; give ori_pqal.json beside the ground-truth list"))?;
            let gold = label_position(&entry, "label", &label)?;
            if gold != item.gold {
                return Err(entry.fail("label", "differs from the record's final_decision; the two files do not belong together"));
            }
            Ok(item)
        })
        .collect()
}

fn keyed_item(source: &Source, pmid: String, value: Value) -> Result<Item, ExamError> {
    let place = format!("record {:?}", shorten(&pmid));
    let Value::Object(map) = value else {
        let entry = Record { file: &source.file, place, map: Map::new() };
        return Err(entry.fail("(record)", "must be an object with QUESTION, CONTEXTS and final_decision"));
    };
    item(Record { file: &source.file, place, map }, pmid)
}

fn line_item(source: &Source, index: usize, record: Record) -> Result<Item, ExamError> {
    let id = match record.id("pubid")? {
        Some(id) => id,
        None => record.id("id")?.unwrap_or_else(|| format!("{}/{index}", source.label)),
    };
    item(record, id)
}

fn item(record: Record, id: String) -> Result<Item, ExamError> {
    let upper = record.map.contains_key("QUESTION");
    let contexts = if upper {
        record.strings("CONTEXTS")?
    } else {
        match record.get("context")? {
            Value::Object(context) => {
                Record { file: record.file, place: record.place.clone(), map: context.clone() }.strings("contexts")?
            }
            _ => return Err(record.fail("context", "must be an object with `contexts`")),
        }
    };
    let question = record.words(if upper { "QUESTION" } else { "question" })?;
    let gold = label_position(&record, "final_decision", record.get("final_decision")?)?;
    Ok(Item {
        id,
        doc_id: 0,
        subject: None,
        passage: Some(contexts.join("\n")),
        question,
        options: LABELS.map(str::to_owned).to_vec(),
        gold,
        doc: Value::Object(record.map),
    })
}

fn label_position(record: &Record, field: &str, value: &Value) -> Result<usize, ExamError> {
    let label = record.string_value(field, value)?;
    let position = LABELS.iter().position(|l| *l == label);
    position.ok_or_else(|| record.fail(field, format!("{:?} is not yes, no or maybe", shorten(&label))))
}
