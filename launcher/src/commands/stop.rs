//! `osler stop`: the run's gangs agree on a step, checkpoint there and end. Asking twice is harmless.

use super::Context;
use crate::commands::status::ending;
use crate::failure::{Outcome, failed, no_room};
use crate::source::{Source, state_text};
use crate::terminal::Page;
use crate::watch::{News, follow};
use osler_core::ids::RunName;
use osler_core::record::RunState;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Return only when nothing of the run runs any more.
    #[arg(short, long)]
    wait: bool,
}

/// A run and its state.
#[derive(Serialize)]
pub(super) struct RunNow {
    pub run: RunName,
    pub state: String,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let seen = source.run(&args.run).await?;
    if let Some(alarm) = source.alarm() {
        return Err(no_room(alarm));
    }
    let Source::Live(coordinator) = &mut source else {
        let state = state_text(&seen.record, false);
        if seen.record.state.is_live() {
            let hint = format!("{} goes on with it", cx.access.command(&format!("resume {}", args.run)));
            return Err(failed(format!("run {} is {state}: there is nothing to stop", args.run)).hint(hint));
        }
        return say(args, cx, state);
    };
    let mut state = coordinator.stop(args.run.as_str(), false).await?;
    if args.wait {
        let mut news = follow(cx.access.clone(), args.run.to_string());
        let mut last = None;
        while let Some(news) = news.recv().await {
            match news {
                News::View(seen) => last = Some(seen.record),
                News::Away { again: true } => {}
                News::Away { again: false } => cx.terminal().note("the coordinator does not answer; looking for it"),
                News::Refused(failure) => return Err(failure),
            }
        }
        let record = last.ok_or_else(|| failed("the coordinator ended before it answered"))?;
        state = record.state.to_string();
        // Stopped is what was asked for; only a failure is one.
        if let Err(failure) = ending(&record, &cx.access)
            && record.state != RunState::Stopped
        {
            return Err(failure);
        }
    }
    say(args, cx, state)
}

fn say(args: &Args, cx: &Context, state: String) -> Outcome {
    let now = RunNow { run: args.run.clone(), state };
    cx.terminal().answer("run-state", &now, || Page::from(format!("run {} is {}", now.run, now.state)))
}
