//! Whole chains, and each way in which somebody may have laid hands on one.

use super::*;
use crate::access::{Ended, Follows};
use crate::ids::Millis;
use crate::seal::{Seal, sealed};

type Version = (u64, String, Vec<u8>);

/// Stands in for a key: what it signed begins with the message's digest.
fn sign(message: &[u8]) -> Signature {
    let mut bytes = [9; 64];
    bytes[..32].copy_from_slice(Digest::of(message).as_bytes());
    Signature(bytes)
}

fn verify(message: &[u8], signature: &Signature) -> bool {
    *signature == sign(message)
}

fn version(number: u64, before: Option<&Version>) -> Version {
    let (path, document) = (format!("state/{number:03}.json"), format!("{{\"version\":{number}}}"));
    let before = before.map(|(.., bytes)| Digest::of(bytes));
    let signature = Some(sign(&Sealed::message(&path, document.as_bytes(), before.as_ref())));
    (number, path, sealed(document.as_bytes(), &Seal { before, signature }))
}

fn versions() -> Vec<Version> {
    let mut versions = vec![version(3, None)];
    (4..8).for_each(|number| versions.push(version(number, versions.last())));
    versions
}

fn found(versions: &[Version], key: bool) -> Vec<String> {
    let evidence = of_versions(versions, if key { Some(&verify) } else { None });
    evidence.findings.into_iter().map(|finding| format!("{}: {}", finding.path, finding.why)).collect()
}

#[test]
fn versions_that_name_the_one_before_are_whole() {
    let evidence = of_versions(&versions(), Some(&verify));
    assert_eq!((evidence.objects, evidence.chained, evidence.signed, evidence.is_whole()), (5, 4, 5, true), "{evidence:?}");
    // Those that a store had before seals were known.
    let old: Vec<Version> = (1..4).map(|n| (n, format!("{n}"), b"{\"a\":1}".to_vec())).collect();
    assert!(of_versions(&old, None).is_whole());
}

#[test]
fn a_changed_a_missing_and_an_unsealed_version_are_found() {
    let change = |with: &dyn Fn(&mut Vec<Version>)| {
        let mut changed = versions();
        with(&mut changed);
        found(&changed, false)
    };
    let changed = change(&|all| all[2].2 = String::from_utf8(all[2].2.clone()).unwrap().replace(":5", ":6").into());
    assert!(changed.len() == 1 && changed[0].starts_with("state/006.json: it follows a version 5 with sha256"), "{changed:?}");
    let missing = change(&|all| drop(all.remove(2)));
    assert_eq!(missing, ["state/006.json: the versions between 4 and 6 are missing"]);
    let unsealed = change(&|all| all[4].2 = b"{\"version\":7}".to_vec());
    assert_eq!(unsealed, ["state/007.json: it does not name version 6 before it"]);
}

#[test]
fn without_the_key_nobody_writes_a_version_that_passes() {
    let mut forged = versions();
    let mut document = Sealed::open(&forged[4].2).document.to_vec();
    document.truncate(document.len() - 1);
    document.extend(b",\"x\":1}");
    let seal = Sealed::open(&forged[4].2).seal.unwrap();
    forged[4].2 = sealed(&document, &seal);
    assert!(found(&forged, false).is_empty(), "the newest one has no successor");
    assert_eq!(found(&forged, true), ["state/007.json: its signature is not by this key, or it was changed since"]);
    forged[4].2 = sealed(&document, &Seal { signature: None, ..seal });
    assert_eq!(found(&forged, true), ["state/007.json: it is not signed"]);
    let mut moved = versions();
    moved[4].1 = "other/007.json".into();
    assert_eq!(found(&moved, true).len(), 1);
}

#[test]
fn a_run_with_the_name_of_a_removed_one_begins_a_chain_of_its_own() {
    let whole = |state: &str| {
        let mut all = versions();
        let document = format!("{{\"version\":8,\"state\":{{\"state\":\"{state}\"}}}}");
        let before = all.last().map(|(.., bytes)| Digest::of(bytes));
        all.push((8, "state/008.json".into(), sealed(document.as_bytes(), &Seal { before, signature: None })));
        all.push((9, "state/009.json".into(), sealed(b"{\"version\":9}", &Seal { before: None, signature: None })));
        found(&all, false).is_empty()
    };
    assert!(whole("removed") && !whole("stopped"));
}

type Log = BTreeMap<(Epoch, u64), (String, Vec<u8>)>;

fn entry(epoch: u64, number: u64, follows: Option<Follows>, ended: Vec<Ended>) -> LogEntry {
    LogEntry {
        at: Millis(1),
        epoch: Epoch(epoch),
        number,
        who: None,
        role: None,
        peer: "127.0.0.1:1".into(),
        method: "StopRun".into(),
        what: format!("run=\"r{number}\""),
        outcome: "ok".into(),
        times: 1,
        follows,
        ended,
    }
}

/// Three entries of one coordinator, two of the next.
fn log() -> Vec<LogEntry> {
    let mut log: Vec<LogEntry> = vec![];
    for (epoch, number) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)] {
        let ended = (number > 1).then(|| Ended { number: number - 1, outcome: Digest::of(b"ok") });
        log.push(entry(epoch, number, log.last().map(LogEntry::as_followed), ended.into_iter().collect()));
    }
    log
}

fn found_in(log: &[LogEntry]) -> Vec<String> {
    let place = |e: &LogEntry| ((e.epoch, e.number), (format!("{}/{}", e.epoch, e.number), serde_json::to_vec(e).unwrap()));
    let entries: Log = log.iter().map(place).collect();
    of_log(&entries, None).findings.into_iter().map(|finding| format!("{}: {}", finding.path, finding.why)).collect()
}

#[test]
fn the_log_is_whole_across_coordinators_and_every_change_is_found() {
    assert!(found_in(&log()).is_empty(), "{:?}", found_in(&log()));
    let changed = |at: usize, with: &dyn Fn(&mut LogEntry)| {
        let mut log = log();
        with(&mut log[at]);
        found_in(&log)
    };
    assert_eq!(changed(1, &|e| e.what = "x".into()), ["1/2: it was changed: the entry after it names another"]);
    assert_eq!(changed(0, &|e| e.outcome = "denied".into()), ["1/1: how the call went was changed: a later entry names another outcome"]);
    assert!(changed(3, &|e| e.follows = None).contains(&"2/1: it does not name the entry before it".to_owned()));
    for (at, why) in [(1, "1/3: the entry before it, 1/2, is missing"), (2, "2/1: the entry before it, 1/3, is missing")] {
        let mut log = log();
        log.remove(at);
        assert_eq!(found_in(&log), [why]);
    }
    let mut broken: Log = BTreeMap::new();
    broken.insert((Epoch(1), 1), ("x".into(), b"{}".to_vec()));
    assert_eq!(of_log(&broken, None).findings.len(), 1);
}
