//! The agent's side of Sync: finds the coordinator, calls it, and waits between tries when it is away.

use osler_core::sync::{Desired, Observed};
use osler_proto::v1::work_client::WorkClient;
use osler_proto::{InvalidMessage, MAX_MESSAGE_BYTES, v1};
use osler_runtime::auth::{Token, WithToken};
use osler_runtime::clock::{Clock, SystemClock};
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint as Address};
use tonic::{Code, Status};

const CONNECT: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Where the coordinator is. A file is read again at every try, so that agents find a coordinator that came back elsewhere.
#[derive(Debug, Clone)]
pub enum Endpoint {
    Address(String),
    File(PathBuf),
}

impl Endpoint {
    fn uri(&self) -> Option<String> {
        let address = match self {
            Self::Address(address) => address.clone(),
            Self::File(path) => {
                let text = std::fs::read(path).ok()?;
                let document: serde_json::Value = serde_json::from_slice(&text).ok()?;
                document.get("address")?.as_str()?.to_owned()
            }
        };
        Some(format!("http://{address}"))
    }
}

/// Reasons to stop for good; everything else is tried again.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the coordinator refused this agent: {0}")]
    Refused(String),
    #[error("start the thread that looks after this node: {0}")]
    NoThread(std::io::Error),
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
}

impl Link {
    pub fn new(endpoint: Endpoint, token: Token) -> Self {
        Self { endpoint, token, client: None, seen_reply: 0, calls: 0, retry: FIRST_RETRY, away: false }
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
                (self.away, self.client, self.seen_reply) = (true, None, 0);
                sleep(self.retry).await;
                self.retry = (self.retry * 2).min(LAST_RETRY);
                Ok(None)
            }
        }
    }

    async fn call(&mut self, mut request: v1::SyncRequest, wait: Duration) -> Result<v1::SyncReply, Status> {
        let client = match &mut self.client {
            Some(client) => client,
            empty => empty.insert(connect(&self.endpoint, &self.token).await?),
        };
        // After the connection is made: the coordinator compares its clock with this one.
        request.sent_at_ms = SystemClock.now().0;
        let reply = timeout(wait + CONNECT, client.sync(request)).await;
        Ok(reply.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner())
    }
}

async fn connect(endpoint: &Endpoint, token: &Token) -> Result<Client, Status> {
    let uri = endpoint.uri().ok_or_else(|| Status::unavailable("the coordinator's endpoint file is not there"))?;
    let address = Address::from_shared(uri).map_err(|e| Status::unavailable(e.to_string()))?;
    let channel = address.connect_timeout(CONNECT).tcp_nodelay(true).connect().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let client = WorkClient::with_interceptor(channel, WithToken(token.clone()));
    Ok(client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES))
}
