//! Transport security: TLS 1.3 only, with one folder of files per host.
//!
//! A folder holds `ca.pem`, and for who has to prove itself `cert.pem` and `key.pem`. Files are read again when they change, so that
//! certificates are replaced without a restart. The provider of cryptography is named here and nowhere left to a default.

mod client;
mod server;
#[cfg(test)]
pub(crate) mod tests;

pub use client::ClientTls;
pub use server::ServerTls;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, SupportedProtocolVersion};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const CA: &str = "ca.pem";
pub const CERTIFICATE: &str = "cert.pem";
pub const KEY: &str = "key.pem";
/// The token that belongs to the host, beside its certificates.
pub const TOKEN: &str = "token";

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const ALPN: &[u8] = b"h2";
/// What certificates name that a coordinator made for itself.
pub const OWN_NAME: &str = "localhost";
/// No certificate or key is longer.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path}: {source}; `osler cluster init` makes such a folder")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} can be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{path} holds no usable {what}: {why}")]
    Malformed { path: PathBuf, what: &'static str, why: String },
    #[error("the files in {folder} do not fit together: {source}")]
    Unfit { folder: PathBuf, source: rustls::Error },
    #[error(
        "there is nothing to know the coordinator by: {folder} is not there. A coordinator of this machine makes it beside its owner's token \
         when it starts; for any other give --tls DIR, which holds its ca.pem"
    )]
    Unknown { folder: PathBuf },
    #[error(
        "{folder} says which coordinator is believed, but others than the owner of {token_file} can write it: see who made it, or give \
         --tls DIR with the coordinator's ca.pem"
    )]
    NotOurs { folder: PathBuf, token_file: PathBuf },
}

/// Whether a folder that was found beside a token, not named by anybody, may be believed: it is its owner's, and nobody else writes it.
pub(crate) fn belongs(folder: &Path, token_file: &Path) -> Result<(), TlsError> {
    let look = |path: &Path| fs::metadata(path).map_err(|source| TlsError::Io { path: path.to_owned(), source });
    let (about, token) = (look(folder)?, look(token_file)?);
    let ours = about.is_dir() && about.uid() == token.uid() && about.permissions().mode() & 0o022 == 0;
    if ours { Ok(()) } else { Err(TlsError::NotOurs { folder: folder.to_owned(), token_file: token_file.to_owned() }) }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What a folder held when it was looked at: changed files have another stamp.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp(Vec<Option<(u64, i64, i64, u64)>>);

impl Stamp {
    fn of(folder: &Path) -> Self {
        let look = |name| fs::metadata(folder.join(name)).ok().map(|m| (m.ino(), m.mtime(), m.mtime_nsec(), m.len()));
        Self([CA, CERTIFICATE, KEY].map(look).into())
    }
}

/// Chain and key of one host.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let io = |source| TlsError::Io { path: path.to_owned(), source };
    if fs::metadata(path).map_err(io)?.len() > MAX_FILE {
        return Err(TlsError::Malformed { path: path.to_owned(), what: "certificate", why: "the file is far too long".to_owned() });
    }
    fs::read(path).map_err(io)
}

pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let malformed = |why: String| TlsError::Malformed { path: path.to_owned(), what: "certificate", why };
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<_, _>>().map_err(|e| malformed(e.to_string()))?;
    if found.is_empty() { Err(malformed("no PEM block in it".to_owned())) } else { Ok(found) }
}

fn roots(folder: &Path) -> Result<RootCertStore, TlsError> {
    let path = folder.join(CA);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&path)? {
        let unusable = |e: rustls::Error| TlsError::Malformed { path: path.clone(), what: "CA certificate", why: e.to_string() };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn identity(folder: &Path) -> Result<Identity, TlsError> {
    let path = folder.join(KEY);
    let mode = fs::metadata(&path).map_err(|source| TlsError::Io { path: path.clone(), source })?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TlsError::Exposed { path, mode });
    }
    let key = PrivateKeyDer::from_pem_slice(&read(&path)?);
    let key = key.map_err(|e| TlsError::Malformed { path, what: "private key", why: e.to_string() })?;
    Ok(Identity { chain: certificates(&folder.join(CERTIFICATE))?, key })
}
