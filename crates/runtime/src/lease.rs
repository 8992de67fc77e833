//! Where the leading coordinator says that it lives and where it can be reached: one small object for each epoch.
//!
//! It grants nothing. The right to write is the epoch's own object, which is created once; a lease only tells a standby whether to
//! begin the next epoch, and agents and people where to call. So it needs no conditional write, and nobody compares clocks: whoever
//! wants to know watches `beat` change and measures by its own clock, see [`watch`].

pub mod watch;

use crate::process::Located;
use crate::store::{Store, StoreError};
use osler_core::ids::{Epoch, Millis};
use osler_core::paths;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Written over and over by the coordinator of that epoch, and by nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub epoch: Epoch,
    /// HOST:PORT that agents and people call.
    pub address: String,
    /// Grows with every renewal.
    pub beat: u64,
    /// The coordinator ended in order: nobody has to wait for its silence.
    pub released: bool,
    /// Whose coordinator it is; none in leases of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,
}

/// For people who find a store led by somebody else, and for those on the leader's own machine, who can see that it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    pub user: String,
    pub host: String,
    pub since: Millis,
    pub process: Option<Located>,
}

impl Leader {
    /// This process, from now on.
    pub fn own(since: Millis) -> Self {
        Self { user: user(), host: host(), since, process: Located::own() }
    }
}

/// "the coordinator of alice on login1 at 127.0.0.1:4711".
impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.leader {
            Some(Leader { user, host, .. }) => write!(f, "the coordinator of {user} on {host} at {}", self.address),
            None => write!(f, "the coordinator at {}", self.address),
        }
    }
}

/// This machine's name.
pub fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| "unknown".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Who runs this process, see [`user_of`].
pub fn user() -> String {
    user_of(nix::unistd::geteuid().as_raw())
}

/// A user's name, or a number where the machine knows none.
pub fn user_of(id: u32) -> String {
    let id = nix::unistd::Uid::from_raw(id);
    let known = nix::unistd::User::from_uid(id).ok().flatten();
    known.map_or_else(|| format!("uid {id}"), |user| user.name)
}

/// What one epoch's coordinator wrote last. Another version's lease, or one that cannot be read, counts as none: its epoch still does.
pub async fn of(store: &Store, epoch: Epoch) -> Result<Option<Lease>, StoreError> {
    let found = match store.get(&paths::lease(epoch)).await {
        Err(StoreError::NotAFile { .. }) => None,
        found => found?,
    };
    let lease = found.and_then(|bytes| serde_json::from_slice::<Lease>(&bytes).ok());
    Ok(lease.filter(|lease| lease.epoch == epoch))
}

/// The newest epoch, and its lease once its coordinator has written one. None: nobody ever led the store.
pub async fn newest(store: &Store) -> Result<Option<(Epoch, Option<Lease>)>, StoreError> {
    match newest_epoch(store).await? {
        Epoch(0) => Ok(None),
        epoch => Ok(Some((epoch, of(store, epoch).await?))),
    }
}

/// The last epoch that began; 0: none did. Also one whose object somebody deleted: whoever led under it has noted the calls that it took.
pub async fn newest_epoch(store: &Store) -> Result<Epoch, StoreError> {
    let objects = store.list(paths::EPOCHS).await?;
    let started = objects.iter().filter_map(|path| paths::numbered(path, |number| paths::epoch(Epoch(number)))).max();
    let started = Epoch(started.unwrap_or(0));
    // Folders sort by their numbers. One of another making has another name, or no entry.
    for folder in store.folders(paths::AUDIT).await?.into_iter().rev() {
        let epoch = Epoch(folder.parse().unwrap_or(0));
        if paths::audits(epoch) != format!("{}/{folder}", paths::AUDIT) {
            continue;
        }
        if epoch <= started {
            break;
        }
        let entries = store.list(&paths::audits(epoch)).await?;
        if epoch.0 < u64::from(u32::MAX) && entries.iter().any(|path| paths::numbered(path, |number| paths::audit(epoch, number)).is_some())
        {
            return Ok(epoch);
        }
    }
    Ok(started)
}

/// Where the coordinator of a store can be called, as far as the store knows.
pub async fn address(store: &Store) -> Result<Option<String>, StoreError> {
    let lease = newest(store).await?.and_then(|(_, lease)| lease);
    Ok(lease.filter(|lease| !lease.released).map(|lease| lease.address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[tokio::test]
    async fn what_is_no_file_is_no_lease() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        for epoch in [Epoch(1), Epoch(2)] {
            store.put(&paths::epoch(epoch), "{}".into()).await.unwrap();
        }
        let lease = folder.path().join(paths::lease(Epoch(2)));
        std::fs::create_dir_all(lease.parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&lease, Mode::S_IRWXU).unwrap();
        assert_eq!(newest(&store).await.unwrap(), Some((Epoch(2), None)));
    }
}
