//! `osler submit`: resolve the file here, hand the spec to a coordinator. Doing it twice is harmless.

use crate::client::Access;
use crate::failure::Outcome;
use crate::run_file::RunFile;
use crate::show::{self, Format};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: RunFile,
    #[command(flatten)]
    access: Access,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn run(args: &Args) -> Outcome {
    let spec = args.file.resolve_all()?.spec;
    let mut coordinator = args.access.need_coordinator().await?;
    let (created, state) = coordinator.submit(&spec).await?;
    match args.output {
        Format::Json => show::json(&serde_json::json!({ "run": spec.name, "created": created, "state": state })),
        Format::Table if created => show::out(&format!("run {0} submitted; watch it with `osler status {0} -w`\n", spec.name)),
        Format::Table => show::out(&format!("run {} was submitted before and is {state}\n", spec.name)),
    }
}
