//! What the owner's writes promise beside the ledger's own rules.

mod gate;
mod removal;
mod rest;

use super::*;
use crate::cluster::StopRequest;
use crate::testing::agent::{Agent, Gangs};
use crate::testing::spec;
use gate::Gate;
use osler_core::ids::{Epoch, Millis};
use osler_core::stop::StopKind;
use osler_core::sync::Desired;
use osler_core::time::{Moment, Now};
use osler_runtime::store::Store;
use tokio::time::timeout;

const NOW: Millis = Millis(5);
const BOTH: Now = Now { moment: Moment(5), wall: NOW };

/// Found by the simulation: the write is stalled while another coordinator leads and writes so many versions that the name is free.
#[tokio::test]
async fn a_version_whose_name_is_free_again_is_not_ours_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let run = BTreeSet::from([RunName::new("r").unwrap()]);
    let old = Ledger::open(store.clone(), NOW).await.unwrap();
    let mut stalled = Cluster::new(BOTH, old.epoch(), "", Limits::default());
    stalled.apply(BOTH, Event::Submit(Box::new(spec("r").into()))).0.unwrap();
    Write::of(&mut stalled, vec![], &run).perform(&old).await.unwrap();
    let new = Ledger::open(store, NOW).await.unwrap();
    let mut cluster = Cluster::new(BOTH, new.epoch(), "", Limits::default());
    cluster.adopt_cluster(new.load_cluster().await.unwrap());
    new.load().await.unwrap().runs.into_iter().for_each(|record| cluster.adopt(record));
    for _ in 0..25 {
        Write::of(&mut cluster, vec![], &run).perform(&new).await.unwrap();
    }
    let late = Write::of(&mut stalled, vec![], &run).perform(&old).await;
    assert!(matches!(late, Err(LedgerError::Fenced { .. })), "{late:?}");
    assert_eq!(new.load().await.unwrap().runs[0].version, 26, "the newest version is what counts");
}

/// The wall clock beside tokio's, which tests may stop.
struct Ours(Instant);

impl Clock for Ours {
    fn now(&self) -> Millis {
        Millis(1_000_000 + self.0.elapsed().as_millis() as u64)
    }

    fn moment(&self) -> Moment {
        Moment(self.0.elapsed().as_millis() as i64)
    }
}

const SOON: Duration = Duration::from_secs(5);

async fn call(handle: &Handle, agent: &Agent) -> Result<Desired, HandleError> {
    handle.sync(agent.observe(), None, Duration::ZERO, 0).await
}

/// Agents `a` and `b` have jobs of a run on all their slots; writes wait from then on.
struct Stalled {
    gate: Gate,
    store: Store,
    handle: Handle,
    owner: tokio::task::JoinHandle<Result<(), LedgerError>>,
    a: Agent,
    b: Agent,
    gangs: Gangs,
}

async fn stalled() -> Stalled {
    let (gate, store) = Gate::store();
    let clock = Arc::new(Ours(Instant::now()));
    let ledger = Ledger::open(store.clone(), clock.now()).await.unwrap();
    let (handle, owner) = Owner::start(ledger, clock, Limits::default()).await.unwrap();
    let owner = tokio::spawn(owner.run(std::future::pending()));
    let (mut a, b, mut gangs) = (Agent::new("a", 1, 3), Agent::new("b", 1, 2), Gangs::default());
    call(&handle, &a).await.unwrap();
    handle.submit(spec("first")).await.unwrap();
    a.obey(call(&handle, &a).await.unwrap(), &mut gangs);
    assert_eq!(a.running().count(), 3);
    for agent in [&a, &b] {
        call(&handle, agent).await.unwrap();
    }
    let mut stalled = Stalled { gate, store, handle, owner, a, b, gangs };
    let desired = call(&stalled.handle, &stalled.b).await.unwrap();
    stalled.b.obey(desired, &mut stalled.gangs);
    call(&stalled.handle, &stalled.b).await.unwrap();
    stalled.gate.set(false);
    stalled
}

#[tokio::test]
async fn heartbeats_do_not_wait_for_what_is_being_written() {
    let Stalled { mut gate, handle, owner, a, b, .. } = stalled().await;
    let other = handle.clone();
    let submitted = tokio::spawn(async move { other.submit(spec("second")).await });
    gate.shuts_somebody_out().await;
    for _ in 0..3 {
        for (agent, jobs) in [(&a, 3), (&b, 2)] {
            let desired = timeout(SOON, call(&handle, agent)).await.expect("a heartbeat waits for the store").unwrap();
            assert_eq!(desired.wanted.len(), jobs, "{desired:?}");
        }
    }
    assert!(!submitted.is_finished(), "the submission was answered before it was durable");
    gate.set(true);
    assert!(timeout(SOON, submitted).await.unwrap().unwrap().unwrap().0);
    drop(handle);
    owner.await.unwrap().unwrap();
}

/// A crowd of people is refused before it is in the agents' way, and is told when to come again.
#[tokio::test]
async fn more_requests_than_can_wait_are_refused_while_heartbeats_are_answered() {
    let Stalled { mut gate, handle, owner, a, .. } = stalled().await;
    let submit = |name: String| {
        let handle = handle.clone();
        tokio::spawn(async move { handle.submit(spec(&name)).await })
    };
    let first = submit("second".to_owned());
    gate.shuts_somebody_out().await;
    let crowd: Vec<_> = (0..QUEUE + 3).map(|n| submit(format!("crowd-{n}"))).collect();
    let refused = timeout(SOON, async {
        while crowd.iter().filter(|call| call.is_finished()).count() < 3 {
            tokio::task::yield_now().await;
        }
    });
    refused.await.expect("a request waits although there is no place for it");
    timeout(SOON, call(&handle, &a)).await.expect("a heartbeat waits for the crowd").unwrap();
    assert_eq!(crowd.iter().filter(|call| call.is_finished()).count(), 3, "others were answered before they were durable");
    gate.set(true);
    assert!(timeout(SOON, first).await.unwrap().unwrap().unwrap().0);
    let (mut taken, mut told) = (0, vec![]);
    for answer in crowd {
        match timeout(6 * SOON, answer).await.unwrap().unwrap() {
            Ok(_) => taken += 1,
            Err(error) => told.push(error),
        }
    }
    assert!(taken == QUEUE && told.iter().all(|error| matches!(error, HandleError::Busy { waiting: QUEUE })), "{taken} {told:?}");
    assert!(told[0].to_string().ends_with("try again in 2 s"), "{}", told[0]);
    drop(handle);
    owner.await.unwrap().unwrap();
}

/// An agent that gave a call up while others were decided is heard of by it, and not answered.
#[tokio::test(start_paused = true)]
async fn a_call_that_its_agent_gave_up_costs_nothing_but_counts() {
    let Stalled { mut gate, handle, owner, a, .. } = stalled().await;
    let other = handle.clone();
    let submitted = tokio::spawn(async move { other.submit(spec("second")).await });
    gate.shuts_somebody_out().await;
    for _ in 0..12 {
        let mut given_up = Box::pin(call(&handle, &a));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    gate.set(true);
    assert!(submitted.await.unwrap().unwrap().0);
    let lines = handle.workers().await.unwrap();
    let states: Vec<_> = lines.iter().map(|line| (line.worker.as_str(), line.state.as_str())).collect();
    assert_eq!(states, [("a", "busy"), ("b", "lost")]);
    owner.abort();
}

/// `c` is idle and gets the first job of the run that is being written; `b`'s new life is more than a heartbeat, and `d` is new.
#[tokio::test]
async fn nobody_hears_of_a_decision_before_it_is_durable() {
    let Stalled { mut gate, handle, owner, a, .. } = stalled().await;
    let c = Agent::new("c", 1, 1);
    gate.set(true);
    call(&handle, &c).await.unwrap();
    gate.set(false);
    let other = handle.clone();
    let submitted = tokio::spawn(async move { other.submit(spec("second")).await });
    gate.shuts_somebody_out().await;
    let calls = |agent: &Agent| {
        let (handle, observed) = (handle.clone(), agent.observe());
        tokio::spawn(async move { handle.sync(observed, None, Duration::ZERO, 0).await })
    };
    let waiting = [calls(&c), calls(&Agent::new("b", 2, 2)), calls(&Agent::new("d", 1, 0))];
    tokio::task::yield_now().await; // they have called
    timeout(SOON, call(&handle, &a)).await.unwrap().unwrap(); // and were looked at, for this call came later
    assert!(waiting.iter().all(|call| !call.is_finished()));
    gate.set(true);
    assert!(timeout(SOON, submitted).await.unwrap().unwrap().unwrap().0);
    let [told, new_life, new] = waiting;
    let desired = timeout(SOON, told).await.unwrap().unwrap().unwrap();
    assert_eq!(desired.wanted.len(), 1, "{desired:?}");
    assert!(timeout(SOON, new_life).await.unwrap().unwrap().is_ok() && timeout(SOON, new).await.unwrap().unwrap().is_ok());
    drop(handle);
    owner.await.unwrap().unwrap();
}

/// What a deferred call says waits; that it came counts at once.
#[tokio::test(start_paused = true)]
async fn a_worker_whose_call_waits_for_a_slow_store_is_not_lost() {
    let Stalled { mut gate, store, handle, owner, mut a, b, mut gangs } = stalled().await;
    let other = handle.clone();
    let submitted = tokio::spawn(async move { other.submit(spec("second")).await });
    gate.shuts_somebody_out().await;
    a.work(&mut gangs);
    a.work(&mut gangs); // its jobs are done: not a heartbeat
    for _ in 0..30 {
        drop(timeout(Duration::from_secs(1), call(&handle, &a)).await);
        timeout(SOON, call(&handle, &b)).await.unwrap().unwrap(); // so that the owner has not stood still
    }
    gate.set(true);
    assert!(submitted.await.unwrap().unwrap().0);
    call(&handle, &a).await.unwrap();
    let records = Ledger::open(store, Millis(0)).await.unwrap().load().await.unwrap().runs;
    let lost: Vec<_> = records[0].events.iter().filter(|event| event.message.contains("lost")).collect();
    assert!(lost.is_empty(), "{lost:?}");
    owner.abort();
}

/// An agent has heard of a successor: this coordinator looks at once, and says nothing that the agent could obey.
#[tokio::test(start_paused = true)]
async fn a_coordinator_that_has_a_successor_ends_when_an_agent_tells_it() {
    let Stalled { gate, store, handle, owner, mut a, .. } = stalled().await;
    gate.set(true);
    let mut liar = Agent::new("liar", 1, 1);
    liar.epoch = Epoch(7);
    assert!(matches!(call(&handle, &liar).await, Err(HandleError::Refused(Refused::Succeeded { .. }))));
    call(&handle, &a).await.unwrap(); // only the store is believed
    let new = Ledger::open(store, Millis(0)).await.unwrap();
    a.epoch = new.epoch();
    let begun = Instant::now();
    assert!(call(&handle, &a).await.is_err());
    let ended = owner.await.unwrap();
    assert!(matches!(ended, Err(LedgerError::Fenced { .. })), "{ended:?}");
    assert!(begun.elapsed() <= 2 * TICK, "it waited for its next look: {:?}", begun.elapsed());
}

/// Looking tells what is wrong instead of waiting, and everything goes on by itself.
#[tokio::test(start_paused = true)]
async fn a_store_without_room_is_an_alarm_and_then_an_event() {
    let (gate, store) = Gate::folder();
    let ledger = Ledger::open(store, NOW).await.unwrap();
    let (handle, owner) = Owner::start(ledger, Arc::new(Ours(Instant::now())), Limits::default()).await.unwrap();
    let owner = tokio::spawn(owner.run(std::future::pending()));
    handle.submit(spec("r")).await.unwrap();
    let mut watcher = handle.watch(RunName::new("r").unwrap()).await.unwrap();
    watcher.next().await.unwrap();
    assert_eq!(handle.alarm(), None);
    gate.fill(true);
    let stopping = tokio::spawn({
        let handle = handle.clone();
        async move {
            let request = StopRequest { run: RunName::new("r").unwrap(), kind: StopKind::ByHand, by: "test".into() };
            handle.stop(request).await
        }
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    let error = handle.runs().await.unwrap_err();
    assert!(matches!(&error, HandleError::StoreWaits(alarm) if alarm.contains("has had no room for 3")), "{error}");
    assert!(handle.metrics().await.is_err() && crate::metrics::of_store(handle.store_waits().as_ref()).contains("waiting_seconds 3"));
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!stopping.is_finished() && !owner.is_finished(), "five minutes are waited out");
    gate.fill(false);
    stopping.await.unwrap().unwrap();
    assert_eq!(handle.runs().await.unwrap().runs.len(), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(handle.alarm(), None);
}

/// A part that belongs to nobody is swept, beside everything else and without harm to what a record names.
#[tokio::test]
async fn what_a_dead_attempt_left_is_swept_at_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let ledger = Ledger::open(store.clone(), NOW).await.unwrap();
    let mut cluster = Cluster::new(BOTH, ledger.epoch(), "", Limits::default());
    cluster.apply(BOTH, Event::Submit(Box::new(spec("r").into()))).0.unwrap();
    let run = RunName::new("r").unwrap();
    let mut record = cluster.run(&run).unwrap().record.clone();
    record.next_generation = osler_core::ids::Generation(5);
    record.version = 1;
    store.create(&osler_core::paths::state(&run, 1), serde_json::to_vec(&record).unwrap().into()).await.unwrap();
    let jobs = folder.path().join("runs/r/jobs/train/general");
    for left in ["g3/step-00000004/rank-00000.safetensors", "g3/step-00000004/rank-00001.safetensors#1", "notes/of/somebody"] {
        std::fs::create_dir_all(jobs.join(left).parent().unwrap()).unwrap();
        std::fs::write(jobs.join(left), "part").unwrap();
    }
    std::fs::create_dir_all(jobs.join("g4/step-00000004")).unwrap();
    let next = Ledger::open(store, NOW).await.unwrap();
    let (_handle, owner) = Owner::start(next, Arc::new(Ours(Instant::now())), Limits::default()).await.unwrap();
    let owner = tokio::spawn(owner.run(std::future::pending()));
    timeout(SOON, async {
        while jobs.join("g3").exists() || jobs.join("g4").exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("nobody sweeps");
    assert!(jobs.join("notes/of/somebody").exists(), "it is of no attempt");
    owner.abort();
}
