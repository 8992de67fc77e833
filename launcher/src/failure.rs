//! How a command ends when it does not succeed: the kind, which is the exit code, the message, and what to do about it.

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
}

impl Kind {
    pub fn code(self) -> i32 {
        match self {
            Self::Usage => exit::USAGE,
            Self::Failed => exit::FAILED,
            Self::Stopped | Self::NoRoom => exit::STOPPED,
            Self::Hopeless => exit::NO_REQUEUE,
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
            let style = if self.kind == Kind::Stopped { Style::Careful } else { Style::Bad };
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
