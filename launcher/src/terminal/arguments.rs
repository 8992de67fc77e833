//! How a command answers: the arguments that every command takes, and what they mean for this process' streams.

use super::{Terminal, View};
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use terminal_size::{Width, terminal_size_of};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs: one document, or of what is followed one document a line. See docs/output.md.
    Json,
    /// `corpus inspect`: one record a line.
    Jsonl,
    /// `report`: one page that needs nothing else.
    Html,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Clone, Args)]
pub struct Settings {
    #[arg(short, long, value_enum, global = true, default_value_t = Format::Table, hide_possible_values = true, value_name = "FORMAT", help_heading = "Everywhere")]
    /// table or json; report has html too, corpus inspect jsonl.
    output: Format,
    /// The same as -o json.
    #[arg(long, global = true, conflicts_with = "output", help_heading = "Everywhere")]
    json: bool,
    /// auto (a terminal, unless NO_COLOR says no or CLICOLOR_FORCE yes), always or never.
    #[arg(long, value_enum, global = true, default_value_t = Colour::Auto, hide_possible_values = true, value_name = "WHEN", help_heading = "Everywhere", alias = "colour")]
    color: Colour,
}

/// What of the environment says how output looks.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    pub no_color: Option<String>,
    pub clicolor: Option<String>,
    pub clicolor_force: Option<String>,
    pub term: Option<String>,
    pub columns: Option<String>,
}

impl Environment {
    fn read() -> Self {
        let read = |name: &str| std::env::var(name).ok();
        Self {
            no_color: read("NO_COLOR"),
            clicolor: read("CLICOLOR"),
            clicolor_force: read("CLICOLOR_FORCE"),
            term: read("TERM"),
            columns: read("COLUMNS"),
        }
    }
}

impl Settings {
    pub fn new(output: Format, color: Colour) -> Self {
        Self { output, json: false, color }
    }

    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }

    pub fn terminal(&self) -> Terminal {
        let environment = Environment::read();
        let size = |found: Option<(Width, terminal_size::Height)>| found.map(|(Width(columns), _)| columns.into());
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let out = view(self.color, &environment, stdout.is_terminal(), size(terminal_size_of(&stdout)));
        let err = view(self.color, &environment, stderr.is_terminal(), size(terminal_size_of(&stderr)));
        Terminal { format: self.format(), out, err }
    }
}

/// Fewer columns than this hold no table.
const LEAST_WIDTH: usize = 40;

/// `size`: of the terminal, if the stream is one that has a size.
pub(super) fn view(colour: Colour, environment: &Environment, terminal: bool, size: Option<usize>) -> View {
    let set = |value: &Option<String>| value.as_ref().is_some_and(|value| !value.is_empty());
    let colour = match colour {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto if set(&environment.no_color) => false,
        Colour::Auto if set(&environment.clicolor_force) && environment.clicolor_force.as_deref() != Some("0") => true,
        Colour::Auto => terminal && environment.clicolor.as_deref() != Some("0") && environment.term.as_deref() != Some("dumb"),
    };
    let asked = environment.columns.as_ref().and_then(|columns| columns.trim().parse::<usize>().ok()).filter(|columns| *columns > 0);
    let width = asked.or(size.filter(|columns| terminal && *columns > 0)).map(|columns| columns.max(LEAST_WIDTH));
    View { width, colour }
}
