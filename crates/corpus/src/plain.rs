//! Documents that are text already: JSON lines and plain text files, compressed or not.

use crate::document::{Document, Kind};
use crate::error::{Error, Result};
use crate::input::Input;
use std::io::BufRead;
use std::path::Path;

/// The longest line, and the longest document of a text file.
const MAX_DOCUMENT: usize = 64 << 20;

/// Reads lines with their number and place.
struct Lines {
    input: Input,
    line: Vec<u8>,
    /// The current line's number, from 1, and the offset of its first byte.
    number: u64,
    offset: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        Ok(Self { input: Input::with_limit(path, MAX_DOCUMENT)?, line: vec![], number: 0, offset: 0 })
    }

    /// Reads the next line into `self.line`, without its end (`\n` or `\r\n`). False at the end of the file.
    fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        self.offset = self.input.offset();
        self.number += 1;
        self.input.begin_item();
        if let Err(e) = self.input.read_until(b'\n', &mut self.line) {
            return Err(self.input.explain(&e));
        }
        if self.line.is_empty() {
            return Ok(false);
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
        }
        Ok(true)
    }

    /// The line as text. The input is checked to be UTF-8, and a line break never splits a character.
    fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.line).map_err(|e| self.error(e.to_string()))
    }

    fn error(&self, problem: impl Into<String>) -> Error {
        Error::Line { path: self.input.path().to_path_buf(), line: self.number, offset: self.offset, problem: problem.into() }
    }
}

/// One JSON object a line. The text is in `text_field`; the document's id is the field `id` (a string or a whole number) or else the line's
/// number. Blank lines are passed over.
pub struct JsonlReader {
    lines: Lines,
    text_field: String,
    done: bool,
}

impl JsonlReader {
    pub fn open(path: &Path, text_field: &str) -> Result<Self> {
        Ok(Self { lines: Lines::open(path)?, text_field: text_field.to_owned(), done: false })
    }

    fn advance(&mut self) -> Result<Option<Document>> {
        while self.lines.advance()? {
            if !self.lines.text()?.trim().is_empty() {
                return self.document().map(Some);
            }
        }
        Ok(None)
    }

    fn document(&self) -> Result<Document> {
        use serde_json::Value;
        let field = &self.text_field;
        let parsed: Value = serde_json::from_slice(&self.lines.line).map_err(|e| self.lines.error(format!("not JSON: {e}")))?;
        let Value::Object(mut object) = parsed else {
            return Err(self.lines.error("not a JSON object; each line must be one"));
        };
        let id = match object.remove("id") {
            None | Some(Value::Null) => format!("line-{}", self.lines.number),
            Some(Value::String(id)) if !id.is_empty() => id,
            Some(Value::Number(id)) if id.is_u64() || id.is_i64() => id.to_string(),
            Some(_) => return Err(self.lines.error("the field \"id\" is neither a string nor a whole number")),
        };
        match object.remove(field) {
            Some(Value::String(text)) => Ok(text_document(id, text)),
            Some(_) => Err(self.lines.error(format!("the field {field:?} is not a string; set text_field to the one that holds the text"))),
            None => {
                let known: Vec<&str> = object.keys().take(8).map(String::as_str).collect();
                let problem =
                    format!("no field {field:?}; set text_field to the one that holds the text (fields here: {})", known.join(", "));
                Err(self.lines.error(problem))
            }
        }
    }
}

/// A text file: one document, or many when a line equal to `separator` ends each. Blank documents are passed over; line ends become `\n`.
pub struct TextReader {
    lines: Lines,
    separator: Option<String>,
    ordinal: u64,
    done: bool,
}

impl TextReader {
    pub fn open(path: &Path, separator: Option<&str>) -> Result<Self> {
        Ok(Self { lines: Lines::open(path)?, separator: separator.map(str::to_owned), ordinal: 0, done: false })
    }

    fn advance(&mut self) -> Result<Option<Document>> {
        let mut text = String::new();
        loop {
            let more = self.lines.advance()?;
            let line = self.lines.text()?;
            let ends = !more || self.separator.as_deref() == Some(line);
            if ends && !text.trim().is_empty() {
                self.ordinal += 1;
                return Ok(Some(text_document(format!("document-{}", self.ordinal), text)));
            }
            if !more {
                return Ok(None);
            }
            if ends {
                text.clear();
                continue;
            }
            if text.len() + line.len() > MAX_DOCUMENT {
                let way_out = "name a separator line that ends each document, or split the file";
                return Err(self.lines.error(format!("a document is longer than {} MiB; {way_out}", MAX_DOCUMENT >> 20)));
            }
            text.push_str(line);
            text.push('\n');
        }
    }
}

fn text_document(id: String, text: String) -> Document {
    Document { id, kind: Kind::Text, version: 1, text: Some(text.trim().to_owned()), ..Document::default() }
}

macro_rules! fused_iterator {
    ($($type:ty)*) => {
        $(impl Iterator for $type {
            type Item = Result<Document>;

            /// Ends after the first error.
            fn next(&mut self) -> Option<Self::Item> {
                if self.done {
                    return None;
                }
                let next = self.advance().transpose();
                self.done = !matches!(next, Some(Ok(_)));
                next
            }
        })*
    };
}

fused_iterator!(JsonlReader TextReader);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn write(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn texts(documents: impl Iterator<Item = Result<Document>>) -> Vec<(String, String)> {
        documents.map(Result::unwrap).map(|d| (d.id, d.text.unwrap())).collect()
    }

    #[test]
    fn json_lines_keep_their_ids_and_blank_lines_are_passed_over() {
        let file = write("{\"id\":\"a\",\"text\":\"one\"}\r\n\n  \n{\"text\":\"zwei\u{e4}\",\"id\":7}\n{\"text\":\" three \"}".as_bytes());
        let found = texts(JsonlReader::open(file.path(), "text").unwrap());
        let expected = [("a", "one"), ("7", "zwei\u{e4}"), ("line-5", "three")];
        assert_eq!(found, expected.map(|(id, text)| (id.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_broken_json_line_is_named_with_the_way_out() {
        for (line, words) in [
            ("{\"body\":\"x\"}", "no field \"text\"; set text_field"),
            ("{\"text\":3}", "is not a string"),
            ("[1]", "not a JSON object"),
            ("{\"text\":\"x\"", "not JSON"),
            ("{\"text\":\"x\",\"id\":{}}", "neither a string nor a whole number"),
        ] {
            let file = write(format!("{{\"text\":\"fine\"}}\n{line}\n").as_bytes());
            let mut reader = JsonlReader::open(file.path(), "text").unwrap();
            assert!(reader.next().unwrap().is_ok());
            let message = reader.next().unwrap().unwrap_err().to_string();
            assert!(message.contains("line 2 (byte 16") && message.contains(words), "{message}");
            assert!(reader.next().is_none(), "nothing follows an error");
        }
    }

    #[test]
    fn a_text_file_is_one_document_or_as_many_as_separators_end() {
        let file = write(b"first\r\nline\n---\n\n---\nsecond ---\n---");
        assert_eq!(
            texts(TextReader::open(file.path(), Some("---")).unwrap()),
            [("document-1".to_owned(), "first\nline".to_owned()), ("document-2".to_owned(), "second ---".to_owned()),]
        );
        assert_eq!(texts(TextReader::open(file.path(), None).unwrap()).len(), 1);
    }

    #[test]
    fn bad_bytes_are_named_by_offset_also_far_into_the_file() {
        let mut bytes = vec![b'a'; 300 << 10];
        bytes[10 << 10] = b'\n';
        bytes.extend("\u{e4}\u{20ac}".as_bytes());
        bytes.extend([b'x', 0xe9, b'y']);
        let file = write(&bytes);
        let error = TextReader::open(file.path(), None).unwrap().next().unwrap().unwrap_err().to_string();
        assert!(error.contains(&format!("byte {} (uncompressed)", (300 << 10) + 6)) && error.contains("0xe9"), "{error}");
    }
}
