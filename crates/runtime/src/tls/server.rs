//! The server's side: shows its certificate, and asks for one that the cluster's CA has signed without insisting on it.

use super::{ALPN, Stamp, TlsError, VERSIONS, identity, provider, roots};
use crate::listen::Speech;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The configuration for the next handshake, read again when the folder's files have changed.
pub struct ServerTls {
    folder: PathBuf,
    loaded: Mutex<Loaded>,
}

struct Loaded {
    stamp: Stamp,
    config: Arc<ServerConfig>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl ServerTls {
    pub fn open(folder: &Path) -> Result<Self, TlsError> {
        // The stamp first: a change between the two is seen at the next handshake.
        let stamp = Stamp::of(folder);
        let config = load(folder)?;
        Ok(Self { folder: folder.to_owned(), loaded: Mutex::new(Loaded { stamp, config }) })
    }

    /// For one handshake, by what is to be spoken after it.
    pub(crate) fn config(&self, speech: Speech) -> Arc<ServerConfig> {
        let config = self.current();
        match speech {
            Speech::Http2 => config,
            // Nothing is agreed on, which is what every client of HTTP/1.1 takes.
            Speech::Http1 => {
                let mut config = ServerConfig::clone(&config);
                config.alpn_protocols.clear();
                Arc::new(config)
            }
        }
    }

    /// Files that cannot be used, because they are just being replaced for one, leave the ones before in force.
    fn current(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = Stamp::of(&self.folder);
        if stamp != loaded.stamp {
            match load(&self.folder) {
                Ok(config) => {
                    tracing::info!("certificates of {} were read again", self.folder.display());
                    loaded.config = config;
                }
                Err(error) => tracing::warn!(%error, "changed certificates cannot be used; the ones before stay in force"),
            }
            loaded.stamp = stamp;
        }
        loaded.config.clone()
    }
}

fn load(folder: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let unfit = |source| TlsError::Unfit { folder: folder.to_owned(), source };
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(folder)?), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| unfit(rustls::Error::General(e.to_string())))?;
    let identity = identity(folder)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(unfit)?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain, identity.key)
        .map_err(unfit)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed connection would bring a certificate of before a rotation.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
