//! A coordinator without a worker, for as long as a command needs one: what only a coordinator may do is done by one, also in a store
//! that nobody leads.

use super::{Daemons, GRACE, Started, known, lock, start_coordinator};
use crate::client::{Access, Coordinator};
use crate::failure::{Outcome, failed, usage};
use osler_runtime::store::{Store, local_folder};

/// Ends its coordinator by [`Self::end`]. One that is left alone ends by itself, as all daemons of `osler up` do.
pub struct Alone(Daemons);

impl Alone {
    /// Only where nobody leads.
    pub async fn start(access: &Access) -> Outcome<(Self, Coordinator)> {
        if access.names_one() {
            return Err(
                usage("--coordinator names one that is not there").hint("leave it out to have one started here for as long as it takes")
            );
        }
        let store = access.open_store()?.shown();
        let local = Access::local(&store);
        let home = local_folder(&store)?;
        let folder = home.join("coordinator");
        let elsewhere =
            || failed(format!("the daemons of {store} are being started or ended by another `osler`")).hint("try again in a moment");
        let lock = lock(&home, &folder)?.ok_or_else(elsewhere)?;
        // It is led after all, since it was looked for.
        if Started::of(&store)?.leads() || local.find_before_start(&Store::open(&store)?).await?.is_some() {
            return Err(elsewhere());
        }
        let worker = known(&home).worker.and_then(super::Process::adopt);
        let coordinator = start_coordinator(&store, &home, false)?;
        let mut daemons = Daemons { home, folder, store, slots: 0, coordinator, worker, _lock: lock };
        let begun = match daemons.remember() {
            Ok(()) => daemons.answering(&local).await,
            Err(failure) => Err(failure),
        };
        match begun {
            Ok(answers) => Ok((Self(daemons), answers)),
            Err(failure) => {
                daemons.kill_started();
                Err(failure)
            }
        }
    }

    /// A worker that an `osler up` had left stays: it waits for the next coordinator, as it did for this one.
    pub async fn end(&mut self) -> Outcome {
        self.0.coordinator.end(GRACE).await;
        self.0.remember_if_there_is_room()
    }
}
