//! Reads back what [`crate::clean_source`] wrote, line by line and in step: documents and tombstones of one source in the order of its records.

use crate::clean::{CleanDocument, Tombstone};
use crate::error::{Error, Result};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A line holds one document; the parser bounds those at 64 MiB, and JSON may write a character as six.
const MAX_LINE: u64 = 400 << 20;

/// JSON lines of one type.
pub(crate) struct JsonLines {
    path: PathBuf,
    reader: BufReader<File>,
    /// The line that was read last, with its end.
    pub(crate) line: Vec<u8>,
    number: u64,
    offset: u64,
}

impl JsonLines {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self { path: path.to_path_buf(), reader: BufReader::with_capacity(1 << 20, file), line: vec![], number: 0, offset: 0 })
    }

    pub(crate) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        self.offset += self.line.len() as u64;
        self.line.clear();
        self.number += 1;
        let mut bounded = (&mut self.reader).take(MAX_LINE);
        bounded.read_until(b'\n', &mut self.line).map_err(Error::io("read", &self.path))?;
        if self.line.is_empty() {
            return Ok(None);
        }
        if self.line.last() != Some(&b'\n') {
            return Err(self.error("the line has no end; the file is cut off"));
        }
        serde_json::from_slice(&self.line).map(Some).map_err(|e| self.error(e.to_string()))
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> Error {
        Error::Line { path: self.path.clone(), line: self.number, offset: self.offset, problem: problem.into() }
    }
}

pub(super) enum Record {
    Document(CleanDocument),
    Tombstone(Tombstone),
}

/// The records of one source, ordinals rising.
pub(super) struct Records {
    documents: JsonLines,
    tombstones: JsonLines,
    next_document: Option<CleanDocument>,
    next_tombstone: Option<Tombstone>,
    source_index: u32,
    last_ordinal: Option<u32>,
}

impl Records {
    pub(super) fn open(documents: &Path, tombstones: &Path, source_index: u32) -> Result<Self> {
        let (mut documents, mut tombstones) = (JsonLines::open(documents)?, JsonLines::open(tombstones)?);
        let (next_document, next_tombstone) = (documents.next()?, tombstones.next()?);
        Ok(Self { documents, tombstones, next_document, next_tombstone, source_index, last_ordinal: None })
    }

    pub(super) fn next(&mut self) -> Result<Option<Record>> {
        let document_first = match (&self.next_document, &self.next_tombstone) {
            (Some(d), Some(t)) => d.ordinal < t.ordinal,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let lines = if document_first { &self.documents } else { &self.tombstones };
        let record = if document_first {
            self.next_document.take().map(Record::Document)
        } else {
            self.next_tombstone.take().map(Record::Tombstone)
        };
        let place = match &record {
            None => return Ok(None),
            Some(Record::Document(d)) => (d.source_index, d.ordinal),
            Some(Record::Tombstone(t)) => (t.source_index, t.ordinal),
        };
        if place.0 != self.source_index || self.last_ordinal.is_some_and(|last| place.1 <= last) {
            let expected = format!("source {} and rising ordinals", self.source_index);
            return Err(lines.error(format!("the record of source {}, ordinal {} is out of order; expected {expected}", place.0, place.1)));
        }
        self.last_ordinal = Some(place.1);
        if document_first {
            self.next_document = self.documents.next()?;
        } else {
            self.next_tombstone = self.tombstones.next()?;
        }
        Ok(record)
    }
}
