//! The commands, one file each. What they share is elsewhere; here is only which there are.

mod audit;
mod bug_report;
mod ckpt;
mod cluster;
mod corpus;
mod demo;
mod describe;
mod events;
mod exam;
mod explain;
mod export;
mod logs;
mod node;
mod plan;
mod ps;
mod quantize;
mod quota;
mod report;
mod resume;
mod status;
mod stop;
mod submit;
mod token;
mod up;
mod validate;

use crate::failure::Outcome;
use clap::{Parser, Subcommand};

/// Trains domain language models from one run file, and can prove on what.
///
/// Exit codes: 0 ok, 1 failed, 64 bad file or usage, 75 stopped and resumable, 93 failed for good.
#[derive(Debug, Parser)]
#[command(name = "osler", version, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a run file: every problem at once.
    Validate(validate::Args),
    /// Show what a run will take, and what would make it fail.
    Plan(plan::Args),
    /// Do a run on this machine: start the daemons, submit, watch, report.
    Up(up::Args),
    /// Hand a run to a coordinator.
    Submit(submit::Args),
    /// List the runs.
    Ps(ps::Args),
    /// Show everything about a run: jobs, attempts, checkpoints, gates.
    Describe(describe::Args),
    /// Show where a run stands.
    Status(status::Args),
    /// Say why a run or a job does not run, failed or stopped, with the evidence.
    Explain(explain::Args),
    /// Show what happened to a run.
    Events(events::Args),
    /// Show what a run's processes logged.
    Logs(logs::Args),
    /// Stop a run: it checkpoints and can be resumed.
    Stop(stop::Args),
    /// Go on with a run that was stopped, failed or interrupted.
    Resume(resume::Args),
    /// Report on a run: losses, exams, gates, checkpoints, time.
    Report(report::Args),
    /// Put what somebody else needs to find a fault into one archive.
    BugReport(bug_report::Args),
    /// Prove that each sample was consumed once.
    Audit(audit::Args),
    /// Copy a stage's model out of the store.
    Export(export::Args),
    /// Look at a run's checkpoints.
    #[command(subcommand)]
    Ckpt(ckpt::Command),
    /// Make a cluster's certificates and first tokens; see who did what.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Say who may call the coordinator.
    #[command(subcommand)]
    Token(token::Command),
    /// Look after the nodes: list, drain, undrain, check.
    #[command(subcommand)]
    Node(node::Command),
    /// Say how many slots a team may hold.
    #[command(subcommand)]
    Quota(quota::Command),
    /// Look at source files.
    #[command(subcommand)]
    Corpus(corpus::Command),
    /// Examine a model, without a run.
    Exam(exam::Args),
    /// Compress a model, without a run.
    Quantize(quantize::Args),
    /// Write the invented medical world of the quickstart.
    Demo(demo::Args),
}

impl Command {
    pub async fn run(self) -> Outcome {
        match self {
            Self::Validate(args) => validate::run(&args),
            Self::Plan(args) => plan::run(&args).await,
            Self::Up(args) => up::run(args).await,
            Self::Submit(args) => submit::run(&args).await,
            Self::Ps(args) => ps::run(&args).await,
            Self::Describe(args) => describe::run(&args).await,
            Self::Status(args) => status::run(&args).await,
            Self::Explain(args) => explain::run(&args).await,
            Self::Node(command) => node::run(&command).await,
            Self::Quota(command) => quota::run(&command).await,
            Self::Events(args) => events::run(&args).await,
            Self::Logs(args) => logs::run(&args).await,
            Self::Stop(args) => stop::run(&args).await,
            Self::Resume(args) => resume::run(args).await,
            Self::Report(args) => report::run(&args).await,
            Self::BugReport(args) => bug_report::run(&args).await,
            Self::Audit(args) => audit::run(&args).await,
            Self::Export(args) => export::run(&args).await,
            Self::Ckpt(command) => ckpt::run(&command).await,
            Self::Cluster(command) => cluster::run(&command).await,
            Self::Token(command) => token::run(&command).await,
            Self::Corpus(command) => corpus::run(&command),
            Self::Exam(args) => exam::run(args),
            Self::Quantize(args) => quantize::run(args),
            Self::Demo(args) => demo::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
