//! How much and what a message may hold, before any of it is believed.

use super::InvalidMessage;
use osler_core::job::JobKey;
use osler_core::process::Report;
use serde::de::DeserializeOwned;

pub const MAX_PROCESSES: usize = 4096;
pub const MAX_REPORTS: usize = 16_384;
pub const MAX_SLOTS: u32 = 4096;
pub const MAX_LABELS: usize = 64;
pub const MAX_HEALTH_BYTES: usize = 64 << 10;
/// Ranks of a process.
const MAX_RANK: u32 = 65_535;
/// Lines of a log's end, and the bytes of one.
const MAX_TAIL: usize = 64;
const MAX_TAIL_LINE: usize = 64 << 10;
/// A host's name, an address.
pub const MAX_HOST: usize = 256;
/// What a person gives as a reason.
const MAX_REASON: usize = 1000;
/// Gates that are waived at once.
const MAX_GATES: usize = 256;
const MAX_JOB: usize = 256;
const MAX_PATH: usize = 1024;
/// A report: a part's ledger of some ten thousand steps, a result's list of objects.
const MAX_REPORT: usize = 24 << 20;
/// Arrays and objects within one another. Our documents have less than ten levels.
const MAX_DEPTH: usize = 48;

pub fn count<T>(field: &'static str, items: &[T], limit: usize) -> Result<(), InvalidMessage> {
    length(field, items.len(), limit)
}

fn length(field: &'static str, found: usize, limit: usize) -> Result<(), InvalidMessage> {
    if found > limit { Err(InvalidMessage::TooMany { field, found, limit }) } else { Ok(()) }
}

/// For people's eyes: short, and nothing that moves a terminal's cursor.
pub fn text(field: &'static str, text: &str, limit: usize) -> Result<(), InvalidMessage> {
    length(field, text.len(), limit)?;
    if text.chars().any(char::is_control) { Err(InvalidMessage::Characters { field }) } else { Ok(()) }
}

/// USER@HOST of a caller.
pub fn from(field: &'static str, from: &str) -> Result<(), InvalidMessage> {
    text(field, from, MAX_HOST)
}

/// Failed gates that are let pass, and why: which nobody may leave out.
pub fn waivers(gates: &[String], reason: &str) -> Result<(), InvalidMessage> {
    count("waive_gates", gates, MAX_GATES)?;
    gates.iter().try_for_each(|gate| text("waive_gates", gate, MAX_HOST))?;
    text("reason", reason, MAX_REASON)?;
    if gates.is_empty() || !reason.trim().is_empty() { Ok(()) } else { Err(InvalidMessage::Missing("reason")) }
}

/// An object's name, which is compared with those of a record and never opened as it is given.
pub fn object_path(field: &'static str, path: &str) -> Result<(), InvalidMessage> {
    text(field, path, MAX_PATH)
}

/// A job's key becomes part of object paths, so it is made of names.
pub fn job(field: &'static str, key: &str) -> Result<JobKey, InvalidMessage> {
    length(field, key.len(), MAX_JOB)?;
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let name = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(legal) && !part.contains("..");
    if key.split('/').all(name) { Ok(JobKey::from(key)) } else { Err(InvalidMessage::Characters { field }) }
}

pub fn rank(field: &'static str, rank: u32) -> Result<u32, InvalidMessage> {
    length(field, rank as usize, MAX_RANK as usize)?;
    Ok(rank)
}

pub fn log_tail(field: &'static str, lines: &[String]) -> Result<(), InvalidMessage> {
    count(field, lines, MAX_TAIL)?;
    length(field, lines.iter().map(String::len).max().unwrap_or(0), MAX_TAIL_LINE)
}

pub fn report<T: DeserializeOwned>(field: &'static str, json: &[u8]) -> Result<T, InvalidMessage> {
    length(field, json.len(), MAX_REPORT)?;
    document(field, json)
}

/// Whether a coordinator takes in this report, as it will be sent. An agent asks before it passes on what a process says: it would be
/// refused itself, with everything else that runs under it.
pub fn may_report(report: &Report) -> Result<(), InvalidMessage> {
    let json = serde_json::to_vec(report).map_err(|source| InvalidMessage::Document { field: "report", source })?;
    length("report", json.len(), MAX_REPORT)?;
    shallow("report", &json)
}

fn shallow(field: &'static str, json: &[u8]) -> Result<(), InvalidMessage> {
    if depth(json) > MAX_DEPTH { Err(InvalidMessage::TooDeep { field }) } else { Ok(()) }
}

/// A JSON document of a sane shape.
pub fn document<T: DeserializeOwned>(field: &'static str, json: &[u8]) -> Result<T, InvalidMessage> {
    shallow(field, json)?;
    serde_json::from_slice(json).map_err(|source| InvalidMessage::Document { field, source })
}

/// How deep arrays and objects lie within one another. Exact for JSON; whatever it is for other bytes, the parser refuses them.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_text, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_that_are_no_text() {
        for (json, expected) in [("1", 0), ("[]", 1), (r#"{"a":[{}]}"#, 3), (r#"["[[[\"[["]"#, 1), ("[[],[[]]]", 3)] {
            assert_eq!(depth(json.as_bytes()), expected, "{json}");
        }
        let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        assert!(document::<serde_json::Value>("f", nested(MAX_DEPTH).as_bytes()).is_ok());
        let refused = document::<serde_json::Value>("f", nested(MAX_DEPTH + 1).as_bytes()).unwrap_err();
        assert!(matches!(refused, InvalidMessage::TooDeep { field: "f" }), "{refused}");
        assert!(document::<serde_json::Value>("f", "[".repeat(1 << 20).as_bytes()).is_err());
    }

    #[test]
    fn a_job_key_is_made_of_names() {
        for good in ["train/base", "clean/pubmed/00007", "exam/base/full/medmcqa", "quantize/s/gguf-q8_0", "tokenizer"] {
            assert_eq!(job("f", good).unwrap().to_string(), good);
        }
        let long = "a/".repeat(200);
        for bad in ["", "/", "train/", "/train", "../x", "train/../x", "train//x", "Train", "a b", "a\\b", "a\0", ".x", &long] {
            assert!(job("f", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn texts_and_logs_have_an_end() {
        assert!(text("f", "host-1.example", MAX_HOST).is_ok());
        assert!(text("f", &"x".repeat(MAX_HOST + 1), MAX_HOST).is_err());
        assert!(text("f", "a\x1b[2J", MAX_HOST).is_err());
        let lines = |n: usize, bytes: usize| vec!["x".repeat(bytes); n];
        assert!(log_tail("f", &lines(MAX_TAIL, 10)).is_ok() && log_tail("f", &lines(1, MAX_TAIL_LINE)).is_ok());
        assert!(log_tail("f", &lines(MAX_TAIL + 1, 1)).is_err() && log_tail("f", &lines(1, MAX_TAIL_LINE + 1)).is_err());
        assert!(rank("f", MAX_RANK).is_ok() && rank("f", MAX_RANK + 1).is_err());
    }
}
