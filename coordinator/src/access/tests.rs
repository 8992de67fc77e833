//! The gate and the log by themselves: time and callers as the tests want them.

use super::gate::allowed;
use super::log::Call;
use super::methods::find;
use super::*;
use http::{Request, Response};
use osler_core::access::{LogEntry, Role};
use osler_core::ids::Millis;
use osler_core::time::Moment;
use osler_runtime::listen::Peer;
use osler_runtime::store::Store;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use tokio::sync::Notify;
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service, service_fn};

struct Hands(AtomicU64);

impl Clock for Hands {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }

    fn moment(&self) -> Moment {
        Moment(self.0.load(Ordering::Relaxed) as i64)
    }
}

struct World {
    _folder: tempfile::TempDir,
    clock: Arc<Hands>,
    access: Arc<Access>,
    ledger: Ledger,
    owner: Token,
}

async fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let clock = Arc::new(Hands(AtomicU64::new(1)));
    let ledger = Ledger::open(store, clock.now()).await.unwrap();
    let owner = Token::random().unwrap();
    let access = Access::open(ledger.clone(), clock.clone(), &owner, vec![]).await.unwrap();
    World { _folder: folder, clock, access, ledger, owner }
}

impl World {
    async fn log(&self) -> Vec<LogEntry> {
        self.access.log.last(10_000).await.unwrap()
    }
}

fn refused(last: u8, port: u16) -> Call {
    let peer = ([10, 0, 0, last], port).into();
    Call { who: None, role: None, peer, method: "Sync", what: String::new(), outcome: "Unauthenticated: x".into() }
}

#[tokio::test]
async fn refusals_that_are_alike_are_written_once_a_minute_with_their_count() {
    let world = world().await;
    for port in 1..=5 {
        world.access.log.refused(refused(1, port)).await.unwrap();
    }
    world.access.log.refused(refused(2, 1)).await.unwrap();
    let times = |log: &[LogEntry]| log.iter().map(|e| (e.peer.clone(), e.times)).collect::<Vec<_>>();
    assert_eq!(times(&world.log().await), [("10.0.0.1:1".into(), 1), ("10.0.0.2:1".into(), 1)]);
    world.clock.0.fetch_add(59_000, Ordering::Relaxed);
    world.access.log.flush().await.unwrap();
    assert_eq!(world.log().await.len(), 2, "the minute is not over");
    world.clock.0.fetch_add(1_000, Ordering::Relaxed);
    world.access.log.flush().await.unwrap();
    assert_eq!(times(&world.log().await)[2..], [("10.0.0.1:5".into(), 4)]);
    world.access.log.flush().await.unwrap();
    assert_eq!(world.log().await.len(), 3, "a count was written twice");
    world.access.log.refused(refused(1, 9)).await.unwrap();
    assert_eq!(world.log().await.len(), 4, "the next minute's first is not written");
}

#[tokio::test]
async fn no_number_of_strangers_fills_the_log() {
    let world = world().await;
    for i in 0..1200_u32 {
        let peer = (std::net::Ipv4Addr::from(0x0a00_0000 + i), 1).into();
        world.access.log.refused(Call { peer, ..refused(0, 0) }).await.unwrap();
    }
    assert_eq!(world.log().await.len(), 1024 + 1);
}

#[test]
fn the_owner_runs_agents_on_loopback_only_and_every_agent_shows_a_certificate() {
    let caller = |role| Caller { name: "x".into(), role, worker: None, sha256: Digest::of(b"x") };
    let code = |role, peer: &Peer| allowed(find("/osler.v1.Work/Sync"), Some(&caller(role)), peer).err().map(|s| s.code());
    let peer = |address: &str, certified| Peer::new(address.parse().unwrap(), certified);
    let (near, far) = (peer("127.0.0.1:1", true), peer("10.0.0.1:1", true));
    assert_eq!((code(None, &near), code(None, &far)), (None, Some(Code::PermissionDenied)));
    let worker = Some(Role::Worker);
    for address in ["127.0.0.1:1", "10.0.0.1:1"] {
        let (bare, certified) = (peer(address, false), peer(address, true));
        assert_eq!((code(worker, &bare), code(worker, &certified)), (Some(Code::PermissionDenied), None), "{address}");
    }
    let certified = far;
    let nobody = allowed(find("/osler.v1.Control/ListRuns"), None, &certified).err().map(|s| s.code());
    assert_eq!(nobody, Some(Code::Unauthenticated));
}

#[tokio::test]
async fn a_caller_who_hangs_up_does_not_keep_its_call_out_of_the_log() {
    let world = world().await;
    let go = Arc::new(Notify::new());
    let inner = {
        let go = go.clone();
        service_fn(move |_: Request<Body>| {
            let go = go.clone();
            async move {
                go.notified().await;
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        })
    };
    let mut guarded = Gate(world.access.clone()).layer(inner);
    let mut answer = guarded.call(stop_run(&world));
    let polled = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx).is_pending())).await;
    assert!(polled, "it was answered before it was done");
    tokio::task::yield_now().await;
    drop(answer);
    go.notify_one();
    let noted = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while world.log().await.is_empty() {
            tokio::task::yield_now().await;
        }
    });
    noted.await.expect("what was done is not in the log");
    let log = world.log().await;
    assert_eq!((log[0].method.as_str(), log[0].who.as_deref(), log[0].outcome.as_str()), ("StopRun", Some("owner"), "ok"));
}

/// As the door does before it changes anything.
async fn begin(request: Request<Body>) -> Result<(), tonic::Status> {
    let mut typed = tonic::Request::new(());
    *typed.extensions_mut() = request.into_parts().0.extensions;
    told(&typed, |()| "run=r".to_owned()).await
}

#[tokio::test]
async fn a_call_whose_coordinator_dies_is_in_the_log_without_an_outcome() {
    let world = world().await;
    let inner = service_fn(|request: Request<Body>| async {
        begin(request).await.unwrap();
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    });
    let mut guarded = Gate(world.access.clone()).layer(inner);
    let answer = tokio::spawn(guarded.call(stop_run(&world)));
    while world.log().await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!answer.is_finished());
    let log = world.log().await;
    assert_eq!((log[0].who.as_deref(), log[0].what.as_str(), log[0].outcome.as_str()), (Some("owner"), "run=r", super::log::OPEN));
}

#[tokio::test]
async fn a_call_has_one_entry_that_says_how_it_went() {
    let world = world().await;
    let inner = service_fn(|request: Request<Body>| async {
        begin(request).await.unwrap();
        Ok::<_, Infallible>(tonic::Status::not_found("no such run").into_http::<Body>())
    });
    let mut guarded = Gate(world.access.clone()).layer(inner);
    guarded.call(stop_run(&world)).await.unwrap();
    let log = world.log().await;
    assert_eq!(log.iter().map(|e| (e.what.as_str(), e.outcome.as_str())).collect::<Vec<_>>(), [("run=r", "NotFound: no such run")]);
}

fn stop_run(world: &World) -> Request<Body> {
    Request::builder()
        .uri("/osler.v1.Control/StopRun")
        .header("authorization", format!("Bearer {}", world.owner.reveal()))
        .extension(Peer::new("127.0.0.1:1".parse().unwrap(), false))
        .body(Body::empty())
        .unwrap()
}

#[tokio::test]
async fn a_call_that_cannot_be_noted_changes_nothing() {
    let world = world().await;
    let changed = Arc::new(AtomicU64::new(0));
    let inner = {
        let changed = changed.clone();
        service_fn(move |request: Request<Body>| {
            let changed = changed.clone();
            async move {
                Ok::<_, Infallible>(match begin(request).await {
                    Err(status) => status.into_http(),
                    Ok(()) => {
                        changed.fetch_add(1, Ordering::Relaxed);
                        Response::new(Body::empty())
                    }
                })
            }
        })
    };
    let mut guarded = Gate(world.access.clone()).layer(inner);
    // Somebody else has taken the next entry's name.
    let entry = LogEntry {
        at: Millis(1),
        epoch: osler_core::ids::Epoch(1),
        number: 1,
        who: None,
        role: None,
        peer: String::new(),
        method: "x".into(),
        what: String::new(),
        outcome: String::new(),
        times: 1,
        follows: None,
        ended: vec![],
    };
    world.ledger.note(&entry).await.unwrap();
    let response = guarded.call(stop_run(&world)).await.unwrap();
    let status = tonic::Status::from_header_map(response.headers()).unwrap();
    assert_eq!((status.code(), changed.load(Ordering::Relaxed)), (Code::Unavailable, 0));
}

#[tokio::test]
async fn a_damaged_entry_of_the_log_keeps_no_coordinator_from_leading() {
    let world = world().await;
    world.access.log.refused(refused(1, 1)).await.unwrap();
    let store = world.ledger.store().clone();
    let newest = store.list(osler_core::paths::AUDIT).await.unwrap().pop().unwrap();
    store.put(&newest, bytes::Bytes::from_static(b"{")).await.unwrap();
    let next = Ledger::open(store.clone(), world.clock.now()).await.unwrap();
    let access = Access::open(next, world.clock.clone(), &world.owner, vec![]).await.unwrap();
    access.log.refused(refused(2, 1)).await.unwrap();
    let newest = store.list(osler_core::paths::AUDIT).await.unwrap().pop().unwrap();
    let entry: serde_json::Value = serde_json::from_slice(&store.get(&newest).await.unwrap().unwrap()).unwrap();
    assert_eq!((entry["epoch"].as_u64(), entry.get("follows")), (Some(2), None), "{entry}");
}

#[tokio::test]
async fn no_debug_print_shows_a_secret() {
    let world = world().await;
    let secret = world.owner.reveal();
    let caller = world.access.identify(world.owner.sha256()).unwrap();
    let with = osler_runtime::auth::WithToken(world.owner.clone());
    for shown in [format!("{:?}", world.owner), format!("{with:?}"), format!("{caller:?}"), format!("{:?}", world.access.tokens.book())] {
        assert!(!shown.contains(secret), "{shown}");
    }
}
