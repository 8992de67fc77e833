//! `osler report`: computed from the record and the verified manifests, for a terminal, a program or a browser.

use crate::client::Access;
use crate::failure::{Outcome, failed};
use crate::manifests;
use crate::render::{html, text};
use crate::show;
use crate::source::{Source, state_text};
use clap::ValueEnum;
use osler_core::ids::RunName;
use osler_core::record::RunRecord;
use osler_core::report::{Report, build};
use osler_runtime::store::Store;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    /// One file that needs nothing else.
    Html,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    /// Write to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    access: Access,
}

pub async fn run(args: &Args) -> Outcome {
    let mut source = Source::find(&args.access).await?;
    let record = source.run(&args.run).await?.record;
    let store = args.access.open_store()?;
    let report = compute(&store, &record, source.is_live()).await?;
    let document = match args.output {
        Format::Table => text::render(&report),
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        Format::Html => html::render(&report),
    };
    match &args.out {
        None => show::out(&document),
        Some(path) => {
            std::fs::write(path, document).map_err(|e| failed(format!("write {}: {e}", path.display())))?;
            show::note(&format!("written to {}", path.display()));
            Ok(())
        }
    }
}

/// The terminal's report of a run that is over.
pub async fn print(store: &Store, record: &RunRecord) -> Outcome {
    show::out(&text::render(&compute(store, record, true).await?))
}

async fn compute(store: &Store, record: &RunRecord, live: bool) -> Outcome<Report> {
    let manifests = manifests::read_all(store, record).await?;
    let mut report = build(record, &manifests);
    if !live && record.state.is_live() {
        report.reason = Some(state_text(record, live));
    }
    Ok(report)
}
