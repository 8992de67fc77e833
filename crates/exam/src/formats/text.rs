//! Held-out text: `.jsonl` (or `.json`, one object a line) with a `text` field, or `.txt`, which is one document.

use crate::error::ExamError;
use crate::exam::Document;
use crate::source::{FileDigest, FileRole, Source, tell_apart};
use crate::spec::ExamSpec;

pub(crate) fn read(spec: &ExamSpec) -> Result<(Vec<Document>, Vec<FileDigest>), ExamError> {
    let (mut documents, mut digests) = (Vec::new(), Vec::new());
    let mut sources = spec.files.iter().map(|path| Source::read(path)).collect::<Result<Vec<_>, _>>()?;
    tell_apart(&mut sources);
    for source in sources {
        digests.push(source.digest(FileRole::Questions));
        match source.extension.as_str() {
            "txt" if source.text.is_empty() => return Err(source.fail("empty")),
            "txt" => documents.push(Document { id: source.label, text: source.text }),
            "jsonl" | "json" => lines(&source, &mut documents)?,
            other => {
                let message = format!("extension {other:?} is neither .txt (one document) nor .jsonl (a `text` field a line)");
                return Err(source.fail(message));
            }
        }
    }
    Ok((documents, digests))
}

fn lines(source: &Source, documents: &mut Vec<Document>) -> Result<(), ExamError> {
    for (index, record) in source.json_lines().enumerate() {
        let record = record?;
        let mut id = record.id("id")?;
        if id.is_none() {
            id = record.id("pmid")?;
        }
        let text = record.words("text")?;
        documents.push(Document { id: id.unwrap_or_else(|| format!("{}/{index}", source.label)), text });
    }
    Ok(())
}
