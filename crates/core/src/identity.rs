//! What a run is: its run file's meaning and the content of the files that it names, wherever these lie and whoever submits them.
//!
//! Paths are how the files are found, by whom they are needed; the newest submission's are used. Whether two submissions are the same run
//! is decided by what the files hold.

use crate::digest::Digest;
use crate::json;
use crate::record::RunRecord;
use crate::spec::{Init, RunSpec, TokenizerSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// What lies at each path of a run file, as it was when it was submitted.
pub type Sources = BTreeMap<String, Digest>;

/// A run as it is handed to a coordinator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    pub spec: RunSpec,
    /// Empty: its author did not look into the files, and they are known by their paths.
    pub sources: Sources,
}

impl From<RunSpec> for Submission {
    fn from(spec: RunSpec) -> Self {
        Self { spec, sources: Sources::new() }
    }
}

impl Submission {
    /// Equal for submissions of the same run.
    pub fn identity(&self) -> Digest {
        self.spec.placeless(&self.sources).digest()
    }
}

impl RunRecord {
    /// Whether it is the run that is submitted.
    pub fn is_submitted_as(&self, submission: &Submission) -> bool {
        let identity = submission.identity();
        // Where nobody looked into the files then or does now, they are known by their paths.
        self.spec_digest == identity || (self.sources.is_empty() || submission.sources.is_empty()) && self.spec == submission.spec
    }
}

impl RunSpec {
    /// Every file and folder that it names.
    pub fn paths(&self) -> Vec<&String> {
        let files = self.corpora.values().flat_map(|corpus| &corpus.files);
        let tokenizer = if let TokenizerSpec::File { path, .. } = &self.tokenizer { Some(path) } else { None };
        let folders = self.stages.iter().filter_map(|stage| if let Init::HuggingFace(path) = &stage.from { Some(path) } else { None });
        let exams = self.exams.iter().flat_map(|exam| exam.files.iter().chain(&exam.shots_files));
        files.chain(tokenizer).chain(folders).chain(exams).collect()
    }

    /// With the content's digest in the place of each path that is known.
    pub fn placeless(&self, sources: &Sources) -> Self {
        let mut spec = self.clone();
        let replace = |path: &mut String| {
            if let Some(digest) = sources.get(path) {
                *path = format!("sha256:{digest}");
            }
        };
        spec.corpora.values_mut().flat_map(|corpus| &mut corpus.files).for_each(replace);
        if let TokenizerSpec::File { path, .. } = &mut spec.tokenizer {
            replace(path);
        }
        for stage in &mut spec.stages {
            if let Init::HuggingFace(path) = &mut stage.from {
                replace(path);
            }
        }
        spec.exams.iter_mut().flat_map(|exam| exam.files.iter_mut().chain(&mut exam.shots_files)).for_each(replace);
        spec
    }
}

/// The fields in which two runs differ, each with what it was and what it is now; at most `limit` of them, then how many more.
pub fn difference(before: &Submission, now: &Submission, limit: usize) -> Vec<String> {
    let value = |submission: &Submission| json::value(&submission.spec.placeless(&submission.sources));
    let mut found = vec![];
    differ("", &value(before), &value(now), &mut found);
    let more = found.len().saturating_sub(limit);
    found.truncate(limit);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

fn differ(field: &str, before: &Value, now: &Value, found: &mut Vec<String>) {
    let inner = |key: &str| if field.is_empty() { key.to_owned() } else { format!("{field}.{key}") };
    match (before, now) {
        (Value::Object(a), Value::Object(b)) => {
            let added = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(added) {
                differ(&inner(key), a.get(key).unwrap_or(&Value::Null), b.get(key).unwrap_or(&Value::Null), found);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differ(&inner(&named(a, i)), a, b, found);
            }
            if a.len() != b.len() {
                found.push(format!("{field}: {} entries, now {}", a.len(), b.len()));
            }
        }
        (a, b) if a != b => found.push(format!("{field}: {}, now {}", shown(a), shown(b))),
        _ => {}
    }
}

/// Stages and exams are known by their names, as in `--set stage.domain.steps=20`.
fn named(entry: &Value, i: usize) -> String {
    entry.get("name").and_then(Value::as_str).map_or_else(|| i.to_string(), str::to_owned)
}

/// A value in a sentence: a digest is told by its first digits, and nothing is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 60;
    let text = match value {
        Value::Null => "absent".to_owned(),
        Value::String(text) if text.starts_with("sha256:") => text.chars().take("sha256:".len() + 12).collect(),
        value => value.to_string(),
    };
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain("...".chars()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::parse;

    const FILE: &str = include_str!("../../../tests/e2e/mini.toml");

    fn submission(places: &str, content: &str, changes: &[&str]) -> Submission {
        let changes: Vec<_> = changes.iter().map(|change| change.parse().unwrap()).collect();
        let mut spec = parse(FILE, "mini.toml", &changes).unwrap();
        let moved = |path: &mut String| *path = format!("{places}/{path}");
        spec.corpora.values_mut().flat_map(|corpus| &mut corpus.files).for_each(moved);
        spec.exams.iter_mut().flat_map(|exam| &mut exam.files).for_each(moved);
        let sources =
            spec.paths().into_iter().map(|path| (path.clone(), Digest::of(format!("{content} {}", path.len() - places.len()).as_bytes())));
        Submission { sources: sources.collect(), spec }
    }

    #[test]
    fn a_run_is_what_its_files_hold_and_not_where_they_lie() {
        let here = submission("/home/ann/world", "text", &[]);
        assert_eq!(here.spec.paths().len(), 3);
        assert_eq!(here.identity(), submission("/mnt/b", "text", &[]).identity());
        assert_ne!(here.identity(), submission("/home/ann/world", "other text", &[]).identity());
        assert_ne!(here.identity(), submission("/home/ann/world", "text", &["seed=4"]).identity());
        let unseen = Submission::from(here.spec.clone());
        assert_eq!(unseen.identity(), here.spec.digest(), "files that nobody looked into are known by their paths");
    }

    #[test]
    fn what_differs_is_told_by_field() {
        let before = submission("/a", "text", &[]);
        assert_eq!(difference(&before, &submission("/b", "text", &[]), 9), [""; 0]);
        let changed = submission("/b", "text", &["seed=4", "stage.domain.steps=31"]);
        assert_eq!(difference(&before, &changed, 1), ["seed: 3, now 4", "and 1 more"]);
        let all = difference(&before, &changed, 9);
        assert_eq!(all, ["seed: 3, now 4", "stages.domain.length.count: 30, now 31"]);
        let content = difference(&before, &submission("/a", "new", &[]), 9);
        assert!(content.iter().any(|field| field.starts_with("corpora.domain.files.0: sha256:")), "{content:?}");
    }
}
