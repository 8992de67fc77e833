//! The commands, one file each, and what all of them take. What some of them share is elsewhere.

mod audit;
mod bug_report;
mod ckpt;
mod cluster;
mod completion;
mod corpus;
mod demo;
mod describe;
mod down;
mod events;
mod exam;
mod explain;
mod export;
mod fsck;
mod gc;
mod logs;
mod man;
mod node;
mod plan;
mod ps;
mod quantize;
mod quota;
mod report;
mod resume;
mod rm;
#[cfg(test)]
mod schemas;
#[cfg(test)]
mod screens;
mod status;
mod stop;
mod submit;
mod token;
mod up;
mod validate;

use crate::client::Access;
use crate::failure::{Outcome, exit_codes, usage};
use crate::terminal::{Colour, Format, Settings, Terminal};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;

/// Trains domain language models from one run file, and can prove on what.
#[derive(Debug, Parser)]
#[command(name = "osler", version, max_term_width = 120, after_help = exit_codes())]
pub struct Cli {
    #[command(flatten)]
    pub context: Context,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes: where runs are, and how it answers.
#[derive(Debug, Clone, clap::Args)]
pub struct Context {
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    settings: Settings,
}

impl Context {
    pub fn terminal(&self) -> Terminal {
        self.settings.terminal()
    }
}

impl Cli {
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(arguments)?;
        let cli = Self::from_arg_matches(&matches).map_err(|e| e.format(&mut command))?;
        cli.refuse_unused(&matches).map_err(|why| command.error(ErrorKind::ArgumentConflict, why))?;
        Ok(cli)
    }

    /// An argument that every command takes and this one has no use for was meant for another.
    fn refuse_unused(&self, matches: &ArgMatches) -> Result<(), String> {
        let mut deepest = matches;
        let mut names = vec![];
        while let Some((name, below)) = deepest.subcommand() {
            names.push(name);
            deepest = below;
        }
        let name = names.join(" ");
        let unused: &[&str] = match &self.command {
            Command::Plan(_) | Command::Up(_) | Command::Down(_) => &["coordinator", "token_file", "tls"],
            // It reads the store itself.
            Command::Gc(_) => &["coordinator", "token_file", "tls"],
            Command::Cluster(cluster::Command::Log(_)) => &[],
            Command::Validate(_)
            | Command::Cluster(_)
            | Command::Corpus(_)
            | Command::Exam(_)
            | Command::Quantize(_)
            | Command::Demo(_)
            | Command::Completion(_)
            | Command::Man(_) => &["store", "coordinator", "token_file", "tls"],
            _ => &[],
        };
        // A variable of the environment is for whoever has a use for it.
        let given = |id: &&&str| deepest.value_source(id) == Some(ValueSource::CommandLine);
        if let Some(id) = unused.iter().find(given) {
            return Err(format!("`osler {name}` has no use for --{}", id.replace('_', "-")));
        }
        match (self.context.settings.format(), &self.command) {
            (Format::Html, Command::Report(_)) | (Format::Jsonl, Command::Corpus(_)) | (Format::Table | Format::Json, _) => Ok(()),
            (Format::Html, _) => Err(format!("`osler {name}` has no -o html: use table or json")),
            (Format::Jsonl, _) => Err(format!("`osler {name}` has no -o jsonl: use table or json")),
        }
    }
}

/// Says what is wrong with the arguments, as JSON if they ask for it.
pub fn wrong_usage(error: &clap::Error, arguments: impl IntoIterator<Item = OsString>) {
    let text = error.render().to_string();
    // The whole was not understood, so that only the word itself can be looked for.
    let words: Vec<String> = arguments.into_iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let asks = |pair: &[String]| matches!(pair, [o, json] if json == "json" && (o == "-o" || o == "--output"));
    let json = words.windows(2).any(asks) || words.iter().any(|w| ["--json", "-ojson", "-o=json", "--output=json"].contains(&w.as_str()));
    let format = if json { Format::Json } else { Format::Table };
    let message = if json { text.trim_start_matches("error: ") } else { &text };
    Settings::new(format, Colour::Auto).terminal().fail(&usage(message.trim_end()));
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a run file: every problem at once.
    Validate(validate::Args),
    /// Show what a run will take, and what would make it fail.
    Plan(plan::Args),
    /// Do a run on this machine: start the daemons, submit, watch, report.
    Up(up::Args),
    /// End the daemons that `up` left on this machine, after what they train is saved.
    Down(down::Args),
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
    /// Remove runs that do not live, with all their objects.
    Rm(rm::Args),
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
    /// List what attempts left behind that no record needs.
    Gc(gc::Args),
    /// Check that a store is whole, and repair what can be repaired.
    Fsck(fsck::Args),
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
    /// Print a script that completes osler's commands in a shell.
    Completion(completion::Args),
    /// Write the manual pages, one a command.
    Man(man::Args),
}

impl Command {
    pub async fn run(self, cx: &Context) -> Outcome {
        match self {
            Self::Validate(args) => validate::run(&args, cx),
            Self::Plan(args) => plan::run(&args, cx).await,
            Self::Up(args) => up::run(args, cx).await,
            Self::Down(args) => down::run(&args, cx).await,
            Self::Submit(args) => submit::run(&args, cx).await,
            Self::Ps(args) => ps::run(&args, cx).await,
            Self::Describe(args) => describe::run(&args, cx).await,
            Self::Status(args) => status::run(&args, cx).await,
            Self::Explain(args) => explain::run(&args, cx).await,
            Self::Node(command) => node::run(&command, cx).await,
            Self::Quota(command) => quota::run(&command, cx).await,
            Self::Events(args) => events::run(&args, cx).await,
            Self::Logs(args) => logs::run(&args, cx).await,
            Self::Stop(args) => stop::run(&args, cx).await,
            Self::Resume(args) => resume::run(args, cx).await,
            Self::Rm(args) => rm::run(&args, cx).await,
            Self::Report(args) => report::run(&args, cx).await,
            Self::BugReport(args) => bug_report::run(&args, cx).await,
            Self::Audit(args) => audit::run(&args, cx).await,
            Self::Export(args) => export::run(&args, cx).await,
            Self::Ckpt(command) => ckpt::run(&command, cx).await,
            Self::Gc(args) => gc::run(&args, cx).await,
            Self::Fsck(args) => fsck::run(&args, cx).await,
            Self::Cluster(command) => cluster::run(&command, cx).await,
            Self::Token(command) => token::run(&command, cx).await,
            Self::Corpus(command) => corpus::run(&command, cx),
            Self::Exam(args) => exam::run(args, cx),
            Self::Quantize(args) => quantize::run(args, cx),
            Self::Demo(args) => demo::run(&args, cx),
            Self::Completion(args) => completion::run(&args, cx),
            Self::Man(args) => man::run(&args, cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, String> {
        let words = std::iter::once("osler").chain(line.split(' ')).map(OsString::from);
        Cli::read(words).map_err(|e| e.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_every_command_takes_may_stand_before_it_or_behind_it() {
        for line in ["--store s -o json ps", "ps --store s -o json", "--store s ps --json"] {
            let cli = read(line).unwrap();
            assert_eq!((cli.context.access.store.as_str(), cli.context.terminal().format), ("s", Format::Json), "{line}");
        }
        assert!(read("ps --json -o table").is_err());
    }

    #[test]
    fn an_argument_without_a_use_is_refused() {
        for (line, word) in [
            ("exam . --task medqa=x --store s", "--store"),
            ("up r.toml --coordinator a:1", "--coordinator"),
            ("cluster certs c --token-file t", "--token-file"),
            ("ps -o html", "-o html"),
            ("report r -o jsonl", "-o jsonl"),
        ] {
            let why = read(line).unwrap_err();
            assert!(why.contains(word) && why.contains("has no"), "{line}: {why}");
        }
        for line in ["cluster log --store s", "report r -o html", "corpus inspect f -o jsonl", "plan r.toml --store s"] {
            assert!(read(line).is_ok(), "{line}");
        }
    }
}
