//! MedMCQA: JSON Lines (also when the file is named `dev.json`), options `opa`..`opd`, gold in `cop`.
//!
//! The official files count `cop` from 1, the Hugging Face copies from 0 (and hide test answers as -1). Nothing in a single
//! record tells them apart, so the whole file decides: a 4 means from 1, a 0 means from 0, neither or both is refused.

use serde_json::Value;

use super::Item;
use crate::error::ExamError;
use crate::source::{Record, Source};

const OPTIONS: [&str; 4] = ["opa", "opb", "opc", "opd"];

pub(super) fn read(source: &Source, cop_base: Option<u8>) -> Result<Vec<Item>, ExamError> {
    let records = source.json_lines().collect::<Result<Vec<Record>, _>>()?;
    let cops = records.iter().map(cop).collect::<Result<Vec<i64>, _>>()?;
    let base = base(source, &cops, cop_base)?;
    records.into_iter().zip(cops).enumerate().map(|(index, (record, cop))| item(source, index, record, cop - base)).collect()
}

fn cop(record: &Record) -> Result<i64, ExamError> {
    match record.integer("cop")? {
        cop @ 0..=4 => Ok(cop),
        -1 => Err(record.fail("cop", "-1 hides the answer (a test file); use the validation or dev file")),
        other => Err(record.fail("cop", format!("{other} is not a position of four options"))),
    }
}

fn base(source: &Source, cops: &[i64], declared: Option<u8>) -> Result<i64, ExamError> {
    let (zero, four) = (cops.contains(&0), cops.contains(&4));
    match (zero, four, declared) {
        (true, true, _) => Err(source.fail("`cop` is 0 in one record and 4 in another: two copies of MedMCQA are mixed")),
        (true, false, Some(1)) => Err(source.fail("`cop-base` says 1, but a record has `cop` 0")),
        (false, true, Some(0)) => Err(source.fail("`cop-base` says 0, but a record has `cop` 4")),
        (true, false, _) => Ok(0),
        (false, true, _) => Ok(1),
        (false, false, Some(base)) => Ok(i64::from(base)),
        (false, false, None) if cops.is_empty() => Ok(1),
        (false, false, None) => Err(source.fail(
            "no record has `cop` 0 or 4, so it cannot be told whether `cop` counts from 0 or from 1; use the whole official file, which shows it",
        )),
    }
}

fn item(source: &Source, index: usize, record: Record, gold: i64) -> Result<Item, ExamError> {
    let options = OPTIONS.iter().map(|field| record.string(field)).collect::<Result<Vec<_>, _>>()?;
    Ok(Item {
        id: record.id("id")?.unwrap_or_else(|| format!("{}/{index}", source.label)),
        doc_id: index,
        subject: None,
        passage: None,
        question: record.words("question")?,
        options,
        gold: usize::try_from(gold).map_err(|_| record.fail("cop", "not a position of four options"))?,
        doc: Value::Object(record.map),
    })
}
