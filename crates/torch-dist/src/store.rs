//! The rendezvous store: a small key-value server inside one rank, through which the ranks of a gang find each other.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use crate::DistError;
use crate::deadline::{millis, within};
use crate::sys::{self, Handle};

/// A connection to the store, and on its host the store itself. Cheap to clone; the server ends with the last clone and group on its
/// host, so the hosting rank keeps it at least until all ranks have joined.
#[derive(Clone)]
pub struct Store {
    pub(crate) handle: Arc<Handle>,
    port: u16,
}

impl Store {
    /// Listens on `bind` only, and does not wait for the other ranks. `port` 0 takes a free one, see [`Store::port`].
    ///
    /// # Errors
    /// [`DistError::Bind`] when the address or port cannot be had; [`DistError::Store`] or [`DistError::Timeout`] when the server does
    /// not answer its own first connection.
    pub fn host(bind: IpAddr, port: u16, world_size: usize, timeout: Duration) -> Result<Self, DistError> {
        check_world("Store::host", world_size)?;
        let address = SocketAddr::new(bind, port);
        let listener = TcpListener::bind(address).map_err(|source| DistError::Bind { address, source })?;
        let port = listener.local_addr().map_err(|source| DistError::Bind { address, source })?.port();
        let reach = text("Store::host", &reachable(bind).to_string())?;
        let operation = format!("Store::host on {}", SocketAddr::new(bind, port));
        let handle = within(&operation.clone(), timeout, move || {
            Handle::create(sys::osler_store_free, |out| {
                // SAFETY: the socket's ownership passes to libtorch; the host name outlives the call; `out` is a valid place.
                let outcome =
                    unsafe { sys::osler_store_host(listener.into_raw_fd(), reach.as_ptr(), port, world_size, millis(timeout), out) };
                outcome.check(|| operation, timeout)
            })
        })?;
        Ok(Self { handle: Arc::new(handle), port })
    }

    /// Connects to the store of another process, trying again until `timeout`.
    ///
    /// # Errors
    /// [`DistError::Timeout`] when nobody answers in time, [`DistError::Store`] when something else answers.
    pub fn connect(host: &str, port: u16, world_size: usize, timeout: Duration) -> Result<Self, DistError> {
        let operation = format!("Store::connect to {host}, port {port}");
        check_world(&operation, world_size)?;
        let host = text(&operation, host)?;
        let handle = within(&operation.clone(), timeout, move || {
            Handle::create(sys::osler_store_free, |out| {
                // SAFETY: the host name outlives the call; `out` is a valid place.
                let outcome = unsafe { sys::osler_store_connect(host.as_ptr(), port, world_size, millis(timeout), out) };
                outcome.check(|| operation, timeout)
            })
        })?;
        Ok(Self { handle: Arc::new(handle), port })
    }

    /// The port that the server listens on.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// Where the host's own client finds a server bound to `bind`.
fn reachable(bind: IpAddr) -> IpAddr {
    match bind {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    }
}

fn check_world(operation: &str, world_size: usize) -> Result<(), DistError> {
    if world_size == 0 {
        return Err(DistError::invalid(operation, "world size 0: a gang has at least one rank"));
    }
    Ok(())
}

pub(crate) fn text(operation: &str, value: &str) -> Result<CString, DistError> {
    CString::new(value).map_err(|_| DistError::invalid(operation, format!("{value:?} contains a NUL byte")))
}
