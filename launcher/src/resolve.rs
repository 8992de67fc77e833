//! From a run file's paths to files: globs expanded in a fixed order, paths absolute, each file there and readable.
//!
//! A spec that passed through here means the same wherever the coordinator and the workers stand on this machine.

use osler_core::ids::CorpusName;
use osler_core::spec::{Init, RunSpec, TokenizerSpec};
use osler_model::json::{Fields, read_object};
use osler_runtime::files::what;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

/// As many as a corpus may have.
const MAX_FILES: usize = 10_000;
/// A config.json above this size is not one.
const MAX_CONFIG: u64 = 64 << 20;

#[derive(Debug)]
pub struct Resolved {
    /// Complete if `problems` is empty; otherwise as far as it could be resolved.
    pub spec: RunSpec,
    /// `run.toml: corpus.domain.files: ...`, one a line.
    pub problems: Vec<String>,
    /// What is unwise about the files, one sentence each.
    pub warnings: Vec<String>,
    /// Source files and bytes of each corpus.
    pub corpora: BTreeMap<CorpusName, Vec<(PathBuf, u64)>>,
    /// The vocabulary of a tokenizer that was given as a file.
    pub vocab: Option<u32>,
}

/// Resolves a spec that was read from `run_file`.
pub fn resolve(mut spec: RunSpec, run_file: &Path) -> Resolved {
    let mut finder = Finder::new(run_file);
    let mut corpora = BTreeMap::new();
    for (name, corpus) in &mut spec.corpora {
        let found = finder.expand(&format!("corpus.{name}.files"), &corpus.files);
        corpus.files = finder.names(&found);
        corpora.insert(name.clone(), found);
    }
    let mut vocab = None;
    if let TokenizerSpec::File { path, .. } = &mut spec.tokenizer
        && let [(file, _)] = finder.expand("tokenizer.file", std::slice::from_ref(path)).as_slice()
    {
        match osler_corpus::load_tokenizer(file) {
            Ok(tokenizer) => vocab = Some(tokenizer.vocab_size()),
            Err(e) => finder.problem("tokenizer.file", e.to_string()),
        }
        *path = file.display().to_string();
    }
    for stage in &mut spec.stages {
        if let Init::HuggingFace(path) = &mut stage.from {
            *path = finder.hugging_face(&format!("stage.{}.from", stage.name), path);
        }
    }
    for exam in &mut spec.exams {
        for (key, files) in [("files", &mut exam.files), ("shots_files", &mut exam.shots_files)] {
            let found = finder.expand(&format!("after_stage.exam.{}.{key}", exam.name), files);
            *files = finder.names(&found);
        }
    }
    Resolved { spec, problems: finder.problems, warnings: vec![], corpora, vocab }
}

/// Gives a model that is continued the context of its folder. A folder that cannot be read, or whose context is shorter than the sequences,
/// is left to those who compare `[model]` with it.
pub fn keep_context(spec: &mut RunSpec) {
    for stage in &spec.stages {
        let Init::HuggingFace(folder) = &stage.from else { continue };
        let path = Path::new(folder).join("config.json");
        let Ok(config) = read_object(&path, MAX_CONFIG) else { continue };
        let Ok(fields) = Fields::new(&path, &config) else { continue };
        let found = ["max_position_embeddings", "n_positions"].iter().find_map(|key| fields.size(key).ok().flatten());
        if let Some(found) = found.and_then(|n| u32::try_from(n).ok()) {
            spec.model.max_positions = spec.model.max_positions.max(found);
        }
    }
}

struct Finder {
    run_file: String,
    base: PathBuf,
    problems: Vec<String>,
}

impl Finder {
    fn new(run_file: &Path) -> Self {
        let absolute = std::path::absolute(run_file).unwrap_or_else(|_| run_file.to_owned());
        let base = absolute.parent().unwrap_or(Path::new("/")).to_owned();
        Self { run_file: run_file.display().to_string(), base, problems: vec![] }
    }

    fn problem(&mut self, field: &str, message: String) {
        self.problems.push(format!("{}: {field}: {message}", self.run_file));
    }

    /// The files of a list of paths and globs: the list's order, file names in byte order within a glob, no file twice.
    fn expand(&mut self, field: &str, patterns: &[String]) -> Vec<(PathBuf, u64)> {
        let mut found: Vec<(PathBuf, u64)> = vec![];
        let mut seen = BTreeSet::new();
        for pattern in patterns {
            let Some(matched) = self.matches(field, pattern) else { continue };
            for path in matched {
                let path = settled(&path);
                if !seen.insert(path.clone()) {
                    continue;
                }
                match readable(&path) {
                    Ok(bytes) => found.push((path, bytes)),
                    Err(why) => self.problem(field, format!("{}: {why}", path.display())),
                }
            }
        }
        if found.len() > MAX_FILES {
            self.problem(field, format!("{} files, at most {MAX_FILES} are possible: join them into larger ones", found.len()));
        }
        found
    }

    fn matches(&mut self, field: &str, pattern: &str) -> Option<Vec<PathBuf>> {
        let path = self.base.join(pattern);
        // A file may have such a character in its name; then it is meant.
        if path.exists() || !pattern.contains(['*', '?', '[']) {
            return Some(vec![path]);
        }
        // The run file's own folder is not part of the pattern, whatever its name is.
        let whole = if Path::new(pattern).is_absolute() {
            pattern.to_owned()
        } else {
            format!("{}/{pattern}", glob::Pattern::escape(&self.base.to_string_lossy()))
        };
        let options = glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
        let entries = match glob::glob_with(&whole, options) {
            Ok(entries) => entries,
            Err(e) => {
                self.problem(field, format!("{pattern:?} is not a usable glob: {e}"));
                return None;
            }
        };
        let mut found = vec![];
        for entry in entries {
            match entry {
                Ok(path) if path.is_dir() => {}
                Ok(path) => found.push(path),
                Err(e) => self.problem(field, format!("{}: cannot be listed: {}", e.path().display(), e.error())),
            }
        }
        if found.is_empty() {
            self.problem(field, format!("{pattern:?} matches no file below {}: {WAY_OUT}", self.base.display()));
            return None;
        }
        found.sort_by(|a, b| (a.file_name(), a).cmp(&(b.file_name(), b)));
        Some(found)
    }

    /// Paths as the spec keeps them.
    fn names(&mut self, files: &[(PathBuf, u64)]) -> Vec<String> {
        let mut names = vec![];
        for (path, _) in files {
            match path.to_str() {
                Some(name) => names.push(name.to_owned()),
                None => self.problems.push(format!("{}: {}: the name is not UTF-8: rename the file", self.run_file, path.display())),
            }
        }
        names
    }

    /// A model's folder: configuration and weights are there.
    fn hugging_face(&mut self, field: &str, folder: &str) -> String {
        let path = settled(&self.base.join(folder));
        if !path.is_dir() {
            self.problem(field, format!("{}: not a folder; give one with config.json and model.safetensors, as hf:PATH", path.display()));
        } else {
            let has = |name: &str| readable(&path.join(name)).is_ok();
            if !has("config.json") {
                self.problem(field, format!("{}: config.json is missing or unreadable: a Hugging Face folder has one", path.display()));
            }
            if !has("model.safetensors") && !has("model.safetensors.index.json") {
                self.problem(
                    field,
                    format!(
                        "{}: neither model.safetensors nor model.safetensors.index.json is in it: weights in other formats are not read",
                        path.display()
                    ),
                );
            }
        }
        path.display().to_string()
    }
}

const WAY_OUT: &str = "paths are relative to the run file; correct it here or with --set";

/// With `..` and links of folders worked out; the file keeps its own name, which may decide about its order.
fn settled(path: &Path) -> PathBuf {
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
    }
}

fn readable(path: &Path) -> Result<u64, String> {
    let about = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("no such file: {WAY_OUT}"),
        _ => format!("cannot be read: {e}"),
    })?;
    if !about.is_file() {
        let way_out = if about.is_dir() { "give the files in it, for example with /*" } else { "give regular files" };
        return Err(format!("not a file but {}: {way_out}", what(about.file_type())));
    }
    File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    Ok(about.len())
}

#[cfg(test)]
mod tests;
