//! Which compression a file has: its first bytes decide, never its name.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zstd,
    Bzip2,
    Xz,
}

impl Compression {
    /// Told by the first bytes of a file; ten are enough.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or one that decoders pass over.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            // Text may begin with "BZh", so the mark of the first block, or that of an empty stream's end, counts too.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, 0x50, 0x90, ..] => Some(Self::Bzip2),
            _ => None,
        }
    }

    /// Whether another stream of the same compression may begin with this byte.
    pub(crate) fn may_begin_with(self, byte: u8) -> bool {
        match self {
            Self::Gzip => byte == 0x1f,
            Self::Zstd => matches!(byte, 0x28 | 0x50..=0x5f),
            Self::Bzip2 => byte == b'B',
            Self::Xz => byte == 0xfd,
        }
    }

    /// A file's name without the ending that its compression has brought: `test.jsonl` of `test.jsonl.gz`.
    pub fn inner_name(name: &str) -> &str {
        const ENDINGS: [&str; 8] = [".gz", ".gzip", ".bgz", ".zst", ".zstd", ".bz2", ".bzip2", ".xz"];
        let lower = name.to_ascii_lowercase();
        let ending = ENDINGS.iter().find(|ending| lower.ends_with(**ending) && lower.len() > ending.len());
        ending.and_then(|ending| name.get(..name.len() - ending.len())).unwrap_or(name)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_decide() {
        for (head, expected) in [
            (&b"\x1f\x8b\x08"[..], Some(Compression::Gzip)),
            (b"\x28\xb5\x2f\xfd\x20", Some(Compression::Zstd)),
            (b"\x5a\x2a\x4d\x18", Some(Compression::Zstd)),
            (b"\xfd7zXZ\0", Some(Compression::Xz)),
            (b"BZh91AY&SY", Some(Compression::Bzip2)),
            (b"BZh9 is a gene", None),
            (b"{\"text\": 1}", None),
            (b"", None),
        ] {
            assert_eq!(Compression::of(head), expected, "{head:?}");
        }
    }

    #[test]
    fn names_lose_the_ending_of_their_compression_only() {
        for (name, inner) in [("a.jsonl.GZ", "a.jsonl"), ("a.tar.zst", "a.tar"), ("a.jsonl", "a.jsonl"), (".gz", ".gz"), ("é.xz", "é")] {
            assert_eq!(Compression::inner_name(name), inner);
        }
    }
}
