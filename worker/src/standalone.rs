//! `osler-worker quantize`: compresses any model that Osler can read, without a run. The `osler` command passes its arguments on.

use clap::ValueEnum;
use osler_compress::Method;
use osler_core::process::exit;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Hugging Face folder.
    model: PathBuf,
    /// int8 (a compressed-tensors folder), gguf-q8_0, gguf-f16 or gguf-f32 (a file).
    #[arg(long)]
    to: Method,
    /// Must not exist; appears whole or not at all.
    out: PathBuf,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(args: &Args) -> i32 {
    let report = match osler_compress::quantize(&args.model, args.to, &args.out) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("osler quantize: {error}");
            return if error.is_io() { exit::FAILED } else { exit::USAGE };
        }
    };
    match args.output {
        Format::Table => print!("{report}"),
        Format::Json => match serde_json::to_string(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => {
                eprintln!("osler quantize: {error}");
                return exit::FAILED;
            }
        },
    }
    exit::OK
}
