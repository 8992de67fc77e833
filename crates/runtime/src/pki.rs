//! A cluster's own certificates: one CA (ECDSA P-256) and a certificate for each kind of host, made and looked at here.
//!
//! The folder that `osler cluster init` makes holds the CA's key, which no host of the cluster needs, and one folder to copy for each
//! kind of host.

#[cfg(test)]
mod damage;
mod inspect;
mod issue;
mod own;
#[cfg(test)]
mod tests;

pub use inspect::{Seen, inspect};
pub use own::{own_client, own_server};

use crate::auth::{Token, TokenError};
use crate::files;
use crate::tls::{self, TlsError};
use osler_core::access::{NewToken, Role};
use osler_core::ids::{InvalidName, Millis, TokenName};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

pub const CA_KEY: &str = "ca-key.pem";
/// To copy to the coordinator's hosts: active and standby have the same.
pub const COORDINATOR: &str = "coordinator";
/// To copy to the hosts with agents.
pub const AGENT: &str = "agent";
/// For the person who administers the cluster.
pub const ADMIN: &str = "admin";
/// Digests of the first tokens, for the coordinator; no secrets.
pub const FIRST_TOKENS: &str = "tokens.json";

const DAY: u64 = 24 * 60 * 60 * 1000;
const CA_DAYS: u64 = 3650;
const LEAF_DAYS: u64 = 365;
const MAX_HOSTS: usize = 64;

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{0} holds a CA already, and whoever trusts it would trust nobody any more: take another folder, or `osler cluster rotate` for new certificates"
    )]
    Exists(PathBuf),
    #[error("{0:?} is no host name or address")]
    BadHost(String),
    #[error("name 1 to {MAX_HOSTS} hosts, by which agents and people reach the coordinator")]
    Hosts,
    #[error("make certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("{path} is not a certificate: {why}")]
    Unreadable { path: PathBuf, why: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error("{path}: {source}")]
    Document { path: PathBuf, source: serde_json::Error },
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> PkiError + '_ {
    |source| PkiError::Io { path: path.to_owned(), source }
}

/// Makes a cluster's folder. Nothing that is there is replaced.
pub fn init(folder: &Path, hosts: &[String], now: Millis) -> Result<(), PkiError> {
    for taken in [tls::CA, CA_KEY, COORDINATOR, AGENT, ADMIN].map(|name| folder.join(name)) {
        if taken.exists() {
            return Err(PkiError::Exists(folder.to_owned()));
        }
    }
    let ca = begin(folder, &[COORDINATOR, AGENT, ADMIN], &checked(hosts)?, now)?;
    let mut first = vec![];
    for (host, role) in [(AGENT, Role::Worker), (ADMIN, Role::Admin)] {
        let token = Token::load_or_create(&folder.join(host).join(tls::TOKEN))?;
        first.push(NewToken { name: TokenName::new(host)?, role, sha256: token.sha256(), worker: None });
    }
    let path = folder.join(COORDINATOR).join(FIRST_TOKENS);
    let document = serde_json::to_vec_pretty(&first).map_err(|source| PkiError::Document { path: path.clone(), source })?;
    write(&path, &document, 0o600)?;
    finish(folder, &ca)
}

/// A CA, a folder for each kind of host that knows it, and their certificates.
fn begin(folder: &Path, kinds: &[&str], hosts: &[String], now: Millis) -> Result<issue::Authority, PkiError> {
    private_folder(folder)?;
    let ca = issue::Authority::new(now, CA_DAYS)?;
    for kind in kinds {
        private_folder(&folder.join(kind))?;
        write(&folder.join(kind).join(tls::CA), ca.certificate().as_bytes(), 0o644)?;
    }
    leaves(folder, &ca, hosts, now)?;
    Ok(ca)
}

/// The key last: a folder without it is not yet one, and one with it is whole.
fn finish(folder: &Path, ca: &issue::Authority) -> Result<(), PkiError> {
    write(&folder.join(tls::CA), ca.certificate().as_bytes(), 0o644)?;
    write(&folder.join(CA_KEY), ca.key().as_bytes(), 0o600)
}

/// New certificates and keys for all hosts from the same CA, for the same names; or, with other names by which the coordinators are
/// reached from now on, for them alone.
pub fn rotate(folder: &Path, hosts: Option<&[String]>, now: Millis) -> Result<(), PkiError> {
    let path = |name| folder.join(name);
    let read = |path: &Path| fs::read_to_string(path).map_err(io_at(path));
    let ca = issue::Authority::load(&read(&path(tls::CA))?, &read(&path(CA_KEY))?)?;
    match hosts {
        Some(hosts) => server(folder, &ca, &checked(hosts)?, now),
        None => leaves(folder, &ca, &inspect(&path(COORDINATOR).join(tls::CERTIFICATE))?.hosts, now),
    }
}

/// The tokens that a coordinator's folder brings, none if it brings none.
pub fn first_tokens(folder: &Path) -> Result<Vec<NewToken>, PkiError> {
    let path = folder.join(FIRST_TOKENS);
    match fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| PkiError::Document { path, source }),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(vec![]),
        Err(source) => Err(PkiError::Io { path, source }),
    }
}

fn leaves(folder: &Path, ca: &issue::Authority, hosts: &[String], now: Millis) -> Result<(), PkiError> {
    server(folder, ca, hosts, now)?;
    put(&folder.join(AGENT), &ca.issue("osler agents", issue::Use::Client, now, LEAF_DAYS)?)
}

fn server(folder: &Path, ca: &issue::Authority, hosts: &[String], now: Millis) -> Result<(), PkiError> {
    put(&folder.join(COORDINATOR), &ca.issue("osler coordinator", issue::Use::Server(hosts), now, LEAF_DAYS)?)
}

/// Between the two renames the pair does not fit, and who reads then keeps what it had or tries again.
fn put(host: &Path, leaf: &issue::Leaf) -> Result<(), PkiError> {
    write(&host.join(tls::KEY), leaf.key.as_bytes(), 0o600)?;
    write(&host.join(tls::CERTIFICATE), leaf.certificate.as_bytes(), 0o644)
}

fn checked(hosts: &[String]) -> Result<Vec<String>, PkiError> {
    if hosts.is_empty() || hosts.len() > MAX_HOSTS {
        return Err(PkiError::Hosts);
    }
    let usable = |host: &&String| host.len() <= 253 && rustls::pki_types::ServerName::try_from(host.as_str()).is_ok();
    match hosts.iter().find(|host| !usable(host)) {
        Some(bad) => Err(PkiError::BadHost(bad.chars().take(80).collect())),
        None => Ok(hosts.to_vec()),
    }
}

fn private_folder(path: &Path) -> Result<(), PkiError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_at(path))
}

/// Replaces a file as a whole; it never had another mode.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), PkiError> {
    files::replace(path, bytes, mode).map_err(io_at(path))
}
