//! The folder on this machine that belongs to a store: the store itself, or a place of the user's for one that is not a folder.
//!
//! A coordinator listens on loopback, so its address, its token and its daemons' logs are of this machine and never in the bucket.

use super::StoreError;
use crate::files::state_folder;
use osler_core::digest::Digest;
use std::path::PathBuf;

/// Without touching the store. A store behind another endpoint has another folder.
pub fn local_folder(store: &str) -> Result<PathBuf, StoreError> {
    let rest = match store.split_once("://") {
        None => return Ok(PathBuf::from(store)),
        Some(("file", path)) => return Ok(PathBuf::from(path)),
        Some(("s3", rest)) => rest.trim_end_matches('/'),
        Some(_) => return Err(StoreError::Unsupported(store.to_owned())),
    };
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = state_folder();
    let state = state.ok_or(StoreError::Url("set HOME or XDG_STATE_HOME: what belongs to a remote store on this machine is kept there"))?;
    let endpoint = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"].iter().find_map(|name| set(name)).unwrap_or_default();
    Ok(state.join(name_of(rest, &endpoint.to_string_lossy())))
}

fn name_of(rest: &str, endpoint: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
    let readable: String = rest.chars().map(plain).take(60).collect();
    format!("s3-{readable}-{}", Digest::of_parts([rest.as_bytes(), endpoint.as_bytes()]).short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn each_remote_store_has_a_folder_of_its_own() {
        assert_eq!(local_folder("some/folder").unwrap(), Path::new("some/folder"));
        assert_eq!(local_folder("file:///some/folder").unwrap(), Path::new("/some/folder"));
        assert!(local_folder("gs://bucket").is_err());
        let names = [name_of("b/p", ""), name_of("b-p", ""), name_of("b/p", "http://127.0.0.1:1"), name_of("b/../..", "")];
        for (i, name) in names.iter().enumerate() {
            assert!(!name.contains('/') && !names[..i].contains(name), "{names:?}");
        }
    }
}
