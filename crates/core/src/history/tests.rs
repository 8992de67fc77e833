//! Pages turned and filled in again: no reader can tell the difference.

use super::*;
use crate::ids::{Generation, Millis};
use crate::record::EventKind;

const SIZE: PageSize = PageSize { checkpoints: 3, events: 4 };

fn stage() -> StageName {
    StageName::new("domain").unwrap()
}

fn published(step: u64, retired: bool) -> Published {
    let manifest = ObjectRef { path: format!("m{step}"), bytes: 1, digest: Digest::of(b"") };
    let (generation, at, mean_loss) = (Generation(1), Millis(step), Some(1.5));
    Published { step, generation, manifest, at, retired, mean_loss, world_size: Some(2), pinned: false, skipped: 1 }
}

fn event(id: u64) -> Event {
    let message = format!("event {id}");
    Event { id, at: Millis(id), kind: EventKind::Run, job: None, generation: None, message, reason: None }
}

/// A run with checkpoints at 1 to `steps`, all but the newest two retired, and as many events.
fn record(steps: u64) -> RunRecord {
    let mut record = crate::leftover::tests::record();
    record.checkpoints = BTreeMap::from([(stage(), (1..=steps).map(|step| published(step, step + 2 <= steps)).collect())]);
    record.events = (1..=steps).map(event).collect();
    record.next_event = steps + 1;
    record
}

/// What a reader makes of a version and the pages that were written.
fn read(head: &[u8], store: &BTreeMap<String, Vec<u8>>, from_event: u64) -> RunRecord {
    let mut record: RunRecord = serde_json::from_slice(head).unwrap();
    let page = |object: ObjectRef| {
        let bytes = &store[&object.path];
        assert_eq!((object.bytes, object.digest), (bytes.len() as u64, Digest::of(bytes)));
        Contents::read(bytes).unwrap()
    };
    record.fill(record.history.wanted(from_event).into_iter().map(page).collect::<Vec<_>>());
    record
}

#[test]
fn a_record_is_the_same_after_its_pages_were_turned_and_filled_in_again() {
    for steps in [0, 3, 4, 5, 6, 7, 20] {
        let mut record = record(steps);
        let store: BTreeMap<_, _> = record.turn_pages(SIZE).into_iter().collect();
        let before = record.clone();
        let head = record.head();
        assert_eq!(record, before, "taking the head changes the record");
        assert_eq!(read(&head, &store, 0), record, "{steps} steps");
        assert!(record.turn_pages(SIZE).is_empty(), "a page was turned twice");
    }
}

#[test]
fn a_version_is_no_longer_for_more_checkpoints() {
    let length = |steps: u64| {
        let mut record = record(steps);
        record.turn_pages(PageSize::default());
        record.head().len() as u64
    };
    let (few, many) = (length(1_000), length(10_000));
    assert!(many - few < 9_000 * 10, "{} bytes more for 9,000 checkpoints more", many - few);
}

#[test]
fn what_is_not_retired_stays_and_stops_the_pages_behind_it() {
    let mut record = record(20);
    record.checkpoints.get_mut(&stage()).unwrap()[4].retired = false; // pinned once, say
    record.turn_pages(SIZE);
    assert_eq!(record.history.paged(&stage()), 3);
    record.checkpoints.get_mut(&stage()).unwrap()[4].retired = true;
    record.turn_pages(SIZE);
    assert_eq!(record.history.paged(&stage()), 18);
}

#[test]
fn a_stage_that_goes_back_fills_its_pages_otherwise() {
    let mut record = record(12);
    let mut store: BTreeMap<_, _> = record.turn_pages(SIZE).into_iter().collect();
    record.checkpoints.get_mut(&stage()).unwrap().truncate(4);
    record.history.go_back(&stage(), 4);
    assert_eq!(record.history.paged(&stage()), 3);
    let head = record.head();
    assert_eq!(read(&head, &store, 0), record);
    record
        .checkpoints
        .get_mut(&stage())
        .unwrap()
        .extend((5..20).map(|step| Published { generation: Generation(2), ..published(step, true) }));
    for (path, bytes) in record.turn_pages(SIZE) {
        assert!(store.insert(path.clone(), bytes).is_none(), "{path} has two contents");
    }
    let head = record.head();
    assert_eq!(read(&head, &store, 0), record);
}

#[test]
fn old_events_are_left_on_their_pages_when_only_the_newest_are_wanted() {
    let mut record = record(20);
    let store: BTreeMap<_, _> = record.turn_pages(SIZE).into_iter().collect();
    let head = record.head();
    let mut newest = read(&head, &store, 11);
    assert_eq!(newest.events.first().map(|event| event.id), Some(9), "whole pages");
    assert_eq!(newest.head(), head, "what is not in memory is still named");
}

#[test]
fn a_page_of_another_format_is_refused() {
    assert!(Contents::read(br#"{"format":2}"#).unwrap_err().contains("format 2"));
    assert!(Contents::read(b"{").is_err());
}
