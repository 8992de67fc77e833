//! Any source file as documents, and its format, told by its first visible byte: what `osler corpus inspect` shows.

use crate::document::Document;
use crate::error::Result;
use crate::input::Input;
use crate::jsonl::JsonlReader;
use crate::plain::TextReader;
use crate::pubmed::PubmedReader;
use osler_core::spec::{CorpusFormat, CorpusSpec};
use std::path::Path;

/// Documents in file order.
pub type Documents = Box<dyn Iterator<Item = Result<Document>> + Send>;

/// `<` begins XML and `{` JSON lines; everything else is text. Compression does not matter.
pub fn sniff(path: &Path) -> Result<CorpusFormat> {
    Ok(match Input::open(path)?.peek_visible() {
        Some(b'<') => CorpusFormat::PubmedXml,
        Some(b'{') => CorpusFormat::Jsonl,
        _ => CorpusFormat::Text,
    })
}

/// The documents of a file, read as the corpus says. Ends after the first error, unless bad lines are passed over: then each of them is an
/// [`Error::Line`](crate::Error::Line) and the next document follows.
pub fn open(path: &Path, corpus: &CorpusSpec) -> Result<Documents> {
    Ok(match corpus.format {
        CorpusFormat::PubmedXml => Box::new(PubmedReader::open(path)?),
        CorpusFormat::Jsonl => Box::new(JsonlReader::open(path, corpus)?),
        CorpusFormat::Text => Box::new(TextReader::open(path, corpus.separator.as_deref())?),
    })
}
