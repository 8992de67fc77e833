//! Signatures of what coordinators write, Ed25519: for whoever needs proof against somebody who can write the store.
//!
//! Keys are PEM files, made by `osler cluster signing-key` or by openssl: `openssl genpkey -algorithm ed25519 -out signing-key.pem`, and
//! `openssl pkey -in signing-key.pem -pubout -out signing-public.pem`.

use crate::files;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use osler_core::seal::Signature;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use std::fmt;
use std::path::{Path, PathBuf};

/// What stands before the key's 32 bytes in an Ed25519 public key of RFC 8410.
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("{0}: not an Ed25519 key in PEM form: make one with `openssl genpkey -algorithm ed25519 -out FILE`")]
    Private(PathBuf),
    #[error("{0}: not an Ed25519 public key in PEM form: `openssl pkey -in KEY -pubout -out FILE` writes it")]
    Public(PathBuf),
    #[error("{0}: others than its owner can read it: chmod 600 it")]
    Open(PathBuf),
    #[error("{0} is there already, and what it signed could not be verified any more without it: take another folder")]
    Exists(PathBuf),
    #[error("make a key: {0}")]
    Make(#[from] rcgen::Error),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

/// The file with the key, for coordinators alone.
pub const KEY: &str = "signing-key.pem";
/// The file with its public half, for whoever audits.
pub const PUBLIC: &str = "signing-public.pem";

/// Makes a new pair of keys in a folder, which is made if it is not there.
pub fn create(folder: &Path) -> Result<(PathBuf, PathBuf), KeyError> {
    let (key, public) = (folder.join(KEY), folder.join(PUBLIC));
    if key.exists() || public.exists() {
        return Err(KeyError::Exists(if key.exists() { key } else { public }));
    }
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| KeyError::Io { path, source }
    };
    files::make_folder(folder).map_err(io(folder))?;
    files::replace(&public, pair.public_key_pem().as_bytes(), 0o644).map_err(io(&public))?;
    files::replace(&key, pair.serialize_pem().as_bytes(), 0o600).map_err(io(&key))?;
    Ok((key, public))
}

/// Signs; whoever has it can write what a coordinator would.
pub struct SigningKey(Ed25519KeyPair);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        use std::os::unix::fs::PermissionsExt;
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        if std::fs::metadata(path).map_err(io)?.permissions().mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
        let pem = std::fs::read(path).map_err(io)?;
        let unfit = || KeyError::Private(path.to_owned());
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| unfit())?;
        Ok(Self(Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| unfit())?))
    }

    pub fn sign(&self, message: &[u8]) -> Signature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(message).as_ref()); // an Ed25519 signature has 64 bytes
        Signature(bytes)
    }
}

/// Verifies what its other half signed.
#[derive(Debug, Clone)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let pem = std::fs::read(path).map_err(|source| KeyError::Io { path: path.to_owned(), source })?;
        let unfit = || KeyError::Public(path.to_owned());
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&pem).map_err(|_| unfit())?;
        let key = der.strip_prefix(&SPKI[..]).and_then(|key| key.try_into().ok()).ok_or_else(unfit)?;
        Ok(Self(key))
    }

    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, &signature.0).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    // Made by openssl 3 for this test; the signature is that of `openssl pkeyutl -sign -rawin` over "osler".
    const OPENSSLS: &str =
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIFBgkhMVyVbln6j4rpp2HWJATBEiKig5YbaGvnVF0wAa\n-----END PRIVATE KEY-----\n";
    const ITS_PUBLIC: &str =
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAgvB0hhQ0OA/UtHPSYeyAE3wHTd39RsW8u5Z+ufPXlNs=\n-----END PUBLIC KEY-----\n";
    const OF_OSLER: &str =
        "47c69cd0235f0d286d37590628704eca620d83d6f0b45d40498f2039682cb6cb4736c4c859aef43738ebf1892451a1a718201f98cef89552360b5b55bc9ef409";

    fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    #[test]
    fn keys_of_openssl_sign_and_verify_as_openssl_does() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::load(&file(folder.path(), "key.pem", OPENSSLS)).unwrap();
        let public = PublicKey::load(&file(folder.path(), "public.pem", ITS_PUBLIC)).unwrap();
        let signature = key.sign(b"osler");
        assert_eq!(String::from(signature.clone()), OF_OSLER);
        assert!(public.verify(b"osler", &signature) && !public.verify(b"Osler", &signature));
    }

    #[test]
    fn a_new_pair_belongs_together_and_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (key, public) = create(&folder.path().join("new")).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let signature = SigningKey::load(&key).unwrap().sign(b"x");
        assert!(PublicKey::load(&public).unwrap().verify(b"x", &signature));
        fs::remove_file(&key).unwrap();
        assert!(matches!(create(&folder.path().join("new")), Err(KeyError::Exists(_))));
    }

    #[test]
    fn what_is_no_key_or_open_to_others_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let open = file(folder.path(), "open.pem", OPENSSLS);
        fs::set_permissions(&open, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::load(&open), Err(KeyError::Open(_))));
        let public = file(folder.path(), "public.pem", ITS_PUBLIC);
        assert!(matches!(SigningKey::load(&public), Err(KeyError::Private(_))));
        assert!(matches!(PublicKey::load(&open), Err(KeyError::Public(_))));
        assert!(matches!(PublicKey::load(&folder.path().join("none")), Err(KeyError::Io { .. })));
    }
}
