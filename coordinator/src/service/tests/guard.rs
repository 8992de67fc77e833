//! Who gets in by the real door, and what is left of it in the log: tokens, roles, certificates, bounds.

use super::*;
use crate::access::methods::{METHODS, Method};
use osler_core::access::{LogEntry, Need, Role};
use osler_core::ids::{Millis, TokenName};
use osler_core::process::Report;
use osler_runtime::connect::ConnectError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const LATE: Duration = Duration::from_secs(20);

/// A token for each role, which the coordinator knows from its start.
struct Tokens(tempfile::TempDir);

impl Tokens {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn of(&self, role: Role) -> Token {
        Token::load_or_create(&self.0.path().join(role.as_str())).unwrap()
    }

    fn first(&self) -> Vec<NewToken> {
        let new =
            |role: Role| NewToken { name: TokenName::new(role.as_str()).unwrap(), role, sha256: self.of(role).sha256(), worker: None };
        Role::ALL.map(new).into()
    }
}

async fn open(folder: &Path) -> (Running, Tokens) {
    let tokens = Tokens::new();
    (start_with(folder, None, tokens.first(), listen::Limits::default()).await, tokens)
}

impl Running {
    async fn person(&self, token: &Token) -> ControlClient<Authorized> {
        ControlClient::new(self.dial(token).await)
    }

    async fn log(&self, folder: &Path) -> Vec<LogEntry> {
        let reply = self.person(&token(folder)).await.list_calls(v1::ListCallsRequest { last: 100 }).await.unwrap();
        reply.into_inner().entry_json.iter().map(|json| serde_json::from_slice(json).unwrap()).collect()
    }
}

/// An empty request to any method: whether it got past the gate shows in how it is refused.
async fn knock(client: Authorized, method: &Method) -> Code {
    let mut grpc = tonic::client::Grpc::new(client);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::ListRunsRequest, v1::ListRunsReply>::default();
    let path = http::uri::PathAndQuery::from_static(method.path);
    grpc.unary(Request::new(v1::ListRunsRequest {}), path, codec).await.map_or_else(|status| status.code(), |_| Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_call_its_methods_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (running, tokens) = open(folder.path()).await;
    for role in Role::ALL {
        let client = running.dial(&tokens.of(role)).await;
        for method in METHODS {
            let code = knock(client.clone(), method).await;
            assert_eq!(code != Code::PermissionDenied, role.may(method.need), "{role} {}: {code:?}", method.path);
        }
    }
    let owner = running.dial(&token(folder.path())).await;
    for method in METHODS {
        assert_ne!(knock(owner.clone(), method).await, Code::PermissionDenied, "owner {}", method.path);
    }
    let unknown = Method { path: "/osler.v1.Control/Forgotten", need: Need::Look, changes: false };
    assert_eq!(knock(owner, &unknown).await, Code::PermissionDenied);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_workers_token_submits_nothing_and_an_operators_syncs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (running, tokens) = open(folder.path()).await;
    let spec_json = serde_json::to_vec(&spec("r")).unwrap();
    let refused = running
        .person(&tokens.of(Role::Worker))
        .await
        .submit(v1::SubmitRequest { spec_json: spec_json.clone(), ..Default::default() })
        .await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("worker")), (Code::PermissionDenied, true), "{refused}");
    let mut work = WorkClient::new(running.dial(&tokens.of(Role::Operator)).await);
    let request: v1::SyncRequest = Agent::new("a", 1, 1).observe().try_into().unwrap();
    assert_eq!(work.sync(request.clone()).await.unwrap_err().code(), Code::PermissionDenied);
    WorkClient::new(running.dial(&tokens.of(Role::Worker)).await).sync(request).await.unwrap();
    running.person(&tokens.of(Role::Operator)).await.submit(v1::SubmitRequest { spec_json, ..Default::default() }).await.unwrap();
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_a_worker_speaks_for_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = start(folder).await;
    let mut admin = running.person(&token(folder)).await;
    let secret = Token::random().unwrap();
    let create = |role: &str| v1::CreateTokenRequest {
        name: "rack-7".into(),
        role: role.into(),
        sha256: secret.sha256().as_bytes().to_vec(),
        worker: "a".into(),
    };
    assert_eq!(admin.create_token(create("operator")).await.unwrap_err().code(), Code::InvalidArgument);
    admin.create_token(create("worker")).await.unwrap();
    let listed = admin.list_tokens(v1::ListTokensRequest {}).await.unwrap().into_inner().tokens;
    assert_eq!(listed.iter().map(|t| (t.name.as_str(), t.worker.as_str())).collect::<Vec<_>>(), [("rack-7", "a")]);
    let mut work = WorkClient::new(running.dial(&secret).await);
    let call = |name: &str| v1::SyncRequest::try_from(Agent::new(name, 1, 1).observe()).unwrap();
    work.sync(call("a")).await.unwrap();
    let refused = work.sync(call("b")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message().contains("rack-7 is worker a's")), (Code::PermissionDenied, true), "{refused}");
    let workers = admin.list_workers(v1::ListWorkersRequest {}).await.unwrap().into_inner().workers;
    assert_eq!(workers.len(), 1, "who was refused is known");
    let log = running.log(folder).await;
    let last = log.last().unwrap();
    assert_eq!((last.who.as_deref(), last.method.as_str(), last.what.as_str()), (Some("rack-7"), "Sync", "worker=b"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_ends_its_streams_and_stays_revoked_after_a_takeover() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (running, tokens) = open(folder).await;
    let mut admin = running.person(&tokens.of(Role::Admin)).await;
    let (secret, spare) = (Token::random().unwrap(), Token::random().unwrap());
    let create = |name: &str, token: &Token| v1::CreateTokenRequest {
        name: name.into(),
        role: "operator".into(),
        sha256: token.sha256().as_bytes().to_vec(),
        worker: String::new(),
    };
    admin.create_token(create("ann", &secret)).await.unwrap();
    admin.create_token(create("bob", &spare)).await.unwrap();
    assert_eq!(admin.create_token(create("ann", &Token::random().unwrap())).await.unwrap_err().code(), Code::AlreadyExists);
    let bad = v1::CreateTokenRequest { sha256: vec![0; 31], ..create("c", &spare) };
    assert_eq!(admin.create_token(bad).await.unwrap_err().code(), Code::InvalidArgument);

    let mut ann = running.person(&secret).await;
    ann.submit(v1::SubmitRequest { spec_json: serde_json::to_vec(&spec("r")).unwrap(), ..Default::default() }).await.unwrap();
    let mut views = ann.watch_run(v1::GetRunRequest { run: "r".into() }).await.unwrap().into_inner();
    views.message().await.unwrap().unwrap();
    admin.revoke_token(v1::RevokeTokenRequest { name: "ann".into() }).await.unwrap();
    let ended = timeout(LATE, async {
        while views.message().await?.is_some() {}
        Ok::<_, Status>(())
    })
    .await
    .expect("it still watches");
    assert_eq!(ended.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(ann.list_runs(v1::ListRunsRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    running.end().await;

    // Another coordinator, whose folder brings the revoked token once more.
    let again = NewToken { name: TokenName::new("ann").unwrap(), role: Role::Admin, sha256: secret.sha256(), worker: None };
    let running = start_with(folder, None, vec![again], listen::Limits::default()).await;
    assert_eq!(running.person(&secret).await.list_runs(v1::ListRunsRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    running.person(&spare).await.list_runs(v1::ListRunsRequest {}).await.unwrap();
    let listed = running.person(&token(folder)).await.list_tokens(v1::ListTokensRequest {}).await.unwrap().into_inner().tokens;
    let told = |name: &str| listed.iter().find(|t| t.name == name).map(|t| (t.role.clone(), t.created_by.clone(), t.revoked_at_ms > 0));
    assert_eq!(told("ann"), Some(("operator".into(), "admin".into(), true)));
    assert_eq!(told("bob"), Some(("operator".into(), "admin".into(), false)));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_coordinator_makes_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let older = start(folder).await;
    let mut admin = older.person(&token(folder)).await;
    let newer = start(folder).await;
    let request = v1::CreateTokenRequest { name: "late".into(), role: "admin".into(), sha256: vec![7; 32], worker: String::new() };
    assert_eq!(admin.create_token(request).await.unwrap_err().code(), Code::Unavailable);
    let tokens = newer.person(&token(folder)).await.list_tokens(v1::ListTokensRequest {}).await.unwrap().into_inner().tokens;
    assert!(tokens.is_empty(), "{tokens:?}");
    newer.end().await;
    older.server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_something_or_was_refused_is_in_the_store_before_the_answer_and_no_secret_is() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (running, tokens) = open(folder).await;
    let mut operator = running.person(&tokens.of(Role::Operator)).await;
    submit(&mut running.control(folder).await, spec("r")).await.unwrap();
    assert!(folder.join("store/coordinator/audit/00000001/0000000001.json").is_file(), "answered before it was noted");
    operator.stop_run(v1::StopRunRequest { run: "none\n".into(), ..Default::default() }).await.unwrap_err();
    operator.list_tokens(v1::ListTokensRequest {}).await.unwrap_err();
    let stranger = Token::random().unwrap();
    for _ in 0..3 {
        running.person(&stranger).await.list_runs(v1::ListRunsRequest {}).await.unwrap_err();
    }
    operator.list_runs(v1::ListRunsRequest {}).await.unwrap();

    let log = running.log(folder).await;
    let lines: Vec<_> = log.iter().map(|e| (e.number, e.who.as_deref(), e.role, e.method.as_str())).collect();
    assert_eq!(
        lines,
        [
            (1, Some("owner"), None, "Submit"),
            (2, Some("operator"), Some(Role::Operator), "StopRun"),
            (3, Some("operator"), Some(Role::Operator), "ListTokens"),
            (4, None, None, "ListRuns"),
        ]
    );
    let digest = spec("r").digest();
    assert_eq!((log[0].what.as_str(), log[0].outcome.as_str()), (format!("run=r spec=sha256:{digest}").as_str(), "ok"));
    assert_eq!((log[1].what.as_str(), log[1].outcome.starts_with("InvalidArgument")), (r#"run="none\n" from="" interrupted=false"#, true));
    assert!(log[2].outcome.starts_with("PermissionDenied") && log[3].outcome.starts_with("Unauthenticated"));
    assert!(log.iter().all(|e| e.peer.starts_with("127.0.0.1:") && e.at > Millis(0) && e.times == 1));

    // The owner's successor reads on where this one ended.
    running.end().await;
    let running = start(folder).await;
    running.control(folder).await.stop_run(v1::StopRunRequest { run: "r".into(), ..Default::default() }).await.unwrap();
    let log = running.log(folder).await;
    assert_eq!((log.len(), log[4].epoch.0, log[4].number, log[4].method.as_str()), (5, 2, 1, "StopRun"));
    running.end().await;

    let secrets: Vec<_> = Role::ALL.map(|role| tokens.of(role)).into_iter().chain([token(folder), stranger]).collect();
    for file in files(&folder.join("store")) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!secrets.iter().any(|secret| text.contains(secret.reveal())), "{} holds a secret", file.display());
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_need_a_certificate_and_everybody_knows_whom_he_calls() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cluster = folder.join("cluster");
    let now = SystemClock.now();
    pki::init(&cluster, &["localhost".into(), "127.0.0.1".into()], now).unwrap();
    let first = pki::first_tokens(&cluster.join(pki::COORDINATOR)).unwrap();
    let running = start_with(folder, Some(&cluster.join(pki::COORDINATOR)), first, listen::Limits::default()).await;
    let address = running.address.to_string();
    let host = |name: &str| (ClientTls::open(&cluster.join(name)).unwrap(), cluster.join(name).join("token"));
    let ((agent, worker_token), (person, admin_token)) = (host(pki::AGENT), host(pki::ADMIN));
    let (worker_token, admin_token) = (Token::load(&worker_token).unwrap(), Token::load(&admin_token).unwrap());

    let mut admin = ControlClient::new(connect(&address, &admin_token, &person).await.unwrap());
    admin.list_tokens(v1::ListTokensRequest {}).await.unwrap();
    let request: v1::SyncRequest = Agent::new("a", 1, 1).observe().try_into().unwrap();
    for token in [&worker_token, &token(folder)] {
        let mut bare = WorkClient::new(connect(&address, token, &person).await.unwrap());
        let refused = bare.sync(request.clone()).await.unwrap_err();
        assert_eq!((refused.code(), refused.message().contains("certificate")), (Code::PermissionDenied, true), "{refused}");
    }
    let mut work = WorkClient::new(connect(&address, &worker_token, &agent).await.unwrap());
    work.sync(request).await.unwrap();
    // Neither who trusts another coordinator nor who trusts nobody sends it a token.
    let refused = connect(&address, &token(folder), &ClientTls::own(&folder.join("token"), &folder.join("token"))).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Unknown(_)), "{refused}");
    pki::own_server(&folder.join("token"), SystemClock.now()).unwrap();
    let refused = running.own.clone();
    let refused = connect(&address, &token(folder), &refused).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Unproven(_)) && refused.to_string().contains("no token was sent"), "{refused}");
    running.end().await;
}

/// A listener that accepts and hangs up, `times` times, and then is gone.
async fn hanging_up(times: usize) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        for _ in 0..times {
            drop(listener.accept().await.unwrap());
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_is_being_killed_is_away_and_a_stranger_who_always_hangs_up_is_unproven() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = start(folder).await;
    let dying = connect(&hanging_up(2).await, &token(folder), &running.own).await.unwrap_err();
    assert!(matches!(dying, ConnectError::Away(_)), "{dying}");
    let stranger = connect(&hanging_up(1000).await, &token(folder), &running.own).await.unwrap_err();
    assert!(matches!(stranger, ConnectError::Unproven(_)), "{stranger}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn oversized_and_malformed_requests_are_refused_and_noted_and_the_door_stays_open() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = start(folder).await;
    let mut control = running.control(folder).await;
    let large = control.submit(v1::SubmitRequest { spec_json: vec![b' '; MAX_CONTROL_BYTES + 1], ..Default::default() }).await.unwrap_err();
    assert_eq!(large.code(), Code::OutOfRange, "{large}");
    let deep = [[b'['; 100], [b']'; 100]].concat();
    let deep = control.submit(v1::SubmitRequest { spec_json: deep, ..Default::default() }).await.unwrap_err();
    assert_eq!((deep.code(), deep.message().contains("levels")), (Code::InvalidArgument, true), "{deep}");
    let junk = format!("{{\"{}\": 1}}", "x\u{7f}".repeat(5_000)).into_bytes();
    let junk = control.submit(v1::SubmitRequest { spec_json: junk, ..Default::default() }).await.unwrap_err();
    assert!(junk.message().chars().count() < 400 && !junk.message().contains('\u{7f}'), "what came in is sent back: {junk}");
    let mut work = running.work(folder).await;
    let reports = vec![v1::NumberedReport { seq: 1, process: None, report_json: vec![b' '; MAX_SYNC_BYTES] }];
    let large = work.sync(v1::SyncRequest { worker: "a".into(), reports, ..Default::default() }).await.unwrap_err();
    assert_eq!(large.code(), Code::OutOfRange, "{large}");

    // A spec where a Sync is expected: the same tags with other types.
    let mut grpc = tonic::client::Grpc::new(running.dial(&token(folder)).await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::PinCheckpointReply, v1::SyncReply>::default();
    let path = http::uri::PathAndQuery::from_static("/osler.v1.Work/Sync");
    let garbage = v1::PinCheckpointReply { state: "\u{1}\u{fffd}../../x".into() };
    let refused = grpc.unary(Request::new(garbage), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");

    let log = running.log(folder).await;
    assert_eq!(log.iter().map(|e| e.method.as_str()).collect::<Vec<_>>(), ["Submit", "Submit", "Submit"], "{log:?}");
    assert!(log.iter().all(|e| e.outcome != "ok" && e.what == "(not understood, or not noted)"));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_junk_have_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let soon = listen::Limits { first_call: Duration::from_millis(400), ..listen::Limits::default() };
    let running = start_with(folder, None, vec![], soon).await;
    let mut control = running.control(folder).await;
    let mut request = Request::new(v1::ListRunsRequest {});
    request.metadata_mut().insert("junk", "x".repeat(64 << 10).parse().unwrap());
    control.list_runs(request).await.unwrap_err();
    running.control(folder).await.list_runs(v1::ListRunsRequest {}).await.unwrap();

    // Whoever only ever makes calls that are refused is a stranger, and its connection ends.
    let mut stranger = ControlClient::new(running.dial(&Token::random().unwrap()).await);
    assert_eq!(stranger.list_runs(v1::ListRunsRequest {}).await.unwrap_err().code(), Code::Unauthenticated);

    // Nothing, no HTTP/2, and HTTP/2's beginning followed by a frame of the largest length there is.
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for bytes in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", preface, &[preface, &[0xff; 64]].concat()] {
        let stream = TcpStream::connect(running.address).await.unwrap();
        let mut stream = running.own.connect("", stream).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = vec![];
        let closed = timeout(LATE, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "still open after {bytes:?}");
    }
    running.control(folder).await.list_runs(v1::ListRunsRequest {}).await.unwrap();
    running.end().await;
}

async fn jobs(running: &Running, folder: &Path) -> String {
    serde_json::to_string(&record(&mut running.control(folder).await, "r").await.jobs).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_call_and_a_replayed_generation_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let running = start(folder).await;
    submit(&mut running.control(folder).await, spec("r")).await.unwrap();
    let (mut agent, mut gangs) = (Agent::new("a", 1, 2), Gangs::default());
    let mut work = running.work(folder).await;
    call(&mut work, &mut agent, &mut gangs, 0, 0).await.unwrap();
    let done = |seen: &osler_core::sync::Observed| seen.reports.iter().any(|r| matches!(r.report, Report::Done { .. }));
    let mut genuine = agent.observe();
    for _ in 0..100 {
        if !done(&genuine) {
            agent.work(&mut gangs);
            genuine = agent.observe();
        }
    }
    assert!(done(&genuine), "nothing is replayed that could change a job");
    let before = jobs(&running, folder).await;

    // The words of processes that are alive, as if an earlier attempt had said them.
    let mut forged = genuine.clone();
    forged.reports.iter_mut().for_each(|report| report.process.generation.0 = 0);
    forged.processes.iter_mut().for_each(|process| process.phase = osler_core::sync::ProcessPhase::Running);
    work.sync(v1::SyncRequest::try_from(forged).unwrap()).await.unwrap();
    assert_eq!(jobs(&running, folder).await, before, "an earlier generation was heard");

    // Said in their own name they count, in a call of its own; that call a second time does not.
    let mut late = genuine;
    late.call += 1;
    late.reports.iter_mut().for_each(|report| report.seq += 1_000);
    let late = v1::SyncRequest::try_from(late).unwrap();
    work.sync(late.clone()).await.unwrap();
    assert_ne!(jobs(&running, folder).await, before, "the replayed words would have changed nothing anyway");
    assert_eq!(work.sync(late).await.unwrap_err().code(), Code::Aborted, "a call was taken twice");
    running.end().await;
}
