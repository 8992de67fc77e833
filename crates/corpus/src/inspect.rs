//! Any source file as documents, its format told by its first visible byte: what `osler corpus inspect` shows.

use crate::document::Document;
use crate::error::Result;
use crate::input::Input;
use crate::plain::{JsonlReader, TextReader};
use crate::pubmed::PubmedReader;
use osler_core::spec::CorpusFormat;
use std::path::Path;

/// Documents in file order; ends after the first error.
pub type Documents = Box<dyn Iterator<Item = Result<Document>> + Send>;

/// `<` begins XML and `{` JSON lines; everything else is text. Compression does not matter.
pub fn sniff(path: &Path) -> Result<CorpusFormat> {
    Ok(match Input::open(path)?.peek_visible() {
        Some(b'<') => CorpusFormat::PubmedXml,
        Some(b'{') => CorpusFormat::Jsonl,
        _ => CorpusFormat::Text,
    })
}

/// The documents of a file of unknown format. JSON lines keep their text in `text_field`; a text file is one document.
pub fn inspect(path: &Path, text_field: &str) -> Result<Documents> {
    open(path, sniff(path)?, text_field, None)
}

/// The documents of a file whose format is known.
pub fn open(path: &Path, format: CorpusFormat, text_field: &str, separator: Option<&str>) -> Result<Documents> {
    Ok(match format {
        CorpusFormat::PubmedXml => Box::new(PubmedReader::open(path)?),
        CorpusFormat::Jsonl => Box::new(JsonlReader::open(path, text_field)?),
        CorpusFormat::Text => Box::new(TextReader::open(path, separator)?),
    })
}
