//! `osler ckpt list|verify|pin|unpin`: the published checkpoints of a run, why each is kept, and whether its bytes are still what was
//! published.

use crate::client::Access;
use crate::failure::{Outcome, failed};
use crate::manifests;
use crate::show::{self, Format, Grid};
use crate::source::Source;
use osler_core::ids::{Millis, RunName, StageName};
use osler_core::record::{Published, RunRecord};
use osler_core::retention::Reason;
use osler_runtime::store::Store;
use serde::Serialize;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the published checkpoints.
    List(Args),
    /// Read every part of every kept checkpoint and check its size and digest.
    Verify(Args),
    /// Keep one, whatever the run file's rules say.
    Pin(PinArgs),
    /// Leave one to the rules again; if none keeps it, its parts are deleted at once.
    Unpin(PinArgs),
}

#[derive(Debug, clap::Args)]
pub struct PinArgs {
    run: RunName,
    #[arg(long)]
    stage: StageName,
    #[arg(long)]
    step: u64,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    #[command(flatten)]
    access: Access,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn run(command: &Command) -> Outcome {
    match command {
        Command::List(args) => list(args, &record(args).await?),
        Command::Verify(args) => verify(args, &record(args).await?, &args.access.open_store()?).await,
        Command::Pin(args) => pin(args, true).await,
        Command::Unpin(args) => pin(args, false).await,
    }
}

async fn record(args: &Args) -> Outcome<RunRecord> {
    Ok(Source::find(&args.access).await?.run(&args.run).await?.record)
}

/// Only the coordinator changes a record.
async fn pin(args: &PinArgs, pinned: bool) -> Outcome {
    args.access.need_coordinator().await?.pin(args.run.as_str(), args.stage.as_str(), args.step, pinned).await?;
    let verb = if pinned { "kept until it is unpinned" } else { "kept as the run file says" };
    show::out(&format!("{}: step {} of stage {} is {verb}\n", args.run, args.step, args.stage))
}

#[derive(Serialize)]
struct Line {
    stage: StageName,
    step: u64,
    generation: u64,
    published_at: Millis,
    retired: bool,
    /// Why it is kept.
    reasons: Vec<Reason>,
    mean_loss: Option<f64>,
    manifest: String,
    digest: String,
}

fn list(args: &Args, record: &RunRecord) -> Outcome {
    let lines: Vec<Line> = all(record)
        .map(|(stage, c)| Line {
            stage: stage.clone(),
            step: c.step,
            generation: c.generation.0,
            published_at: c.at,
            retired: c.retired,
            reasons: record.kept(stage).remove(&c.step).filter(|_| !c.retired).unwrap_or_default().into_iter().collect(),
            mean_loss: c.mean_loss,
            manifest: c.manifest.path.clone(),
            digest: c.manifest.digest.to_string(),
        })
        .collect();
    if args.output == Format::Json {
        return show::json(&lines);
    }
    if lines.is_empty() {
        return show::out("no checkpoint has been published yet\n");
    }
    let mut grid = Grid::new(&["stage", ">step", ">generation", "published", ">mean loss", "state", "manifest"]);
    for line in lines {
        let reasons: Vec<&str> = line.reasons.iter().map(|r| r.as_str()).collect();
        let state = if line.retired { "retired".to_owned() } else { format!("kept: {}", reasons.join(", ")) };
        grid.row([
            line.stage.to_string(),
            line.step.to_string(),
            line.generation.to_string(),
            show::time(line.published_at),
            line.mean_loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.4}")),
            state,
            line.manifest,
        ]);
    }
    show::out(&grid.text())
}

#[derive(Serialize)]
struct Verified {
    stage: StageName,
    step: u64,
    parts: usize,
    bytes: u64,
    ok: bool,
    problems: Vec<String>,
}

async fn verify(args: &Args, record: &RunRecord, store: &Store) -> Outcome {
    let mut found = vec![];
    for (stage, checkpoint) in all(record).filter(|(_, c)| !c.retired) {
        found.push(verify_one(store, record, stage, checkpoint).await);
    }
    if found.is_empty() {
        return Err(failed(format!("run {} has no checkpoint to verify", args.run)));
    }
    match args.output {
        Format::Json => show::json(&found)?,
        Format::Table => {
            let mut grid = Grid::new(&["stage", ">step", ">parts", ">size", "verdict"]);
            for v in &found {
                let verdict = if v.ok { "ok".to_owned() } else { v.problems.join("; ") };
                grid.row([v.stage.to_string(), v.step.to_string(), v.parts.to_string(), show::bytes(v.bytes), verdict]);
            }
            show::out(&grid.text())?;
        }
    }
    let bad = found.iter().filter(|v| !v.ok).count();
    if bad == 0 {
        Ok(())
    } else {
        Err(failed(format!("{} of {} cannot be used: restore the store from a copy", bad, show::plural(found.len() as u64, "checkpoint"))))
    }
}

async fn verify_one(store: &Store, record: &RunRecord, stage: &StageName, checkpoint: &Published) -> Verified {
    let mut verified = Verified { stage: stage.clone(), step: checkpoint.step, parts: 0, bytes: 0, ok: false, problems: vec![] };
    match manifests::read_one(store, record, stage, checkpoint).await {
        Err(e) => verified.problems.push(e.to_string()),
        Ok(manifest) => {
            if manifest.parts.len() != manifest.world_size as usize || manifest.parts.is_empty() {
                verified.problems.push(format!("{} parts of {} ranks", manifest.parts.len(), manifest.world_size));
            }
            for part in &manifest.parts {
                match store.fetch(part).await {
                    Ok(_) => verified.bytes += part.bytes,
                    Err(e) => verified.problems.push(e.to_string()),
                }
            }
            verified.parts = manifest.parts.len();
        }
    }
    verified.ok = verified.problems.is_empty();
    verified
}

fn all(record: &RunRecord) -> impl Iterator<Item = (&StageName, &Published)> {
    record.checkpoints.iter().flat_map(|(stage, published)| published.iter().map(move |c| (stage, c)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[tokio::test]
    async fn damage_is_found_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let (mut record, manifests) = fixture::finished();
        let stage = StageName::new("domain").unwrap();
        let mut manifest = manifests[&stage].last().unwrap().clone();
        for (part, bytes) in manifest.parts.iter_mut().zip(["first", "second"]) {
            *part = store.put(&format!("runs/tiny/{bytes}"), bytes.into()).await.unwrap();
        }
        let object = store.put("runs/tiny/m", serde_json::to_vec(&manifest).unwrap().into()).await.unwrap();
        let published = record.checkpoints.get_mut(&stage).unwrap().last_mut().unwrap();
        published.manifest = object;
        let published = published.clone();

        let verified = verify_one(&store, &record, &stage, &published).await;
        assert!(verified.ok, "{:?}", verified.problems);
        assert_eq!((verified.parts, verified.bytes), (2, 11));

        store.put("runs/tiny/second", "secone".into()).await.unwrap();
        let verified = verify_one(&store, &record, &stage, &published).await;
        assert!(!verified.ok && verified.problems[0].contains("runs/tiny/second"), "{:?}", verified.problems);

        store.delete("runs/tiny/m").await.unwrap();
        assert!(!verify_one(&store, &record, &stage, &published).await.ok);
    }
}
