//! A source file as a stream of checked UTF-8: unpacks what is compressed, refuses other encodings, and knows the byte offset of
//! everything that is wrong. It also bounds how much may be read for one item, so that a file without a single `<` or newline cannot fill
//! the memory.

use crate::error::{Error, Result};
use osler_input::{Damaged, Decoded};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

const BUFFER: usize = 256 << 10;
/// The most that a single text or tag may take.
pub(crate) const MAX_ITEM: usize = 16 << 20;
/// The byte order mark of UTF-8.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

pub(crate) struct Input {
    path: PathBuf,
    source: Decoded<BufReader<File>>,
    /// Whether bytes that are not UTF-8 are a fault here; otherwise whoever reads looks at them.
    checked: bool,
    buf: Vec<u8>,
    /// `buf[pos..valid]` is checked and unread; `buf[valid..filled]` is the start of a character that the next read completes.
    pos: usize,
    valid: usize,
    filled: usize,
    /// Offset of `buf[pos]` in the uncompressed stream.
    offset: u64,
    item: usize,
    max_item: usize,
    /// Found behind `valid`: reported once everything before it has been consumed, so that the first fault in the file wins.
    fault: Option<Fault>,
}

enum Fault {
    Malformed(u64, String),
    Io(io::Error),
}

impl Input {
    /// Opens a file, compressed or not; an empty one is refused.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::with_limit(path, MAX_ITEM)
    }

    pub(crate) fn with_limit(path: &Path, max_item: usize) -> Result<Self> {
        Self::start(path, max_item, true)
    }

    /// Bytes as they are, items of any length: for a reader that bounds and checks its items itself.
    pub(crate) fn unchecked(path: &Path) -> Result<Self> {
        Self::start(path, usize::MAX, false)
    }

    fn start(path: &Path, max_item: usize, checked: bool) -> Result<Self> {
        let mut input = Self {
            path: path.to_path_buf(),
            source: Decoded::open(path).map_err(Error::io("open", path))?,
            checked,
            buf: vec![0; BUFFER],
            pos: 0,
            valid: 0,
            filled: 0,
            offset: 0,
            item: 0,
            max_item,
            fault: None,
        };
        input.look()?;
        Ok(input)
    }

    /// Looks at the first bytes: emptiness, a byte order mark, what is no text.
    fn look(&mut self) -> Result<()> {
        self.refill();
        let head = self.buf.get(..self.filled).unwrap_or_default();
        if let Some(name) = osler_input::wide(head) {
            return Err(self.malformed(0, format!("the file is {name}; convert it to UTF-8")));
        }
        if let Some(what) = osler_input::foreign(head) {
            return Err(self.malformed(0, format!("the file is {what}")));
        }
        if head.starts_with(BOM) {
            self.consume(BOM.len());
            self.item = 0;
        }
        if self.filled == 0 && self.fault.is_none() {
            return Err(Error::file(&self.path, "the file is empty"));
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Offset of the next unread byte in the uncompressed stream.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// A new text, tag or line begins: its length is counted from here.
    pub(crate) fn begin_item(&mut self) {
        self.item = 0;
    }

    pub(crate) fn malformed(&self, offset: u64, problem: impl Into<String>) -> Error {
        Error::Malformed { path: self.path.clone(), offset, problem: problem.into() }
    }

    /// Turns an I/O error that came out of this input's `BufRead` into ours, with the place and the true cause.
    pub(crate) fn explain(&mut self, error: &io::Error) -> Error {
        match self.fault.take() {
            Some(Fault::Malformed(offset, problem)) => self.malformed(offset, problem),
            Some(Fault::Io(source)) => Error::Io { action: "read", path: self.path.clone(), source },
            None => self.malformed(self.offset, error.to_string()),
        }
    }

    /// The first byte that is not white space, without consuming it.
    pub(crate) fn peek_visible(&mut self) -> Option<u8> {
        self.buf.get(self.pos..self.valid)?.iter().copied().find(|b| !b.is_ascii_whitespace())
    }

    /// Fills the whole buffer where there is so much, so that what is seen at once does not depend on how reads happen to split.
    fn refill(&mut self) {
        self.buf.copy_within(self.valid..self.filled, 0);
        let carried = self.filled - self.valid;
        (self.pos, self.valid, self.filled) = (0, 0, carried);
        let mut ended = false;
        while self.filled < self.buf.len() {
            let Some(room) = self.buf.get_mut(self.filled..) else { break };
            match self.source.read(room) {
                Ok(0) => {
                    ended = true;
                    break;
                }
                Ok(n) => self.filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.fault = Some(self.read_fault(e));
                    break;
                }
            }
        }
        if !self.checked {
            self.valid = self.filled;
            return;
        }
        let bytes = self.buf.get(..self.filled).unwrap_or_default();
        match std::str::from_utf8(bytes) {
            Ok(_) => self.valid = self.filled,
            Err(e) => {
                self.valid = e.valid_up_to();
                if e.error_len().is_some() || ended {
                    let bad = bytes.get(self.valid).copied().unwrap_or_default();
                    let problem = format!("byte 0x{bad:02x} is not valid UTF-8 here; convert the file to UTF-8");
                    self.fault = Some(Fault::Malformed(self.offset + self.valid as u64, problem));
                }
            }
        }
    }

    fn read_fault(&self, error: io::Error) -> Fault {
        match Damaged::of(&error) {
            Some(damaged) => Fault::Malformed(self.offset + self.filled as u64, damaged.to_string()),
            None => Fault::Io(error),
        }
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.pos == self.valid {
            if self.fault.is_none() {
                self.refill();
            }
            if self.pos == self.valid && self.fault.is_some() {
                return Err(io::Error::other("damaged input"));
            }
        }
        if self.item > self.max_item {
            self.fault = Some(Fault::Malformed(
                self.offset,
                format!("a single text, tag or line is longer than {} MiB; the file is damaged or hostile", self.max_item >> 20),
            ));
            return Err(io::Error::other("item too long"));
        }
        Ok(self.buf.get(self.pos..self.valid).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        let amount = amount.min(self.valid - self.pos);
        self.pos += amount;
        self.offset += amount as u64;
        self.item += amount;
    }
}

impl Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(out)?;
        self.consume(n);
        Ok(n)
    }
}
