//! Formats that people rename and nobody here reads, told by a file's first bytes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where in the file, the bytes, and what they are.
const KINDS: [(usize, &[u8], &str); 11] = [
    (0, b"PK\x03\x04", "a zip archive (or an Office file)"),
    (0, b"%PDF-", "a PDF"),
    (0, b"PAR1", "a Parquet file"),
    (0, b"ARROW1", "an Arrow file"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-zip archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"\x89HDF\r\n", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"GGUF", "a GGUF model"),
    (257, b"ustar", "a tar archive"),
];

/// What the file is, if it is one of these. What cannot be read is not: its reader will say why.
pub fn kind(path: &Path) -> Option<&'static str> {
    let mut head = vec![];
    File::open(path).ok()?.take(512).read_to_end(&mut head).ok()?;
    KINDS.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic))).map(|(_, _, what)| *what)
}
