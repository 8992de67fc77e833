//! Who may call what, and who did. [`Gate`] stands before both services: no call passes it without a token whose role may make it,
//! and none that changes something is answered before it is in the log.

mod gate;
mod log;
pub(crate) mod methods;
#[cfg(test)]
mod tests;
mod tokens;

pub use gate::{Caller, Gate, told};
pub use tokens::ChangeError;

use crate::ledger::{Ledger, LedgerError};
use log::Log;
use osler_core::access::{Need, NewToken, OWNER};
use osler_core::digest::Digest;
use osler_runtime::auth::Token;
use osler_runtime::clock::Clock;
use std::sync::Arc;
use tokens::Tokens;

/// The tokens and the log of one coordinator.
pub struct Access {
    /// Of the token file beside this coordinator, which may do everything and is in no book.
    owner: Digest,
    pub(crate) tokens: Tokens,
    pub(crate) log: Log,
}

impl Access {
    /// Loads the book and writes a version of it, which fences the coordinator before. `first`: tokens that are added unless the book
    /// knows their names.
    pub async fn open(ledger: Ledger, clock: Arc<dyn Clock>, owner: &Token, first: Vec<NewToken>) -> Result<Arc<Self>, LedgerError> {
        let tokens = Tokens::open(ledger.clone(), clock.clone(), first).await?;
        Ok(Arc::new(Self { owner: owner.sha256(), tokens, log: Log::open(ledger, clock).await? }))
    }

    /// Writes what was folded, for as long as it is polled.
    pub async fn keep_log(&self) {
        self.log.keep().await;
    }

    /// Whose token this is.
    fn identify(&self, sha256: Digest) -> Option<Caller> {
        if sha256 == self.owner {
            return Some(Caller { name: OWNER.to_owned(), role: None, worker: None, sha256 });
        }
        let (name, known) = self.tokens.find(&sha256)?;
        Some(Caller { name: name.to_string(), role: Some(known.role), worker: known.worker, sha256 })
    }

    /// Whether a token is known and good for this.
    pub(crate) fn may(&self, sha256: Digest, need: Need) -> bool {
        self.identify(sha256).is_some_and(|caller| caller.role.is_none_or(|role| role.may(need)))
    }

    /// Resolves when the caller's token is no longer good.
    pub fn revoked(&self, caller: &Caller) -> impl Future<Output = ()> + Send + 'static {
        let owner = caller.sha256 == self.owner;
        let gone = self.tokens.gone(caller.sha256);
        async move { if owner { std::future::pending().await } else { gone.await } }
    }
}
