//! `osler stop`: the run's gangs agree on a step, checkpoint there and end. Asking twice is harmless.

use crate::client::Access;
use crate::commands::status::ending;
use crate::failure::{Outcome, failed};
use crate::show::{self, Format};
use crate::source::{Source, state_text};
use crate::watch::{News, follow};
use osler_core::ids::RunName;
use osler_core::record::RunState;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Return only when nothing of the run runs any more.
    #[arg(short, long)]
    wait: bool,
    #[command(flatten)]
    access: Access,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn run(args: &Args) -> Outcome {
    let mut source = Source::find(&args.access).await?;
    let seen = source.run(&args.run).await?;
    let Source::Live(coordinator) = &mut source else {
        let state = state_text(&seen.record, false);
        if seen.record.state.is_live() {
            return Err(failed(format!("run {0} is {state}: there is nothing to stop; `osler resume {0}` goes on with it", args.run)));
        }
        return say(args, &state);
    };
    let mut state = coordinator.stop(args.run.as_str()).await?;
    if args.wait {
        let mut news = follow(args.access.clone(), args.run.to_string());
        let mut last = None;
        while let Some(news) = news.recv().await {
            match news {
                News::View(seen) => last = Some(seen.record),
                News::Away { again: true } => {}
                News::Away { again: false } => show::note("the coordinator does not answer; looking for it"),
                News::Refused(failure) => return Err(failure),
            }
        }
        let record = last.ok_or_else(|| failed("the coordinator ended before it answered"))?;
        state = record.state.to_string();
        // Stopped is what was asked for; only a failure is one.
        if let Err(failure) = ending(&record)
            && record.state != RunState::Stopped
        {
            return Err(failure);
        }
    }
    say(args, &state)
}

fn say(args: &Args, state: &str) -> Outcome {
    match args.output {
        Format::Json => show::json(&serde_json::json!({ "run": args.run, "state": state })),
        Format::Table => show::out(&format!("run {} is {state}\n", args.run)),
    }
}
