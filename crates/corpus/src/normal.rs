//! White space and the form under which two texts count as the same.

use osler_core::digest::Digest;
use unicode_normalization::UnicodeNormalization;

/// Appends `text` to `out` with every run of Unicode white space as one space and none at the start; `pending` carries a space that is
/// due before the next visible character, so that a text may arrive in pieces.
pub(crate) fn push_collapsed(out: &mut String, pending: &mut bool, text: &str) {
    for (i, word) in text.split(char::is_whitespace).enumerate() {
        *pending |= i > 0;
        if word.is_empty() {
            continue;
        }
        if *pending && !out.is_empty() {
            out.push(' ');
        }
        *pending = false;
        out.push_str(word);
    }
}

/// Runs of white space become one space; the ends are trimmed.
pub fn collapse(text: &str) -> String {
    let (mut out, mut pending) = (String::with_capacity(text.len()), false);
    push_collapsed(&mut out, &mut pending, text);
    out
}

/// The form that deduplication compares: Unicode NFC, lower case, white space collapsed, ends trimmed. Punctuation, accents and digits count,
/// so that two abstracts that differ in one number are two documents.
pub fn normalise(text: &str) -> String {
    collapse(&text.nfc().flat_map(char::to_lowercase).collect::<String>())
}

/// The digest of [`normalise`]d text.
pub fn text_digest(text: &str) -> Digest {
    Digest::of(normalise(text).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_of_every_kind_collapses_also_across_pieces() {
        let (mut out, mut pending) = (String::new(), false);
        for piece in ["  a", "b \n", "\u{a0}", "\u{2009}c", " "] {
            push_collapsed(&mut out, &mut pending, piece);
        }
        assert_eq!(out, "ab c");
        assert_eq!(collapse(" \t\n "), "");
    }

    #[test]
    fn case_composition_and_spacing_do_not_make_a_text_new_but_a_digit_does() {
        assert_eq!(text_digest("Caf\u{e9}  au\nLait"), text_digest("cafe\u{301} AU lait "));
        assert_ne!(text_digest("10 mg"), text_digest("11 mg"));
        assert_ne!(text_digest("cafe"), text_digest("caf\u{e9}"));
    }
}
