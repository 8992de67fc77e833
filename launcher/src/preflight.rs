//! What would end a run later, found in the files that are there already: a job should not discover after hours what its first look at a
//! file would have shown. `validate --files`, `plan`, `up` and `submit` all come through here; each reader is the one of the job itself.

#[cfg(test)]
mod tests;

use crate::resolve::Resolved;
use osler_core::ids::{CorpusName, StageName};
use osler_core::spec::{BadLines, CorpusFormat, CorpusSpec, ExamFormat, Init, Method, TokenizerSpec};
use osler_corpus::Error;
use osler_model::{ModelFolder, Rows};
use std::path::{Path, PathBuf};

/// Of the files of one corpus, so many that do not fit are named.
const NAMED_FILES: usize = 3;

/// Adds problems and warnings to what resolving found. What that told already is not looked at again.
pub fn look(resolved: &mut Resolved, run_file: &Path) {
    let mut seen = Seen { run_file: run_file.display().to_string(), problems: vec![], warnings: vec![] };
    let told = |field: &str| resolved.problems.iter().any(|problem| problem.contains(&format!("{field}: ")));
    for (name, corpus) in &resolved.spec.corpora {
        let files = resolved.corpora.get(name).map(Vec::as_slice).unwrap_or_default();
        seen.corpus(name, corpus, files);
    }
    let mut vocab = resolved.vocab.map(|tokens| tokens as usize);
    if !told("tokenizer.file") {
        seen.tokenizer(resolved);
    }
    for stage in &resolved.spec.stages {
        if let Init::HuggingFace(folder) = &stage.from
            && !told(&format!("stage.{}.from", stage.name))
        {
            let rows = seen.folder(&stage.name, Path::new(folder), resolved);
            vocab = vocab.max(rows);
        }
    }
    for exam in resolved.spec.exams.iter().filter(|exam| exam.format != ExamFormat::HeldOut) {
        let field = format!("after_stage.exam.{}", exam.name);
        if !told(&format!("{field}.files")) && !told(&format!("{field}.shots_files")) {
            let files = exam.files.iter().map(PathBuf::from).collect();
            if let Err(e) = osler_exam::load(&osler_exam::ExamSpec::of_run(exam, files)) {
                seen.problem(&field, e.to_string());
            }
        }
    }
    for method in resolved.spec.quantize.iter().map(|quantize| quantize.method) {
        seen.method(method, resolved, vocab);
    }
    resolved.problems.extend(seen.problems);
    resolved.warnings.extend(seen.warnings);
}

struct Seen {
    run_file: String,
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Seen {
    fn problem(&mut self, field: &str, message: impl Into<String>) {
        self.problems.push(format!("{}: {field}: {}", self.run_file, message.into()));
    }

    /// The first record of each file, by the reader that will read it; of plain text only the first bytes, since a file may be one record.
    fn corpus(&mut self, name: &CorpusName, corpus: &CorpusSpec, files: &[(PathBuf, u64)]) {
        let field = format!("corpus.{name}.files");
        let mut bad = 0;
        for (path, _) in files {
            let Some(why) = first_fault(path, corpus) else { continue };
            bad += 1;
            if bad <= NAMED_FILES {
                self.problem(&field, why);
            }
        }
        if bad > NAMED_FILES {
            self.problem(&field, format!("{} more of its {} files cannot be read either", bad - NAMED_FILES, files.len()));
        }
    }

    fn tokenizer(&mut self, resolved: &Resolved) {
        let TokenizerSpec::File { path, .. } = &resolved.spec.tokenizer else { return };
        let loaded = match osler_corpus::load_tokenizer(Path::new(path)) {
            Ok(loaded) => loaded,
            Err(e) => return self.problem("tokenizer.file", e.to_string()),
        };
        if !resolved.spec.model.family.causal() && loaded.pieces().is_none() {
            self.problem("tokenizer.file", format!("{path}: a bert needs a WordPiece tokenizer with [CLS], [SEP], [MASK] and [PAD]"));
        }
    }

    /// The continued model beside `[model]` and the tokenizer. Gives the rows of the vocabulary that is trained, if they are known.
    fn folder(&mut self, stage: &StageName, path: &Path, resolved: &Resolved) -> Option<usize> {
        let field = format!("stage.{stage}.from");
        let folder = match ModelFolder::open(path) {
            Ok(folder) => folder,
            Err(e) => {
                self.problem(&field, e.to_string());
                return None;
            }
        };
        for difference in osler_model::differences(&resolved.spec.model, path, folder.config()) {
            self.problem(&field, difference);
        }
        if !folder.config().unknown.is_empty() {
            let keys = folder.config().unknown.join(", ");
            self.warnings.push(format!("{}: config.json has keys that are not known here and are passed over: {keys}", path.display()));
        }
        match Rows::of(path, folder.config().vocab, resolved.vocab? as usize, resolved.spec.tokenizer.extend()) {
            Ok(rows) => {
                if rows.untrained > 0 {
                    self.warnings.push(format!(
                        "{}: {} tokens of the tokenizer are not in the folder's own and get rows that nobody trained: add [tokenizer] extend, which says how they begin",
                        path.display(),
                        rows.untrained
                    ));
                }
                Some(rows.total)
            }
            Err(e) => {
                self.problem(&field, e.to_string());
                None
            }
        }
    }

    fn method(&mut self, method: Method, resolved: &Resolved, vocab: Option<usize>) {
        let tokenizer = match &resolved.spec.tokenizer {
            TokenizerSpec::File { path, .. } if vocab.is_some() => osler_corpus::tokenizer_json(Path::new(path)).ok(),
            _ => None,
        };
        // A vocabulary that is yet to be trained has rows of the same length, however many.
        if let Err(e) = osler_compress::foresee(&resolved.spec.model, vocab.unwrap_or(1), tokenizer.as_deref(), method.into()) {
            self.problem("after_stage.quantize", format!("{method}: {e}"));
        }
    }
}

/// Why a source file's first record cannot be read. Lines that the corpus says to leave out are passed over.
fn first_fault(path: &Path, corpus: &CorpusSpec) -> Option<String> {
    if corpus.format == CorpusFormat::Text {
        return osler_corpus::sniff(path).err().map(|e| e.to_string());
    }
    let counts = |read: &Result<_, Error>| !matches!(read, Err(Error::Line { .. })) || corpus.bad_lines == BadLines::Fail;
    let first = osler_corpus::open(path, corpus).and_then(|mut documents| documents.find(counts).transpose());
    match first {
        Ok(Some(_)) => None,
        Ok(None) => Some(format!("{}: the file holds no documents", path.display())),
        Err(e) => Some(e.to_string()),
    }
}
