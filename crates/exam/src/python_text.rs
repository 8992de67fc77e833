//! Python's idea of whitespace, which the reference prompts and word counts are defined with.
//! It differs from Unicode's White_Space (Rust's) by the four information separators U+001C to U+001F.

pub(crate) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.strip()`
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Splits off what `str.rstrip()` would remove: (text, trailing whitespace).
pub(crate) fn split_trailing_space(text: &str) -> (&str, &str) {
    text.split_at(text.trim_end_matches(is_space).len())
}

/// `len(re.split(r"\s+", text))`: runs of whitespace plus one, so leading and trailing runs count an empty word each.
pub(crate) fn count_words(text: &str) -> u64 {
    let mut words = 1;
    let mut inside = false;
    for c in text.chars() {
        let space = is_space(c);
        words += u64::from(space && !inside);
        inside = space;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_as_re_split_does() {
        for (text, words) in [("", 1), ("a", 1), ("a b", 2), (" a  b\n", 4), ("a\u{1f}b", 2), ("a\u{a0}b", 2), ("  ", 2)] {
            assert_eq!(count_words(text), words, "{text:?}");
        }
    }

    #[test]
    fn trailing_space_is_pythons() {
        assert_eq!(split_trailing_space("Answer: \u{1c}\n"), ("Answer:", " \u{1c}\n"));
        assert_eq!(split_trailing_space("Answer:"), ("Answer:", ""));
        assert_eq!(strip("\u{1e} x y\t"), "x y");
    }
}
