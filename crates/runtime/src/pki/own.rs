//! The certificates of a coordinator that was given none: in a folder beside its owner's token, for the programs of that owner.
//!
//! The folder has the form that `osler cluster init` makes, without tokens, so that what listens on loopback proves itself as anything
//! else does: a port there is whoever's takes it.

use super::{AGENT, COORDINATOR, LEAF_DAYS, PkiError, begin, finish, inspect, io_at, rotate};
use crate::tls;
use nix::fcntl::{Flock, FlockArg};
use osler_core::ids::Millis;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Beside the token file.
const OWN: &str = "tls";
/// The first is the one by which clients know the coordinator, wherever on this machine it listens.
const HOSTS: [&str; 3] = [tls::OWN_NAME, "127.0.0.1", "::1"];
/// Days before its end at which a certificate is replaced.
const RENEW: i64 = 30;

/// What agents and `osler` use to know the coordinator of a token's owner, and to be known by it.
pub fn own_client(token_file: &Path) -> PathBuf {
    token_file.with_file_name(OWN).join(AGENT)
}

/// The coordinator's folder: made if it is not there, its certificates renewed before they expire. Two coordinators that race agree on
/// one CA.
pub fn own_server(token_file: &Path, now: Millis) -> Result<PathBuf, PkiError> {
    let folder = token_file.with_file_name(OWN);
    if !folder.exists() {
        make(&folder, now)?;
    }
    tls::belongs(&folder, token_file)?;
    let directory = File::open(&folder).map_err(io_at(&folder))?;
    // Of two who renewed at once, one's key would stay with the other's certificate.
    let _one_at_a_time = Flock::lock(directory, FlockArg::LockExclusive).map_err(|(_, e)| io_at(&folder)(e.into()))?;
    let left = inspect(&folder.join(COORDINATOR).join(tls::CERTIFICATE))?.days_left(now);
    // More than a certificate's life: it was made while the clock was ahead, and does not count yet.
    if !(RENEW..=LEAF_DAYS as i64).contains(&left) {
        rotate(&folder, None, now)?;
    }
    Ok(folder.join(COORDINATOR))
}

/// Whole or not at all.
fn make(folder: &Path, now: Millis) -> Result<(), PkiError> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = fs::Permissions::from_mode(0o700);
    let new = tempfile::Builder::new().prefix(".tls-").permissions(private).tempdir_in(parent).map_err(io_at(parent))?;
    let ca = begin(new.path(), &[COORDINATOR, AGENT], &HOSTS.map(str::to_owned), now)?;
    finish(new.path(), &ca)?;
    match fs::rename(new.path(), folder) {
        Err(e) if !matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => Err(io_at(folder)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Token;
    use crate::tls::{ClientTls, ServerTls, TlsError};

    const DAY: u64 = super::super::DAY;
    const NOW: Millis = Millis(1_800_000_000_000);

    fn token_file(folder: &tempfile::TempDir) -> PathBuf {
        let file = folder.path().join("token");
        Token::load_or_create(&file).unwrap();
        file
    }

    #[test]
    fn it_is_made_once_for_its_owner_alone_and_renewed_before_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let token = token_file(&folder);
        let server = own_server(&token, NOW).unwrap();
        let read = |name: &str| fs::read(folder.path().join(OWN).join(name)).unwrap();
        let before = ["ca.pem", "coordinator/cert.pem", "agent/cert.pem"].map(read);
        assert_eq!(own_server(&token, Millis(NOW.0 + 300 * DAY)).unwrap(), server);
        assert_eq!(["ca.pem", "coordinator/cert.pem", "agent/cert.pem"].map(read), before);
        for late in [NOW.0 + 340 * DAY, NOW.0 - 400 * DAY] {
            own_server(&token, Millis(late)).unwrap();
            assert_eq!(inspect(&server.join(tls::CERTIFICATE)).unwrap().days_left(Millis(late)), 365, "not renewed");
            assert_eq!(read("ca.pem"), before[0], "whoever has a copy of the CA is locked out");
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path().join(OWN)), mode(&server.join(tls::KEY))), (0o700, 0o600));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "something is left beside it");
        assert!(!server.join(super::super::FIRST_TOKENS).exists());
        ServerTls::open(&server).unwrap();
        ClientTls::open(&own_client(&token)).unwrap();
    }

    #[test]
    fn a_folder_that_others_can_write_is_believed_by_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let token = token_file(&folder);
        own_server(&token, NOW).unwrap();
        fs::set_permissions(folder.path().join(OWN), fs::Permissions::from_mode(0o720)).unwrap();
        assert!(matches!(own_server(&token, NOW), Err(PkiError::Tls(TlsError::NotOurs { .. }))));
    }
}
