//! `osler events`: what happened to a run, oldest first. With -o json: one event a line.

use crate::client::Access;
use crate::failure::Outcome;
use crate::show::{self, Format};
use crate::source::Source;
use crate::watch::{News, event_line, follow};
use osler_core::ids::RunName;
use osler_core::record::RunRecord;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Go on showing them until the run is over.
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    access: Access,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn run(args: &Args) -> Outcome {
    let mut source = Source::find(&args.access).await?;
    let seen = source.run(&args.run).await?;
    let mut shown = say(&seen.record, 0, args.output)?;
    if !args.follow || !seen.record.state.is_live() {
        return Ok(());
    }
    if !source.is_live() {
        show::note("no coordinator is running: nothing more will happen until `osler resume`");
        return Ok(());
    }
    let mut news = follow(args.access.clone(), args.run.to_string());
    while let Some(news) = news.recv().await {
        match news {
            News::View(seen) => shown = say(&seen.record, shown, args.output)?,
            News::Away { again: true } => {}
            News::Away { again: false } => show::note("the coordinator does not answer; looking for it"),
            News::Refused(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Shows the events after `shown`, and gives back the newest one's id. A record keeps the newest events only.
fn say(record: &RunRecord, shown: u64, format: Format) -> Outcome<u64> {
    let first = record.events.first().map_or(1, |event| event.id);
    if first > shown + 1 {
        show::note(&format!("{} earlier events are no longer kept", first - shown - 1));
    }
    for event in record.events.iter().filter(|event| event.id > shown) {
        match format {
            Format::Json => show::json_line(event)?,
            Format::Table => show::out(&(event_line(event) + "\n"))?,
        }
    }
    Ok(record.events.last().map_or(shown, |event| event.id.max(shown)))
}
