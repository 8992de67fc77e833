//! Who leads a store for which no coordinator answers: asked before a store is said to be without one, and before one is started on it.

use crate::client::{Access, Coordinator, Endpoint};
use crate::closed;
use crate::failure::{Failure, Outcome, failed, usage};
use crate::show;
use osler_runtime::auth::{Token, default_token_file};
use osler_runtime::lease::Lease;
use osler_runtime::lease::watch::{Led, Terms, led};
use osler_runtime::store::Store;
use std::time::Duration;

/// Somebody who looks waits less long for a silent leader than one who would take its place: three renewals.
const LOOKING: Terms = Terms { renew: Duration::from_secs(1), look: Duration::from_millis(250), expiry: Duration::from_secs(3) };

/// A leader that lives and is of no use to whoever found it, and why.
struct Closed {
    lease: Lease,
    why: Failure,
}

impl Access {
    /// The coordinator; none only if nobody leads the store. One that leads it and cannot be asked is an error: what the store holds is
    /// not what that one knows.
    pub async fn find(&self) -> Outcome<Option<Coordinator>> {
        let found = self.coordinator().await?;
        self.or_the_leader(found).await
    }

    /// As [`Self::find`], for who starts a coordinator if there is none: that a stranger has a dead one's port keeps nobody from it.
    pub async fn find_living(&self) -> Outcome<Option<Coordinator>> {
        let found = self.living().await?;
        self.or_the_leader(found).await
    }

    async fn or_the_leader(&self, found: Option<Coordinator>) -> Outcome<Option<Coordinator>> {
        if found.is_some() {
            return Ok(found);
        }
        if let Ok(folder) = self.folder() {
            closed::refuse(&folder)?;
        }
        let Ok(store) = self.open_store() else { return Ok(None) };
        match self.leader(&store, LOOKING).await? {
            None => Ok(None),
            Some(Ok(found)) => Ok(Some(found)),
            Some(Err(Closed { lease, why })) => {
                Err(failed(format!("{lease} leads {} and cannot be asked: {}", store.shown(), why.message())).hint(match why.hint_text() {
                    Some(hint) => hint.to_owned(),
                    None => "give --token-file (and --tls DIR, if it is encrypted), or ask where it can be reached".to_owned(),
                }))
            }
        }
    }

    /// For whoever is about to start a coordinator: the one that leads already, if it can be used. Nobody takes over from another unasked.
    pub async fn find_before_start(&self, store: &Store) -> Outcome<Option<Coordinator>> {
        match self.leader(store, Terms::default()).await? {
            None => Ok(None),
            Some(Ok(found)) => Ok(Some(found)),
            Some(Err(Closed { lease, .. })) => {
                let since = lease.leader.as_ref().map(|leader| format!(", since {}", show::time(leader.since)));
                let what = format!("{} is led already, by {lease}{}", store.shown(), since.unwrap_or_default());
                Err(usage(what).hint(format!(
                    "give it the run with {}, take another --store, or take over from it with --take-over, which moves its runs to this machine",
                    self.command("submit RUN.toml")
                )))
            }
        }
    }

    async fn leader(&self, store: &Store, terms: Terms) -> Outcome<Option<Result<Coordinator, Closed>>> {
        let Led::By(lease) = led(store, terms).await? else { return Ok(None) };
        // It may have begun since it was looked for.
        if let Some(found) = self.coordinator().await? {
            return Ok(Some(Ok(found)));
        }
        let named = Self { coordinator: vec![lease.address.clone()], token_file: self.some_token(), ..self.clone() };
        let asked = async {
            if named.token_file.is_none() && named.tls.is_none() {
                let hint = "give --token-file PATH, or --tls DIR with a token in it";
                return Err(failed("you have no token that can be read for it").hint(hint));
            }
            let Some(mut found) = named.coordinator().await? else { return Err(failed("nobody answers there")) };
            found.runs().await?;
            Ok(found)
        };
        Ok(Some(asked.await.map_err(|why| Closed { lease, why })))
    }

    /// The caller's token, as far as one can be read: its own, that beside the store, the usual one.
    fn some_token(&self) -> Option<std::path::PathBuf> {
        let beside = || self.folder().ok().and_then(|folder| Endpoint::read(&folder)).map(|endpoint| endpoint.token_file);
        let readable = |file: &std::path::PathBuf| Token::load(file).is_ok();
        self.token_file.clone().or_else(|| beside().filter(readable)).or_else(|| default_token_file().filter(readable))
    }
}
