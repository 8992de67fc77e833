//! `osler ckpt list|verify|pin|unpin`: the published checkpoints of a run, why each is kept, and whether its bytes are still what was
//! published.

use super::Context;
use crate::failure::{Outcome, failed};
use crate::manifests;
use crate::show;
use crate::source::Source;
use crate::terminal::{Cell, Page, Table, name, number, prose};
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
}

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
}

pub async fn run(command: &Command, cx: &Context) -> Outcome {
    match command {
        Command::List(args) => {
            let list = list(&record(args, cx).await?);
            cx.terminal().answer("checkpoints", &list, || listed(&list))
        }
        Command::Verify(args) => verify(args, cx).await,
        Command::Pin(args) => pin(args, cx, true).await,
        Command::Unpin(args) => pin(args, cx, false).await,
    }
}

async fn record(args: &Args, cx: &Context) -> Outcome<RunRecord> {
    Ok(Source::find(&cx.access).await?.run(&args.run).await?.record)
}

#[derive(Serialize)]
pub(super) struct Pinned {
    pub run: RunName,
    pub stage: StageName,
    pub step: u64,
    pub pinned: bool,
}

/// Only the coordinator changes a record.
async fn pin(args: &PinArgs, cx: &Context, pinned: bool) -> Outcome {
    cx.access.need_coordinator().await?.pin(args.run.as_str(), args.stage.as_str(), args.step, pinned).await?;
    let done = Pinned { run: args.run.clone(), stage: args.stage.clone(), step: args.step, pinned };
    let verb = if pinned { "kept until it is unpinned" } else { "kept as the run file says" };
    cx.terminal().answer("pin", &done, || Page::from(format!("{}: step {} of stage {} is {verb}", args.run, args.step, args.stage)))
}

#[derive(Serialize)]
pub(super) struct List {
    run: RunName,
    checkpoints: Vec<Checkpoint>,
}

#[derive(Serialize)]
struct Checkpoint {
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

pub(super) fn list(record: &RunRecord) -> List {
    let line = |(stage, c): (&StageName, &Published)| Checkpoint {
        stage: stage.clone(),
        step: c.step,
        generation: c.generation.0,
        published_at: c.at,
        retired: c.retired,
        reasons: record.kept(stage).remove(&c.step).filter(|_| !c.retired).unwrap_or_default().into_iter().collect(),
        mean_loss: c.mean_loss,
        manifest: c.manifest.path.clone(),
        digest: c.manifest.digest.to_string(),
    };
    List { run: record.name().clone(), checkpoints: all(record).map(line).collect() }
}

pub(super) fn listed(list: &List) -> Page {
    if list.checkpoints.is_empty() {
        return Page::from("no checkpoint has been published yet");
    }
    let mut table = Table::new([
        name("stage", 0),
        number("step", 0),
        number("generation", 4),
        name("published", 1),
        number("mean loss", 2),
        prose("state", 1),
        name("manifest", 5),
    ]);
    for line in &list.checkpoints {
        let reasons: Vec<&str> = line.reasons.iter().map(|r| r.as_str()).collect();
        let state = if line.retired { "retired".to_owned() } else { format!("kept: {}", reasons.join(", ")) };
        table.row([
            line.stage.as_str().into(),
            line.step.to_string().into(),
            line.generation.to_string().into(),
            show::time(line.published_at).into(),
            show::maybe(line.mean_loss, 4).into(),
            Cell::state(state),
            line.manifest.as_str().into(),
        ]);
    }
    let mut page = Page::new();
    page.table(table);
    page
}

#[derive(Serialize)]
pub(super) struct Verification {
    pub run: RunName,
    pub ok: bool,
    pub checkpoints: Vec<Verified>,
}

#[derive(Serialize)]
pub(super) struct Verified {
    pub stage: StageName,
    pub step: u64,
    pub parts: usize,
    pub bytes: u64,
    pub ok: bool,
    pub problems: Vec<String>,
}

async fn verify(args: &Args, cx: &Context) -> Outcome {
    let (record, store) = (record(args, cx).await?, cx.access.open_store()?);
    let mut found = vec![];
    for (stage, checkpoint) in all(&record).filter(|(_, c)| !c.retired) {
        found.push(verify_one(&store, &record, stage, checkpoint).await);
    }
    if found.is_empty() {
        return Err(failed(format!("run {} has no checkpoint to verify", args.run)));
    }
    let bad = found.iter().filter(|v| !v.ok).count();
    let verification = Verification { run: args.run.clone(), ok: bad == 0, checkpoints: found };
    cx.terminal().answer("verification", &verification, || verified(&verification))?;
    if bad == 0 {
        return Ok(());
    }
    let all = show::plural(verification.checkpoints.len() as u64, "checkpoint");
    Err(failed(format!("{bad} of {all} cannot be used")).hint("restore the store from a copy"))
}

fn verified(verification: &Verification) -> Page {
    let mut table = Table::new([name("stage", 0), number("step", 0), number("parts", 2), number("size", 1), prose("verdict", 0)]);
    for v in &verification.checkpoints {
        let verdict = if v.ok { "ok".to_owned() } else { format!("failed: {}", v.problems.join("; ")) };
        let [step, parts, size] = [v.step.to_string(), v.parts.to_string(), show::bytes(v.bytes)].map(Cell::from);
        table.row([v.stage.as_str().into(), step, parts, size, Cell::state(verdict)]);
    }
    let mut page = Page::new();
    page.table(table);
    page
}

async fn verify_one(store: &Store, record: &RunRecord, stage: &StageName, checkpoint: &Published) -> Verified {
    let mut verified = Verified { stage: stage.clone(), step: checkpoint.step, parts: 0, bytes: 0, ok: false, problems: vec![] };
    match manifests::read_one(store, record, stage, checkpoint).await {
        Err(e) => verified.problems.push(e.to_string()),
        Ok(Err(why)) => verified.problems.push(format!("{:?} {why}", checkpoint.manifest.path)),
        Ok(Ok(manifest)) => {
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
