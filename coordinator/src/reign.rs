//! Who reigns when there are several coordinators on one store: the active one renews its lease, a standby watches it and takes over.
//!
//! Taking over is creating the next epoch's object, which only one can. Everything that an older coordinator might still do is refused
//! by that (see [`crate::ledger`]), so a wrong guess about its death costs a change of coordinator and never a record.

use crate::ledger::{Ledger, LedgerError};
use bytes::Bytes;
use osler_core::ids::Epoch;
use osler_core::paths;
use osler_runtime::clock::Clock;
use osler_runtime::lease::{self, Lease};
use osler_runtime::store::{Medium, Patience, Store, StoreError, lacks_room};
use std::convert::Infallible;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How often a lease is renewed and looked at, and how long it may stay as it is. From the active one's death to the standby's reign:
/// at most `expiry` and two looks.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub renew: Duration,
    pub look: Duration,
    pub expiry: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { renew: Duration::from_secs(1), look: Duration::from_millis(500), expiry: Duration::from_secs(5) }
    }
}

/// The lease of a reign, to be renewed until it is given up.
#[derive(Debug)]
pub struct Reign {
    store: Store,
    lease: Lease,
}

impl Reign {
    /// Writes the lease for the first time, and removes the one before.
    pub async fn begin(store: Store, epoch: Epoch, address: String) -> Result<Self, StoreError> {
        let mut reign = Self { store, lease: Lease { epoch, address, beat: 0, released: false } };
        reign.write().await?;
        if let Some(before) = epoch.0.checked_sub(1).filter(|before| *before > 0) {
            reign.store.delete(&paths::lease(Epoch(before))).await?;
        }
        Ok(reign)
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        self.lease.beat += 1;
        let bytes = serde_json::to_vec(&self.lease).unwrap_or_default();
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

/// What a standby has seen, and since when it is so.
struct Sight {
    epoch: Epoch,
    lease: Option<Lease>,
    since: Instant,
    looked: Instant,
}

impl Sight {
    /// Takes in a look. A pause between two looks, ours or the store's, proves nobody's silence: the wait begins anew.
    fn update(before: Option<Self>, (epoch, lease): (Epoch, Option<Lease>), now: Instant, terms: Terms) -> Self {
        let longest_gap = terms.look * 2 + terms.renew;
        let since = match before {
            Some(old) if (old.epoch, &old.lease) == (epoch, &lease) && now - old.looked <= longest_gap => old.since,
            _ => now,
        };
        Self { epoch, lease, since, looked: now }
    }

    fn why_over(&self, terms: Terms) -> Option<String> {
        let silent = self.looked - self.since;
        match &self.lease {
            Some(lease) if lease.released => Some(format!("the coordinator at {} ended", lease.address)),
            Some(lease) if silent >= terms.expiry => Some(format!("no sign of the coordinator at {} for {silent:.1?}", lease.address)),
            None if self.epoch == Epoch::default() => Some("nobody has reigned over this store yet".to_owned()),
            None if silent >= terms.expiry => Some(format!("no sign of the coordinator of epoch {} for {silent:.1?}", self.epoch)),
            _ => None,
        }
    }
}

/// One look. The epochs are listed only when a lease gives no answer: a standby looks for weeks, and listing a bucket is dear.
async fn look(store: &Store, known: Option<Epoch>) -> Result<Option<(Epoch, Option<Lease>)>, StoreError> {
    if let Some(epoch) = known
        && let Some(lease) = lease::of(store, epoch).await?
    {
        return Ok(Some((epoch, Some(lease))));
    }
    lease::newest(store).await
}

/// Waits until nobody reigns over the store, then begins the next reign. Of several standbys one does; the others go on waiting.
pub async fn stand_by(store: &Store, clock: &dyn Clock, terms: Terms) -> Result<Ledger, LedgerError> {
    let (mut sight, mut failing): (Option<Sight>, bool) = (None, false);
    loop {
        match look(store, sight.as_ref().map(|sight| sight.epoch)).await {
            Ok(found) => {
                failing = false;
                let now = Sight::update(sight.take(), found.unwrap_or_default(), Instant::now(), terms);
                if let Some(why) = now.why_over(terms) {
                    if !has_room(store, clock).await {
                        // Whoever reigns cannot renew its lease either: its silence proves nothing, and the wait begins anew.
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
