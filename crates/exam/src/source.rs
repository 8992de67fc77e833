//! Exam files as bytes from outside: bounded, digested, unpacked if they are compressed, decoded, and taken apart into records whose fields
//! are checked one by one, so that a bad record is named by file, place and field.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use osler_input::{Compression, Damaged, Decoded};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::error::ExamError;

/// No exam file comes near this (the largest, artificial PubMedQA, is half of it); a larger one is the wrong file.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 30;
/// The byte order mark.
const BOM: char = '\u{feff}';

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileRole {
    Questions,
    /// A list that selects questions (PubMedQA's test ground truth).
    Selection,
    Shots,
}

/// Identity of a file that a report's numbers came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// The path as the spec gives it.
    pub file: String,
    pub role: FileRole,
    pub bytes: u64,
    /// Lower-case hex.
    pub sha256: String,
}

pub(crate) struct Source {
    pub file: String,
    /// The file's name without folder and extension, and without that of its compression.
    pub stem: String,
    /// What ids that are made of a record's place begin with: the stem, or more of the path where files of one name are read together.
    pub label: String,
    /// Lower-case, without the dot.
    pub extension: String,
    pub text: String,
    pub bytes: u64,
    pub sha256: String,
}

impl Source {
    pub fn read(path: &Path) -> Result<Self, ExamError> {
        let io = |source| ExamError::Read { path: path.to_path_buf(), source };
        let file = path.display().to_string();
        let fail = |message: String| ExamError::File { file: file.clone(), message };
        let handle = File::open(path).map_err(io)?;
        if !handle.metadata().map_err(io)?.is_file() {
            return Err(fail("not a regular file; name the exam's files one by one".into()));
        }
        let mut raw = Vec::new();
        handle.take(MAX_FILE_BYTES + 1).read_to_end(&mut raw).map_err(io)?;
        let bytes = raw.len() as u64;
        if bytes > MAX_FILE_BYTES {
            return Err(fail(format!("larger than {MAX_FILE_BYTES} bytes; split it or give a smaller file")));
        }
        let sha256 = sha256_hex(&raw);
        let (content, compression) = unpack(raw).map_err(fail)?;
        let mut text = String::from_utf8(content)
            .map_err(|e| fail(format!("not UTF-8 at byte {}; convert the file to UTF-8", e.utf8_error().valid_up_to())))?;
        if text.starts_with(BOM) {
            text.drain(..BOM.len_utf8());
        }
        let part = |p: Option<&std::ffi::OsStr>| p.map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let name = part(path.file_name());
        let name = Path::new(if compression.is_some() { Compression::inner_name(&name) } else { &name });
        let (stem, extension) = (part(name.file_stem()), part(name.extension()).to_ascii_lowercase());
        Ok(Self { file, label: stem.clone(), stem, extension, text, bytes, sha256 })
    }

    pub fn digest(&self, role: FileRole) -> FileDigest {
        FileDigest { file: self.file.clone(), role, bytes: self.bytes, sha256: self.sha256.clone() }
    }

    pub fn fail(&self, message: impl Into<String>) -> ExamError {
        ExamError::File { file: self.file.clone(), message: message.into() }
    }

    /// One JSON object a line; blank lines are skipped, anything else is refused with its line.
    pub fn json_lines(&self) -> impl Iterator<Item = Result<Record<'_>, ExamError>> {
        // A mark inside the file is what joining files leaves.
        let lines = self.text.split('\n').map(|line| line.strip_prefix(BOM).unwrap_or(line));
        lines.enumerate().filter(|(_, line)| !line.trim().is_empty()).map(|(index, line)| {
            let place = format!("line {}", index + 1);
            match serde_json::from_str::<Value>(line) {
                Ok(Value::Object(map)) => Ok(Record { file: &self.file, place, map }),
                Ok(other) => Err(self.fail(format!("{place} is {}, expected one JSON object a line", kind(&other)))),
                Err(e) => Err(self.fail(format!("{place}, column {}: {e}; expected one JSON object a line", e.column()))),
            }
        })
    }

    /// A single JSON object, its entries in the file's order; a key given twice is refused.
    pub fn json_entries(&self) -> Result<Vec<(String, Value)>, ExamError> {
        let entries: Entries = serde_json::from_str(&self.text)
            .map_err(|e| self.fail(format!("line {}, column {}: {e}; expected one JSON object", e.line(), e.column())))?;
        Ok(entries.0)
    }
}

/// The content of a file, whatever it is compressed with.
fn unpack(raw: Vec<u8>) -> Result<(Vec<u8>, Option<Compression>), String> {
    let size = raw.len() as u64;
    let unpacked = Decoded::new(raw.as_slice(), Some(size)).and_then(|decoded| {
        let (compression, mut content) = (decoded.compression(), Vec::new());
        decoded.take(MAX_FILE_BYTES + 1).read_to_end(&mut content)?;
        Ok((content, compression))
    });
    let (content, compression) =
        unpacked.map_err(|e| Damaged::of(&e).map_or_else(|| format!("cannot be unpacked: {e}"), ToString::to_string))?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("unpacks to more than {MAX_FILE_BYTES} bytes; split it or give a smaller file"));
    }
    if let Some(encoding) = osler_input::wide(&content) {
        return Err(format!("the file is {encoding}; convert it to UTF-8"));
    }
    if let Some(what) = osler_input::foreign(&content) {
        return Err(format!("the file is {what}"));
    }
    Ok((content, compression))
}

/// Gives sources of one stem labels that differ, by as many folders of their paths as that takes. The same file twice stays the same.
pub(crate) fn tell_apart(sources: &mut [Source]) {
    let longest = sources.iter().map(|source| Path::new(&source.file).components().count()).max().unwrap_or_default();
    for depth in 1..longest {
        let labels: Vec<String> = sources.iter().map(|source| source.label.clone()).collect();
        let mut repeated = sources.iter_mut().filter(|source| labels.iter().filter(|label| **label == source.label).count() > 1).peekable();
        if repeated.peek().is_none() {
            return;
        }
        for source in repeated {
            let folders: Vec<_> = Path::new(&source.file).parent().into_iter().flat_map(Path::components).collect();
            let kept = folders.get(folders.len().saturating_sub(depth)..).unwrap_or_default();
            let folder: std::path::PathBuf = kept.iter().collect();
            source.label = folder.join(&source.stem).display().to_string();
        }
    }
}

pub(crate) struct Record<'a> {
    pub file: &'a str,
    pub place: String,
    pub map: Map<String, Value>,
}

impl Record<'_> {
    pub fn fail(&self, field: &str, message: impl Into<String>) -> ExamError {
        ExamError::Record { file: self.file.to_owned(), place: self.place.clone(), field: field.to_owned(), message: message.into() }
    }

    pub fn get(&self, field: &str) -> Result<&Value, ExamError> {
        self.map.get(field).ok_or_else(|| self.fail(field, "missing"))
    }

    pub fn string(&self, field: &str) -> Result<String, ExamError> {
        self.string_value(field, self.get(field)?)
    }

    /// Text that must say something: a question, an option.
    pub fn words(&self, field: &str) -> Result<String, ExamError> {
        let text = self.string(field)?;
        if text.trim().is_empty() { Err(self.fail(field, "empty")) } else { Ok(text) }
    }

    /// An identifier: a string or a whole number. `None` where the field is absent or null.
    pub fn id(&self, field: &str) -> Result<Option<String>, ExamError> {
        match self.map.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) if !s.is_empty() => Ok(Some(s.clone())),
            Some(Value::Number(n)) if n.is_u64() => Ok(Some(n.to_string())),
            Some(other) => Err(self.fail(field, format!("must be a string or a whole number, found {}", show(other)))),
        }
    }

    pub fn integer(&self, field: &str) -> Result<i64, ExamError> {
        let value = self.get(field)?;
        value.as_i64().ok_or_else(|| self.fail(field, format!("must be a whole number, found {}", show(value))))
    }

    pub fn strings(&self, field: &str) -> Result<Vec<String>, ExamError> {
        let value = self.get(field)?;
        let Value::Array(items) = value else {
            return Err(self.fail(field, format!("must be a list of strings, found {}", show(value))));
        };
        items.iter().enumerate().map(|(i, v)| self.string_value(&format!("{field}[{i}]"), v)).collect()
    }

    pub fn string_value(&self, field: &str, value: &Value) -> Result<String, ExamError> {
        match value {
            Value::String(s) => Ok(s.clone()),
            other => Err(self.fail(field, format!("must be a string, found {}", show(other)))),
        }
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// An outside value for an error message: what it is and its beginning, never the whole.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => kind(value).to_owned(),
        other => shorten(&other.to_string()),
    }
}

pub(crate) fn shorten(text: &str) -> String {
    let mut head: String = text.chars().take(60).collect();
    if head.len() < text.len() {
        head.push('…');
    }
    head
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// serde_json's own map sorts its keys, but the order of PubMedQA's test list decides the order of the exam.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Entries;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Entries, A::Error> {
                let mut seen = std::collections::BTreeSet::new();
                let mut entries = Vec::new();
                while let Some((key, value)) = access.next_entry::<String, Value>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format!("key {:?} is given twice", shorten(&key))));
                    }
                    entries.push((key, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
