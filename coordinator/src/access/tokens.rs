//! The book of tokens in memory, and its next versions in the store. Calls read it, changes are made one after the other.

use crate::ledger::{Ledger, LedgerError};
use osler_core::access::{Known, NewToken, TokenBook, Unchanged};
use osler_core::digest::Digest;
use osler_core::ids::TokenName;
use osler_runtime::clock::Clock;
use std::sync::Arc;
use tokio::sync::{Mutex, watch};

#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Unchanged(#[from] Unchanged),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

pub struct Tokens {
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    book: watch::Sender<Arc<TokenBook>>,
    /// Held while a version is written.
    writing: Mutex<()>,
}

impl Tokens {
    pub async fn open(ledger: Ledger, clock: Arc<dyn Clock>, first: Vec<NewToken>) -> Result<Self, LedgerError> {
        const TRIES: usize = 5;
        let mut tries = 0;
        loop {
            let mut book = ledger.tokens().await?;
            for token in &first {
                add_first(&mut book, token, clock.as_ref());
            }
            (book.version, book.epoch) = (book.version + 1, ledger.epoch());
            tries += 1;
            match ledger.write_tokens(&book).await {
                // The coordinator before may write once more in between.
                Err(LedgerError::Fenced { .. }) if tries < TRIES => ledger.check_leadership().await?,
                Err(e) => return Err(e),
                Ok(()) => return Ok(Self { ledger, clock, book: watch::Sender::new(Arc::new(book)), writing: Mutex::default() }),
            }
        }
    }

    pub fn book(&self) -> Arc<TokenBook> {
        self.book.borrow().clone()
    }

    pub fn find(&self, sha256: &Digest) -> Option<(TokenName, Known)> {
        let book = self.book.borrow();
        book.find(sha256).map(|(name, known)| (name.clone(), known.clone()))
    }

    pub async fn create(&self, token: NewToken, by: &str) -> Result<(), ChangeError> {
        let now = self.clock.now();
        self.change(|book| book.add(token, by, now)).await
    }

    pub async fn revoke(&self, name: &TokenName) -> Result<(), ChangeError> {
        let now = self.clock.now();
        self.change(|book| book.revoke(name, now)).await
    }

    /// Durable first, then in force.
    async fn change(&self, with: impl FnOnce(&mut TokenBook) -> Result<(), Unchanged>) -> Result<(), ChangeError> {
        let _one_at_a_time = self.writing.lock().await;
        let before = self.book();
        let mut book = TokenBook::clone(&before);
        with(&mut book)?;
        if book != *before {
            (book.version, book.epoch) = (book.version + 1, self.ledger.epoch());
            self.ledger.write_tokens(&book).await?;
            self.book.send_replace(Arc::new(book));
        }
        Ok(())
    }

    /// Resolves when the token is not good any more.
    pub fn gone(&self, sha256: Digest) -> impl Future<Output = ()> + Send + 'static {
        let mut book = self.book.subscribe();
        async move {
            // An error: the coordinator ends, and nobody can revoke anything.
            if book.wait_for(|book| book.find(&sha256).is_none()).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

fn add_first(book: &mut TokenBook, token: &NewToken, clock: &dyn Clock) {
    match book.tokens.get(&token.name) {
        Some(known) if known.sha256 == token.sha256 => {}
        Some(_) => {
            tracing::warn!(token = %token.name, "the store knows another token of this name than the --tls folder brings, and that one counts");
        }
        None => {
            if let Err(error) = book.add(token.clone(), "cluster init", clock.now()) {
                tracing::warn!(token = %token.name, %error, "a token of the --tls folder cannot be added");
            }
        }
    }
}
