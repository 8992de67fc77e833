//! Whether a store can be trusted with the rule of one coordinator: a name that is taken must refuse a second conditional write.
//!
//! Some servers that speak S3 answer 200 to any put and ignore its If-None-Match. On those, two coordinators would overwrite each
//! other's epochs and records without noticing.

use super::{Store, StoreError};
use bytes::Bytes;

pub(super) async fn conditional_writes(store: &Store, name: &str) -> Result<(), StoreError> {
    store.create(name, Bytes::from_static(b"first")).await?;
    let second = store.create(name, Bytes::from_static(b"second")).await;
    store.delete(name).await?;
    match second {
        Err(StoreError::AlreadyExists(_)) => Ok(()),
        Ok(()) => Err(StoreError::Unconditional { store: store.url().to_owned(), path: name.to_owned() }),
        Err(e) => Err(e),
    }
}
