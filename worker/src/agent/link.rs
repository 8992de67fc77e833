//! The agent's side of Sync: finds the coordinator, calls it, and waits between tries when it is away.

use osler_core::ids::Epoch;
use osler_core::sync::{Desired, Observed};
use osler_proto::v1::work_client::WorkClient;
use osler_proto::{InvalidMessage, MAX_MESSAGE_BYTES, MAX_REPORTS, MAX_SYNC_BYTES, v1};
use osler_runtime::auth::Token;
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::connect::{Authorized, connect};
use osler_runtime::lease;
use osler_runtime::store::Store;
use osler_runtime::tls::ClientTls;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

/// Beside the wait that was asked for: a connection's handshakes, the call's way, the coordinator's write.
const PATIENCE: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Bytes of reports in one call; one report goes whatever its size.
const MAX_REPORT_BYTES: usize = 8 << 20;

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
    async fn address(&self, tries: usize) -> Result<String, String> {
        match self {
            Self::Addresses(addresses) => Ok(addresses.get(tries % addresses.len().max(1)).cloned().ok_or("no address was given")?),
            Self::File(path) => in_file(path).ok_or_else(|| format!("{} is not there", path.display())),
            Self::Store(store) => match timeout(PATIENCE, lease::address(store)).await {
                Ok(Ok(Some(address))) => Ok(address),
                Ok(Ok(None)) => Err("no coordinator leads the store".to_owned()),
                Ok(Err(e)) => Err(e.to_string()),
                Err(_) => Err("the store does not answer".to_owned()),
            },
        }
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
    #[error("start the thread that looks after this node: {0}")]
    NoThread(std::io::Error),
    #[error("the coordinator does not speak this agent's protocol: {0}")]
    Protocol(#[from] InvalidMessage),
}

#[derive(Debug)]
pub struct Reply {
    pub desired: Desired,
}

type Client = WorkClient<Authorized>;

pub struct Link {
    endpoint: Endpoint,
    token: Token,
    tls: ClientTls,
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
    pub fn new(endpoint: Endpoint, token: Token, tls: ClientTls) -> Self {
        Self { endpoint, token, tls, client: None, seen_reply: 0, calls: 0, retry: FIRST_RETRY, away: false, missed: 0 }
    }

    /// One call. `None`: no answer; the link has waited a little already. Safe to drop at any point.
    pub async fn sync(&mut self, observed: Observed, wait: Duration) -> Result<Option<Reply>, LinkError> {
        let newest = observed.epoch;
        let mut request = v1::SyncRequest::try_from(observed)?;
        hold_back(&mut request, MAX_REPORT_BYTES);
        request.wait_ms = wait.as_millis() as u32;
        request.seen_reply = self.seen_reply;
        self.calls += 1;
        request.call = self.calls;
        match self.call(request, wait).await.and_then(|reply| not_older(newest, reply)) {
            Ok(reply) => {
                if self.away {
                    tracing::info!("the coordinator is back");
                }
                (self.away, self.retry) = (false, FIRST_RETRY);
                self.seen_reply = reply.reply;
                Ok(Some(Reply { desired: reply.try_into()? }))
            }
            Err(status)
                if matches!(
                    status.code(),
                    Code::Unauthenticated | Code::PermissionDenied | Code::FailedPrecondition | Code::InvalidArgument
                ) =>
            {
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

    async fn call(&mut self, mut request: v1::SyncRequest, wait: Duration) -> Result<v1::SyncReply, Status> {
        let client = match &mut self.client {
            Some(client) => client,
            empty => empty.insert(dial(&self.endpoint, self.missed, &self.token, &self.tls).await?),
        };
        // After the connection is made: the coordinator compares its clock with this one.
        request.sent_at_ms = SystemClock.now().0;
        let reply = timeout(wait + PATIENCE, client.sync(request)).await;
        Ok(reply.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner())
    }
}

/// A coordinator that has a successor, and does not know it yet, is like one that is away: the next try may find the successor.
fn not_older(newest: Epoch, reply: v1::SyncReply) -> Result<v1::SyncReply, Status> {
    if reply.epoch >= newest.0 {
        return Ok(reply);
    }
    let found = reply.epoch;
    Err(Status::unavailable(format!(
        "a coordinator of epoch {found} answers, and one of epoch {newest} has been heard; if the store is a new one, start this agent again"
    )))
}

async fn dial(endpoint: &Endpoint, tries: usize, token: &Token, tls: &ClientTls) -> Result<Client, Status> {
    let address = endpoint.address(tries).await.map_err(Status::unavailable)?;
    let channel = connect(&address, token, tls).await.map_err(|e| Status::unavailable(e.to_string()))?;
    Ok(WorkClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_SYNC_BYTES))
}

/// Leaves the newest reports for a later call when there are too many for one, as after a coordinator's long absence. A process whose
/// last words are left counts as running until they are sent: without them its end would look like a death.
fn hold_back(request: &mut v1::SyncRequest, limit: usize) {
    let mut bytes = 0;
    let fits = request.reports.iter().take_while(|report| {
        bytes += report.report_json.len();
        bytes <= limit
    });
    let sent = fits.count().clamp(1, MAX_REPORTS).min(request.reports.len());
    let left = request.reports.split_off(sent);
    for status in &mut request.processes {
        if left.iter().any(|report| report.process == status.process) {
            status.phase = Some(v1::process_status::Phase::Running(v1::Running {}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::process_status::Phase;

    fn process(rank: u32) -> Option<v1::ProcessId> {
        Some(v1::ProcessId { run: "r".into(), job: "train/s".into(), generation: 1, rank })
    }

    fn request(reports: &[(u32, usize)]) -> v1::SyncRequest {
        let exited = |rank| v1::ProcessStatus { process: process(rank), phase: Some(Phase::Exited(v1::Exited::default())) };
        let report = |(seq, (rank, bytes)): (usize, &(u32, usize))| v1::NumberedReport {
            seq: seq as u64,
            process: process(*rank),
            report_json: vec![b' '; *bytes],
        };
        let reports = reports.iter().enumerate().map(report).collect();
        v1::SyncRequest { processes: vec![exited(0), exited(1)], reports, ..Default::default() }
    }

    fn running(request: &v1::SyncRequest) -> Vec<bool> {
        request.processes.iter().map(|p| matches!(p.phase, Some(Phase::Running(_)))).collect()
    }

    #[test]
    fn an_older_coordinator_counts_as_away() {
        let reply = |epoch| v1::SyncReply { epoch, ..Default::default() };
        assert!([5, 6].iter().all(|epoch| not_older(Epoch(5), reply(*epoch)).is_ok()));
        let status = not_older(Epoch(5), reply(4)).unwrap_err();
        assert!(status.code() == Code::Unavailable && status.message().contains("start this agent again"), "{status}");
    }

    #[test]
    fn reports_that_do_not_fit_wait_and_their_processes_have_not_ended_before_them() {
        let mut all = request(&[(0, 10), (1, 10), (0, 10)]);
        let whole = all.clone();
        hold_back(&mut all, 30);
        assert_eq!(all, whole);
        hold_back(&mut all, 29);
        assert_eq!((all.reports.len(), running(&all)), (2, vec![true, false]));
        let mut large = request(&[(1, 100), (0, 1)]);
        hold_back(&mut large, 10);
        assert_eq!((large.reports.len(), running(&large)), (1, vec![true, false]), "one report goes whatever its size");
        let mut none = request(&[]);
        hold_back(&mut none, 10);
        assert_eq!(running(&none), [false, false]);
        let mut many = request(&vec![(1, 0); MAX_REPORTS + 1]);
        hold_back(&mut many, 10);
        assert_eq!((many.reports.len(), running(&many)), (MAX_REPORTS, vec![false, true]));
    }
}
