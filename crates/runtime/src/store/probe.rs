//! Whether a store can be trusted with the rule of one coordinator: a name that is taken must refuse a second conditional write.
//!
//! Some servers that speak S3 answer 200 to any put and ignore its If-None-Match. On those, two coordinators would overwrite each
//! other's epochs and records without noticing.

use super::{Store, StoreError};
use bytes::Bytes;

const FIRST: &[u8] = b"first";

pub(super) async fn conditional_writes(store: &Store, name: &str) -> Result<(), StoreError> {
    match store.create(name, Bytes::from_static(FIRST)).await {
        // A write whose answer was lost is tried again by the client, and meets itself.
        Err(StoreError::AlreadyExists(_)) if store.get(name).await?.is_some_and(|found| found == FIRST) => {}
        created => created?,
    }
    let second = store.create(name, Bytes::from_static(b"second")).await;
    store.delete(name).await?;
    match second {
        Err(StoreError::AlreadyExists(_)) => Ok(()),
        Ok(()) => Err(StoreError::Unconditional { store: store.url().to_owned(), path: name.to_owned() }),
        Err(e) => Err(e),
    }
}
