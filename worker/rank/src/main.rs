//! `osler-rank`: the process that does one job with libtorch: a rank of a train gang, an export, an exam.
#![forbid(unsafe_code)]

mod carried;
mod exam;
mod export;
mod gang;
mod heart;
mod look;
mod meter;
mod model;
mod standalone;
mod steplog;
mod train;
mod writer;

use anyhow::anyhow;
use clap::{Parser, Subcommand};
use osler_core::job::JobKind;
use osler_core::process::exit;
use osler_runtime::telemetry;
use osler_worker::harness::{self, Ended, Failure, Job, user};
use std::path::PathBuf;

/// Jobs with libtorch, for agents and for people.
#[derive(Debug, Parser)]
#[command(name = "osler-rank", version)]
struct Cli {
    #[command(subcommand)]
    command: Mode,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// One job of a run; started by the agent, which speaks on standard input.
    #[command(hide = true)]
    Job { scratch: PathBuf },
    /// Says which build it is, if libtorch can be loaded.
    #[command(hide = true)]
    About,
    /// Examine a model without a cluster.
    Exam(standalone::Args),
}

fn main() {
    let cli = harness::parse_arguments::<Cli>();
    telemetry::init();
    let code = match cli.command {
        Mode::Job { scratch } => harness::run(scratch, look::at_main_thread, run),
        Mode::About => about(),
        Mode::Exam(args) => standalone::run(&args),
    };
    // Ends without waiting for libtorch's threads: everything that must be kept has been written by now.
    std::process::exit(code);
}

/// Whoever starts agents and runs reads this line; what fails here would fail every rank.
fn about() -> i32 {
    match osler_engine::set_threads(1) {
        Ok(()) => {
            println!("build {}", osler_core::BUILD);
            exit::OK
        }
        Err(e) => {
            eprintln!("{e}");
            exit::FAILED
        }
    }
}

fn run(job: &mut Job) -> Result<Ended, Failure> {
    osler_torch_dist::stack::watch_this_thread().map_err(anyhow::Error::from)?;
    let threads = job.assignment.spec.resources.threads_per_rank;
    osler_engine::set_threads(threads as usize)?;
    osler_engine::keep_pages()?;
    match job.assignment.kind.clone() {
        JobKind::Train { stage } => train::run(job, &stage),
        JobKind::Export { stage } => export::run(job, &stage).map(Ended::Done),
        JobKind::Exam { stage, variant, exam } => exam::run(job, &stage, variant, &exam).map(Ended::Done),
        kind => Err(user(anyhow!("{} does not need libtorch: it runs in osler-worker", kind.key()))),
    }
}
