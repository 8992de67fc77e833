//! Megatron's indexed dataset: `NAME.bin` holds the tokens of all documents, `NAME.idx` their lengths and places.
//!
//! ```text
//! .idx, little-endian: "MMIDIDX\0\0"  u64 version (1)  u8 type (8: u16, 4: i32)  u64 sequences  u64 bounds
//!                      i32 length in tokens [sequences]   i64 place in .bin, bytes [sequences]   i64 bounds [bounds]: 0, 1, …, sequences
//! ```
//! Each document is one Megatron sequence, so there is one bound more than documents.

use crate::error::{Error, Result};
use crate::output::{FileInfo, Output};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

const MAGIC: &[u8; 9] = b"MMIDIDX\0\0";
const VERSION: u64 = 1;
const HEADER: u64 = 9 + 8 + 1 + 8 + 8;

/// How a token is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenType {
    U16,
    I32,
}

impl TokenType {
    /// Megatron's rule: 16 bits below 65,500 tokens.
    pub fn for_vocab(vocab_size: u32) -> Self {
        if vocab_size < 65_500 { Self::U16 } else { Self::I32 }
    }

    pub fn bytes(self) -> u64 {
        match self {
            Self::U16 => 2,
            Self::I32 => 4,
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::U16 => 8,
            Self::I32 => 4,
        }
    }

    /// Appends the stored form of `tokens`; none may be too large for it.
    fn encode(self, tokens: &[u32], out: &mut Vec<u8>) -> Result<(), u32> {
        for token in tokens {
            match self {
                Self::U16 => out.extend(u16::try_from(*token).map_err(|_| *token)?.to_le_bytes()),
                Self::I32 => out.extend(i32::try_from(*token).map_err(|_| *token)?.to_le_bytes()),
            }
        }
        Ok(())
    }

    /// Appends the tokens that `bytes` stores. A negative one becomes a number beyond any vocabulary.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut Vec<u32>) {
        match self {
            Self::U16 => out.extend(bytes.as_chunks::<2>().0.iter().map(|b| u32::from(u16::from_le_bytes(*b)))),
            Self::I32 => out.extend(bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b))),
        }
    }
}

/// Writes one shard, document by document.
pub(crate) struct ShardWriter {
    bin: Output,
    idx: Output,
    kind: TokenType,
    lengths: Vec<i32>,
    buf: Vec<u8>,
}

impl ShardWriter {
    /// `folder/name.bin` and `folder/name.idx`.
    pub(crate) fn create(folder: &Path, name: &str, kind: TokenType) -> Result<Self> {
        let (bin, idx) = (Output::create(folder, format!("{name}.bin"))?, Output::create(folder, format!("{name}.idx"))?);
        Ok(Self { bin, idx, kind, lengths: vec![], buf: vec![] })
    }

    pub(crate) fn document(&mut self, tokens: &[u32]) -> Result<()> {
        let length = i32::try_from(tokens.len())
            .map_err(|_| Error::Unusable(format!("a document of {} tokens is too long for .idx", tokens.len())))?;
        self.buf.clear();
        let too_large = |token| Error::Unusable(format!("the token {token} is larger than the vocabulary that the tokenizer declares"));
        self.kind.encode(tokens, &mut self.buf).map_err(too_large)?;
        self.bin.write(&self.buf)?;
        self.bin.count_record();
        self.lengths.push(length);
        Ok(())
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.bin.bytes() / self.kind.bytes()
    }

    /// The `.bin` and the `.idx`; `records` of both are documents.
    pub(crate) fn finish(self) -> Result<(FileInfo, FileInfo)> {
        let Self { bin, mut idx, kind, lengths, .. } = self;
        let documents = lengths.len() as u64;
        let mut out = Vec::with_capacity(HEADER as usize + lengths.len() * 20 + 8);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.push(kind.code());
        out.extend(documents.to_le_bytes());
        out.extend((documents + 1).to_le_bytes());
        lengths.iter().for_each(|length| out.extend(length.to_le_bytes()));
        let mut place = 0u64;
        for length in &lengths {
            out.extend(place.to_le_bytes());
            place += u64::from(length.unsigned_abs()) * kind.bytes();
            idx.count_record();
        }
        (0..=documents).for_each(|bound| out.extend(bound.to_le_bytes()));
        idx.write(&out)?;
        Ok((bin.finish()?, idx.finish()?))
    }
}

/// A checked `.idx`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    pub kind: TokenType,
    /// Tokens of each document, its end included.
    pub lengths: Vec<u32>,
    pub tokens: u64,
}

impl Index {
    /// Reads an index and checks that it describes documents that lie one behind another and fill a `.bin` of `bin_bytes`.
    ///
    /// # Errors
    /// The file is cut off, too long, of another version, or contradicts itself or the `.bin`; counts are checked against the file's size
    /// before any memory is taken for them.
    pub fn read(path: &Path, bin_bytes: u64) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let size = file.metadata().map_err(Error::io("read", path))?.len();
        let mut fields = Fields { path, reader: BufReader::with_capacity(1 << 20, file), offset: 0 };
        if fields.take::<9>()? != *MAGIC {
            return Err(fields.error("not a Megatron index (wrong magic number)"));
        }
        let version = u64::from_le_bytes(fields.take()?);
        if version != VERSION {
            return Err(fields.error(format!("version {version}; only {VERSION} is known")));
        }
        let kind = match fields.take::<1>()? {
            [8] => TokenType::U16,
            [4] => TokenType::I32,
            [other] => return Err(fields.error(format!("token type {other}; only 4 (i32) and 8 (u16) are known"))),
        };
        let (sequences, bounds) = (u64::from_le_bytes(fields.take()?), u64::from_le_bytes(fields.take()?));
        let expected = sequences.checked_mul(12).zip(bounds.checked_mul(8)).and_then(|(a, b)| a.checked_add(b)?.checked_add(HEADER));
        if expected != Some(size) || bounds != sequences + 1 {
            return Err(fields.error(format!("{sequences} sequences and {bounds} bounds do not fit a file of {size} bytes")));
        }
        let mut lengths = Vec::with_capacity(usize::try_from(sequences).unwrap_or_default());
        for _ in 0..sequences {
            let length = i32::from_le_bytes(fields.take()?);
            lengths.push(u32::try_from(length).map_err(|_| fields.error(format!("the length {length} is negative")))?);
        }
        let mut place = 0u64;
        for length in &lengths {
            let found = u64::from_le_bytes(fields.take()?);
            if found != place {
                return Err(fields.error(format!("a document lies at byte {found} instead of {place}")));
            }
            place += u64::from(*length) * kind.bytes();
        }
        for bound in 0..bounds {
            let found = u64::from_le_bytes(fields.take()?);
            if found != bound {
                return Err(fields.error(format!("document bound {bound} is {found}; each document must be one sequence")));
            }
        }
        if place != bin_bytes {
            return Err(fields.error(format!("the lengths add up to {place} bytes, but the .bin file has {bin_bytes}")));
        }
        Ok(Self { kind, tokens: place / kind.bytes(), lengths })
    }
}

struct Fields<'a> {
    path: &'a Path,
    reader: BufReader<File>,
    offset: u64,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => {
                self.offset += N as u64;
                Ok(bytes)
            }
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(self.error("the index is cut off")),
            Err(source) => Err(Error::io("read", self.path)(source)),
        }
    }

    fn error(&self, problem: impl Into<String>) -> Error {
        Error::Malformed { path: self.path.to_path_buf(), offset: self.offset, problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn write(folder: &Path, documents: &[Vec<u32>], kind: TokenType) -> (FileInfo, FileInfo) {
        let mut writer = ShardWriter::create(folder, "shard", kind).unwrap();
        documents.iter().for_each(|d| writer.document(d).unwrap());
        writer.finish().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(documents in proptest::collection::vec(proptest::collection::vec(0u32..65_000, 0..40), 0..20), wide: bool) {
            let kind = if wide { TokenType::I32 } else { TokenType::U16 };
            let folder = tempfile::tempdir().unwrap();
            let (bin, _) = write(folder.path(), &documents, kind);
            let index = Index::read(&folder.path().join("shard.idx"), bin.bytes).unwrap();
            prop_assert_eq!(index.kind, kind);
            prop_assert_eq!(index.lengths, documents.iter().map(|d| d.len() as u32).collect::<Vec<_>>());
            let mut tokens = vec![];
            kind.decode(&std::fs::read(folder.path().join("shard.bin")).unwrap(), &mut tokens);
            prop_assert_eq!(tokens, documents.concat());
        }
    }

    #[test]
    fn the_layout_is_megatrons_byte_for_byte() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &[vec![7, 258], vec![1]], TokenType::U16);
        assert_eq!(std::fs::read(folder.path().join("shard.bin")).unwrap(), [7, 0, 2, 1, 1, 0]);
        let mut expected = b"MMIDIDX\0\0\x01\0\0\0\0\0\0\0\x08\x02\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
        expected.extend([2i32, 1].iter().flat_map(|n| n.to_le_bytes()));
        expected.extend([0i64, 4, 0, 1, 2].iter().flat_map(|n| n.to_le_bytes()));
        assert_eq!(std::fs::read(folder.path().join("shard.idx")).unwrap(), expected);
    }

    #[test]
    fn a_token_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = ShardWriter::create(folder.path(), "shard", TokenType::U16).unwrap();
        assert!(writer.document(&[65_536]).unwrap_err().to_string().contains("65536"));
    }

    #[test]
    fn every_truncation_and_every_lying_field_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (bin, _) = write(folder.path(), &[vec![7, 8], vec![1]], TokenType::U16);
        let path = folder.path().join("shard.idx");
        let good = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            Index::read(&path, bin.bytes).map(|_| ()).unwrap_err().to_string()
        };
        for length in 0..good.len() {
            refused(&good[..length]);
        }
        refused(&[good.as_slice(), &[0]].concat());
        let cases: [(usize, &[u8], &str); 8] = [
            (0, b"X", "magic"),
            (9, &[2], "version 2"),
            (17, &[5], "token type 5"),
            (18, &[0xff; 8], "do not fit"),
            (18, &[0, 0, 0, 0, 0, 0, 0, 0x40], "do not fit"),
            (34, &[0xff; 4], "negative"),
            (42, &[9], "lies at byte 9"),
            (34, &[3], "lies at byte 4 instead of 6"),
        ];
        for (at, bytes, words) in cases {
            let mut bad = good.clone();
            bad[at..at + bytes.len()].copy_from_slice(bytes);
            let message = refused(&bad);
            assert!(message.contains(words), "{message}");
        }
        std::fs::write(&path, &good).unwrap();
        assert!(Index::read(&path, bin.bytes + 2).unwrap_err().to_string().contains(".bin file has 8"));
    }
}
