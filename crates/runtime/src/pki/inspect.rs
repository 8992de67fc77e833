//! Looking at certificates.

use super::PkiError;
use crate::tls;
use osler_core::ids::Millis;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// What a person wants to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: PathBuf,
    pub subject: String,
    /// Names and addresses that it is good for.
    pub hosts: Vec<String>,
    pub expires: Millis,
}

impl Seen {
    /// Whole days until it expires; negative: it has.
    pub fn days_left(&self, now: Millis) -> i64 {
        (self.expires.0 as i64 - now.0 as i64).div_euclid(super::DAY as i64)
    }
}

/// The first certificate of a file.
pub fn inspect(path: &Path) -> Result<Seen, PkiError> {
    let unreadable = |why: String| PkiError::Unreadable { path: path.to_owned(), why };
    let chain = tls::certificates(path)?;
    let first = chain.first().ok_or_else(|| unreadable("the file is empty".to_owned()))?;
    let (_, certificate) = parse_x509_certificate(first).map_err(|e| unreadable(e.to_string()))?;
    let names = certificate.subject_alternative_name().map_err(|e| unreadable(e.to_string()))?;
    let hosts = names.map(|names| names.value.general_names.iter().filter_map(host).collect()).unwrap_or_default();
    let expires = Millis(u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0) * 1000);
    Ok(Seen { path: path.to_owned(), subject: certificate.subject().to_string(), hosts, expires })
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}
