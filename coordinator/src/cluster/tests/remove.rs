//! Removing runs that nobody needs any more.

use super::*;
use crate::cluster::RemoveRequest;
use crate::testing::spec;
use osler_core::spec::Init;

fn remove(run: &RunName) -> Event {
    Event::Remove(RemoveRequest { run: run.clone(), by: "ann (ann@desk)".into() })
}

fn finished(world: &mut World, name: &str) -> RunName {
    let run = world.submit(spec(name));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    run
}

#[test]
fn only_a_run_that_does_not_live_is_removed_and_its_name_is_free_after_it() {
    let mut world = World::new(&[3]);
    let run = world.submit(spec("r"));
    world.step();
    let refused = world.apply(remove(&run)).unwrap_err();
    assert!(matches!(refused, Refused::StillLive { .. }) && refused.to_string().contains("`osler stop r`"), "{refused}");
    world.apply(stop_by_hand(&run)).unwrap();
    assert!(matches!(world.apply(remove(&run)), Err(Refused::StillLive { .. })), "it is still stopping");
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    let before = world.record(&run).clone();
    assert_eq!(world.apply(remove(&run)), Ok(Answer::State(RunState::Removed)));
    let last = world.record(&run).events.last().unwrap().message.clone();
    assert_eq!(last, "removed by ann (ann@desk)");
    assert!(matches!(world.apply(Event::Submit(Box::new(spec("r").into()))), Err(Refused::BeingRemoved(_))), "not before it is durable");
    for event in [Event::Resume { run: run.clone(), ranks: None }, stop_by_hand(&run)] {
        assert!(matches!(world.apply(event), Err(Refused::NoSuchRun(_))));
    }
    world.cluster.bury();
    assert!(world.cluster.run(&run).is_none());
    assert_eq!(world.apply(remove(&run)), Ok(Answer::State(RunState::Removed)), "asking twice is harmless");
    let remains = world.cluster.take_remains().unwrap();
    assert_eq!((remains.version, remains.next_generation), (before.version + 1, before.next_generation));
    assert_eq!(world.cluster.take_remains(), None, "told once");
    world.apply(Event::Swept { remains: remains.clone(), whole: false }).unwrap();
    assert_eq!(world.cluster.take_remains(), Some(remains.clone()), "tried again");
    world.submit(spec("r"));
    assert_eq!(world.record(&run).version, remains.version + 1);
    world.apply(Event::Swept { remains, whole: true }).unwrap();
    assert_eq!(world.cluster.being_removed().count(), 0);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    let first = world.record(&run).jobs.values().flat_map(|job| &job.past).map(|past| past.generation).min();
    assert_eq!(first, Some(before.next_generation));
}

#[test]
fn a_run_that_another_one_reads_stays() {
    let mut world = World::new(&[3]);
    let run = finished(&mut world, "r");
    let mut reader = spec("reader");
    reader.stages[0].from = Init::HuggingFace("/store/runs/r/jobs/export/general/g9".into());
    let reader = world.submit(reader);
    let refused = world.apply(remove(&run)).unwrap_err();
    assert!(matches!(&refused, Refused::StillRead { reader, .. } if reader.as_str() == "reader"), "{refused}");
    world.until("finished", |w| w.record(&reader).state == RunState::Finished);
    world.apply(remove(&run)).unwrap();
}

#[test]
fn a_coordinator_that_finds_a_removed_run_shows_it_to_nobody() {
    let mut world = World::new(&[3]);
    let run = finished(&mut world, "r");
    world.apply(remove(&run)).unwrap();
    let record = world.record(&run).clone();
    let mut next = Cluster::new(world.now, Epoch(2), "file:///store", Limits::default());
    next.adopt(record.clone());
    assert_eq!(next.runs().count(), 0);
    assert!(next.take_remains().is_none(), "not before it is noted");
    assert_eq!(next.to_note(), [osler_core::removal::Remains::of(&record)]);
    next.bury();
    assert!(next.to_note().is_empty() && next.take_remains().is_some());
}

#[test]
fn of_finished_runs_the_newest_are_kept_and_what_somebody_pinned() {
    let mut world = World::with(&[3], Limits { keep_finished: Some(1), ..Limits::default() });
    let pinned = finished(&mut world, "pinned");
    let (stage, step) =
        world.record(&pinned).checkpoints.iter().map(|(stage, all)| (stage.clone(), all.last().unwrap().step)).next().unwrap();
    world.apply(Event::Pin { run: pinned.clone(), stage: stage.clone(), step, pinned: true }).unwrap();
    let stopped = world.submit(spec("stopped"));
    world.apply(stop_by_hand(&stopped)).unwrap();
    world.until("stopped", |w| w.record(&stopped).state == RunState::Stopped);
    let old = finished(&mut world, "old");
    world.wait(2_000, &[0]);
    assert_eq!(world.record(&old).state, RunState::Finished, "it is the newest");
    let new = finished(&mut world, "new");
    world.wait(2_000, &[0]);
    let states = [&pinned, &stopped, &old, &new].map(|run| world.record(run).state.clone());
    assert_eq!(states, [RunState::Finished, RunState::Stopped, RunState::Removed, RunState::Finished]);
    let told = world.record(&old).events.last().unwrap().message.clone();
    assert_eq!(told, "removed by itself: 1 finished after it, and 1 are kept (--keep-finished)");
    world.cluster.bury();
    world.apply(Event::Pin { run: pinned.clone(), stage, step, pinned: false }).unwrap();
    let other = finished(&mut world, "other");
    world.wait(2_000, &[0]);
    let states = [&pinned, &new, &other].map(|run| world.record(run).state.clone());
    assert_eq!(states, [RunState::Removed, RunState::Removed, RunState::Finished]);
}

#[test]
fn a_finished_run_is_kept_for_a_while() {
    let mut world = World::with(&[3], Limits { keep_finished_for: Some(60_000), ..Limits::default() });
    let run = finished(&mut world, "r");
    world.wait(50_000, &[0]);
    assert_eq!(world.record(&run).state, RunState::Finished);
    // A wall clock that jumps by a year deletes nothing.
    world.now.wall.0 += 400 * 24 * 3_600_000;
    world.wait(5_000, &[0]);
    assert_eq!(world.record(&run).state, RunState::Finished);
    world.wait(10_000, &[0]);
    assert_eq!(world.record(&run).state, RunState::Removed);
}
