//! A store that another user keeps to themselves: said in one line, with whose it is, before a command runs into it.

use crate::failure::{Failure, Outcome, usage};
use osler_runtime::lease::user_of;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Refuses a folder that is there and that this user may not read.
pub fn refuse(folder: &Path) -> Outcome {
    match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Err(closed(folder)),
        _ => Ok(()),
    }
}

/// The owner is that of the store, or of the folder above it that is closed.
fn closed(folder: &Path) -> Failure {
    let owner = folder.ancestors().find_map(|at| at.metadata().ok()).map(|about| user_of(about.uid()));
    let whose = owner.map(|owner| format!(" is {owner}'s and")).unwrap_or_default();
    usage(format!("the store {}{whose} is closed to you", folder.display()))
        .hint("ask its owner, or use a store of your own: --store DIR (or OSLER_STORE)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_a_closed_store_is_is_said_once_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        let me = osler_runtime::lease::user();
        for store in [folder.path().to_owned(), folder.path().join("not-there")] {
            let failure = closed(&store);
            assert_eq!(failure.message(), format!("the store {} is {me}'s and is closed to you", store.display()));
            assert!(failure.hint_text().unwrap().contains("--store DIR"));
        }
        assert!(refuse(folder.path()).is_ok() && refuse(&folder.path().join("not-there")).is_ok());
    }

    #[test]
    fn an_owner_without_a_name_is_a_number() {
        assert_eq!(user_of(4_000_000_123), "uid 4000000123");
    }
}
