//! PubMed's XML as a stream of documents: articles, books, and the PMIDs that an update file withdraws, in file order. One record
//! is in memory at a time, whatever the file's size.

mod markup;
mod record;
mod standing;
mod tag;
#[cfg(test)]
mod tests;
mod xml;

use crate::document::Document;
use crate::error::Result;
use crate::input::Input;
use std::path::Path;
use tag::Tag;
use xml::{Step, Xml};

/// Ends after the first error: what follows a broken record cannot be trusted.
pub struct PubmedReader {
    xml: Xml,
    place: Place,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    BeforeRoot,
    InSet,
    InDeletions,
    Done,
}

impl PubmedReader {
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self::new(Input::open(path)?))
    }

    pub(crate) fn new(input: Input) -> Self {
        Self { xml: Xml::new(input), place: Place::BeforeRoot }
    }

    fn advance(&mut self) -> Result<Option<Document>> {
        loop {
            self.xml.begin_record();
            let step = self.xml.step()?;
            let (start, here) = (self.xml.started(), self.xml.offset());
            match (self.place, step) {
                (Place::BeforeRoot, Step::Start(Tag::PubmedArticleSet | Tag::PubmedBookArticleSet)) => self.place = Place::InSet,
                (Place::BeforeRoot, Step::Start(_)) => {
                    return Err(self.xml.error(start, "the root element is not PubmedArticleSet; this is not a PubMed file"));
                }
                (Place::BeforeRoot, _) => return Err(self.xml.error(here, "the file has no root element; it is not XML or cut off")),
                (Place::InSet, Step::Start(Tag::PubmedArticle)) => return record::article(&mut self.xml, start).map(Some),
                (Place::InSet, Step::Start(Tag::PubmedBookArticle)) => return record::book_article(&mut self.xml, start).map(Some),
                (Place::InSet, Step::Start(Tag::DeleteCitation)) => self.place = Place::InDeletions,
                (Place::InDeletions, Step::Start(Tag::Pmid)) => return record::deletion(&mut self.xml).map(Some),
                (Place::InDeletions, Step::End) => self.place = Place::InSet,
                (Place::InSet | Place::InDeletions, Step::Start(_)) => {
                    return Err(self.xml.error(start, "an unknown kind of record begins here"));
                }
                (Place::InSet, Step::End) => self.place = Place::Done,
                (Place::Done, Step::Eof) => return Ok(None),
                (Place::Done, Step::Start(_)) => return Err(self.xml.error(start, "a second root element begins here")),
                (_, Step::End | Step::Eof) => return Err(self.xml.error(here, "the file ends inside a set of records")),
            }
        }
    }
}

impl Iterator for PubmedReader {
    type Item = Result<Document>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.place == Place::Done {
            return None;
        }
        let next = self.advance().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.place = Place::Done;
        }
        next
    }
}
