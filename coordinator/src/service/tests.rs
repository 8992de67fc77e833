//! The whole coordinator on loopback: real gRPC, a real folder, fake agents.

mod guard;

use super::*;
use crate::cluster::Limits;
use crate::ledger::{Ledger, LedgerError};
use crate::owner::Owner;
use crate::testing::agent::{Agent, Gangs};
use crate::testing::spec;
use osler_core::access::NewToken;
use osler_core::record::{RunRecord, RunState};
use osler_core::sync::Desired;
use osler_proto::v1::control_client::ControlClient;
use osler_proto::v1::work_client::WorkClient;
use osler_runtime::auth::Token;
use osler_runtime::clock::{Clock, SystemClock};
use osler_runtime::connect::{Authorized, connect};
use osler_runtime::pki;
use osler_runtime::store::Store;
use osler_runtime::tls::ClientTls;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;

struct Running {
    address: SocketAddr,
    /// As its owner's programs know it.
    own: ClientTls,
    kill: oneshot::Sender<()>,
    owner: JoinHandle<Result<(), LedgerError>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

fn token(folder: &Path) -> Token {
    Token::load_or_create(&folder.join("token")).unwrap()
}

async fn start(folder: &Path) -> Running {
    start_with(folder, None, vec![], listen::Limits::default()).await
}

async fn start_with(folder: &Path, tls: Option<&Path>, first: Vec<NewToken>, limits: listen::Limits) -> Running {
    let store = Store::open(folder.join("store").to_str().unwrap()).unwrap();
    let ledger = Ledger::open(store, SystemClock.now()).await.unwrap();
    let (handle, owner) = Owner::start(ledger, Arc::new(SystemClock), Limits::default()).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (kill, killed) = oneshot::channel::<()>();
    let access = Access::open(owner.ledger().clone(), Arc::new(SystemClock), &token(folder), first).await.unwrap();
    let token_file = folder.join("token");
    let tls = tls.map_or_else(|| pki::own_server(&token_file, SystemClock.now()).unwrap(), Path::to_owned);
    let tls = Arc::new(ServerTls::open(&tls).unwrap());
    let door = Door { handle, access, tls, limits };
    let server = tokio::spawn(serve(listener, door, std::future::pending()));
    let owner = tokio::spawn(owner.run(async move { drop(killed.await) }));
    Running { address, own: ClientTls::own(&token_file, &token_file), kill, owner, server }
}

impl Running {
    async fn end(self) {
        self.kill.send(()).unwrap();
        self.owner.await.unwrap().unwrap();
        self.server.abort();
    }

    async fn dial(&self, token: &Token) -> Authorized {
        connect(&self.address.to_string(), token, &self.own).await.unwrap()
    }

    async fn control(&self, folder: &Path) -> ControlClient<Authorized> {
        ControlClient::new(self.dial(&token(folder)).await)
    }

    async fn work(&self, folder: &Path) -> WorkClient<Authorized> {
        WorkClient::new(self.dial(&token(folder)).await)
    }
}

async fn submit(control: &mut ControlClient<Authorized>, spec: RunSpec) -> Result<v1::SubmitReply, Status> {
    let spec_json = serde_json::to_vec(&spec).unwrap();
    Ok(control.submit(v1::SubmitRequest { spec_json, ..Default::default() }).await?.into_inner())
}

/// One call of an agent, obeyed. Gives the reply's number.
async fn call(
    work: &mut WorkClient<Authorized>,
    agent: &mut Agent,
    gangs: &mut Gangs,
    wait_ms: u32,
    seen_reply: u64,
) -> Result<u64, Status> {
    let request = v1::SyncRequest { wait_ms, seen_reply, ..agent.observe().try_into().unwrap() };
    let reply = work.sync(request).await?.into_inner();
    let number = reply.reply;
    agent.obey(Desired::try_from(reply).unwrap(), gangs);
    Ok(number)
}

async fn record(control: &mut ControlClient<Authorized>, run: &str) -> RunRecord {
    let reply = control.get_run(v1::GetRunRequest { run: run.into() }).await.unwrap().into_inner();
    serde_json::from_slice(&reply.record_json).unwrap()
}

/// Works and calls until the run is in a state, or for too long.
async fn until(running: &Running, folder: &Path, agent: &mut Agent, gangs: &mut Gangs, done: impl Fn(&RunRecord) -> bool) {
    let (mut control, mut work) = (running.control(folder).await, running.work(folder).await);
    for _ in 0..2_000 {
        if done(&record(&mut control, "r").await) {
            return;
        }
        agent.work(gangs);
        call(&mut work, agent, gangs, 0, 0).await.unwrap();
    }
    panic!("never; the run is {}", record(&mut control, "r").await.state);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_survives_the_coordinator_and_finishes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = start(folder).await;
    let mut control = running.control(folder).await;
    assert!(submit(&mut control, spec("r")).await.unwrap().created);
    let (mut agent, mut gangs) = (Agent::new("a", 1, 2), Gangs::default());
    until(&running, folder, &mut agent, &mut gangs, |r| !r.checkpoints.is_empty()).await;
    running.end().await;

    let running = start(folder).await;
    let mut control = running.control(folder).await;
    let mut watch = control.watch_run(v1::GetRunRequest { run: "r".into() }).await.unwrap().into_inner();
    let watcher = tokio::spawn(async move {
        let mut states = vec![];
        while let Some(view) = watch.message().await.unwrap() {
            states.push(serde_json::from_slice::<RunRecord>(&view.record_json).unwrap().state);
        }
        states
    });
    until(&running, folder, &mut agent, &mut gangs, |r| r.state == RunState::Finished).await;
    let states = watcher.await.unwrap();
    assert!(states.len() > 2 && states.last() == Some(&RunState::Finished), "{states:?}");
    let record = record(&mut control, "r").await;
    assert!(record.jobs.values().all(|job| job.past.len() == 1), "the restart cost an attempt");
    let again = submit(&mut control, spec("r")).await.unwrap();
    assert_eq!((again.created, again.state.as_str()), (false, "finished"));
    let runs = control.list_runs(v1::ListRunsRequest {}).await.unwrap().into_inner().runs;
    assert_eq!(
        runs.iter().map(|r| (r.run.as_str(), r.state.as_str(), r.stage.as_str(), r.step, r.planned_steps)).collect::<Vec<_>>(),
        [("r", "finished", "domain", 13, 13)]
    );
    let workers = control.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    assert_eq!(workers.iter().map(|w| (w.worker.as_str(), w.state.as_str(), w.slots)).collect::<Vec<_>>(), [("a", "idle", 2)]);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_coordinator_may_not_write() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let older = start(folder).await;
    submit(&mut older.control(folder).await, spec("r")).await.unwrap();
    let newer = start(folder).await;
    let refused = submit(&mut older.control(folder).await, spec("s")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let ended = older.owner.await.unwrap().unwrap_err();
    assert!(matches!(ended, LedgerError::Fenced { .. }), "{ended}");
    older.server.abort();
    let runs = newer.control(folder).await.list_runs(v1::ListRunsRequest {}).await.unwrap().into_inner().runs;
    assert_eq!(runs.len(), 1);
    assert!(submit(&mut newer.control(folder).await, spec("s")).await.unwrap().created);
    newer.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_codes_and_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = start(folder).await;
    let mut control = running.control(folder).await;
    submit(&mut control, spec("r")).await.unwrap();
    let other = submit(&mut control, RunSpec { seed: 8, ..spec("r") }).await.unwrap_err();
    assert_eq!((other.code(), other.message().contains("choose another name")), (Code::AlreadyExists, true));
    let broken = RunSpec { stages: vec![], ..spec("broken") };
    assert_eq!(submit(&mut control, broken).await.unwrap_err().code(), Code::InvalidArgument);
    let none = control.stop_run(v1::StopRunRequest { run: "none".into(), ..Default::default() }).await.unwrap_err();
    assert_eq!((none.code(), none.message().contains("osler ps")), (Code::NotFound, true));
    assert_eq!(
        control.stop_run(v1::StopRunRequest { run: "../x".into(), ..Default::default() }).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(
        control.submit(v1::SubmitRequest { spec_json: b"{".to_vec(), ..Default::default() }).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let mut work = running.work(folder).await;
    call(&mut work, &mut Agent::new("a", 2, 1), &mut Gangs::default(), 0, 0).await.unwrap();
    let superseded = call(&mut work, &mut Agent::new("a", 1, 1), &mut Gangs::default(), 0, 0).await.unwrap_err();
    assert_eq!((superseded.code(), superseded.message().contains("must exit")), (Code::FailedPrecondition, true));

    let mut stranger = ControlClient::new(running.dial(&Token::random().unwrap()).await);
    assert_eq!(stranger.list_runs(v1::ListRunsRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_at_once_and_otherwise_held_back() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = start(folder).await;
    let (mut control, mut work) = (running.control(folder).await, running.work(folder).await);
    let (mut agent, mut gangs) = (Agent::new("a", 1, 2), Gangs::default());
    let idle = call(&mut work, &mut agent, &mut gangs, 0, 0).await.unwrap();
    let started = std::time::Instant::now();
    call(&mut work, &mut agent, &mut gangs, 400, idle).await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(390), "answered after {:?} without news", started.elapsed());
    let held = tokio::spawn(async move {
        call(&mut work, &mut agent, &mut gangs, 60_000, idle).await.unwrap();
        agent.running().count()
    });
    submit(&mut control, spec("r")).await.unwrap();
    let running_jobs = tokio::time::timeout(Duration::from_millis(900), held).await.expect("news was held back").unwrap();
    assert_eq!(running_jobs, 2);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_drains_and_reasons_go_over_the_wire_and_survive_the_coordinator() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = start(folder).await;
    let (mut control, mut work) = (running.control(folder).await, running.work(folder).await);
    let (mut agent, mut gangs) = (Agent::new("a", 1, 2), Gangs::default());
    call(&mut work, &mut agent, &mut gangs, 0, 0).await.unwrap();
    control.set_quota(v1::SetQuotaRequest { team: "nlp".into(), slots: Some(3) }).await.unwrap();
    let drain = |worker: &str| v1::DrainNodeRequest { worker: worker.into(), drain: true, reason: "disks".into() };
    control.drain_node(drain("a")).await.unwrap();
    assert_eq!(control.drain_node(drain("b")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(control.set_quota(v1::SetQuotaRequest { team: "x".into(), slots: None }).await.unwrap_err().code(), Code::NotFound);
    running.end().await;

    let running = start(folder).await;
    let (mut control, mut work) = (running.control(folder).await, running.work(folder).await);
    let request = v1::SyncRequest { sent_at_ms: SystemClock.now().0 - 5_000, ..agent.observe().try_into().unwrap() };
    let before = work.sync(request).await.unwrap().into_inner();
    control.check_node(v1::CheckNodeRequest { worker: "a".into() }).await.unwrap();
    let request = v1::SyncRequest { wait_ms: 500, seen_reply: before.reply, ..agent.observe().try_into().unwrap() };
    assert_eq!(work.sync(request).await.unwrap().into_inner().check, before.check + 1);
    submit(&mut control, spec("r")).await.unwrap();
    let workers = control.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    assert_eq!((workers[0].state.as_str(), workers[0].why.as_str()), ("drained", "drained (disks): `osler node undrain a`"));
    let reply = control.list_queue(v1::ListQueueRequest {}).await.unwrap().into_inner();
    assert_eq!(reply.quotas, [v1::QuotaLine { team: "nlp".into(), slots: Some(3), used: 0 }]);
    assert_eq!((reply.queue.len(), reply.queue[0].job.as_str()), (5, "clean/domain/00000"));
    let waiting = control.get_run(v1::GetRunRequest { run: "r".into() }).await.unwrap().into_inner().waiting;
    let first = waiting.iter().find(|w| w.job == "clean/domain/00000").unwrap();
    let detail: osler_core::reason::Reason = serde_json::from_slice(&first.detail_json).unwrap();
    assert_eq!((first.code.as_str(), detail.to_string()), ("too-large", first.reason.clone()));
    running.end().await;
}
