//! Who leads when there are several coordinators on one store: the active one renews its lease, a standby watches it and takes over.
//!
//! Taking over is creating the next epoch's object, which only one can. Everything that an older coordinator might still do is refused
//! by that (see [`crate::ledger`]), so a wrong guess about its death costs a change of coordinator and never a record.

use crate::ledger::{Ledger, LedgerError};
use bytes::Bytes;
use osler_core::ids::Epoch;
use osler_core::json;
use osler_core::paths;
use osler_runtime::clock::Clock;
pub use osler_runtime::lease::watch::Terms;
use osler_runtime::lease::watch::{Led, Sight, led, look};
use osler_runtime::lease::{Leader, Lease};
use osler_runtime::store::{Medium, Patience, Store, StoreError, lacks_room};
use std::convert::Infallible;
use tokio::time::{Instant, sleep, timeout};

/// The lease of a leadership, to be renewed until it is given up.
#[derive(Debug)]
pub struct Leadership {
    store: Store,
    lease: Lease,
}

impl Leadership {
    /// Writes the lease for the first time, and removes the one before. `leader`: whose leadership it is, for people.
    pub async fn begin(store: Store, epoch: Epoch, address: String, leader: Option<Leader>) -> Result<Self, StoreError> {
        let lease = Lease { epoch, address, beat: 0, released: false, leader };
        let mut leadership = Self { store, lease };
        leadership.write().await?;
        if let Some(before) = epoch.0.checked_sub(1).filter(|before| *before > 0) {
            // What somebody put in its place is not ours to delete, and does no harm.
            match leadership.store.delete(&paths::lease(Epoch(before))).await {
                Err(StoreError::NotAFile { .. }) => {}
                deleted => deleted?,
            }
        }
        Ok(leadership)
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        self.lease.beat += 1;
        let bytes = json::bytes(&self.lease);
        self.store.put(&paths::lease(self.lease.epoch), bytes.into()).await.map(drop)
    }

    /// Renews for as long as it is polled: beside the owner, so that one that is stuck loses its lease.
    pub async fn renew(&mut self, terms: Terms) -> Infallible {
        let mut failing = false;
        loop {
            sleep(terms.renew).await;
            let renewed = self.write().await;
            if let (Err(error), false) = (&renewed, failing) {
                tracing::warn!(%error, "the lease cannot be renewed; a standby may take over");
            }
            failing = renewed.is_err();
        }
    }

    /// Tells a standby not to wait. A store that does not answer is not waited for either.
    pub async fn release(mut self, terms: Terms) {
        self.lease.released = true;
        if !timeout(terms.expiry, self.write()).await.is_ok_and(|written| written.is_ok()) {
            tracing::warn!("the lease was not given back: a standby waits until it expires");
        }
    }
}

/// Somebody leads the store, and does not look as if it would end.
#[derive(Debug, thiserror::Error)]
#[error(
    "{store} is led by {lease}: give your runs to it (`osler submit`), wait beside it with --standby, or take its place with --take-over, \
     which ends it and moves its runs to the workers of this one"
)]
pub struct LedAlready {
    pub store: String,
    pub lease: Box<Lease>,
}

#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    #[error(transparent)]
    Led(#[from] LedAlready),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Begins the next leadership if nobody leads the store; waits no longer than it takes to know.
pub async fn begin(store: &Store, clock: &dyn Clock, terms: Terms) -> Result<Ledger, NotBegun> {
    loop {
        match led(store, terms).await.map_err(LedgerError::from)? {
            Led::By(lease) => return Err(LedAlready { store: store.shown(), lease: Box::new(lease) }.into()),
            Led::ByNobody { last, why } => {
                tracing::info!("beginning to lead: {why}");
                // Else somebody was first: then look at that one.
                if let Some(ledger) = Ledger::succeed(store.clone(), last, clock.now()).await? {
                    return Ok(ledger);
                }
            }
        }
    }
}

/// Waits until nobody leads the store, then begins the next leadership. Of several standbys one does; the others go on waiting.
pub async fn stand_by(store: &Store, clock: &dyn Clock, terms: Terms) -> Result<Ledger, LedgerError> {
    let (mut sight, mut failing): (Option<Sight>, bool) = (None, false);
    loop {
        match look(store, sight.as_ref().map(|sight| sight.epoch)).await {
            Ok(found) => {
                failing = false;
                let now = Sight::update(sight.take(), found, Instant::now(), terms);
                if let Some(why) = now.why_over(terms) {
                    if !has_room(store, clock).await {
                        // Whoever leads cannot renew its lease either: its silence proves nothing, and the wait begins anew.
                        tracing::warn!("the store has no room: nobody takes over");
                        sleep(terms.look).await;
                        continue;
                    }
                    tracing::warn!("taking over: {why}");
                    if let Some(ledger) = Ledger::succeed(store.clone(), now.epoch, clock.now()).await? {
                        return Ok(ledger);
                    }
                    tracing::info!("another coordinator was first; standing by");
                } else {
                    sight = Some(now);
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "the store cannot be read; standing by");
                }
                failing = true;
            }
        }
        sleep(terms.look).await;
    }
}

/// Whether a few bytes can be written into a folder now. A bucket has room.
async fn has_room(store: &Store, clock: &dyn Clock) -> bool {
    if store.patience().medium == Medium::Remote {
        return true;
    }
    let (store, name) = (store.with_patience(Patience::none()), paths::probe(clock.now(), std::process::id()));
    match store.put(&name, Bytes::from_static(b"room")).await {
        Ok(_) => store.delete(&name).await.is_ok(),
        Err(error) => !lacks_room(&error),
    }
}

#[cfg(test)]
mod tests;
