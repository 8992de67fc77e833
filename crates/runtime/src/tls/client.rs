//! The client's side: believes the cluster's CA and nobody else, and shows its certificate if it has one.

use super::{ALPN, CERTIFICATE, TlsError, VERSIONS, identity, provider, roots};
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
}

impl ClientTls {
    /// Fails at once if the folder cannot be used.
    pub fn open(folder: &Path) -> Result<Self, TlsError> {
        load(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// `host` is what the server's certificate must name.
    pub async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = load(&self.folder).map_err(io::Error::other)?;
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
