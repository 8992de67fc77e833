//! The text of a PubMed record: its title, then its abstract, a section a line.

use super::copyright;
use super::rules::Rule;
use crate::document::{Document, OtherAbstract, Section};
use osler_core::spec::CleanRules;

/// Notes that NLM added to titles, without their apostrophes.
const NOTES: [&str; 9] = [
    "authors transl",
    "author transl",
    "transl",
    "authors translation",
    "proceedings",
    "in process citation",
    "see comments",
    "comment",
    "letter",
];
/// What stands where a record has no title.
const NO_TITLE: [&str; 3] = ["not available", "in process citation", "no title available"];
/// What stands where a record has no abstract.
const NO_ABSTRACT: [&str; 9] = [
    "na",
    "none",
    "no abstract",
    "not available",
    "not applicable",
    "no abstract available",
    "no abstract provided",
    "abstract not available",
    "abstract unavailable",
];

/// Title, then the abstract's sections, each on a line of its own and with its label.
pub(super) fn text(doc: &Document, rules: &CleanRules) -> Result<String, (Rule, String)> {
    let own = lines(&doc.abstract_sections, rules);
    let abstract_lines = match own {
        Ok(lines) => Ok(lines),
        Err(seen) => other_abstracts(doc, rules).into_iter().find_map(|other| lines(&other.sections, rules).ok()).ok_or(seen),
    };
    let abstract_lines = match abstract_lines {
        Err(seen) if rules.require_abstract => return Err((Rule::NoAbstract, seen)),
        found => found.unwrap_or_default(),
    };
    let title = title(doc);
    let all = std::iter::once(title).filter(|title| !title.is_empty()).chain(abstract_lines);
    Ok(all.collect::<Vec<_>>().join("\n"))
}

/// The abstract's lines; or, if no section says anything, what it said instead. Beside sections that do, "Not applicable" is an answer.
fn lines(sections: &[Section], rules: &CleanRules) -> Result<Vec<String>, String> {
    // A section that was a notice alone goes with its label.
    let bodies = sections.iter().map(|section| (section, body(&section.text, rules)));
    let bodies: Vec<_> = bodies.filter(|(section, text)| text.is_empty() == section.text.is_empty()).collect();
    if bodies.iter().all(|(_, text)| text.is_empty() || is_placeholder(text)) {
        return Err(bodies.iter().map(|(_, text)| *text).find(|text| !text.is_empty()).unwrap_or_default().to_owned());
    }
    Ok(bodies.into_iter().filter_map(|(section, text)| labelled(section, text)).collect())
}

fn body<'a>(text: &'a str, rules: &CleanRules) -> &'a str {
    let text = without_truncation(text);
    if rules.strip_copyright { without_truncation(copyright::strip(text)) } else { text }
}

/// NLM cut abstracts once: `(ABSTRACT TRUNCATED AT 250 WORDS)`.
fn without_truncation(text: &str) -> &str {
    let end = text.trim_end_matches(['.', ' ']);
    let found = end.rfind("(ABSTRACT TRUNCATED").filter(|at| end.get(*at..).is_some_and(|mark| mark.len() < 50 && mark.ends_with(')')));
    found.and_then(|at| end.get(..at)).map_or(text, str::trim_end)
}

/// "No abstract available", or a link to the article that this record corrects or retracts.
fn is_placeholder(text: &str) -> bool {
    if let Some(link) = text.strip_prefix('[').filter(|_| text.trim_end_matches('.').ends_with(']')) {
        return [
            "This corrects the article",
            "This retracts the article",
            "This article corrects",
            "This article retracts",
            "This expression of concern",
        ]
        .iter()
        .any(|beginning| link.starts_with(beginning));
    }
    let letters: String = text.to_lowercase().chars().filter(|c| c.is_alphabetic() || *c == ' ').collect();
    text.len() < 40 && NO_ABSTRACT.contains(&letters.trim())
}

fn labelled(section: &Section, text: &str) -> Option<String> {
    let label = section.label.as_deref().filter(|label| !label.eq_ignore_ascii_case("UNLABELLED"));
    match (label, text.is_empty()) {
        (Some(label), false) => Some(format!("{}: {text}", label.trim_end_matches([':', ' ']))),
        (Some(label), true) => Some(label.to_owned()),
        (None, false) => Some(text.to_owned()),
        (None, true) => None,
    }
}

/// Those in a language that the corpus wants: a professional's before plain language, English before others, else as they come.
fn other_abstracts<'a>(doc: &'a Document, rules: &CleanRules) -> Vec<&'a OtherAbstract> {
    let language = |other: &OtherAbstract| other.language.clone().unwrap_or_else(|| "eng".to_owned());
    let wanted =
        |other: &&OtherAbstract| rules.languages.is_empty() || rules.languages.iter().any(|w| w.eq_ignore_ascii_case(&language(other)));
    let mut found: Vec<&OtherAbstract> = doc.other_abstracts.iter().filter(wanted).collect();
    found.sort_by_key(|other| (other.kind.as_deref() == Some("plain-language-summary"), language(other) != "eng"));
    found
}

/// A translated title without its brackets and any title without NLM's notes; where there is none, the vernacular one.
fn title(doc: &Document) -> String {
    let mut title = doc.title.trim();
    // Brackets may hold a note, and a note may follow brackets.
    loop {
        let shorter = without_note(without_brackets(title));
        if shorter.len() == title.len() {
            break;
        }
        title = shorter;
    }
    let plain = title.trim_end_matches(['.', ' ']).to_lowercase();
    let missing = plain.is_empty() || NO_TITLE.contains(&plain.as_str());
    if missing { doc.vernacular_title.clone().unwrap_or_default() } else { title.to_owned() }
}

/// What one pair of brackets around all of it holds. "[A] and [B]." is two.
fn without_brackets(title: &str) -> &str {
    let inner = title.strip_prefix('[').and_then(|t| t.strip_suffix("].").or_else(|| t.strip_suffix(']')));
    let closes_early = |inner: &str| {
        let mut depth = 1;
        inner.chars().any(|c| {
            depth += match c {
                '[' => 1,
                ']' => -1,
                _ => 0,
            };
            depth == 0
        })
    };
    inner.filter(|inner| !closes_early(inner)).unwrap_or(title)
}

fn without_note(title: &str) -> &str {
    let end = title.trim_end_matches(['.', ' ']);
    let Some(open) = end.rfind(['(', '[']).filter(|_| end.ends_with([')', ']'])) else { return title };
    let (before, note) = end.split_at(open);
    let words: String = note.to_lowercase().chars().filter(|c| c.is_alphabetic() || *c == ' ').collect();
    if NOTES.contains(&words.trim()) { before.trim_end() } else { title }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(label: Option<&str>, text: &str) -> Section {
        Section { label: label.map(str::to_owned), category: None, text: text.into() }
    }

    fn record(sections: Vec<Section>) -> Document {
        Document { title: "Rest.".into(), abstract_sections: sections, ..Document::default() }
    }

    fn read(sections: Vec<Section>) -> Result<String, (Rule, String)> {
        text(&record(sections), &CleanRules::default())
    }

    #[test]
    fn a_label_alone_is_text_and_a_notice_alone_takes_its_label_with_it() {
        let sections = vec![
            section(Some("AIM:"), "To rest."),
            section(Some("UNLABELLED"), "We rested."),
            section(Some("NOTICE"), "\u{a9} 2020 Elsevier Inc."),
            section(Some("LEVEL OF EVIDENCE: 4"), ""),
            section(Some("unlabelled"), ""),
        ];
        assert_eq!(read(sections), Ok("Rest.\nAIM: To rest.\nWe rested.\nLEVEL OF EVIDENCE: 4".into()));
    }

    #[test]
    fn an_abstract_that_says_nothing_is_none() {
        for nothing in [
            "No abstract available.",
            "N/A.",
            "Not available.",
            "[This corrects the article DOI: 10.0/invented.].",
            "[This retracts the article on p. 5 in vol. 1, PMID: 7.].",
        ] {
            assert_eq!(read(vec![section(None, nothing)]), Err((Rule::NoAbstract, nothing.into())), "{nothing}");
        }
        for nothing in [section(None, "This article is protected by copyright. All rights reserved."), section(Some("SUMMARY"), "")] {
            assert_eq!(read(vec![nothing]), Err((Rule::NoAbstract, String::new())));
        }
        let open = CleanRules { require_abstract: false, ..CleanRules::default() };
        assert_eq!(text(&record(vec![section(None, "N/A.")]), &open), Ok("Rest.".into()));
        let answers = vec![section(Some("FUNDING"), "None."), section(Some("AIM"), "To rest."), section(Some("REGISTRATION"), "N/A.")];
        assert_eq!(read(answers), Ok("Rest.\nFUNDING: None.\nAIM: To rest.\nREGISTRATION: N/A.".into()));
        for something in ["None died.", "[This] corrects the article.", "NA+ channels."] {
            assert_eq!(read(vec![section(None, something)]), Ok(format!("Rest.\n{something}")));
        }
    }

    #[test]
    fn marks_of_truncation_go_with_or_without_a_notice() {
        for end in ["(ABSTRACT TRUNCATED AT 250 WORDS)", "(ABSTRACT TRUNCATED)", "(ABSTRACT TRUNCATED AT 400 WORDS) \u{a9} 1990 Rest Inc."]
        {
            assert_eq!(read(vec![section(None, &format!("We rested.{end}"))]), Ok("Rest.\nWe rested.".into()), "{end}");
        }
        let kept = "The (ABSTRACT TRUNCATED) mark is studied.";
        assert_eq!(read(vec![section(None, kept)]), Ok(format!("Rest.\n{kept}")));
    }

    #[test]
    fn another_abstract_serves_where_there_is_no_own_one() {
        let other = |kind: &str, language: Option<&str>, text: &str| OtherAbstract {
            kind: Some(kind.into()),
            language: language.map(str::to_owned),
            sections: vec![section(None, text)],
        };
        let others = vec![
            other("Publisher", Some("ger"), "Ruhe."),
            other("plain-language-summary", Some("eng"), "Plain."),
            other("AIDS", Some("eng"), "N/A."),
            other("PIP", None, "By another body."),
        ];
        let check = |sections: Vec<Section>, languages: &[&str], expected: Result<&str, Rule>| {
            let doc = Document { other_abstracts: others.clone(), ..record(sections) };
            let rules = CleanRules { languages: languages.iter().map(|l| (*l).to_owned()).collect(), ..CleanRules::default() };
            let found = text(&doc, &rules).map_err(|(rule, _)| rule);
            assert_eq!(found, expected.map(|line| format!("Rest.\n{line}")), "{languages:?}");
        };
        check(vec![section(None, "Own.")], &["eng", "ger"], Ok("Own."));
        check(vec![], &["eng", "ger"], Ok("By another body."));
        check(vec![], &[], Ok("By another body."));
        check(vec![section(None, "Not available.")], &["GER"], Ok("Ruhe."));
        check(vec![], &["fre"], Err(Rule::NoAbstract));
    }

    #[test]
    fn titles_come_without_brackets_and_notes_and_fall_back_to_the_vernacular() {
        for (given, expected) in [
            ("[Foo].", "Foo"),
            ("[Foo]", "Foo"),
            ("[A] and [B].", "[A] and [B]."),
            ("[Uptake of [3H] water].", "Uptake of [3H] water"),
            ("Foo [bar].", "Foo [bar]."),
            ("[Foo?]", "Foo?"),
            ("[A knee (author's transl)].", "A knee"),
            ("[A knee (authors' transl)]", "A knee"),
            ("[A knee [author's transl)].", "A knee"),
            ("A knee (author\u{2019}s transl).", "A knee"),
            ("[A knee (proceedings)].", "A knee"),
            ("A knee [In Process Citation].", "A knee"),
            ("[A knee] [In Process Citation].", "A knee"),
            ("A knee (Macaca mulatta).", "A knee (Macaca mulatta)."),
            ("On proceedings.", "On proceedings."),
            ("[Not Available].", "Volkstitel"),
            ("[In Process Citation]", "Volkstitel"),
            ("", "Volkstitel"),
        ] {
            let doc = Document { title: given.into(), vernacular_title: Some("Volkstitel".into()), ..Document::default() };
            assert_eq!(title(&doc), expected, "{given}");
        }
        assert_eq!(title(&Document { title: "[Not Available].".into(), ..Document::default() }), "");
    }
}
