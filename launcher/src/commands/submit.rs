//! `osler submit`: resolve the file here, hand the spec to a coordinator. Doing it twice is harmless.

use super::Context;
use crate::commands::status::ending;
use crate::failure::Outcome;
use crate::run_file::RunFile;
use crate::sources::submission;
use crate::terminal::Page;
use osler_core::ids::RunName;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: RunFile,
}

#[derive(Serialize)]
pub(super) struct Submitted {
    pub run: RunName,
    /// False: it was submitted before, with the same run file.
    pub created: bool,
    pub state: String,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let spec = args.file.resolve_all()?.spec;
    let mut coordinator = cx.access.need_coordinator().await?;
    let known = coordinator.runs().await?.into_iter().any(|line| line.run == spec.name.as_str());
    let before = if known { Some(coordinator.run(spec.name.as_str()).await?.record) } else { None };
    let terminal = cx.terminal();
    let run = submission(spec, before.as_ref(), &terminal)?;
    let (created, state) = coordinator.submit(&run).await?;
    let spec = run.spec;
    if !created {
        // What stands still although it was submitted again does so because somebody stopped it, or at a gate.
        ending(&coordinator.run(spec.name.as_str()).await?.record, &cx.access)?;
    }
    let done = Submitted { run: spec.name, created, state };
    let watch = cx.access.command(&format!("status {} -w", done.run));
    terminal.answer("submission", &done, || match created {
        true => Page::from(format!("run {} submitted; watch it with {watch}", done.run)),
        false => Page::from(format!("run {} was submitted before and is {}", done.run, done.state)),
    })
}
