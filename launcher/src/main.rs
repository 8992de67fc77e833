//! `osler`: parse, run one command, say what went wrong, exit with its code.
#![forbid(unsafe_code)]

use osler_core::process::exit;
use osler_launcher::commands::{Cli, wrong_usage};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        // Help and version.
        Err(e) if !e.use_stderr() => {
            let _closed_terminal = e.print();
            return ExitCode::SUCCESS;
        }
        Err(e) => {
            wrong_usage(&e, std::env::args_os());
            return code(exit::USAGE);
        }
    };
    let terminal = cli.context.terminal();
    match cli.command.run(&cli.context).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let failure = failure.completed(&cli.context.access);
            terminal.fail(&failure);
            code(failure.code())
        }
    }
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
