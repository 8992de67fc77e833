//! Files that are something else than text: archives, tables, documents of office programs, UTF-16. They are told by their first bytes, so
//! that an error can say what to do instead of complaining about one of their bytes.

/// A format that is no text: what it is, and the way out.
pub fn foreign(head: &[u8]) -> Option<&'static str> {
    // Words that a text may begin with, such as the gene PAR1, count only before a byte that no text has.
    let binary = |prefix: &[u8]| {
        head.strip_prefix(prefix).and_then(|rest| rest.first()).is_some_and(|byte| *byte < 0x09 || (0x0e..0x20).contains(byte))
    };
    Some(match head {
        _ if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") => {
            "a ZIP archive (or an office document, which is one); unpack it and name the files in it"
        }
        _ if head.starts_with(b"7z\xbc\xaf\x27\x1c") => "a 7z archive; unpack it and name the files in it",
        _ if head.starts_with(b"Rar!\x1a\x07") => "a RAR archive; unpack it and name the files in it",
        _ if head.get(257..262) == Some(b"ustar") => "a tar archive; unpack it and name the files in it",
        _ if head.starts_with(b"\x04\x22\x4d\x18") => "compressed with LZ4; unpack it with lz4 -d",
        _ if head.starts_with(b"\x1f\x9d") => "compressed with compress (.Z); unpack it with gzip -d",
        _ if head.starts_with(b"LZIP\x01") => "compressed with lzip; unpack it with lzip -d",
        _ if head.starts_with(b"\x5d\x00\x00") => "compressed with the old LZMA; unpack it with unlzma",
        _ if head.starts_with(b"\xff\x06\x00\x00sNaPpY") => "compressed with Snappy; unpack it first",
        _ if binary(b"PAR1") => "a Parquet table; write it as JSON lines",
        _ if head.starts_with(b"ARROW1\0") => "an Arrow table; write it as JSON lines",
        _ if head.starts_with(b"Obj\x01") => "an Avro file; write it as JSON lines",
        _ if head.starts_with(b"SQLite format 3\0") => "an SQLite database; write its table as JSON lines",
        _ if head.starts_with(b"\x89HDF\r\n") => "an HDF5 file; write it as JSON lines",
        _ if head.starts_with(b"\x93NUMPY") => "a NumPy array, no text",
        _ if head.starts_with(b"%PDF-") => "a PDF; extract its text first",
        _ if head.starts_with(b"{\\rtf") => "a Rich Text document; save it as plain text",
        _ if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") => "an old office document; save it as plain text",
        _ if binary(b"GGUF") => "a GGUF model, no text",
        _ => return None,
    })
}

/// UTF-16 or UTF-32, with or without a byte order mark: a character of ASCII with zeros around it gives it away.
pub fn wide(head: &[u8]) -> Option<&'static str> {
    match head {
        [0xff, 0xfe, 0, 0, ..] | [1..=255, 0, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] | [0, 0, 0, 1..=255, ..] => Some("UTF-32"),
        [0xff, 0xfe, ..] | [1..=255, 0, 1..=255, 0, ..] => Some("UTF-16 (little-endian)"),
        [0xfe, 0xff, ..] | [0, 1..=255, 0, 1..=255, ..] => Some("UTF-16 (big-endian)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_named_with_the_way_out() {
        for (head, word) in [
            (&b"PK\x03\x04\x14"[..], "ZIP"),
            (b"7z\xbc\xaf\x27\x1c", "7z"),
            (b"\x04\x22\x4d\x18", "LZ4"),
            (b"PAR1\x15\x04", "Parquet"),
            (b"%PDF-1.7", "PDF"),
            (b"{\\rtf1", "Rich Text"),
        ] {
            assert!(foreign(head).unwrap_or_default().contains(word), "{word}");
        }
        let mut tar = vec![b'a'; 300];
        tar[257..262].copy_from_slice(b"ustar");
        assert!(foreign(&tar).unwrap_or_default().contains("tar"));
        for text in ["PAR1 is a receptor", "GGUF", "PK", "{\"text\": 1}", "", "]"] {
            assert_eq!(foreign(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn two_byte_encodings_are_told_without_a_mark() {
        for (head, name) in [
            (&b"\xff\xfe{\0"[..], Some("UTF-16 (little-endian)")),
            (b"{\0\"\0", Some("UTF-16 (little-endian)")),
            (b"\0{\0\"", Some("UTF-16 (big-endian)")),
            (b"\xfe\xff\0<", Some("UTF-16 (big-endian)")),
            (b"\xff\xfe\0\0", Some("UTF-32")),
            (b"\0\0\0<", Some("UTF-32")),
            (b"{\"t\"", None),
            (b"\0\0\0\0", None),
        ] {
            assert_eq!(wide(head), name, "{head:?}");
        }
    }
}
