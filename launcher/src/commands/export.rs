//! `osler export`: a stage's model, as the run exported or compressed it, copied out of the store with its digests checked.

use super::Context;
use crate::failure::{Outcome, failed, usage};
use crate::show;
use crate::source::Source;
use crate::terminal::Page;
use osler_core::ids::{RunName, StageName};
use osler_core::job::{JobKind, JobResult};
use osler_core::spec::Variant;
use osler_runtime::store::Store;
use serde::Serialize;
use std::fs;
use std::path::{Component, Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    #[arg(long)]
    stage: StageName,
    /// full, int8 or gguf-q8_0.
    #[arg(long, default_value = "full")]
    variant: Variant,
    /// A folder to make; it must not hold anything yet.
    dir: PathBuf,
}

#[derive(Serialize)]
pub(super) struct Exported {
    pub run: RunName,
    pub stage: StageName,
    pub variant: Variant,
    pub dir: PathBuf,
    pub files: u64,
    pub bytes: u64,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let record = source.run(&args.run).await?.record;
    if record.spec.stage(&args.stage).is_none() {
        let known: Vec<&str> = record.spec.stages.iter().map(|s| s.name.as_str()).collect();
        return Err(usage(format!("run {} has no stage {:?}; known here: {}", args.run, args.stage.as_str(), known.join(", "))));
    }
    let stage = args.stage.clone();
    let kind = match args.variant {
        Variant::Full => JobKind::Export { stage },
        Variant::Quantized(method) => JobKind::Quantize { stage, method },
    };
    let job = record
        .jobs
        .get(&kind.key())
        .ok_or_else(|| usage(format!("run {} does not make the variant {} after stage {}", args.run, args.variant, args.stage)))?;
    let result =
        job.status.result().ok_or_else(|| failed(format!("{} is {}: there is nothing to export yet", kind.key(), job.status.as_str())))?;
    let store = cx.access.open_store()?;
    let (files, bytes) = copy(&store, result, &args.dir).await?;
    let done = Exported { run: args.run.clone(), stage: args.stage.clone(), variant: args.variant, dir: args.dir.clone(), files, bytes };
    cx.terminal().answer("export", &done, || {
        let files = show::plural(files, "file");
        Page::from(format!("{}: {files} of {}, {}, digests verified", done.dir.display(), kind.key(), show::bytes(bytes)))
    })
}

/// Whole or not at all: the folder gets its name when everything is in it.
async fn copy(store: &Store, result: &JobResult, dir: &Path) -> Outcome<(u64, u64)> {
    let io = |verb: &str, path: &Path| {
        let what = format!("{verb} {}", path.display());
        move |e: std::io::Error| failed(format!("{what}: {e}"))
    };
    let empty = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_none(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => true,
        Err(e) => return Err(io("look into", dir)(e)),
    };
    if !empty {
        return Err(usage(format!("{} is not empty: give a folder that is not there yet", dir.display())));
    }
    if result.outputs.is_empty() {
        return Err(failed("the job left no files"));
    }
    let mut name = dir.file_name().ok_or_else(|| usage(format!("{}: not a folder's name", dir.display())))?.to_owned();
    name.push(".partial");
    let partial = dir.with_file_name(name);
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(io("clear", &partial))?;
    }
    let mut bytes = 0;
    for (name, object) in &result.outputs {
        // The int8 folder's files stand below model/, its report beside it.
        let name = Path::new(name.strip_prefix("model/").unwrap_or(name));
        if !name.components().all(|c| matches!(c, Component::Normal(_))) {
            return Err(failed(format!("the store names a file {:?}, which is not a plain path: nothing was exported", name)));
        }
        let to = partial.join(name);
        fs::create_dir_all(to.parent().unwrap_or(&partial)).map_err(io("make the folder of", &to))?;
        fs::copy(store.fetch(object).await?, &to).map_err(io("write", &to))?;
        let (digest, length) = osler_corpus::digest_file(&to)?;
        if (digest, length) != (object.digest, object.bytes) {
            return Err(failed(format!("{}: the copy differs from {}: is the disk full or failing?", to.display(), object.path)));
        }
        bytes += length;
    }
    fs::rename(&partial, dir).map_err(io("put into place", dir))?;
    Ok((result.outputs.len() as u64, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_core::job::Summary;
    use std::collections::BTreeMap;

    #[tokio::test]
    async fn only_verified_files_with_plain_names_leave_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().join("store").to_str().unwrap()).unwrap();
        let object = store.put("runs/r/x", "weights".into()).await.unwrap();
        let summary = Summary::Tokenizer { vocab_size: 1, end_of_text: 0, front: None };
        let result = |name: &str, object| JobResult { outputs: BTreeMap::from([(name.to_owned(), object)]), summary: summary.clone() };

        let out = folder.path().join("out");
        assert_eq!(copy(&store, &result("model/weights", object.clone()), &out).await.unwrap(), (1, 7));
        assert_eq!(fs::read(out.join("weights")).unwrap(), b"weights");
        assert_eq!(copy(&store, &result("w", object.clone()), &out).await.unwrap_err().code(), 64, "a full folder was written to");

        let out = folder.path().join("out-2");
        for bad in ["../x", "/x", "a/../../x"] {
            assert!(copy(&store, &result(bad, object.clone()), &out).await.is_err(), "{bad}");
        }
        store.put("runs/r/x", "tampered".into()).await.unwrap();
        assert!(copy(&store, &result("w", object), &out).await.is_err());
        assert!(!out.exists());
    }
}
