//! One record of a PubMed file, element by element. Each function is called just behind the start of the element that it is
//! named after and returns behind its end.

use super::standing;
use super::tag::Tag;
use super::xml::{Step, Xml};
use crate::document::{Date, Document, Kind, OtherAbstract, Section};
use crate::error::Result;

/// `PubmedArticle`. `start` is where it begins.
pub(super) fn article(xml: &mut Xml, start: u64) -> Result<Document> {
    let mut doc = Document::default();
    children(xml, |xml, tag| match tag {
        Tag::MedlineCitation => citation(xml, &mut doc),
        _ => xml.skip(),
    })?;
    finish(xml, start, doc)
}

/// `PubmedBookArticle`.
pub(super) fn book_article(xml: &mut Xml, start: u64) -> Result<Document> {
    let mut doc = Document { kind: Kind::Book, ..Document::default() };
    children(xml, |xml, tag| match tag {
        Tag::BookDocument => book_document(xml, &mut doc),
        _ => xml.skip(),
    })?;
    finish(xml, start, doc)
}

/// A PMID in `DeleteCitation`.
pub(super) fn deletion(xml: &mut Xml) -> Result<Document> {
    let mut doc = Document { deleted: true, ..Document::default() };
    let start = xml.started();
    pmid(xml, &mut doc)?;
    finish(xml, start, doc)
}

fn finish(xml: &Xml, start: u64, mut doc: Document) -> Result<Document> {
    let Some(pmid) = &doc.pmid else {
        return Err(xml.error(start, "the record that begins here has no PMID"));
    };
    doc.id.clone_from(pmid);
    let is = |wanted: &str| doc.publication_types.iter().any(|t| t.eq_ignore_ascii_case(wanted));
    let (retracted, withdrawn) = (is("Retracted Publication"), is("Withdrawn Publication"));
    doc.retracted |= retracted || standing::says_retracted(&doc.title);
    doc.withdrawn |= withdrawn || standing::says_withdrawn(&doc.title);
    Ok(doc)
}

fn citation(xml: &mut Xml, doc: &mut Document) -> Result<()> {
    children(xml, |xml, tag| match tag {
        Tag::Pmid => pmid(xml, doc),
        Tag::DateCompleted => date(xml, &mut doc.dates.completed),
        Tag::DateRevised => date(xml, &mut doc.dates.revised),
        Tag::Article => content(xml, doc),
        Tag::OtherAbstract => other_abstract(xml, doc),
        Tag::CommentsCorrectionsList => corrections(xml, doc),
        _ => xml.skip(),
    })
}

fn book_document(xml: &mut Xml, doc: &mut Document) -> Result<()> {
    let mut book_title = None;
    children(xml, |xml, tag| match tag {
        Tag::Pmid => pmid(xml, doc),
        Tag::DateRevised => date(xml, &mut doc.dates.revised),
        Tag::Book => children(xml, |xml, tag| match tag {
            Tag::BookTitle => text_into(xml, &mut book_title),
            Tag::PubDate => date(xml, &mut doc.dates.published),
            _ => xml.skip(),
        }),
        tag => content_element(xml, doc, tag),
    })?;
    if doc.title.is_empty() {
        doc.title.clone_from(book_title.as_ref().unwrap_or(&String::new()));
    }
    doc.journal = book_title;
    Ok(())
}

fn content(xml: &mut Xml, doc: &mut Document) -> Result<()> {
    children(xml, |xml, tag| match tag {
        Tag::Journal => journal(xml, doc),
        tag => content_element(xml, doc, tag),
    })
}

/// What articles and book documents have in common.
fn content_element(xml: &mut Xml, doc: &mut Document, tag: Tag) -> Result<()> {
    match tag {
        Tag::ArticleTitle => doc.title = xml.text()?,
        Tag::VernacularTitle => text_into(xml, &mut doc.vernacular_title)?,
        Tag::Abstract => sections(xml, &mut doc.abstract_sections)?,
        Tag::Language => push_text(xml, &mut doc.language)?,
        Tag::PublicationType => push_text(xml, &mut doc.publication_types)?,
        Tag::PublicationTypeList => children(xml, |xml, tag| match tag {
            Tag::PublicationType => push_text(xml, &mut doc.publication_types),
            _ => xml.skip(),
        })?,
        _ => xml.skip()?,
    }
    Ok(())
}

fn journal(xml: &mut Xml, doc: &mut Document) -> Result<()> {
    children(xml, |xml, tag| match tag {
        Tag::Title => text_into(xml, &mut doc.journal),
        Tag::JournalIssue => children(xml, |xml, tag| match tag {
            Tag::PubDate => date(xml, &mut doc.dates.published),
            _ => xml.skip(),
        }),
        _ => xml.skip(),
    })
}

fn sections(xml: &mut Xml, into: &mut Vec<Section>) -> Result<()> {
    children(xml, |xml, tag| {
        if tag != Tag::AbstractText {
            return xml.skip();
        }
        let (label, category) = (xml.attributes.label.take(), xml.attributes.category.take());
        let text = xml.text()?;
        if label.is_some() || !text.is_empty() {
            into.push(Section { label, category, text });
        }
        Ok(())
    })
}

fn other_abstract(xml: &mut Xml, doc: &mut Document) -> Result<()> {
    let mut other = OtherAbstract { kind: xml.attributes.kind.take(), language: xml.attributes.language.take(), sections: vec![] };
    sections(xml, &mut other.sections)?;
    if !other.sections.is_empty() {
        doc.other_abstracts.push(other);
    }
    Ok(())
}

fn corrections(xml: &mut Xml, doc: &mut Document) -> Result<()> {
    children(xml, |xml, tag| {
        if tag == Tag::CommentsCorrections {
            let kind = xml.attributes.kind.as_deref();
            doc.retracted |= kind == Some("RetractionIn");
            doc.republished |= matches!(kind, Some("RetractedandRepublishedIn" | "CorrectedandRepublishedIn"));
        }
        xml.skip()
    })
}

/// A record has one PMID; those of other records stand inside elements that are passed over.
fn pmid(xml: &mut Xml, doc: &mut Document) -> Result<()> {
    let start = xml.started();
    let version = xml.attributes.version.take();
    let text = xml.text()?;
    let number = text.parse::<u64>().ok().filter(|n| *n > 0 && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit()));
    let Some(number) = number else {
        let shown: String = text.chars().take(40).collect();
        return Err(xml.error(start, format!("the PMID {shown:?} is not a number")));
    };
    doc.version = match version.as_deref().map(str::parse) {
        None => 1,
        Some(Ok(version)) => version,
        Some(Err(_)) => return Err(xml.error(start, format!("PMID {number}: its Version is not a number"))),
    };
    if doc.pmid.replace(number.to_string()).is_some() {
        return Err(xml.error(start, format!("a second PMID, {number}, in one record")));
    }
    Ok(())
}

fn date(xml: &mut Xml, into: &mut Option<Date>) -> Result<()> {
    let mut date = Date::default();
    children(xml, |xml, tag| {
        match tag {
            Tag::Year => date.year = Date::parse_year(&xml.text()?),
            Tag::Month => date.month = Date::parse_month(&xml.text()?),
            Tag::Day => date.day = xml.text()?.parse().ok().filter(|d| (1..=31).contains(d)),
            Tag::Season => date.season = xml.some_text()?,
            Tag::MedlineDate => date.medline_date = xml.some_text()?,
            _ => xml.skip()?,
        }
        Ok(())
    })?;
    if date.year.is_none() {
        date.year = date.medline_date.as_deref().and_then(Date::first_year);
    }
    *into = Some(date).filter(|d| !d.is_empty());
    Ok(())
}

fn text_into(xml: &mut Xml, into: &mut Option<String>) -> Result<()> {
    *into = xml.some_text()?;
    Ok(())
}

fn push_text(xml: &mut Xml, into: &mut Vec<String>) -> Result<()> {
    into.extend(xml.some_text()?);
    Ok(())
}

/// Calls `child` behind the start of each child element; it must consume that element.
pub(super) fn children(xml: &mut Xml, mut child: impl FnMut(&mut Xml, Tag) -> Result<()>) -> Result<()> {
    loop {
        match xml.step()? {
            Step::Start(tag) => child(xml, tag)?,
            Step::End => return Ok(()),
            Step::Eof => return Err(xml.error(xml.offset(), "the file ends inside a record")),
        }
    }
}
