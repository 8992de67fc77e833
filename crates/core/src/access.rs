//! Who may do what: roles, the book of tokens, and what is noted of a call. Secrets never come here: a token is known by its SHA-256.

use crate::digest::Digest;
use crate::ids::{Epoch, Millis, TokenName, WorkerName};
use crate::json;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// What a token is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Looks.
    Viewer,
    /// Looks, and changes runs.
    Operator,
    /// All that a person can do: tokens too.
    Admin,
    /// An agent: syncs, and nothing else.
    Worker,
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Look,
    ChangeRuns,
    Administer,
    Work,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role: use viewer, operator, admin or worker")]
pub struct InvalidRole(String);

impl Role {
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Operator, Self::Admin, Self::Worker];

    pub fn may(self, need: Need) -> bool {
        match need {
            Need::Look => matches!(self, Self::Viewer | Self::Operator | Self::Admin),
            Need::ChangeRuns => matches!(self, Self::Operator | Self::Admin),
            Need::Administer => self == Self::Admin,
            Need::Work => self == Self::Worker,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Worker => "worker",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidRole;
    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| InvalidRole(text.chars().take(40).collect()))
    }
}

/// A token as whoever made its secret hands it over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    pub name: TokenName,
    pub role: Role,
    /// Of the secret's 64 digits.
    pub sha256: Digest,
    /// Of an agent's token: the only worker that it speaks for; none: whichever its holder names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
}

/// A token as it is kept, for good: a revoked one stays, so that its name in old entries of the log means one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    pub role: Role,
    pub sha256: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerName>,
    pub created_at: Millis,
    /// The name of the token that made it.
    pub created_by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Millis>,
}

/// Why the book stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unchanged {
    #[error("there is a token {0} already, or was one that is revoked: choose another name")]
    Taken(TokenName),
    #[error("this secret is in use already: make a new one")]
    SameSecret,
    #[error("only a token of the role worker speaks for a worker: leave `worker` out, or make it a worker's")]
    NotAWorkers,
    #[error("there is no token {0}: see `osler token list`")]
    Unknown(TokenName),
    #[error("there are {MAX_TOKENS} tokens, revoked ones included, and there may not be more")]
    Full,
}

pub const MAX_TOKENS: usize = 1000;
/// The name of the coordinator's own token file, which is in no book.
pub const OWNER: &str = "owner";

/// Every token but the owner's; one version of it is one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenBook {
    pub format: u32,
    pub version: u64,
    /// Of the coordinator that wrote this version.
    pub epoch: Epoch,
    pub tokens: BTreeMap<TokenName, Known>,
}

impl TokenBook {
    pub const FORMAT: u32 = 1;

    pub fn empty(epoch: Epoch) -> Self {
        Self { format: Self::FORMAT, version: 0, epoch, tokens: BTreeMap::new() }
    }

    /// The token with this digest, if it is good.
    pub fn find(&self, sha256: &Digest) -> Option<(&TokenName, &Known)> {
        self.tokens.iter().find(|(_, known)| known.sha256 == *sha256 && known.revoked_at.is_none())
    }

    pub fn add(&mut self, token: NewToken, created_by: &str, now: Millis) -> Result<(), Unchanged> {
        let NewToken { name, role, sha256, worker } = token;
        if worker.is_some() && role != Role::Worker {
            return Err(Unchanged::NotAWorkers);
        }
        if name.as_str() == OWNER || self.tokens.contains_key(&name) {
            return Err(Unchanged::Taken(name));
        }
        if self.tokens.values().any(|known| known.sha256 == sha256) {
            return Err(Unchanged::SameSecret);
        }
        if self.tokens.len() >= MAX_TOKENS {
            return Err(Unchanged::Full);
        }
        self.tokens.insert(name, Known { role, sha256, worker, created_at: now, created_by: created_by.to_owned(), revoked_at: None });
        Ok(())
    }

    /// Asking twice changes nothing the second time.
    pub fn revoke(&mut self, name: &TokenName, now: Millis) -> Result<(), Unchanged> {
        let known = self.tokens.get_mut(name).ok_or_else(|| Unchanged::Unknown(name.clone()))?;
        known.revoked_at.get_or_insert(now);
        Ok(())
    }
}

/// One call that changed something or was refused; one object of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    pub at: Millis,
    pub epoch: Epoch,
    pub number: u64,
    /// The token's name; none: no token that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// The caller's address.
    pub peer: String,
    pub method: String,
    /// The arguments in one line, without secrets.
    pub what: String,
    /// `ok`, or the status code's name and its message.
    pub outcome: String,
    /// How many calls this entry stands for: refused ones that are alike are folded.
    pub times: u64,
    /// The entry before it, of this coordinator or of an earlier one; none: it is the first, or of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
    /// How calls of this coordinator went that ended since the entry before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ended: Vec<Ended>,
}

/// An entry of the log, named by the one after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Follows {
    pub epoch: Epoch,
    pub number: u64,
    /// Its [`LogEntry::link`].
    pub link: Digest,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    pub number: u64,
    /// SHA-256 of its outcome.
    pub outcome: Digest,
}

impl LogEntry {
    /// SHA-256 of all but the outcome, which is not known yet when the next entry is written.
    pub fn link(&self) -> Digest {
        let fixed = Self { outcome: String::new(), ..self.clone() };
        Digest::of(&json::bytes(&fixed))
    }

    pub fn as_followed(&self) -> Follows {
        Follows { epoch: self.epoch, number: self.number, link: self.link() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str, secret: &str) -> NewToken {
        NewToken { name: TokenName::new(name).unwrap(), role: Role::Viewer, sha256: Digest::of(secret.as_bytes()), worker: None }
    }

    #[test]
    fn each_role_may_what_it_is_for_and_nothing_else() {
        let may = |role: Role| [Need::Look, Need::ChangeRuns, Need::Administer, Need::Work].map(|need| role.may(need));
        assert_eq!(may(Role::Viewer), [true, false, false, false]);
        assert_eq!(may(Role::Operator), [true, true, false, false]);
        assert_eq!(may(Role::Admin), [true, true, true, false]);
        assert_eq!(may(Role::Worker), [false, false, false, true]);
    }

    #[test]
    fn a_revoked_token_is_not_found_and_its_name_and_secret_are_used_up() {
        let mut book = TokenBook::empty(Epoch(1));
        book.add(token("a", "1"), OWNER, Millis(1)).unwrap();
        assert!(book.find(&Digest::of(b"1")).is_some() && book.find(&Digest::of(b"2")).is_none());
        assert_eq!(book.add(token("a", "2"), OWNER, Millis(1)), Err(Unchanged::Taken(TokenName::new("a").unwrap())));
        assert_eq!(book.add(token("b", "1"), OWNER, Millis(1)), Err(Unchanged::SameSecret));
        book.revoke(&TokenName::new("a").unwrap(), Millis(2)).unwrap();
        book.revoke(&TokenName::new("a").unwrap(), Millis(3)).unwrap();
        assert_eq!(book.tokens.values().next().unwrap().revoked_at, Some(Millis(2)));
        assert!(book.find(&Digest::of(b"1")).is_none());
        assert!(book.add(token("a", "3"), OWNER, Millis(4)).is_err() && book.add(token("c", "1"), OWNER, Millis(4)).is_err());
        assert!(book.add(token(OWNER, "4"), OWNER, Millis(4)).is_err(), "the owner's name can be taken");
        assert!(book.revoke(&TokenName::new("x").unwrap(), Millis(4)).is_err());
    }

    #[test]
    fn a_book_holds_so_many_tokens_and_no_more() {
        let mut book = TokenBook::empty(Epoch(1));
        for i in 0..MAX_TOKENS {
            book.add(token(&format!("t{i}"), &i.to_string()), OWNER, Millis(1)).unwrap();
        }
        assert_eq!(book.add(token("one-more", "x"), OWNER, Millis(1)), Err(Unchanged::Full));
    }
}
