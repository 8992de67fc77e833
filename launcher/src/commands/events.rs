//! `osler events`: what happened to a run, oldest first. With -o json: one event a line.

use super::Context;
use crate::failure::Outcome;
use crate::source::Source;
use crate::stored;
use crate::terminal::{Page, Terminal};
use crate::watch::{News, event_line, follow};
use osler_core::ids::RunName;
use osler_core::record::RunRecord;
use osler_core::way_out;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Go on showing them until the run is over.
    #[arg(short, long)]
    follow: bool,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let terminal = cx.terminal();
    let mut source = Source::find(&cx.access).await?;
    let mut seen = source.run(&args.run).await?;
    let mut shown = 0;
    if let Ok(store) = cx.access.open_store() {
        stored::add_older_events(&store, &mut seen.record).await;
        if let Some(why) = missing(&stored::lost_events(&seen.record)) {
            terminal.note(why);
            shown = seen.record.events.first().map_or(0, |event| event.id.saturating_sub(1));
        }
    }
    shown = say(&seen.record, shown, &terminal)?;
    if !args.follow || !seen.record.state.is_live() {
        return Ok(());
    }
    if !source.is_live() {
        terminal.note(format!(
            "no coordinator is running: nothing more will happen until {}",
            cx.access.command(&format!("resume {}", args.run))
        ));
        return Ok(());
    }
    let mut news = follow(cx.access.clone(), args.run.to_string());
    while let Some(news) = news.recv().await {
        match news {
            News::View(seen) => shown = say(&seen.record, shown, &terminal)?,
            News::Away { again: true } => {}
            News::Away { again: false } => terminal.note("the coordinator does not answer; looking for it"),
            News::Refused(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Says of which objects the events are missing, if there are any.
fn missing(lost: &[&str]) -> Option<String> {
    let (first, others) = lost.split_first()?;
    let others = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
    Some(format!("older events are missing: {first}{others} cannot be read; {}", way_out::EVENTS))
}

/// Shows the events after `shown`, and gives back the newest one's id. Without the store only the newest events are known.
fn say(record: &RunRecord, shown: u64, terminal: &Terminal) -> Outcome<u64> {
    let first = record.events.first().map_or(1, |event| event.id);
    if first > shown + 1 {
        terminal.note(format!("{} earlier events are in the store, which cannot be read from here", first - shown - 1));
    }
    for event in record.events.iter().filter(|event| event.id > shown) {
        if terminal.is_json() { terminal.json_line("event", event)? } else { terminal.page(&Page::from(event_line(event)))? }
    }
    Ok(record.events.last().map_or(shown, |event| event.id.max(shown)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_events_are_said_with_their_object() {
        assert_eq!(missing(&[]), None);
        assert_eq!(missing(&["a.json"]).unwrap(), "older events are missing: a.json cannot be read; restore it from a copy");
        assert!(missing(&["a.json", "b.json", "c.json"]).unwrap().contains("a.json and 2 more cannot be read"));
    }
}
