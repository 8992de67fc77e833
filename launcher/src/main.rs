//! `osler`: parse, run one command, say what went wrong, exit with its code.
#![forbid(unsafe_code)]

use clap::Parser;
use osler_core::process::exit;
use osler_launcher::commands::Cli;
use osler_launcher::show;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let _closed_terminal = e.print();
            return if e.use_stderr() { code(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command.run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            show::note(&failure.to_string());
            code(failure.code())
        }
    }
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
