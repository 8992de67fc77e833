//! Finding and calling a coordinator. Its refusals become messages with an exit code; the wire's types end here.

use crate::closed;
use crate::failure::{Failure, Outcome, failed, no_room, usage};
use crate::hint::USUAL_STORE;
use clap::Args;
use osler_core::access::{LogEntry, NewToken};
use osler_core::cluster::{Drain, Strike};
use osler_core::health::Health;
use osler_core::identity::Submission;
use osler_core::ids::{Millis, TokenName};
use osler_core::job::JobKey;
use osler_core::process::Progress;
use osler_core::reason::Reason;
use osler_core::record::RunRecord;
use osler_proto::v1::control_client::ControlClient;
use osler_proto::{MAX_CONTROL_BYTES, MAX_MESSAGE_BYTES, v1};
use osler_runtime::auth::{Token, default_token_file};
use osler_runtime::connect::{Authorized, ConnectError, Unproven, connect};
use osler_runtime::lease;
use osler_runtime::store::{Store, local_folder};
use osler_runtime::tls::{self, ClientTls};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{Code, Status};

const CONNECT: Duration = Duration::from_secs(2);
/// Answers are computed in memory; a coordinator that needs longer is stuck.
const ANSWER: Duration = Duration::from_secs(20);

/// Where runs are looked for.
#[derive(Debug, Clone, Args)]
pub struct Access {
    /// The runs' store, a folder or s3://BUCKET/PREFIX; its coordinator is found through it.
    #[arg(long, global = true, env = "OSLER_STORE", default_value = USUAL_STORE, value_name = "STORE", help_heading = "Everywhere")]
    pub store: String,
    /// A coordinator's address, HOST:PORT, if not found through the store; with standbys theirs too, separated by commas.
    #[arg(long, global = true, env = "OSLER_COORDINATOR", value_name = "ADDR", value_delimiter = ',', help_heading = "Everywhere")]
    pub coordinator: Vec<String>,
    /// Your token's file, with --coordinator [default: DIR/token with --tls DIR].
    #[arg(long, global = true, env = "OSLER_TOKEN_FILE", value_name = "PATH", help_heading = "Everywhere")]
    pub token_file: Option<PathBuf>,
    /// A folder that holds the cluster's ca.pem, by which the coordinator is known (and your token) [default: `tls/agent` beside the token
    /// file, which the owner's coordinator on this machine makes].
    #[arg(long, global = true, env = "OSLER_TLS", value_name = "DIR", help_heading = "Everywhere")]
    pub tls: Option<PathBuf>,
}

/// What a coordinator writes about itself beside its store.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoint {
    pub address: String,
    pub pid: u32,
    pub token_file: PathBuf,
}

impl Endpoint {
    pub fn path(store: &Path) -> PathBuf {
        store.join("coordinator/endpoint.json")
    }

    /// None: there is none, or it is not readable as one (being replaced, of another version).
    pub fn read(store: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(store)).ok()?).ok()
    }
}

impl Access {
    pub fn local(store: &str) -> Self {
        Self { store: store.to_owned(), coordinator: vec![], token_file: None, tls: None }
    }

    /// The store's folder on this machine, whether it exists or not.
    pub fn folder(&self) -> Outcome<PathBuf> {
        Ok(local_folder(&self.store)?)
    }

    /// Opens the store, which must be there: looking does not make one.
    pub fn open_store(&self) -> Outcome<Store> {
        if !self.store.contains("://") || self.store.starts_with("file://") {
            let folder = self.folder()?;
            closed::refuse(&folder)?;
            if !folder.is_dir() {
                let hint = "give --store DIR (or OSLER_STORE), or start a run with `osler up RUN.toml`";
                return Err(usage(format!("no store at {}", folder.display())).hint(hint));
            }
        }
        Ok(Store::open(&self.store)?)
    }

    /// The file of the caller's own token, if one was named: by itself, or by a folder that holds one. Whoever names one is not taken for
    /// another, so one that cannot be read is an error.
    fn own_token(&self) -> Option<PathBuf> {
        let in_folder = || self.tls.as_ref().map(|folder| folder.join(tls::TOKEN)).filter(|file| file.exists());
        self.token_file.clone().or_else(in_folder)
    }

    /// By what the coordinator is known: the folder that was named, else what its owner's coordinator left beside `owners`, a token file.
    fn trust(&self, owners: &Path, token_file: &Path) -> Outcome<ClientTls> {
        match &self.tls {
            Some(folder) => ClientTls::open(folder).map_err(|e| usage(e.to_string())),
            None => Ok(ClientTls::own(owners, token_file)),
        }
    }

    /// The coordinator, None if none lives here. One that was named must be there, and nobody else may be in its place.
    pub async fn coordinator(&self) -> Outcome<Option<Coordinator>> {
        match self.look().await? {
            Found::Here(coordinator) => Ok(Some(coordinator)),
            Found::Nobody => Ok(None),
            Found::Unproven(stranger) => Err(failed(stranger.to_string()).hint(ELSEWHERE)),
        }
    }

    /// As [`Self::coordinator`], for who starts one if there is none: that a stranger has a dead one's port keeps nobody from it.
    pub async fn living(&self) -> Outcome<Option<Coordinator>> {
        match self.look().await? {
            Found::Here(coordinator) => Ok(Some(coordinator)),
            Found::Nobody | Found::Unproven(_) => Ok(None),
        }
    }

    /// An empty variable of the environment names none.
    pub fn names_one(&self) -> bool {
        self.coordinator.iter().any(|address| !address.is_empty())
    }

    async fn look(&self) -> Outcome<Found> {
        if self.names_one() {
            return self.named().await.map(Found::Here);
        }
        let own = self.own_token();
        let mut found = Found::Nobody;
        if let Some(endpoint) = Endpoint::read(&self.folder()?) {
            // One's own; without one the owner's, which only the owner can read.
            if let Some(file) = &own {
                let beside = self.trust(&endpoint.token_file, file)?;
                let tls = if beside.usable().is_ok() { beside } else { self.trust(file, file)? };
                found = answering_to(&endpoint.address, &Token::load(file)?, &tls).await?;
            } else if let Ok(token) = Token::load(&endpoint.token_file) {
                found = answering(&endpoint.address, &token, &self.trust(&endpoint.token_file, &endpoint.token_file)?).await;
            }
        }
        match found {
            Found::Here(_) => Ok(found),
            nobody => match self.leading(own).await? {
                Found::Nobody => Ok(nobody),
                found => Ok(found),
            },
        }
    }

    /// One of those that were named, the first that answers.
    async fn named(&self) -> Outcome<Coordinator> {
        if let Some(folder) = &self.tls {
            // What is wrong with it says more than that no token is in it.
            ClientTls::open(folder).map_err(|e| usage(e.to_string()))?;
        }
        let file = self.own_token();
        let file = file.ok_or_else(|| usage("whose call is it?").hint("give --token-file PATH, or --tls DIR with a token in it"))?;
        let (token, tls) = (Token::load(&file)?, self.trust(&file, &file)?);
        let mut tried = vec![];
        for address in self.coordinator.iter().filter(|address| !address.is_empty()) {
            match Coordinator::connect(address, &token, &tls).await {
                Ok(found) => return Ok(found),
                Err(e) => tried.push(format!("no coordinator answers at {address}: {e}")),
            }
        }
        Err(failed(tried.join("; ")).hint("check --coordinator, --tls and whether it runs"))
    }

    /// On another machine, or a standby that took over: the store knows where.
    async fn leading(&self, own: Option<PathBuf>) -> Outcome<Found> {
        let (Some(file), Ok(store)) = (own.clone().or_else(default_token_file), self.open_store()) else { return Ok(Found::Nobody) };
        let token = match Token::load(&file) {
            Err(e) if own.is_some() => return Err(e.into()),
            Err(_) => return Ok(Found::Nobody),
            Ok(token) => token,
        };
        match timeout(CONNECT, lease::address(&store)).await {
            Ok(Ok(Some(address))) => Ok(answering(&address, &token, &self.trust(&file, &file)?).await),
            _ => Ok(Found::Nobody),
        }
    }

    /// The coordinator, which must be there.
    pub async fn need_coordinator(&self) -> Outcome<Coordinator> {
        match self.find().await? {
            Some(found) => Ok(found),
            None => Err(failed(format!("no coordinator is running on {}", self.store)).hint(format!(
                "start one with {} or osler-coordinator, or name one with --coordinator (and --tls, if it is encrypted)",
                self.command("up RUN.toml")
            ))),
        }
    }
}

/// Who is where a coordinator should be.
enum Found {
    Here(Coordinator),
    Nobody,
    /// The word of one that was killed stays; its port may have gone to somebody else.
    Unproven(Unproven),
}

const ELSEWHERE: &str = "when a coordinator ends its port may go to somebody else: start it again, or give --tls DIR with its ca.pem if it is \
                         another's";

/// A coordinator that answers, for a caller who named the token: that it is refused is the answer, not that nobody is there.
async fn answering_to(address: &str, token: &Token, tls: &ClientTls) -> Outcome<Found> {
    let mut found = match Coordinator::connect(address, token, tls).await {
        Ok(found) => found,
        Err(ConnectError::Unproven(stranger)) => return Ok(Found::Unproven(stranger)),
        Err(_) => return Ok(Found::Nobody),
    };
    match timeout(CONNECT, found.control.list_runs(v1::ListRunsRequest {})).await {
        Ok(Ok(_)) => Ok(Found::Here(found)),
        Ok(Err(status)) if status.code() == Code::ResourceExhausted => {
            found.alarm = Some(status.message().to_owned());
            Ok(Found::Here(found))
        }
        Ok(Err(status)) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => Err(failed(format!(
            "the coordinator at {address} refuses the token that was named (--token-file, OSLER_TOKEN_FILE, or in the folder of --tls): {}",
            status.message()
        ))),
        _ => Ok(Found::Nobody),
    }
}

/// As [`answering_to`], where a refusal means nobody: another coordinator of the same user has the port now.
async fn answering(address: &str, token: &Token, tls: &ClientTls) -> Found {
    answering_to(address, token, tls).await.unwrap_or(Found::Nobody)
}

/// A line of a list of runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunLine {
    pub run: String,
    pub state: String,
    pub reason: String,
    pub stage: String,
    pub step: u64,
    pub planned_steps: u64,
    pub submitted_at: Millis,
}

impl RunLine {
    /// The state of a run whose record cannot be read.
    pub const UNREADABLE: &str = "unreadable";
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WorkerLine {
    pub worker: String,
    pub host: String,
    pub state: String,
    pub slots: u32,
    pub used: u32,
    pub seen_at: Millis,
    pub labels: BTreeMap<String, String>,
    /// Why it takes no work.
    pub why: Option<String>,
    pub drain: Option<Drain>,
    pub strikes: Vec<Strike>,
    pub health: Option<Health>,
    pub skew_ms: i64,
}

/// A job that waits for slots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueueLine {
    pub run: String,
    pub job: String,
    pub ranks: u32,
    pub priority: i32,
    pub team: String,
    pub reason: String,
}

/// What a team holds of what it may hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuotaLine {
    pub team: String,
    pub slots: Option<u32>,
    pub used: u32,
}

/// How often a job may still fail in a row, by class of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Budget {
    pub infrastructure: u32,
    pub internal: u32,
    pub out_of_memory: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenLine {
    pub name: String,
    pub role: String,
    /// The only worker that it speaks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    pub created_at: Millis,
    pub created_by: String,
    pub revoked_at: Option<Millis>,
}

/// The latest word of a process.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    pub job: JobKey,
    pub rank: u32,
    pub progress: Progress,
    pub at: Millis,
}

/// A run as its coordinator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub record: RunRecord,
    pub words: Vec<Word>,
    /// Why jobs are not running.
    pub waiting: Vec<(JobKey, Reason)>,
    /// Of jobs that have failed and are not over.
    pub budgets: BTreeMap<JobKey, Budget>,
    /// What everybody waits for: the store has no room, or does not answer.
    pub alarm: Option<String>,
}

impl Seen {
    /// Of a record alone.
    pub fn of_record(record: RunRecord) -> Self {
        Self { record, words: vec![], waiting: vec![], budgets: BTreeMap::new(), alarm: None }
    }
}

impl TryFrom<v1::GetRunReply> for Seen {
    type Error = Failure;

    fn try_from(reply: v1::GetRunReply) -> Outcome<Self> {
        let waits = |w: v1::Waiting| Ok((JobKey::from(w.job.as_str()), serde_json::from_slice(&w.detail_json).map_err(broken)?));
        let budget = |b: v1::Budget| {
            let budget = Budget { infrastructure: b.infrastructure, internal: b.internal, out_of_memory: b.out_of_memory };
            (JobKey::from(b.job.as_str()), budget)
        };
        let word = |p: v1::JobProgress| {
            let progress = serde_json::from_slice(&p.progress_json).map_err(broken)?;
            Ok(Word { job: JobKey::from(p.job.as_str()), rank: p.rank, progress, at: Millis(p.at_ms) })
        };
        Ok(Self {
            record: serde_json::from_slice(&reply.record_json).map_err(broken)?,
            words: reply.progress.into_iter().map(word).collect::<Outcome<_>>()?,
            waiting: reply.waiting.into_iter().map(waits).collect::<Outcome<_>>()?,
            budgets: reply.budgets.into_iter().map(budget).collect(),
            alarm: Some(reply.alarm).filter(|alarm| !alarm.is_empty()),
        })
    }
}

impl TryFrom<v1::WorkerLine> for WorkerLine {
    type Error = Failure;

    fn try_from(w: v1::WorkerLine) -> Outcome<Self> {
        Ok(Self {
            worker: w.worker,
            host: w.host,
            state: w.state,
            slots: w.slots,
            used: w.used,
            seen_at: Millis(w.seen_at_ms),
            labels: w.labels.into_iter().collect(),
            why: Some(w.why).filter(|why| !why.is_empty()),
            drain: document(&w.drain_json)?,
            strikes: document(&w.strikes_json)?.unwrap_or_default(),
            health: document(&w.health_json)?,
            skew_ms: w.skew_ms,
        })
    }
}

/// None for an empty one.
fn document<T: DeserializeOwned>(json: &[u8]) -> Outcome<Option<T>> {
    if json.is_empty() { Ok(None) } else { serde_json::from_slice(json).map(Some).map_err(broken) }
}

fn broken(error: serde_json::Error) -> Failure {
    failed(format!("the coordinator's answer cannot be read ({error}): use the same version of osler on both sides"))
}

/// A connection; clones share it.
#[derive(Debug, Clone)]
pub struct Coordinator {
    control: ControlClient<Authorized>,
    /// As it said last, see [`Seen::alarm`].
    pub alarm: Option<String>,
}

impl Coordinator {
    async fn connect(address: &str, token: &Token, tls: &ClientTls) -> Result<Self, ConnectError> {
        let control = ControlClient::new(connect(address, token, tls).await?);
        Ok(Self { alarm: None, control: control.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_CONTROL_BYTES) })
    }

    /// Whether the run was created by this call, and its state.
    pub async fn submit(&mut self, run: &Submission) -> Outcome<(bool, String)> {
        let request = v1::SubmitRequest { spec_json: serde_json::to_vec(&run.spec)?, sources_json: serde_json::to_vec(&run.sources)? };
        let reply = answer(self.control.submit(request)).await?;
        Ok((reply.created, reply.state))
    }

    pub async fn runs(&mut self) -> Outcome<Vec<RunLine>> {
        let reply = answer(self.control.list_runs(v1::ListRunsRequest {})).await?;
        self.alarm = Some(reply.alarm).filter(|alarm| !alarm.is_empty());
        let line = |r: v1::RunLine| RunLine {
            run: r.run,
            state: r.state,
            reason: r.reason,
            stage: r.stage,
            step: r.step,
            planned_steps: r.planned_steps,
            submitted_at: Millis(r.submitted_at_ms),
        };
        Ok(reply.runs.into_iter().map(line).collect())
    }

    /// Runs that were removed and whose objects are being deleted.
    pub async fn removing(&mut self) -> Outcome<Vec<String>> {
        Ok(answer(self.control.list_runs(v1::ListRunsRequest {})).await?.removing)
    }

    pub async fn workers(&mut self) -> Outcome<Vec<WorkerLine>> {
        let reply = answer(self.control.list_workers(v1::ListWorkersRequest {})).await?;
        reply.workers.into_iter().map(WorkerLine::try_from).collect()
    }

    /// Jobs that wait for slots, in the order in which they may take them, and what teams hold.
    pub async fn queue(&mut self) -> Outcome<(Vec<QueueLine>, Vec<QuotaLine>)> {
        let reply = answer(self.control.list_queue(v1::ListQueueRequest {})).await?;
        let line = |q: v1::QueueLine| {
            let v1::QueueLine { run, job, ranks, priority, team, reason } = q;
            QueueLine { run, job, ranks, priority, team, reason }
        };
        let quota = |q: v1::QuotaLine| QuotaLine { team: q.team, slots: q.slots, used: q.used };
        Ok((reply.queue.into_iter().map(line).collect(), reply.quotas.into_iter().map(quota).collect()))
    }

    /// None removes it.
    pub async fn set_quota(&mut self, team: &str, slots: Option<u32>) -> Outcome {
        answer(self.control.set_quota(v1::SetQuotaRequest { team: team.to_owned(), slots })).await.map(drop)
    }

    /// Without a reason: undrain.
    pub async fn drain(&mut self, worker: &str, reason: Option<&str>) -> Outcome {
        let (drain, reason) = (reason.is_some(), reason.unwrap_or_default().to_owned());
        answer(self.control.drain_node(v1::DrainNodeRequest { worker: worker.to_owned(), drain, reason })).await.map(drop)
    }

    /// Asks a node's agent to look at it.
    pub async fn check_node(&mut self, worker: &str) -> Outcome {
        answer(self.control.check_node(v1::CheckNodeRequest { worker: worker.to_owned() })).await.map(drop)
    }

    pub async fn run(&mut self, run: &str) -> Outcome<Seen> {
        answer(self.control.get_run(v1::GetRunRequest { run: run.to_owned() })).await?.try_into()
    }

    /// Views of a run as it changes, until it is over.
    pub async fn watch(&mut self, run: &str) -> Outcome<Views> {
        let stream = answer(self.control.watch_run(v1::GetRunRequest { run: run.to_owned() })).await?;
        Ok(Views(stream))
    }

    /// `interrupted`: the command that watches over the run must end; else a person stops the run.
    pub async fn stop(&mut self, run: &str, interrupted: bool) -> Outcome<String> {
        let request = v1::StopRunRequest { run: run.to_owned(), from: whoami(), interrupted };
        Ok(answer(self.control.stop_run(request)).await?.state)
    }

    /// Has the coordinator read an object that was found damaged, and mend it if it is.
    pub async fn doubt(&mut self, run: &str, path: &str) -> Outcome {
        let request = v1::DoubtObjectRequest { run: run.to_owned(), path: path.to_owned(), from: whoami() };
        answer(self.control.doubt_object(request)).await.map(drop)
    }

    /// Of these, what it has not read yet.
    pub async fn doubted(&mut self, run: &str) -> Outcome<Vec<String>> {
        Ok(answer(self.control.get_run(v1::GetRunRequest { run: run.to_owned() })).await?.doubted)
    }

    /// The run is gone when this returns; its objects follow.
    pub async fn remove(&mut self, run: &str) -> Outcome {
        answer(self.control.remove_run(v1::RemoveRunRequest { run: run.to_owned(), from: whoami() })).await.map(drop)
    }

    pub async fn pin(&mut self, run: &str, stage: &str, step: u64, pinned: bool) -> Outcome {
        let request = v1::PinCheckpointRequest { run: run.to_owned(), stage: stage.to_owned(), step, pinned };
        answer(self.control.pin_checkpoint(request)).await.map(drop)
    }

    /// With another number of ranks, if one is given; `waive`: failed gates that are let pass, and why.
    pub async fn resume(&mut self, run: &str, ranks: Option<u32>, waive: (&[String], &str)) -> Outcome<String> {
        let (waive_gates, reason) = (waive.0.to_vec(), waive.1.to_owned());
        let request = v1::ResumeRunRequest { run: run.to_owned(), ranks: ranks.unwrap_or(0), waive_gates, reason, from: whoami() };
        Ok(answer(self.control.resume_run(request)).await?.state)
    }

    /// `skip`: steps whose data is left out from now on.
    /// `ranks`: that the run is to go on with; the stage does not go back if it cannot.
    pub async fn rewind(&mut self, run: &str, stage: &str, to: u64, skip: Range<u64>, ranks: Option<u32>) -> Outcome<String> {
        let (run, stage, ranks) = (run.to_owned(), stage.to_owned(), ranks.unwrap_or(0));
        let request = v1::RewindStageRequest { run, stage, to, skip_from: skip.start, skip_to: skip.end, ranks };
        Ok(answer(self.control.rewind_stage(request)).await?.state)
    }
}

/// Who may call what, and who did.
impl Coordinator {
    pub async fn create_token(&mut self, token: &NewToken) -> Outcome {
        let NewToken { name, role, sha256, worker } = token;
        let (sha256, worker) = (sha256.as_bytes().to_vec(), worker.as_ref().map(ToString::to_string).unwrap_or_default());
        let request = v1::CreateTokenRequest { name: name.to_string(), role: role.to_string(), sha256, worker };
        answer(self.control.create_token(request)).await.map(drop)
    }

    pub async fn tokens(&mut self) -> Outcome<Vec<TokenLine>> {
        let reply = answer(self.control.list_tokens(v1::ListTokensRequest {})).await?;
        let line = |t: v1::TokenLine| TokenLine {
            name: t.name,
            role: t.role,
            worker: Some(t.worker).filter(|worker| !worker.is_empty()),
            created_at: Millis(t.created_at_ms),
            created_by: t.created_by,
            revoked_at: Some(Millis(t.revoked_at_ms)).filter(|at| at.0 > 0),
        };
        Ok(reply.tokens.into_iter().map(line).collect())
    }

    pub async fn revoke_token(&mut self, name: &TokenName) -> Outcome {
        answer(self.control.revoke_token(v1::RevokeTokenRequest { name: name.to_string() })).await.map(drop)
    }

    /// The newest entries of the log of calls.
    pub async fn calls(&mut self, last: u32) -> Outcome<Vec<LogEntry>> {
        let reply = answer(self.control.list_calls(v1::ListCallsRequest { last })).await?;
        Ok(reply.entry_json.iter().map(|json| serde_json::from_slice(json)).collect::<Result<_, _>>()?)
    }
}

/// USER@HOST, for the record; what it says of itself proves nothing.
fn whoami() -> String {
    let printable = |text: String| text.chars().filter(|c| !c.is_control()).take(100).collect::<String>();
    format!("{}@{}", printable(lease::user()), printable(lease::host()))
}

pub struct Views(tonic::Streaming<v1::GetRunReply>);

impl Views {
    /// None: the run is over, or the coordinator is gone; the last view tells which.
    pub async fn next(&mut self) -> Outcome<Option<Seen>> {
        match self.0.message().await {
            Ok(reply) => reply.map(Seen::try_from).transpose(),
            Err(status) if gone(&status) => Ok(None),
            Err(status) => Err(refusal(&status)),
        }
    }
}

/// Whether the coordinator is away, rather than unwilling.
fn gone(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::Unknown | Code::Internal | Code::DeadlineExceeded | Code::Aborted)
}

async fn answer<T>(call: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Outcome<T> {
    match timeout(ANSWER, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(refusal(&status)),
        Err(_) => Err(failed(format!("the coordinator did not answer within {} s; see its log", ANSWER.as_secs()))),
    }
}

fn refusal(status: &Status) -> Failure {
    let message = status.message();
    match status.code() {
        Code::InvalidArgument | Code::AlreadyExists | Code::NotFound => usage(message),
        Code::ResourceExhausted => no_room(message),
        Code::Unavailable => failed(format!("the coordinator is away: {message}; see its log")),
        _ => failed(message),
    }
}
