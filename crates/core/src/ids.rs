//! Names and numbers with types, so that a stage can never be passed where a corpus is meant.
//!
//! A name becomes part of object paths, so its alphabet is closed: `a-z 0-9 - _ .`, at most 64 characters, starting with a letter
//! or digit. What restarts carries a number that never repeats ([`Generation`], [`Epoch`], [`Incarnation`]).

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} name {given:?} is not usable: use 1 to 64 of a-z 0-9 - _ . and start with a letter or digit")]
pub struct InvalidName {
    what: &'static str,
    given: String,
}

fn check_name(what: &'static str, given: &str) -> Result<(), InvalidName> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let starts_well = given.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts_well && given.len() <= 64 && given.chars().all(legal) && !given.contains("..") {
        Ok(())
    } else {
        Err(InvalidName { what, given: given.chars().take(80).collect() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
                let name = name.into();
                check_name($what, &name)?;
                Ok(Self(name))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl std::str::FromStr for $type {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::new(name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
    };
}

name!(/// A run: one run file, submitted once.
    RunName, "run");
name!(/// A stage of a run; unique within it.
    StageName, "stage");
name!(/// A corpus of a run; unique within it.
    CorpusName, "corpus");
name!(/// An exam of a run; unique within it.
    ExamName, "exam");
name!(/// A worker: one node agent. Chosen by whoever starts it; the coordinator adds the incarnation.
    WorkerName, "worker");
name!(/// A token, as people tell them apart; the secret is not in it.
    TokenName, "token");
name!(/// Whose runs count together against a quota.
    TeamName, "team");
name!(/// What a worker says about itself: `switch`, `gpu`.
    LabelKey, "label");
name!(/// What it says: `s1`, `h100`.
    LabelValue, "label value");

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(/// One attempt at a job, or one life of a gang. Allocated from the run's durable counter, never twice, so a stale message is known by it.
    Generation);
number!(/// One coordinator's leadership of a store. The next coordinator's is higher; a lower one may not write.
    Epoch);
number!(/// One life of a worker process, drawn when it starts: a restarted agent is a new incarnation under the same name.
    Incarnation);
number!(/// Milliseconds since the Unix epoch, always passed in: the core never reads a clock.
    Millis);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_path_are_refused() {
        for bad in ["", "..", "a/b", "A", "a b", "-a", ".hidden", "a..b", "é", &"x".repeat(65)] {
            assert!(RunName::new(bad).is_err(), "{bad:?} was accepted");
        }
        for good in ["a", "llama2-7b_continued.v1", "0"] {
            assert_eq!(RunName::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn a_bad_name_does_not_deserialize() {
        assert!(serde_json::from_str::<StageName>("\"../etc\"").is_err());
    }
}
