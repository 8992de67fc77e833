//! Whether a store is led: a lease is looked at until it moves, which proves life, or has stood still for as long as a leader may.

use super::{Lease, newest, of};
use crate::process::Located;
use crate::store::{Store, StoreError};
use osler_core::ids::Epoch;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a lease is renewed and looked at, and how long it may stay as it is. From the active one's death to the standby's leadership:
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

/// What somebody has seen of a store's lease, and since when it is so.
#[derive(Debug)]
pub struct Sight {
    pub epoch: Epoch,
    pub lease: Option<Lease>,
    since: Instant,
    looked: Instant,
}

impl Sight {
    /// Takes in a look. A pause between two looks, ours or the store's, proves nobody's silence: the wait begins anew.
    pub fn update(before: Option<Self>, (epoch, lease): (Epoch, Option<Lease>), now: Instant, terms: Terms) -> Self {
        let longest_gap = terms.look * 2 + terms.renew;
        let since = match before {
            Some(old) if (old.epoch, &old.lease) == (epoch, &lease) && now - old.looked <= longest_gap => old.since,
            _ => now,
        };
        Self { epoch, lease, since, looked: now }
    }

    pub fn why_over(&self, terms: Terms) -> Option<String> {
        let silent = self.looked - self.since;
        match &self.lease {
            Some(lease) if lease.released => Some(format!("{lease} ended")),
            Some(lease) if is_gone(lease) => Some(format!("the process of {lease} is gone")),
            Some(lease) if silent >= terms.expiry => Some(format!("no sign of {lease} for {silent:.1?}")),
            None if self.epoch == Epoch::default() => Some("nobody has led this store yet".to_owned()),
            None if silent >= terms.expiry => Some(format!("no sign of the coordinator of epoch {} for {silent:.1?}", self.epoch)),
            _ => None,
        }
    }
}

fn is_gone(lease: &Lease) -> bool {
    lease.leader.as_ref().and_then(|leader| leader.process.as_ref()).is_some_and(Located::is_gone)
}

/// One look. The epochs are listed only when a lease gives no answer: a standby looks for weeks, and listing a bucket is dear.
pub async fn look(store: &Store, known: Option<Epoch>) -> Result<(Epoch, Option<Lease>), StoreError> {
    if let Some(epoch) = known
        && let Some(lease) = of(store, epoch).await?
    {
        return Ok((epoch, Some(lease)));
    }
    Ok(newest(store).await?.unwrap_or_default())
}

/// Whether somebody leads a store.
#[derive(Debug)]
pub enum Led {
    By(Lease),
    /// The last one's epoch, and how one knows that its leadership is over.
    ByNobody {
        last: Epoch,
        why: String,
    },
}

/// Takes as long as a living leader needs for a renewal; of a dead one that did not say so, `expiry` and a look, unless this is its machine.
pub async fn led(store: &Store, terms: Terms) -> Result<Led, StoreError> {
    let mut before: Option<Sight> = None;
    loop {
        let found = look(store, before.as_ref().map(|sight| sight.epoch)).await?;
        let moved = before.as_ref().is_some_and(|sight| (sight.epoch, &sight.lease) != (found.0, &found.1));
        let now = Sight::update(before, found, Instant::now(), terms);
        if let Some(why) = now.why_over(terms) {
            return Ok(Led::ByNobody { last: now.epoch, why });
        }
        if let (true, Some(lease)) = (moved, &now.lease) {
            return Ok(Led::By(lease.clone()));
        }
        before = Some(now);
        sleep(terms.look).await;
    }
}
