//! The agent's side of Sync: finds the coordinator, calls it, and waits between tries when it is away.

use osler_core::sync::{Desired, Observed};
use osler_proto::v1::work_client::WorkClient;
use osler_proto::{InvalidMessage, MAX_MESSAGE_BYTES, v1};
use osler_runtime::auth::{Token, WithToken};
use osler_runtime::lease;
use osler_runtime::store::Store;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint as Address};
use tonic::{Code, Status};

const CONNECT: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Where the coordinator is. Looked up again at every try, so that agents find one that came back elsewhere, or a standby that took over.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// Tried in turn: a coordinator and its standbys.
    Addresses(Vec<String>),
    /// One coordinator's endpoint file.
    File(PathBuf),
    /// The lease of the store's coordinator.
    Store(Store),
}

impl Endpoint {
    /// `tries` counts the calls that got no answer.
    async fn uri(&self, tries: usize) -> Result<String, String> {
        let address = match self {
            Self::Addresses(addresses) => addresses.get(tries % addresses.len().max(1)).cloned().ok_or("no address was given")?,
            Self::File(path) => in_file(path).ok_or_else(|| format!("{} is not there", path.display()))?,
            Self::Store(store) => match timeout(CONNECT, lease::address(store)).await {
                Ok(Ok(Some(address))) => address,
                Ok(Ok(None)) => return Err("no coordinator reigns over the store".to_owned()),
                Ok(Err(e)) => return Err(e.to_string()),
                Err(_) => return Err("the store does not answer".to_owned()),
            },
        };
        Ok(format!("http://{address}"))
    }
}

fn in_file(path: &Path) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(document.get("address")?.as_str()?.to_owned())
}

/// Reasons to stop for good; everything else is tried again.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the coordinator refused this agent: {0}")]
    Refused(String),
    #[error("the coordinator does not speak this agent's protocol: {0}")]
    Protocol(#[from] InvalidMessage),
}

#[derive(Debug)]
pub struct Reply {
    pub desired: Desired,
}

type Client = WorkClient<InterceptedService<Channel, WithToken>>;

pub struct Link {
    endpoint: Endpoint,
    token: Token,
    client: Option<Client>,
    seen_reply: u64,
    /// Calls made, dropped ones included.
    calls: u64,
    retry: Duration,
    away: bool,
    /// Calls without an answer.
    missed: usize,
}

impl Link {
    pub fn new(endpoint: Endpoint, token: Token) -> Self {
        Self { endpoint, token, client: None, seen_reply: 0, calls: 0, retry: FIRST_RETRY, away: false, missed: 0 }
    }

    /// One call. `None`: no answer; the link has waited a little already. Safe to drop at any point.
    pub async fn sync(&mut self, observed: Observed, wait: Duration) -> Result<Option<Reply>, LinkError> {
        let mut request = v1::SyncRequest::try_from(observed)?;
        request.wait_ms = wait.as_millis() as u32;
        request.seen_reply = self.seen_reply;
        self.calls += 1;
        request.call = self.calls;
        match self.call(request, wait).await {
            Ok(reply) => {
                if self.away {
                    tracing::info!("the coordinator is back");
                }
                (self.away, self.retry) = (false, FIRST_RETRY);
                self.seen_reply = reply.reply;
                Ok(Some(Reply { desired: reply.try_into()? }))
            }
            Err(status) if matches!(status.code(), Code::Unauthenticated | Code::FailedPrecondition | Code::InvalidArgument) => {
                Err(LinkError::Refused(status.message().to_owned()))
            }
            Err(status) => {
                if !self.away {
                    tracing::warn!(reason = status.message(), "no answer from the coordinator; processes go on, trying again");
                }
                (self.away, self.client, self.seen_reply, self.missed) = (true, None, 0, self.missed + 1);
                sleep(self.retry).await;
                self.retry = (self.retry * 2).min(LAST_RETRY);
                Ok(None)
            }
        }
    }

    async fn call(&mut self, request: v1::SyncRequest, wait: Duration) -> Result<v1::SyncReply, Status> {
        let client = match &mut self.client {
            Some(client) => client,
            empty => empty.insert(connect(&self.endpoint, self.missed, &self.token).await?),
        };
        let reply = timeout(wait + CONNECT, client.sync(request)).await;
        Ok(reply.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner())
    }
}

async fn connect(endpoint: &Endpoint, tries: usize, token: &Token) -> Result<Client, Status> {
    let uri = endpoint.uri(tries).await.map_err(Status::unavailable)?;
    let address = Address::from_shared(uri).map_err(|e| Status::unavailable(e.to_string()))?;
    let channel = address.connect_timeout(CONNECT).tcp_nodelay(true).connect().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let client = WorkClient::with_interceptor(channel, WithToken(token.clone()));
    Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
}
