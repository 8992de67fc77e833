//! `osler resume`: through the coordinator that lives, or, without one, like `up` on the stored run.

use super::Context;
use super::stop::RunNow;
use crate::client::Coordinator;
use crate::commands::up::{Goal, drive, open_ranks};
use crate::failure::{Outcome, usage};
use crate::machine;
use crate::source::Source;
use crate::terminal::Page;
use osler_core::ids::{RunName, StageName};
use std::ops::Range;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    #[command(flatten)]
    changes: Changes,
    /// Processes to run at once if daemons have to be started [default: the ranks or the cores, whichever is more].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
}

/// What is different from now on.
#[derive(Debug, clap::Args)]
pub struct Changes {
    /// Ranks of the stages that are not done; only determinism = "elastic" gives the same bits [default: as before].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub ranks: Option<u32>,
    /// Go back to a published step of a stage that is not done (`osler ckpt list` shows them; 0: its beginning).
    #[arg(long, value_name = "STAGE@STEP", value_parser = read_point)]
    rewind: Option<(StageName, u64)>,
    /// Leave out the data of these steps, first and last, from then on.
    #[arg(long, value_name = "FIRST-LAST", value_parser = read_steps, requires = "rewind")]
    skip: Option<Range<u64>>,
}

impl Changes {
    /// Gives the run's state.
    pub async fn resume(&self, coordinator: &mut Coordinator, run: &RunName) -> Outcome<String> {
        if let Some((stage, to)) = &self.rewind {
            coordinator.rewind(run.as_str(), stage.as_str(), *to, self.skip.clone().unwrap_or(0..0), self.ranks).await?;
        }
        coordinator.resume(run.as_str(), self.ranks).await
    }
}

fn read_point(text: &str) -> Result<(StageName, u64), String> {
    let (stage, step) = text.split_once('@').ok_or("expected STAGE@STEP, for example general@1000")?;
    let step = step.parse().map_err(|_| format!("{step:?} is not a step, expected for example {stage}@1000"))?;
    Ok((StageName::new(stage).map_err(|e| e.to_string())?, step))
}

fn read_steps(text: &str) -> Result<Range<u64>, String> {
    let expected = || format!("found {text:?}, expected two steps, for example 350-359");
    let (first, last) = text.split_once('-').ok_or_else(expected)?;
    let (first, last): (u64, u64) = (first.parse().map_err(|_| expected())?, last.parse().map_err(|_| expected())?);
    let end = last.checked_add(1).filter(|end| *end > first).ok_or_else(expected)?;
    Ok(first..end)
}

pub async fn run(args: Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let seen = source.run(&args.run).await?;
    match &mut source {
        Source::Live(coordinator) => {
            let state = args.changes.resume(coordinator, &args.run).await?;
            let now = RunNow { run: args.run.clone(), state };
            cx.terminal().answer("run-state", &now, || {
                Page::from(format!("run {0} is {1}; watch it with `osler status {0} -w`", now.run, now.state))
            })
        }
        Source::Stored(store) => {
            if cx.access.names_one() {
                return Err(usage("--coordinator names one that is not there").hint("leave it out to start one here"));
            }
            let slots = args.slots.unwrap_or_else(|| args.changes.ranks.unwrap_or_else(|| open_ranks(&seen.record)).max(machine::cores()));
            let address = store.shown();
            drive(cx, &address, slots, Goal::Resume { record: Box::new(seen.record), changes: args.changes }).await
        }
    }
}
