//! What the files of a run file hold, by which the run is known: digested when it is submitted. See [`osler_core::identity`].

use crate::failure::{Outcome, failed};
use crate::show;
use crate::terminal::Terminal;
use osler_core::digest::Digest;
use osler_core::identity::{Sources, Submission};
use osler_core::ids::Millis;
use osler_core::record::RunRecord;
use osler_core::spec::RunSpec;
use osler_corpus::digest_file;
use osler_runtime::clock::{Clock, SystemClock};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Reading so much takes long enough to be told.
const MANY_BYTES: u64 = 4 << 30;
/// Clocks of a file server and of a coordinator differ by less.
const MARGIN_MS: i64 = 3_600_000;
/// What of a Hugging Face folder a run reads.
const OF_FOLDERS: [&str; 5] = ["json", "safetensors", "jinja", "txt", "model"];
/// Beside a tokenizer's own file.
const OF_TOKENIZERS: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];

/// The run with what its files hold. `before`: the run of that name as it was submitted; a file that has not changed since is not read again.
pub fn submission(spec: RunSpec, before: Option<&RunRecord>, terminal: &Terminal) -> Outcome<Submission> {
    submission_at(SystemClock.now(), spec, before, terminal)
}

fn submission_at(now: Millis, spec: RunSpec, before: Option<&RunRecord>, terminal: &Terminal) -> Outcome<Submission> {
    // A stamp that lies ahead is of a clock that was wrong, and says nothing about files.
    let before = before.filter(|record| record.submitted_at <= now);
    let paths: BTreeSet<&String> = spec.paths().into_iter().collect();
    let unchanged = |path: &&String| Some(((*path).clone(), *before?.sources.get(*path).filter(|_| is_older(Path::new(path), before))?));
    let mut sources: Sources = paths.iter().filter_map(unchanged).collect();
    let open: Vec<&String> = paths.into_iter().filter(|path| !sources.contains_key(*path)).collect();
    let bytes: u64 = open.iter().flat_map(|path| parts(Path::new(path))).filter_map(|file| fs::metadata(file).ok()).map(|m| m.len()).sum();
    if bytes > MANY_BYTES {
        terminal.note(format!("reading {} of source files once, so that the run is known by their content", show::bytes(bytes)));
    }
    sources.extend(digests(&open)?);
    Ok(Submission { spec, sources })
}

/// Whether everything at a path was last changed before the run was submitted. The change time, which no program sets back.
fn is_older(path: &Path, before: Option<&RunRecord>) -> bool {
    let Some(submitted) = before.and_then(|record| i64::try_from(record.submitted_at.0).ok()) else { return false };
    let old =
        |file: &PathBuf| fs::metadata(file).is_ok_and(|about| about.ctime().saturating_mul(1000) < submitted.saturating_sub(MARGIN_MS));
    let parts = parts(path);
    !parts.is_empty() && parts.iter().all(old) && (!path.is_dir() || old(&path.to_owned()))
}

/// The files that a path stands for: itself and what belongs to it, or a model's folder.
fn parts(path: &Path) -> Vec<PathBuf> {
    if !path.is_dir() {
        let beside = OF_TOKENIZERS.map(|name| path.with_file_name(name));
        let is_tokenizer = path.file_name().is_some_and(|name| name == "tokenizer.json" || name == "vocab.txt");
        let belongs = beside.into_iter().filter(|file| is_tokenizer && file.is_file());
        return std::iter::once(path.to_owned()).chain(belongs).collect();
    }
    let read = |path: &PathBuf| path.is_file() && path.extension().is_some_and(|e| OF_FOLDERS.iter().any(|known| e == *known));
    let mut files: Vec<PathBuf> = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).filter(read).collect();
    files.sort();
    files
}

/// On all cores: source files are many, and each is read whole.
fn digests(paths: &[&String]) -> Outcome<Sources> {
    let (queue, found) = (Mutex::new(paths.iter()), Mutex::new(Ok(Sources::new())));
    let work = || {
        while let Some(path) = queue.lock().ok().and_then(|mut queue| queue.next().copied()) {
            let digest = digest(Path::new(path));
            let Ok(mut found) = found.lock() else { return };
            match (&mut *found, digest) {
                (Ok(sources), Ok(digest)) => drop(sources.insert(path.clone(), digest)),
                (Ok(_), Err(failure)) => *found = Err(failure),
                (Err(_), _) => return,
            }
        }
    };
    std::thread::scope(|scope| (0..crate::machine::cores().min(16)).for_each(|_| drop(scope.spawn(work))));
    found.into_inner().unwrap_or_else(|_| Err(failed("a thread that read source files panicked")))
}

/// Of a single file that of its bytes, as `sha256sum` has it; of several that of their names and digests.
fn digest(path: &Path) -> Outcome<Digest> {
    let parts = parts(path);
    let of = |file: &PathBuf| digest_file(file).map(|(digest, _)| digest).map_err(|e| failed(format!("read {}: {e}", file.display())));
    if let ([file], false) = (parts.as_slice(), path.is_dir()) {
        return of(file);
    }
    let mut all = vec![];
    for file in &parts {
        all.push(file.file_name().unwrap_or_default().as_encoded_bytes().to_vec());
        all.push(of(file)?.as_bytes().to_vec());
    }
    Ok(Digest::of_parts(all.iter().map(Vec::as_slice)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::terminal::{Format, View};

    #[test]
    fn the_same_files_elsewhere_have_the_same_digests() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&a, &b] {
            let model = folder.path().join("model");
            fs::create_dir(&model).unwrap();
            fs::write(model.join("config.json"), "{}").unwrap();
            fs::write(model.join("model.safetensors"), "weights").unwrap();
            fs::write(folder.path().join("text.jsonl"), "a text").unwrap();
        }
        let of = |folder: &Path, name: &str| digest(&folder.join(name)).unwrap();
        assert_eq!(of(a.path(), "text.jsonl"), Digest::of(b"a text"));
        assert_eq!(of(a.path(), "model"), of(b.path(), "model"));
        fs::write(b.path().join("model/README.md"), "not read by a run").unwrap();
        assert_eq!(of(a.path(), "model"), of(b.path(), "model"));
        fs::write(b.path().join("model/model.safetensors"), "other weights").unwrap();
        assert_ne!(of(a.path(), "model"), of(b.path(), "model"));
        assert!(digest(&a.path().join("none")).is_err());
    }

    #[test]
    fn a_file_that_was_not_changed_since_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("text.jsonl");
        fs::write(&file, "a text").unwrap();
        let mut record = fixture::running().record;
        let path = file.to_str().unwrap().to_owned();
        let mut spec = record.spec.clone();
        spec.exams.clear();
        spec.corpora.values_mut().for_each(|corpus| corpus.files = vec![path.clone()]);
        let known = Digest::of(b"as it was submitted");
        record.sources = Sources::from([(path.clone(), known)]);
        let terminal = Terminal { format: Format::Table, out: View::PLAIN, err: View::PLAIN };
        let later = Millis(i64::MAX as u64);
        let found_at = |now, record: &RunRecord| submission_at(now, spec.clone(), Some(record), &terminal).unwrap().sources[&path];
        let found = |record: &RunRecord| found_at(later, record);
        record.submitted_at.0 = 1;
        assert_eq!(found(&record), Digest::of(b"a text"), "it is younger than the run");
        record.submitted_at = later;
        assert_eq!(found(&record), known);
        assert_eq!(found_at(Millis(later.0 - 1), &record), Digest::of(b"a text"), "by a clock that was ahead");
    }
}
