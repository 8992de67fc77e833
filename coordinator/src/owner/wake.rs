//! Requests for which the store is read or written before they are taken in: about finished runs at rest, and removals of runs whose
//! records cannot be read.

use super::Owner;
use super::handle::Request;
use super::heartbeats::Undecided;
use crate::cluster::{Event, Refused};
use crate::ledger::{Found, LedgerError};
use futures::FutureExt;
use osler_core::ids::RunName;
use osler_core::paths;
use osler_runtime::store::StoreError;
use std::time::Duration;
use tokio::time::timeout;

/// So many are read in one turn at most; agents do not wait for more.
pub(super) const AT_ONCE: usize = 16;

/// What is only asked for holds nothing up for longer.
const LONGEST: Duration = Duration::from_secs(5);

fn no_answer(run: &RunName) -> LedgerError {
    let (path, seconds, last) = (paths::states(run), LONGEST.as_secs_f64(), "no answer".to_owned());
    StoreError::GaveUp { verb: "read", path, tries: 1, seconds, last }.into()
}

impl Owner {
    /// The run at rest that a request is about, or that is to be given up.
    pub(super) fn sleeper(&self, request: &Request) -> Option<RunName> {
        match request {
            Request::Control { event: Event::Remove(removal), .. } if self.cluster.is_put_aside(&removal.run) => Some(removal.run.clone()),
            Request::Control { event, .. } => self.cluster.sleeper(event),
            Request::Watch { run, .. } => Some(run.clone()).filter(|run| self.cluster.rests(run)),
            _ => None,
        }
    }

    /// Reads the runs that requests are about, which are taken in after that, and those about which something is decided.
    pub(super) async fn wake_all(&mut self, requests: Vec<Request>) -> Result<(), LedgerError> {
        for request in requests {
            let refused = match self.sleeper(&request) {
                Some(run) => self.wake(&run).await?,
                None => None, // two have asked for the same run
            };
            match refused {
                Some(refused) => request.refuse(refused),
                None => self.woken.push_back(request),
            }
        }
        for run in self.cluster.take_wanted(AT_ONCE) {
            self.wake(&run).await?;
        }
        Ok(())
    }

    /// Why it stays at rest, if it does.
    async fn wake(&mut self, run: &RunName) -> Result<Option<Refused>, LedgerError> {
        let ledger = self.ledger.clone();
        if self.cluster.is_put_aside(run) {
            if let Some((reader, path)) = self.cluster.reader_of(run) {
                return Ok(Some(Refused::StillRead { run: run.clone(), reader, path }));
            }
            return match self.meanwhile(&mut Undecided::default(), ledger.give_up(run)).await {
                Ok(remains) => {
                    tracing::info!(%run, "the run, whose record cannot be read, is removed");
                    self.cluster.bury_unreadable(remains);
                    Ok(None)
                }
                Err(LedgerError::Store(error)) => Ok(Some(Refused::AtRest { run: run.clone(), why: error.to_string() })),
                Err(error) => Err(error),
            };
        }
        let read = timeout(LONGEST, ledger.load_run(run)).map(|read| read.unwrap_or_else(|_| Err(no_answer(run))));
        match self.meanwhile(&mut Undecided::default(), read).await {
            Ok(Found::Whole { record, changed }) => self.cluster.wake(*record, changed),
            Ok(Found::Unreadable(why)) => self.cluster.put_aside(run.clone(), why),
            Ok(Found::AtRest(_) | Found::Nothing) => self.cluster.forget_at_rest(run),
            // What is only read may be read later.
            Err(LedgerError::Store(error)) => {
                tracing::warn!(%run, %error, "a finished run cannot be read now");
                return Ok(Some(Refused::AtRest { run: run.clone(), why: error.to_string() }));
            }
            Err(error) => return Err(error),
        }
        Ok(None)
    }
}
