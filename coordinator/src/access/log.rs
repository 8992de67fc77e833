//! The log of calls. What may change something is written before it does, and how it went before its caller is answered; refused calls
//! that are alike are written once and then counted for a minute, so that nobody can fill the store by being refused.

use crate::ledger::{Ledger, LedgerError};
use osler_core::access::{Ended, Follows, LogEntry, Role};
use osler_core::digest::Digest;
use osler_core::time::Moment;
use osler_runtime::clock::Clock;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const FOLD: u64 = 60_000;
/// Refusals that are told apart; more of them in a minute count as one.
const MAX_FOLDS: usize = 1024;
const FLUSH: Duration = Duration::from_secs(5);
const MAX_TEXT: usize = 500;
/// The outcome of a call that is not over. It stays if the coordinator dies meanwhile: the records tell then what came of it.
pub const OPEN: &str = "open: begun, and its coordinator has not said how it went";

/// A call as the gate saw it.
#[derive(Debug, Clone)]
pub struct Call {
    pub who: Option<String>,
    pub role: Option<Role>,
    pub peer: SocketAddr,
    pub method: &'static str,
    pub what: String,
    pub outcome: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Alike {
    Calls {
        who: Option<String>,
        address: IpAddr,
        method: &'static str,
        outcome: String,
    },
    /// Too many kinds at once.
    Others,
}

struct Fold {
    since: Moment,
    last: Call,
    /// Beside the one that was written.
    more: u64,
}

/// What the next entry follows, and says of those that ended since.
struct Tail {
    number: u64,
    follows: Option<Follows>,
    ended: Vec<Ended>,
}

pub struct Log {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    tail: Mutex<Tail>,
    folds: Mutex<HashMap<Alike, Fold>>,
}

impl Log {
    pub async fn open(ledger: Ledger, clock: Arc<dyn Clock>) -> Result<Self, LedgerError> {
        let follows = match ledger.noted(1).await {
            Ok(newest) => newest.last().map(LogEntry::as_followed),
            // An old entry that is damaged is no reason not to lead; the audit finds that nothing follows it.
            Err(damaged @ LedgerError::Unreadable { .. }) => {
                tracing::error!("the log of calls begins a new chain: {damaged}");
                None
            }
            Err(e) => return Err(e),
        };
        Ok(Self { ledger, clock, tail: Mutex::new(Tail { number: 0, follows, ended: vec![] }), folds: Mutex::default() })
    }

    /// Durable when it returns.
    pub async fn note(&self, call: Call) -> Result<(), LedgerError> {
        self.write(call, 1).await.map(drop)
    }

    /// A call that may change something is about to; whoever begins it ends it.
    pub async fn begin(&self, call: Call) -> Result<LogEntry, LedgerError> {
        self.write(call, 1).await
    }

    pub async fn end(&self, entry: LogEntry, outcome: String) -> Result<(), LedgerError> {
        let entry = LogEntry { outcome: short(outcome), ..entry };
        self.ledger.note_again(&entry).await?;
        self.ended(&entry);
        Ok(())
    }

    /// Notes a refused call, at once if it is the first of its kind within a minute.
    pub async fn refused(&self, call: Call) -> Result<(), LedgerError> {
        self.flush().await?;
        if self.is_first(&call) { self.note(call).await } else { Ok(()) }
    }

    /// Writes the counts of minutes that are over.
    pub async fn flush(&self) -> Result<(), LedgerError> {
        for (call, more) in self.over() {
            self.write(call, more).await?;
        }
        Ok(())
    }

    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(FLUSH).await;
            if let Err(error) = self.flush().await {
                tracing::warn!(%error, "write the log of refused calls");
            }
        }
    }

    pub async fn last(&self, count: usize) -> Result<Vec<LogEntry>, LedgerError> {
        self.ledger.noted(count).await
    }

    async fn write(&self, call: Call, times: u64) -> Result<LogEntry, LedgerError> {
        let Call { who, role, peer, method, what, outcome } = call;
        let (what, outcome) = (short(what), short(outcome));
        let entry = LogEntry {
            at: self.clock.now(),
            epoch: self.ledger.epoch(),
            number: 0,
            who,
            role,
            peer: peer.to_string(),
            method: method.to_owned(),
            what,
            outcome,
            times,
            follows: None,
            ended: vec![],
        };
        let entry = self.appended(entry);
        self.ledger.note(&entry).await?;
        if entry.outcome != OPEN {
            self.ended(&entry);
        }
        Ok(entry)
    }

    /// The entry with its place in the log. Entries are written side by side, so a coordinator that dies may leave one out that a later one
    /// follows.
    fn appended(&self, entry: LogEntry) -> LogEntry {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.number += 1;
        let ended = std::mem::take(&mut tail.ended);
        let entry = LogEntry { number: tail.number, follows: tail.follows.take(), ended, ..entry };
        tail.follows = Some(entry.as_followed());
        entry
    }

    fn ended(&self, entry: &LogEntry) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.ended.push(Ended { number: entry.number, outcome: Digest::of(entry.outcome.as_bytes()) });
    }

    fn is_first(&self, call: &Call) -> bool {
        let mut folds = self.folds.lock().unwrap_or_else(PoisonError::into_inner);
        let (who, outcome) = (call.who.clone(), call.outcome.clone());
        let mut kind = Alike::Calls { who, address: call.peer.ip(), method: call.method, outcome };
        if folds.len() >= MAX_FOLDS && !folds.contains_key(&kind) {
            kind = Alike::Others;
        }
        if let Some(fold) = folds.get_mut(&kind) {
            fold.more += 1;
            fold.last = call.clone();
            return false;
        }
        folds.insert(kind, Fold { since: self.clock.moment(), last: call.clone(), more: 0 });
        true
    }

    /// Takes out what is a minute old; gives what was repeated.
    fn over(&self) -> Vec<(Call, u64)> {
        let now = self.clock.moment();
        let mut folds = self.folds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut over = vec![];
        folds.retain(|_, fold| {
            let keep = now.since(fold.since) < FOLD;
            if !keep && fold.more > 0 {
                over.push((fold.last.clone(), fold.more));
            }
            keep
        });
        over
    }
}

fn short(text: String) -> String {
    text.chars().take(MAX_TEXT).collect()
}
