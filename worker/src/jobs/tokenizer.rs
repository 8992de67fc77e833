//! The run's tokenizer: trained on its own documents, or the one that the run file names, with the files that belong to it.

mod settings;

pub use settings::settings;

use super::{corpus_failure, publish_all, train_files};
use crate::harness::{Failure, Job, user};
use anyhow::{Context as _, anyhow};
use osler_core::job::{JobKind, JobResult, Summary};
use osler_core::spec::TokenizerSpec;
use osler_corpus::Tokenizer;
use osler_model::{ModelError, Specials, tokenizer_files};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

pub const NAME: &str = osler_model::TOKENIZER;
pub const CONFIG: &str = "tokenizer_config.json";

pub fn run(job: &Job) -> Result<JobResult, Failure> {
    job.say("fetching");
    // A folder for the tokenizer's files alone: they read each other.
    let folder = job.scratch.join("made");
    fs::create_dir_all(&folder).context("make the tokenizer's folder")?;
    let file = folder.join(NAME);
    let loaded = match &job.assignment.spec.tokenizer {
        TokenizerSpec::Train { vocab_size, min_frequency, corpora, wordpiece } => {
            let mut files = vec![];
            for corpus in corpora {
                files.extend(train_files(job, corpus)?);
            }
            job.say("learning");
            match wordpiece {
                None => osler_corpus::train_tokenizer(&files, *vocab_size, *min_frequency, &file),
                Some(spec) => osler_corpus::train_wordpiece(&files, *vocab_size, *min_frequency, *spec, &file),
            }
            .map_err(corpus_failure)?;
            osler_corpus::load_tokenizer(&file)
        }
        TokenizerSpec::File { path, .. } => {
            job.say("reading");
            let json = osler_corpus::tokenizer_json(Path::new(path)).map_err(corpus_failure)?;
            fs::write(&file, json).with_context(|| format!("write what {path} says"))?;
            copy_beside(Path::new(path), &folder)?;
            osler_corpus::load_tokenizer(Path::new(path))
        }
    };
    let loaded = loaded.map_err(corpus_failure)?;
    configure(job, &folder, &loaded)?;
    let front = Some(loaded.front().to_vec());
    let summary = Summary::Tokenizer { vocab_size: loaded.vocab_size(), end_of_text: loaded.eos(), front };
    let mut names = tokenizer_files(&folder).map_err(model_failure)?;
    names.push(NAME.to_owned());
    let outputs = publish_all(job, &folder, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(JobResult { outputs, summary })
}

/// A damaged folder stays damaged; a file that cannot be read may be there next time.
pub fn model_failure(error: ModelError) -> Failure {
    if matches!(error, ModelError::Io { .. }) { error.into() } else { user(error) }
}

/// The files that belong to the given tokenizer, as they are.
fn copy_beside(given: &Path, folder: &Path) -> Result<(), Failure> {
    let from = given.parent().unwrap_or(Path::new("."));
    for name in tokenizer_files(from).map_err(model_failure)? {
        let to = folder.join(&name);
        fs::create_dir_all(to.parent().unwrap_or(folder)).with_context(|| format!("make a place for {name}"))?;
        fs::copy(from.join(&name), &to).with_context(|| format!("copy {name} of {}", from.display()))?;
    }
    Ok(())
}

/// Sees to it that whoever loads the tokenizer from `folder` finds the same special tokens: without the model's config beside it, which
/// numbers them for tokenizers that name none.
fn configure(job: &Job, folder: &Path, loaded: &Tokenizer) -> Result<(), Failure> {
    let (path, model) = (folder.join(CONFIG), &job.assignment.spec.model);
    let given = fs::read(&path).ok();
    let given: Option<Value> = given.map(|bytes| serde_json::from_slice(&bytes)).transpose().context("read tokenizer_config.json")?;
    let source = match &job.assignment.spec.tokenizer {
        TokenizerSpec::File { path, .. } => PathBuf::from(path),
        TokenizerSpec::Train { .. } => folder.join(NAME),
    };
    let tokenizer: Value =
        serde_json::from_slice(&fs::read(folder.join(NAME)).context("read tokenizer.json")?).context("read tokenizer.json")?;
    let specials = Specials::beside(&source, &tokenizer).map_err(model_failure)?;
    specials.notes.iter().for_each(|note| tracing::warn!("{}: {note}", source.display()));
    let config = match given {
        Some(mut given) if model.family.causal() => {
            let alone = Specials::beside(&folder.join(NAME), &tokenizer).map_err(model_failure)?;
            if alone.eos != Some(loaded.eos()) {
                given["eos_token"] = json!(loaded.token(loaded.eos()).context("the end-of-text token has no spelling")?);
            }
            given
        }
        given => settings(given, &tokenizer, &specials, loaded.eos(), model),
    };
    fs::write(&path, serde_json::to_vec_pretty(&config).context("write tokenizer_config.json")?).context("write tokenizer_config.json")?;
    Ok(())
}

/// The run's tokenizer as the tokenizer job left it.
pub fn load(job: &Job) -> Result<Tokenizer, Failure> {
    osler_corpus::load_tokenizer(&folder(job)?.join(NAME)).map_err(corpus_failure)
}

/// A folder with the files that the tokenizer job left.
pub fn folder(job: &Job) -> Result<PathBuf, Failure> {
    let (made, folder) = (job.input(&JobKind::Tokenizer)?, job.scratch.join("tokenizer"));
    for name in made.outputs.keys() {
        let file = folder.join(name);
        if !Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_))) {
            return Err(anyhow!("the tokenizer job's output {name:?} has an unusable name").into());
        }
        // A job may ask twice.
        if !file.exists() {
            job.link(made, name, &file)?;
        }
    }
    Ok(folder)
}
