//! The book of tokens and the log of calls: numbered objects like a run's record, so that whoever takes over knows them.

use super::{Ledger, LedgerError, numbered};
use bytes::Bytes;
use osler_core::access::{LogEntry, TokenBook};
use osler_core::ids::Epoch;
use osler_core::json;
use osler_core::paths;
use osler_core::seal::Sealed;
use osler_core::way_out;

impl Ledger {
    /// The newest version of the book, an empty one if there is none.
    pub async fn tokens(&self) -> Result<TokenBook, LedgerError> {
        let mut newest = 0;
        for path in self.store.list(paths::TOKENS).await? {
            newest = newest.max(numbered(&path, paths::tokens));
        }
        if newest == 0 {
            return Ok(TokenBook::empty(self.epoch));
        }
        let path = paths::tokens(newest);
        let unreadable = |why: String| LedgerError::Unreadable { path: path.clone(), why, way_out: way_out::TOKENS };
        let bytes = self.object(&path, way_out::TOKENS).await?.ok_or_else(|| unreadable("it vanished".to_owned()))?;
        self.chains.read(paths::TOKENS, newest, &bytes);
        let book: TokenBook = serde_json::from_slice(&Sealed::open(&bytes).document).map_err(|e| unreadable(e.to_string()))?;
        if (book.format, book.version) != (TokenBook::FORMAT, newest) {
            return Err(unreadable(format!("it holds version {} in format {}", book.version, book.format)));
        }
        Ok(book)
    }

    /// Creates the book's next version.
    pub async fn write_tokens(&self, book: &TokenBook) -> Result<(), LedgerError> {
        self.check_leadership().await?;
        let bytes = json::bytes(book);
        self.write_version(paths::TOKENS, book.version, bytes.into(), paths::tokens).await
    }

    /// Creates an entry of the log. Nobody else writes under this epoch.
    pub async fn note(&self, entry: &LogEntry) -> Result<(), LedgerError> {
        let path = paths::audit(entry.epoch, entry.number);
        match self.create(&path, self.bytes_of(&path, entry)).await? {
            Ok(()) => Ok(()),
            Err(taken) => Err(self.fenced(format!("it wrote {taken}"))),
        }
    }

    /// Replaces an entry that this coordinator has created.
    pub async fn note_again(&self, entry: &LogEntry) -> Result<(), LedgerError> {
        let path = paths::audit(entry.epoch, entry.number);
        let bytes = self.bytes_of(&path, entry);
        self.persevere(|| self.store.put(&path, bytes.clone())).await?;
        Ok(())
    }

    /// The newest entries of the log, of this coordinator and of those before it, ascending.
    pub async fn noted(&self, last: usize) -> Result<Vec<LogEntry>, LedgerError> {
        let mut epochs = self.store.folders(paths::AUDIT).await?;
        let mut newest = vec![];
        while let Some(epoch) = epochs.pop().filter(|_| newest.len() < last) {
            let Ok(number) = epoch.parse() else {
                tracing::warn!("\"{}/{epoch}\" is ignored: it is no object of Osler's", paths::AUDIT);
                continue;
            };
            let number = Epoch(number);
            let mut paths = self.store.list(&paths::audits(number)).await?;
            paths.retain(|path| numbered(path, |n| paths::audit(number, n)) > 0);
            newest.extend(paths.into_iter().rev().take(last - newest.len()));
        }
        let mut entries = vec![];
        for path in newest.into_iter().rev() {
            let Some(bytes) = self.object(&path, way_out::CALL).await? else { continue };
            let unreadable = |e: serde_json::Error| LedgerError::Unreadable { path, why: e.to_string(), way_out: way_out::CALL };
            entries.push(serde_json::from_slice(&Sealed::open(&bytes).document).map_err(unreadable)?);
        }
        Ok(entries)
    }

    /// Entries name what they follow themselves; their seal is for the signature.
    fn bytes_of(&self, path: &str, entry: &LogEntry) -> Bytes {
        let document = json::bytes(entry);
        self.seal(path, &document, None).into()
    }
}
