//! MedQA-USMLE with four options, JSON Lines: the official form (`options` A to D and `answer_idx`) and the Hugging Face
//! `-hf` form (`sent1`, `ending0`..`ending3`, `label`). The five-option files are another exam and are refused.

use serde_json::Value;

use super::{Item, letter};
use crate::error::ExamError;
use crate::source::{Record, Source, shorten};

pub(super) fn read(source: &Source) -> Result<Vec<Item>, ExamError> {
    source
        .json_lines()
        .enumerate()
        .map(|(index, record)| {
            let record = record?;
            let (question, options, gold) = if record.map.contains_key("sent1") { hugging_face(&record)? } else { official(&record)? };
            // Official records have no id; their position is their name.
            let id = record.id("id")?.unwrap_or_else(|| format!("{}/{index}", source.label));
            let doc = Value::Object(record.map);
            Ok(Item { id, doc_id: index, subject: None, passage: None, question, options, gold, doc })
        })
        .collect()
}

type Parts = (String, Vec<String>, usize);

fn official(record: &Record) -> Result<Parts, ExamError> {
    let Value::Object(map) = record.get("options")? else {
        return Err(record.fail("options", "must be an object with the keys A, B, C and D"));
    };
    if map.len() != 4 {
        let message = format!("{} options, expected A, B, C and D; use the files under 4_options", map.len());
        return Err(record.fail("options", message));
    }
    let mut options = Vec::with_capacity(4);
    for key in ["A", "B", "C", "D"] {
        let field = format!("options.{key}");
        let value = map.get(key).ok_or_else(|| record.fail(&field, "missing"))?;
        options.push(record.string_value(&field, value)?);
    }
    let index = record.string("answer_idx")?;
    let gold = letter(&index).ok_or_else(|| record.fail("answer_idx", format!("{:?} is not one of A, B, C, D", shorten(&index))))?;
    if record.map.contains_key("answer") && Some(&record.string("answer")?) != options.get(gold) {
        return Err(record.fail("answer", format!("differs from option {index}, which `answer_idx` names")));
    }
    Ok((record.words("question")?, options, gold))
}

fn hugging_face(record: &Record) -> Result<Parts, ExamError> {
    let options = ["ending0", "ending1", "ending2", "ending3"].iter().map(|f| record.string(f)).collect::<Result<_, _>>()?;
    let label = record.integer("label")?;
    let gold = usize::try_from(label).ok().filter(|g| *g < 4);
    let gold = gold.ok_or_else(|| record.fail("label", format!("{label} is not in 0..=3")))?;
    Ok((record.words("sent1")?, options, gold))
}
