//! From a parsed document to the text that is trained on, or the rule that removes it. Rules apply in the order of [`Rule`]; the
//! first that matches is the one that is logged.

use super::record;
use crate::document::{Document, Kind};
use osler_core::spec::CleanRules;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a document is not in the training text. The last three act between the records of a corpus, the others within a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// The line is no document, and the corpus says to go on.
    BadLine,
    /// A document that says that it has no text.
    NoText,
    Retracted,
    Withdrawn,
    Republished,
    Language,
    ExcludedType,
    NoAbstract,
    Empty,
    TooShort,
    TooLong,
    Deleted,
    Superseded,
    Duplicate,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadLine => "bad-line",
            Self::NoText => "no-text",
            Self::Retracted => "retracted",
            Self::Withdrawn => "withdrawn",
            Self::Republished => "republished",
            Self::Language => "language",
            Self::ExcludedType => "excluded-type",
            Self::NoAbstract => "no-abstract",
            Self::Empty => "empty",
            Self::TooShort => "too-short",
            Self::TooLong => "too-long",
            Self::Deleted => "deleted",
            Self::Superseded => "superseded",
            Self::Duplicate => "duplicate",
        })
    }
}

/// The text of a document that stays, with its number of words; or the rule that removes it, with what it saw. Language, types, retraction
/// and abstracts are PubMed's; other formats have none of them and are judged by their text alone.
pub(super) fn apply(doc: &Document, rules: &CleanRules) -> Result<(String, u64), (Rule, String)> {
    if doc.kind != Kind::Text {
        check_record(doc, rules)?;
    }
    let text = match &doc.text {
        Some(text) => text.clone(),
        None if doc.kind == Kind::Text => return Err((Rule::NoText, String::new())),
        None => record::text(doc, rules)?,
    };
    let words = text.split_whitespace().count() as u64;
    if words == 0 {
        return Err((Rule::Empty, String::new()));
    }
    if words < u64::from(rules.min_words) {
        return Err((Rule::TooShort, format!("{words} words")));
    }
    if rules.max_words.is_some_and(|max| words > u64::from(max)) {
        return Err((Rule::TooLong, format!("{words} words")));
    }
    Ok((text, words))
}

fn check_record(doc: &Document, rules: &CleanRules) -> Result<(), (Rule, String)> {
    if rules.drop_retracted {
        let standing = [(doc.retracted, Rule::Retracted), (doc.withdrawn, Rule::Withdrawn), (doc.republished, Rule::Republished)];
        if let Some((_, rule)) = standing.into_iter().find(|(applies, _)| *applies) {
            return Err((rule, String::new()));
        }
    }
    let wanted = |code: &String| rules.languages.iter().any(|w| w.eq_ignore_ascii_case(code));
    if !rules.languages.is_empty() && !doc.language.iter().any(wanted) {
        return Err((Rule::Language, doc.language.join(",")));
    }
    let lower = |text: &String| text.to_lowercase();
    let excluded: Vec<String> = rules.exclude_types.iter().map(lower).collect();
    if let Some(kind) = doc.publication_types.iter().find(|t| excluded.contains(&lower(t))) {
        return Err((Rule::ExcludedType, kind.clone()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Section;

    fn document() -> Document {
        let section = |label: &str, text: &str| Section { label: Some(label.into()), category: None, text: text.into() };
        Document {
            title: "[On rest].".into(),
            abstract_sections: vec![section("AIM", "To rest."), section("UNLABELLED", "We rested. Copyright 2001 Rest Inc.")],
            language: vec!["ger".into()],
            publication_types: vec!["Journal Article".into(), "Letter".into()],
            ..Document::default()
        }
    }

    #[test]
    fn title_and_labelled_sections_become_lines() {
        let (text, words) = apply(&document(), &CleanRules::default()).unwrap();
        assert_eq!((text.as_str(), words), ("On rest\nAIM: To rest.\nWe rested.", 7));
    }

    #[test]
    fn each_rule_removes_what_it_names_and_says_what_it_saw() {
        type Change = fn(&mut Document, &mut CleanRules);
        let cases: [(Change, Rule, &str); 13] = [
            (|d, _| d.retracted = true, Rule::Retracted, ""),
            (|d, _| d.withdrawn = true, Rule::Withdrawn, ""),
            (|d, _| d.republished = true, Rule::Republished, ""),
            (|d, _| (d.republished, d.retracted) = (true, true), Rule::Retracted, ""),
            (|_, r| r.languages = vec!["eng".into()], Rule::Language, "ger"),
            (|_, r| r.exclude_types = vec!["LETTER".into()], Rule::ExcludedType, "Letter"),
            (|d, _| d.abstract_sections.clear(), Rule::NoAbstract, ""),
            (|_, r| r.min_words = 8, Rule::TooShort, "7 words"),
            (|_, r| r.max_words = Some(6), Rule::TooLong, "7 words"),
            (|d, r| (*d, r.require_abstract) = (Document::default(), false), Rule::Empty, ""),
            (
                |d, r| {
                    d.retracted = true;
                    r.languages = vec!["eng".into()]
                },
                Rule::Retracted,
                "",
            ),
            (|d, _| *d = Document { kind: Kind::Text, text: Some(" ".into()), ..Document::default() }, Rule::Empty, ""),
            (|d, _| *d = Document { kind: Kind::Text, ..Document::default() }, Rule::NoText, ""),
        ];
        for (change, rule, detail) in cases {
            let (mut doc, mut rules) = (document(), CleanRules::default());
            change(&mut doc, &mut rules);
            assert_eq!(apply(&doc, &rules), Err((rule, detail.to_owned())));
        }
    }

    #[test]
    fn a_rule_that_is_off_removes_nothing() {
        let rules = CleanRules {
            drop_retracted: false,
            strip_copyright: false,
            languages: vec!["eng".into(), "GER".into()],
            ..CleanRules::default()
        };
        let (text, _) = apply(&Document { retracted: true, withdrawn: true, republished: true, ..document() }, &rules).unwrap();
        assert!(text.ends_with("Copyright 2001 Rest Inc."));
    }
}
