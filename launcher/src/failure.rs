//! How a command ends when it does not succeed: the message and the exit code belong together.

use osler_core::process::exit;
use std::fmt;

pub type Outcome<T = ()> = Result<T, Failure>;

#[derive(Debug)]
pub enum Failure {
    /// A bad file or bad usage: the same call fails again.
    Usage(String),
    Failed(anyhow::Error),
    /// The run can be resumed, here or elsewhere: it was stopped, or machines failed it. What was published is kept.
    Stopped(String),
    /// The run failed in a way that going on as it is would repeat.
    Hopeless(String),
}

impl Failure {
    pub fn code(&self) -> i32 {
        match self {
            Self::Usage(_) => exit::USAGE,
            Self::Failed(_) => exit::FAILED,
            Self::Stopped(_) => exit::STOPPED,
            Self::Hopeless(_) => exit::NO_REQUEUE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) | Self::Stopped(message) | Self::Hopeless(message) => f.write_str(message),
            Self::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

pub fn usage(message: impl Into<String>) -> Failure {
    Failure::Usage(message.into())
}

pub fn failed(message: impl Into<String>) -> Failure {
    Failure::Failed(anyhow::Error::msg(message.into()))
}
