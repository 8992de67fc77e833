//! `osler submit`: resolve the file here, hand the spec to a coordinator. Doing it twice is harmless.

use super::Context;
use crate::failure::Outcome;
use crate::run_file::RunFile;
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
    let (created, state) = cx.access.need_coordinator().await?.submit(&spec).await?;
    let done = Submitted { run: spec.name, created, state };
    cx.terminal().answer("submission", &done, || match created {
        true => Page::from(format!("run {0} submitted; watch it with `osler status {0} -w`", done.run)),
        false => Page::from(format!("run {} was submitted before and is {}", done.run, done.state)),
    })
}
