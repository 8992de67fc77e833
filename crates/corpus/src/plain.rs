//! Plain text files, compressed or not, and the lines of any file that consists of lines.

use crate::document::{Document, Kind};
use crate::error::{Error, Result};
use crate::input::Input;
use std::io::BufRead as _;
use std::path::Path;

/// The longest line, and the longest document of a text file.
const MAX_DOCUMENT: usize = 64 << 20;

/// Reads lines with their number and place.
pub(crate) struct Lines {
    input: Input,
    pub(crate) line: Vec<u8>,
    /// The current line's number, from 1, and the offset of its first byte.
    pub(crate) number: u64,
    pub(crate) offset: u64,
}

impl Lines {
    /// Lines of checked UTF-8.
    fn open(path: &Path) -> Result<Self> {
        Ok(Self { input: Input::with_limit(path, usize::MAX)?, line: vec![], number: 0, offset: 0 })
    }

    /// Lines of any bytes.
    pub(crate) fn unchecked(path: &Path) -> Result<Self> {
        Ok(Self { input: Input::unchecked(path)?, line: vec![], number: 0, offset: 0 })
    }

    /// Reads the next line into `self.line`, without its end (`\n` or `\r\n`). False at the end of the file. Of a line that is too long the
    /// beginning is kept, and it is an [`Error::Line`]; the next call goes on behind it.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        self.offset = self.input.offset();
        self.number += 1;
        let (mut read, mut ended) = (0, false);
        while !ended {
            let taken = match self.input.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    ended = end.is_some();
                    let part = bytes.get(..end.map_or(bytes.len(), |end| end + 1)).unwrap_or_default();
                    if read + part.len() <= MAX_DOCUMENT {
                        self.line.extend_from_slice(part);
                    }
                    part.len()
                }
                Err(e) => return Err(self.input.explain(&e)),
            };
            self.input.consume(taken);
            read += taken;
        }
        if read > MAX_DOCUMENT {
            return Err(self.error(format!("the line is longer than {} MiB", MAX_DOCUMENT >> 20)));
        }
        if self.line.last() == Some(&b'\n') {
            self.line.pop();
            if self.line.last() == Some(&b'\r') {
                self.line.pop();
            }
        }
        Ok(read > 0)
    }

    /// The line as text. The input is checked to be UTF-8, and a line break never splits a character.
    fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.line).map_err(|e| self.error(e.to_string()))
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> Error {
        Error::Line { path: self.input.path().to_path_buf(), line: self.number, offset: self.offset, problem: problem.into() }
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
                let document = text_document(format!("document-{}", self.ordinal), Some(text));
                return Ok(Some(Document { made_id: true, ..document }));
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

pub(crate) fn text_document(id: String, text: Option<String>) -> Document {
    Document { id, kind: Kind::Text, version: 1, text: text.map(|text| text.trim().to_owned()), ..Document::default() }
}

impl Iterator for TextReader {
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
}

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
