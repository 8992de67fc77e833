//! Finds where a publisher's copyright notice begins at the end of an abstract.

/// A longer tail is prose that mentions copyright, not a notice.
const MAX_NOTICE: usize = 400;
/// A notice names its year this early, or it reserves all rights.
const YEAR_WITHIN: usize = 60;

/// `text` without a copyright notice at its end. A notice begins a sentence with "Copyright", "©" or "(c)", names a year soon or says "all
/// rights reserved", and runs to the end of the text.
pub(super) fn strip(text: &str) -> &str {
    let mut from = text.len().saturating_sub(MAX_NOTICE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let tail = text.get(from..).unwrap_or_default();
    let found = tail.char_indices().find_map(|(i, _)| {
        let (before, notice) = (text.get(..from + i)?, tail.get(i..)?);
        (begins_notice(notice) && ends_sentence(before)).then_some(before)
    });
    found.unwrap_or(text).trim_end()
}

fn begins_notice(text: &str) -> bool {
    let marker = ["copyright", "\u{a9}", "(c)"].into_iter().find(|m| starts_with_uncased(text, m));
    let Some(rest) = marker.and_then(|m| text.get(m.len()..)) else { return false };
    // "Copyrighted material", "copyrights": not a notice.
    if rest.starts_with(char::is_alphanumeric) && !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    has_year(rest) || rest.to_ascii_lowercase().contains("all rights reserved")
}

fn starts_with_uncased(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}

/// A number from 1900 to 2099 of exactly four digits near the start.
fn has_year(text: &str) -> bool {
    let near = text.char_indices().nth(YEAR_WITHIN).map_or(text, |(end, _)| text.get(..end).unwrap_or(text));
    let mut runs = near.split(|c: char| !c.is_ascii_digit());
    runs.any(|run| run.len() == 4 && (run.starts_with("19") || run.starts_with("20")))
}

fn ends_sentence(before: &str) -> bool {
    before.trim_end().chars().next_back().is_none_or(|c| matches!(c, '.' | '!' | '?' | ')' | ']' | ':' | ';' | '"' | '\u{201d}'))
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn notices_go_and_prose_stays() {
        for (text, expected) in [
            ("It works. Copyright 2001 Wiley-Liss, Inc.", "It works."),
            ("It works. \u{a9} 2019 The Authors. Published by Elsevier Ltd. All rights reserved.", "It works."),
            ("It works (n = 3). Copyright \u{a9} 2019 Elsevier.", "It works (n = 3)."),
            ("It works.(c) 2002 Elsevier Science Ltd.", "It works."),
            ("It works. Copyright (C) 1999 S. Karger AG, Basel", "It works."),
            ("It works. COPYRIGHT The Authors. All rights reserved.", "It works."),
            ("Copyright 2001 Wiley-Liss, Inc.", ""),
            ("We study copyright law of 1998 in hospitals.", "We study copyright law of 1998 in hospitals."),
            ("Two groups: (a) 12, (b) 13, (c) 14 patients.", "Two groups: (a) 12, (b) 13, (c) 14 patients."),
            ("Arms: (a) 2001; (b) 2002 m; (c) 14 patients.", "Arms: (a) 2001; (b) 2002 m; (c) 14 patients."),
            ("Done. Copyrighted forms of 2001 were used.", "Done. Copyrighted forms of 2001 were used."),
            ("Done. Copyright is a matter of debate.", "Done. Copyright is a matter of debate."),
            ("", ""),
        ] {
            assert_eq!(strip(text), expected, "{text}");
        }
    }

    #[test]
    fn a_mention_far_from_the_end_is_prose() {
        let text = format!("Copyright 1998 was the first case. {}", "Another sentence follows here. ".repeat(20));
        assert_eq!(strip(&text), text.trim_end());
    }
}
