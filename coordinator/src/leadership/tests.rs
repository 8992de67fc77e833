//! Takeover on a real folder, in paused time.

use super::*;
use osler_runtime::clock::SystemClock;
use osler_runtime::lease;
use osler_runtime::process::Located;
use std::time::Duration;
use tokio::task::JoinHandle;

fn folder() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    (folder, store)
}

/// A coordinator that leads until it is aborted.
async fn active(store: &Store) -> (Epoch, JoinHandle<Infallible>) {
    let ledger = Ledger::open(store.clone(), Millis(1)).await.unwrap();
    let epoch = ledger.epoch();
    let mut leadership = Leadership::begin(store.clone(), epoch, "127.0.0.1:1".into(), None).await.unwrap();
    (epoch, tokio::spawn(async move { leadership.renew(Terms::default()).await }))
}

fn standby(store: &Store) -> JoinHandle<Ledger> {
    let store = store.clone();
    tokio::spawn(async move { stand_by(&store, &SystemClock, Terms::default()).await.unwrap() })
}

/// How long it takes in the paused time, which moves on when every task waits.
async fn within(task: JoinHandle<Ledger>) -> (Ledger, Duration) {
    let begun = Instant::now();
    (task.await.unwrap(), begun.elapsed())
}

use osler_core::ids::Millis;

#[tokio::test(start_paused = true)]
async fn a_standby_takes_over_from_a_dead_coordinator_and_not_from_one_that_lives() {
    let (_folder, store) = folder();
    let (epoch, renewing) = active(&store).await;
    let standby = standby(&store);
    sleep(Duration::from_secs(600)).await;
    assert!(!standby.is_finished(), "took over from a coordinator that lives");
    renewing.abort();
    let (ledger, waited) = within(standby).await;
    assert_eq!(ledger.epoch(), Epoch(epoch.0 + 1));
    assert!(waited > Duration::from_secs(3) && waited < Duration::from_secs(7), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_coordinator_that_ended_in_order() {
    let (_folder, store) = folder();
    let ledger = Ledger::open(store.clone(), Millis(1)).await.unwrap();
    let leadership = Leadership::begin(store.clone(), ledger.epoch(), "127.0.0.1:1".into(), None).await.unwrap();
    let standby = standby(&store);
    sleep(Duration::from_secs(2)).await;
    leadership.release(Terms::default()).await;
    let (_, waited) = within(standby).await;
    assert!(waited <= Duration::from_secs(1), "{waited:?}");
    assert_eq!(lease::address(&store).await.unwrap(), None, "the new one has not said where it is, and the old one is gone");
}

#[tokio::test(start_paused = true)]
async fn of_two_standbys_one_reigns_and_the_other_waits_for_it() {
    let (_folder, store) = folder();
    let (_, renewing) = active(&store).await;
    let mut standbys = [standby(&store), standby(&store)];
    sleep(Duration::from_secs(3)).await;
    renewing.abort();
    let [a, b] = &mut standbys;
    let (first, other) = tokio::select! { ledger = a => (ledger, 1), ledger = b => (ledger, 0) };
    let first = first.unwrap();
    let mut leadership = Leadership::begin(store.clone(), first.epoch(), "127.0.0.1:2".into(), None).await.unwrap();
    let renewing = tokio::spawn(async move { leadership.renew(Terms::default()).await });
    sleep(Duration::from_secs(60)).await;
    assert!(!standbys[other].is_finished());
    assert_eq!(lease::address(&store).await.unwrap().as_deref(), Some("127.0.0.1:2"));
    renewing.abort();
    let second = (&mut standbys[other]).await.unwrap();
    assert_eq!(second.epoch(), Epoch(first.epoch().0 + 1));
    assert!(matches!(first.check_leadership().await, Err(LedgerError::Fenced { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_died_before_it_wrote_a_lease_is_succeeded_too() {
    let (_folder, store) = folder();
    let dead = Ledger::open(store.clone(), Millis(1)).await.unwrap();
    let (ledger, waited) = within(standby(&store)).await;
    assert_eq!(ledger.epoch(), Epoch(dead.epoch().0 + 1));
    assert!(waited >= Terms::default().expiry, "{waited:?}");
}

#[test]
fn a_standby_that_stood_still_itself_begins_to_wait_anew() {
    let terms = Terms::default();
    let begin = Instant::now();
    let lease = Lease { epoch: Epoch(1), address: "a".into(), beat: 7, released: false, leader: None };
    let seen =
        |at: f64, before: Option<Sight>| Sight::update(before, (Epoch(1), Some(lease.clone())), begin + Duration::from_secs_f64(at), terms);
    let sight = seen(4.5, Some(seen(4.0, Some(seen(3.0, Some(seen(1.5, Some(seen(0.0, None)))))))));
    assert!(sight.why_over(terms).is_none());
    let frozen = seen(60.0, Some(sight));
    assert!(frozen.why_over(terms).is_none(), "its own pause was taken for the other's silence");
    let later = seen(65.0, Some(seen(63.5, Some(seen(62.0, Some(frozen))))));
    assert!(later.why_over(terms).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_led_is_not_taken_and_one_whose_leader_died_or_ended_is() {
    let (_folder, store) = folder();
    let (epoch, renewing) = active(&store).await;
    let refused = begin(&store, &SystemClock, Terms::default()).await.unwrap_err();
    let NotBegun::Led(led) = &refused else { panic!("{refused}") };
    assert_eq!((led.lease.epoch, led.lease.address.as_str()), (epoch, "127.0.0.1:1"));
    let said = refused.to_string();
    assert!([&store.shown(), "127.0.0.1:1", "osler submit", "--standby", "--take-over"].iter().all(|word| said.contains(word)), "{said}");
    renewing.abort();
    let silent = Instant::now();
    let next = begin(&store, &SystemClock, Terms::default()).await.unwrap();
    assert_eq!(next.epoch(), Epoch(epoch.0 + 1));
    let waited = silent.elapsed();
    assert!(waited <= Terms::default().expiry + Terms::default().look * 2, "a dead leader blocked for {waited:?}");
    Leadership::begin(store.clone(), next.epoch(), "127.0.0.1:2".into(), None).await.unwrap().release(Terms::default()).await;
    let ended = Instant::now();
    begin(&store, &SystemClock, Terms::default()).await.unwrap();
    assert_eq!(ended.elapsed(), Duration::ZERO, "nobody waits for one that ended in order");
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_process_is_gone_from_this_machine_is_not_waited_for() {
    let (_folder, store) = folder();
    let ledger = Ledger::open(store.clone(), Millis(1)).await.unwrap();
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let leader = Leader { process: Located::of(child.id()), ..Leader::own(Millis(7)) };
    Leadership::begin(store.clone(), ledger.epoch(), "127.0.0.1:1".into(), Some(leader)).await.unwrap();
    let begun = Instant::now();
    let looking = begin(&store, &SystemClock, Terms::default());
    assert!(timeout(Duration::from_secs(3), looking).await.is_err(), "it lives, and its lease is young");
    child.kill().unwrap();
    child.wait().unwrap();
    begin(&store, &SystemClock, Terms::default()).await.unwrap();
    assert!(begun.elapsed() <= Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn of_two_that_begin_at_once_one_leads_and_the_other_is_refused() {
    let (_folder, store) = folder();
    let both = [store.clone(), store.clone()].map(|store| {
        tokio::spawn(async move {
            let ledger = begin(&store, &SystemClock, Terms::default()).await?;
            let mut leadership = Leadership::begin(store, ledger.epoch(), "127.0.0.1:3".into(), None).await.map_err(LedgerError::from)?;
            leadership.renew(Terms::default()).await;
            Ok::<_, NotBegun>(())
        })
    });
    sleep(Duration::from_secs(60)).await;
    let refused = both.iter().filter(|task| task.is_finished()).count();
    assert_eq!(refused, 1);
    both.iter().for_each(JoinHandle::abort);
}
