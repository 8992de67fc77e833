//! The client's side: believes the cluster's CA and nobody else, and shows its certificate if it has one.

use super::{ALPN, CERTIFICATE, OWN_NAME, TlsError, VERSIONS, belongs, identity, provider, roots};
use crate::pki;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Reads its folder at every connection, so that what was rotated counts from the next one on.
#[derive(Debug, Clone)]
pub struct ClientTls {
    folder: PathBuf,
    /// Nobody named the folder: it must belong to the owner of this token.
    found_for: Option<PathBuf>,
}

impl ClientTls {
    /// Fails at once if the folder cannot be used.
    pub fn open(folder: &Path) -> Result<Self, TlsError> {
        load(folder)?;
        Ok(Self { folder: folder.to_owned(), found_for: None })
    }

    /// Believes the coordinator whose own certificates are beside `owners`, a token file, provided that they belong to who owns
    /// `token_file`, whose token is sent. A coordinator that starts may be about to make them: they are looked for with each connection.
    pub fn own(owners: &Path, token_file: &Path) -> Self {
        Self { folder: pki::own_client(owners), found_for: Some(token_file.to_owned()) }
    }

    /// Whether the folder is there and may be believed.
    pub fn usable(&self) -> Result<(), TlsError> {
        self.config().map(drop)
    }

    fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(token_file) = &self.found_for {
            let folder = self.folder.parent().unwrap_or(&self.folder);
            if !folder.exists() {
                return Err(TlsError::Unknown { folder: folder.to_owned() });
            }
            belongs(folder, token_file)?;
        }
        load(&self.folder)
    }

    /// `host` is what the server's certificate must name, unless the coordinator made it for itself.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = self.config().map_err(io::Error::other)?;
        let host = if self.found_for.is_some() { OWN_NAME } else { host };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(config).connect(name, stream).await
    }
}

fn load(folder: &Path) -> Result<Arc<ClientConfig>, TlsError> {
    let unfit = |source| TlsError::Unfit { folder: folder.to_owned(), source };
    let believing = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(unfit)?
        .with_root_certificates(roots(folder)?);
    let mut config = if folder.join(CERTIFICATE).exists() {
        let identity = identity(folder)?;
        believing.with_client_auth_cert(identity.chain, identity.key).map_err(unfit)?
    } else {
        believing.with_no_client_auth()
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
