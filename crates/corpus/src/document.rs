//! A parsed record, before any rule has been applied: what `osler corpus inspect -o jsonl` prints, one a line.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A journal article of PubMed.
    #[default]
    Article,
    /// A book or chapter of PubMed.
    Book,
    /// A JSON line or a plain text.
    Text,
}

/// One record. Fields that a format does not have are empty.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Document {
    /// The PMID, or a JSON line's `id`, or the record's place in its file.
    pub id: String,
    pub kind: Kind,
    pub pmid: Option<String>,
    /// PubMed's version of the record, from 1.
    pub version: u32,
    /// As PubMed gives it: a translated title stands in brackets.
    pub title: String,
    pub vernacular_title: Option<String>,
    pub abstract_sections: Vec<Section>,
    pub other_abstracts: Vec<OtherAbstract>,
    /// Three-letter codes.
    pub language: Vec<String>,
    pub dates: Dates,
    pub publication_types: Vec<String>,
    /// The journal's title; of a chapter, the book's.
    pub journal: Option<String>,
    /// Retracted by its journal, as its types, its links or its title say.
    pub retracted: bool,
    /// Taken back by its publisher, as the title says: `WITHDRAWN: ...`.
    pub withdrawn: bool,
    /// Corrected or retracted and published again as another record, which has the right text.
    pub republished: bool,
    /// The record only says that the PMID is withdrawn (`DeleteCitation`).
    pub deleted: bool,
    /// [`Kind::Text`] only; none where the source says that there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The id is only the record's place in its file.
    #[serde(skip)]
    pub made_id: bool,
}

/// A part of an abstract. White space is collapsed. The text is empty where the record gives a label alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Section {
    /// As printed in the journal, such as `PATIENTS AND METHODS`.
    pub label: Option<String>,
    /// NLM's class of it, such as `METHODS`.
    pub category: Option<String>,
    pub text: String,
}

/// A second abstract: by another body than the journal, in another language, or in plain language.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OtherAbstract {
    /// NLM's word: `Publisher`, `PIP`, `plain-language-summary` and so on.
    pub kind: Option<String>,
    /// NLM's DTD lets `eng` go without saying.
    pub language: Option<String>,
    pub sections: Vec<Section>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Dates {
    pub published: Option<Date>,
    pub revised: Option<Date>,
    pub completed: Option<Date>,
}

/// A date as far as it is known. Free text such as `1998 Dec-1999 Jan` is kept, and its first year taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Date {
    pub year: Option<u16>,
    pub month: Option<u8>,
    pub day: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub season: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medline_date: Option<String>,
}

impl Date {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Months come as `4`, `04`, `Apr` or `April`; anything else is unknown.
    pub(crate) fn parse_month(text: &str) -> Option<u8> {
        const NAMES: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
        if let Ok(number) = text.parse::<u8>() {
            return (1..=12).contains(&number).then_some(number);
        }
        let short = text.get(..3)?.to_ascii_lowercase();
        let found = NAMES.iter().position(|name| *name == short)?;
        u8::try_from(found + 1).ok()
    }

    pub(crate) fn parse_year(text: &str) -> Option<u16> {
        text.parse::<u16>().ok().filter(|y| (1000..=2999).contains(y))
    }

    /// The first run of exactly four digits.
    pub(crate) fn first_year(text: &str) -> Option<u16> {
        text.split(|c: char| !c.is_ascii_digit()).filter(|run| run.len() == 4).find_map(Self::parse_year)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_come_as_names_and_numbers() {
        for (text, month) in
            [("Feb", Some(2)), ("02", Some(2)), ("December", Some(12)), ("13", None), ("Q1", None), ("é", None), ("", None)]
        {
            assert_eq!(Date::parse_month(text), month, "{text}");
        }
    }

    #[test]
    fn a_year_is_found_in_free_text() {
        for (text, year) in [("1998 Dec-1999 Jan", Some(1998)), ("Spring 2001", Some(2001)), ("19987", None), ("", None)] {
            assert_eq!(Date::first_year(text), year, "{text}");
        }
    }
}
