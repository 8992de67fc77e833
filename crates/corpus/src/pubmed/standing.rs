//! What a title says of its article's standing. Journals often put it there before the record's types say it.

/// `Retracted: ...`, `RETRACTED ARTICLE: ...`. A notice about a retraction (`Retraction note to: ...`) is another record and not meant.
pub(super) fn says_retracted(title: &str) -> bool {
    begins(title, &["retracted", "retracted article", "retracted publication"])
}

/// `WITHDRAWN: ...`, `TEMPORARY REMOVAL: ...`. A mere "removed" is believed in capitals only, for it may be a title's own word.
pub(super) fn says_withdrawn(title: &str) -> bool {
    begins(title, &["withdrawn", "withdrawn article", "temporary removal"]) || title.trim_start_matches(['[', ' ']).starts_with("REMOVED:")
}

/// Whether `title` begins with one of `marks` and a colon, or has it in brackets before all else.
fn begins(title: &str, marks: &[&str]) -> bool {
    let title = title.trim_start_matches(['[', '(', ' ']);
    marks.iter().any(|mark| {
        let (head, rest) = (title.get(..mark.len()), title.get(mark.len()..).unwrap_or_default());
        head.is_some_and(|head| head.eq_ignore_ascii_case(mark)) && rest.trim_start().starts_with([':', ']', ')'])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_s_first_words_tell_the_standing() {
        for (title, retracted, withdrawn) in [
            ("Retracted: On rest.", true, false),
            ("RETRACTED ARTICLE: On rest", true, false),
            ("[Retracted] On rest", true, false),
            ("Retraction note to: On rest", false, false),
            ("Retracted lungs in rest", false, false),
            ("WITHDRAWN: On rest.", false, true),
            ("[WITHDRAWN: On rest].", false, true),
            ("Temporary removal: On rest", false, true),
            ("REMOVED: On rest", false, true),
            ("Removed: a history of the appendix", false, false),
            ("Withdrawn patients", false, false),
            ("", false, false),
        ] {
            assert_eq!((says_retracted(title), says_withdrawn(title)), (retracted, withdrawn), "{title}");
        }
    }
}
