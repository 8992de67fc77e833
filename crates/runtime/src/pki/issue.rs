//! Making certificates.

use super::{DAY, PkiError};
use osler_core::ids::Millis;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use time::OffsetDateTime;

/// Clocks of hosts may differ by this much.
const SKEW: u64 = 60 * 60 * 1000;

pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

pub struct Leaf {
    pub certificate: String,
    pub key: String,
}

/// What a certificate proves.
pub enum Use<'a> {
    /// To be reached by these names and addresses.
    Server(&'a [String]),
    Client,
}

impl Authority {
    pub fn new(now: Millis, days: u64) -> Result<Self, PkiError> {
        let mut params = params(vec![], "osler cluster CA", now, days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { certificate, issuer: Issuer::new(params, key) })
    }

    pub fn load(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    pub fn issue(&self, name: &str, purpose: Use<'_>, now: Millis, days: u64) -> Result<Leaf, PkiError> {
        let (hosts, purpose) = match purpose {
            Use::Server(hosts) => (hosts.to_vec(), ExtendedKeyUsagePurpose::ServerAuth),
            Use::Client => (vec![], ExtendedKeyUsagePurpose::ClientAuth),
        };
        let mut params = params(hosts, name, now, days)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Leaf { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

fn params(hosts: Vec<String>, name: &str, now: Millis, days: u64) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = at(now.0.saturating_sub(SKEW))?;
    params.not_after = at(now.0.saturating_add(days * DAY))?;
    Ok(params)
}

fn at(millis: u64) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp((millis / 1000) as i64).map_err(|_| PkiError::Make(rcgen::Error::Time))
}
