//! White space, characters that nobody sees, and the form under which two texts count as the same.

use osler_core::digest::Digest;
use std::borrow::Cow;
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

/// `text` without characters that nobody sees: soft hyphens, zero-width spaces, direction marks, MathML's invisible operators. A control character of
/// the C1 block is what Windows-1252 has in its place, as browsers read it. Joiners stay: some scripts need them.
pub(crate) fn readable(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || !text.chars().any(|c| is_hidden(c) || is_c1(c)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| !is_hidden(*c)).filter_map(|c| if is_c1(c) { windows_1252(c) } else { Some(c) }).collect())
}

fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn is_c1(c: char) -> bool {
    ('\u{80}'..='\u{9f}').contains(&c)
}

fn windows_1252(c: char) -> Option<char> {
    const TABLE: [&str; 2] = [
        "\u{20ac}\0\u{201a}\u{192}\u{201e}\u{2026}\u{2020}\u{2021}\u{2c6}\u{2030}\u{160}\u{2039}\u{152}\0\u{17d}\0",
        "\0\u{2018}\u{2019}\u{201c}\u{201d}\u{2022}\u{2013}\u{2014}\u{2dc}\u{2122}\u{161}\u{203a}\u{153}\0\u{17e}\u{178}",
    ];
    let place = (c as usize).checked_sub(0x80)?;
    TABLE.get(place / 16)?.chars().nth(place % 16).filter(|c| *c != '\0')
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
    fn what_nobody_sees_goes_and_what_was_meant_stays() {
        for (text, expected) in [
            ("bio\u{ad}psy", "biopsy"),
            ("18.4\u{a0}\u{200b}\u{b1}", "18.4\u{a0}\u{b1}"),
            ("\u{feff}x\u{2062}y\u{202e}", "xy"),
            ("1990\u{96}1999 \u{93}a\u{94}\u{81}", "1990\u{2013}1999 \u{201c}a\u{201d}"),
            ("\u{645}\u{6cc}\u{200c}\u{634}\u{648}\u{62f}", "\u{645}\u{6cc}\u{200c}\u{634}\u{648}\u{62f}"),
            ("plain", "plain"),
        ] {
            assert_eq!(readable(text), expected, "{text:?}");
        }
    }

    #[test]
    fn case_composition_and_spacing_do_not_make_a_text_new_but_a_digit_does() {
        assert_eq!(text_digest("Caf\u{e9}  au\nLait"), text_digest("cafe\u{301} AU lait "));
        assert_ne!(text_digest("10 mg"), text_digest("11 mg"));
        assert_ne!(text_digest("cafe"), text_digest("caf\u{e9}"));
    }
}
