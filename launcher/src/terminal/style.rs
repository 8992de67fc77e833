//! Colour, used for what a reader looks for first: what went well, what failed, what to be careful with.

use std::fmt;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Plain,
    /// Titles.
    Strong,
    Good,
    Bad,
    Careful,
    /// Busy: neither good nor bad yet.
    Live,
    /// What may be overlooked.
    Faint,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "1",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Careful => "33",
            Self::Live => "36",
            Self::Faint => "2",
        }
    }

    /// Writes `text`, which holds no control characters, in this style if there is colour.
    pub(super) fn paint(self, text: &str, colour: bool, out: &mut String) {
        use fmt::Write as _;
        let _never_fails = match self {
            Self::Plain => write!(out, "{text}"),
            _ if !colour || text.is_empty() => write!(out, "{text}"),
            _ => write!(out, "\u{1b}[{}m{text}\u{1b}[0m", self.code()),
        };
    }
}

/// The style of a state of a run, a job, a node, a gate or a verdict. The first word decides.
pub fn state(word: &str) -> Style {
    match word.split([' ', ':', ';']).next().unwrap_or_default() {
        "succeeded" | "finished" | "passed" | "ok" | "clean" | "idle" => Style::Good,
        "failed" | "FAILED" | "failing" | "NOT" | "lost" | "unfit" | "expired" => Style::Bad,
        "stopping" | "stopped" | "pending" | "ending" | "drained" | "draining" | "below" | "at" | "WAIVED" => Style::Careful,
        "running" | "active" | "busy" => Style::Live,
        "blocked" | "retired" | "submitted" => Style::Faint,
        _ => Style::Plain,
    }
}
