//! `osler report`: computed from the record and the verified manifests, for a terminal, a program or a browser.

use super::Context;
use crate::client::Access;
use crate::failure::{Outcome, failed};
use crate::manifests;
use crate::render::{html, text};
use crate::show;
use crate::source::{Source, as_of};
use crate::stored;
use crate::terminal::{Format, Terminal, View};
use osler_core::ids::RunName;
use osler_core::output::{document, harmless};
use osler_core::record::RunRecord;
use osler_core::report::{Report, build};
use osler_runtime::store::Store;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let mut source = Source::find(&cx.access).await?;
    let record = source.run(&args.run).await?.record;
    let store = cx.access.open_store()?;
    let report = compute(&store, &record, source.is_live()).await?;
    let terminal = cx.terminal();
    let Some(path) = &args.out else {
        return match terminal.format {
            Format::Html => terminal.raw(&html::render(&report)),
            _ => terminal.answer("report", &report, || cx.access.page(text::page(&report))),
        };
    };
    let document = match terminal.format {
        Format::Html => html::render(&report),
        Format::Json => harmless(&serde_json::to_string_pretty(&document("report", &report))?) + "\n",
        _ => text::page(&report).render(View::PLAIN),
    };
    std::fs::write(path, document).map_err(|e| failed(format!("write {}: {e}", path.display())))?;
    terminal.note(format!("written to {}", path.display()));
    Ok(())
}

/// The report of a run that is over, as `osler up` ends with it.
pub async fn print(terminal: &Terminal, store: &Store, record: &RunRecord) -> Outcome {
    let report = compute(store, record, true).await?;
    let page = || Access::local(&store.shown()).page(text::page(&report));
    if terminal.is_json() { terminal.json_line("report", &report) } else { terminal.page(&page()) }
}

async fn compute(store: &Store, record: &RunRecord, live: bool) -> Outcome<Report> {
    // The report itself says what is missing, from the manifests that it is not given.
    let (manifests, _) = manifests::read_all(store, record).await?;
    let mut record = record.clone();
    stored::add_older_events(store, &mut record).await;
    let mut report = build(&record, &manifests);
    if !live && record.state.is_live() {
        report.reason = Some(format!("{} (no coordinator: as of {})", record.state, show::time(as_of(&record))));
    }
    Ok(report)
}
