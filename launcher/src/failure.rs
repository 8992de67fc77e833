//! How a command ends when it does not succeed: the kind, which is the exit code, the message, and what to do about it.

use crate::client::Access;
use crate::terminal::{Line, Page, Style};
use osler_core::process::exit;
use osler_runtime::store::lacks_room;
use std::fmt;

pub type Outcome<T = ()> = Result<T, Failure>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bad file or bad usage: the same call fails again.
    Usage,
    Failed,
    /// The run can be resumed, here or elsewhere: it was stopped, or machines failed it. What was published is kept.
    Stopped,
    /// The store or a disk has no room: the same call may succeed when there is some.
    NoRoom,
    /// The run failed in a way that going on as it is would repeat.
    Hopeless,
    /// A person stopped the run, and only a person's `osler resume` goes on.
    ByHand,
}

/// The exit codes of `osler`, its kinds of failure for programs, and what they mean: what `osler --help` says, and docs/output.md as a
/// test compares it.
pub const EXIT_CODES: [(i32, Option<Kind>, &str); 7] = [
    (exit::OK, None, "done"),
    (exit::FAILED, Some(Kind::Failed), "failed, or found something bad"),
    (exit::USAGE, Some(Kind::Usage), "bad file, bad usage, or a store that somebody else leads"),
    (exit::STOPPED, Some(Kind::Stopped), "interrupted; the same command goes on: requeue"),
    (exit::STOPPED, Some(Kind::NoRoom), "no room in the store or on a disk: make some, requeue"),
    (exit::NO_REQUEUE, Some(Kind::Hopeless), "failed for good, or at a gate: do not requeue"),
    (exit::BY_HAND, Some(Kind::ByHand), "stopped by a person; only osler resume goes on: do not requeue"),
];

/// For the end of `osler --help`.
pub fn exit_codes() -> String {
    let lines = EXIT_CODES.iter().map(|(code, _, meaning)| format!("  {code:>2}  {meaning}"));
    std::iter::once("Exit codes:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

impl Kind {
    pub fn code(self) -> i32 {
        match self {
            Self::Usage => exit::USAGE,
            Self::Failed => exit::FAILED,
            Self::Stopped | Self::NoRoom => exit::STOPPED,
            Self::Hopeless => exit::NO_REQUEUE,
            Self::ByHand => exit::BY_HAND,
        }
    }

    /// As programs read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::NoRoom => "no-room",
            Self::Hopeless => "failed-for-good",
            Self::ByHand => "stopped-by-hand",
        }
    }
}

#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

impl Failure {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// What to do about it, in one sentence.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// With the commands that it names made whole, for whoever was given this access.
    pub fn completed(self, access: &Access) -> Self {
        Self { message: access.complete(&self.message), hint: self.hint.map(|hint| access.complete(&hint)), ..self }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn code(&self) -> i32 {
        self.kind.code()
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// For people.
    pub fn page(&self) -> Page {
        let mut page = Page::new();
        // A list of problems stays as editors read it: FILE:LINE: ...
        if self.message.contains('\n') {
            page.text(self.message.trim_end());
        } else {
            let style = if matches!(self.kind, Kind::Stopped | Kind::ByHand) { Style::Careful } else { Style::Bad };
            page.line(Line::default().styled("error: ", style).then(self.message.clone()).hang(2));
        }
        if let Some(hint) = &self.hint {
            page.line(Line::default().styled("hint: ", Style::Strong).then(hint.clone()).hang(2));
        }
        page
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{}: {hint}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let kind = if lacks_room(error.as_ref()) { Kind::NoRoom } else { Kind::Failed };
        Self::new(kind, format!("{error:#}"))
    }
}

pub fn usage(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Usage, message)
}

pub fn failed(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Failed, message)
}

pub fn stopped(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Stopped, message)
}

pub fn by_hand(message: impl Into<String>) -> Failure {
    Failure::new(Kind::ByHand, message)
}

pub fn no_room(message: impl Into<String>) -> Failure {
    Failure::new(Kind::NoRoom, message)
}

/// What an operation on files ended with.
pub fn io_failed(what: &str, error: &std::io::Error) -> Failure {
    let message = format!("{what}: {error}");
    if lacks_room(error) { no_room(message) } else { failed(message) }
}

pub fn hopeless(message: impl Into<String>) -> Failure {
    Failure::new(Kind::Hopeless, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_stands_in_the_one_table_and_in_the_manual() {
        for (code, kind, _) in EXIT_CODES {
            assert_eq!(kind.map_or(exit::OK, Kind::code), code);
        }
        let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/output.md")).unwrap();
        let row = |line: &str| {
            let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
            Some((cells.next()?.parse::<i32>().ok()?, cells.next()?))
        };
        let rows: Vec<(i32, String)> = manual.lines().filter(|line| line.starts_with('|')).filter_map(row).collect();
        let table: Vec<(i32, String)> =
            EXIT_CODES.iter().map(|(code, kind, _)| (*code, kind.map_or("", Kind::as_str).to_owned())).collect();
        assert_eq!(rows, table, "docs/output.md, Errors");
    }
}
