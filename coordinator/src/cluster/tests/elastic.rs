//! Gangs that shrink when nodes are lost and grow back.

use super::*;
use crate::testing::spec;
use osler_core::job::FaultClass;
use osler_core::spec::{Determinism, ResourceSpec};

/// Four sequences a step: 1, 2 or 4 ranks.
fn elastic(least: u32) -> RunSpec {
    let base = spec("r");
    let mut spec =
        RunSpec { resources: ResourceSpec { ranks: 4, min_ranks: Some(least), ..base.resources }, exams: vec![], quantize: vec![], ..base };
    spec.stages[0].length = osler_core::spec::Length::Steps(1_200);
    spec
}

const TRAIN: &str = "train/general";

fn ranks(world: &World, run: &RunName) -> usize {
    world.state(run, TRAIN).attempt().map_or(0, |attempt| attempt.places.len())
}

/// Steps until the gang runs with so many ranks; gives the milliseconds that passed.
fn until_ranks(world: &mut World, run: &RunName, wanted: usize) -> u64 {
    let begun = world.now.moment;
    world.until(&format!("{wanted} ranks train"), |w| {
        w.is(run, TRAIN, "active") && ranks(w, run) == wanted && w.state(run, TRAIN).attempt().is_some_and(|a| a.has_met())
    });
    world.now.moment.since(begun)
}

fn faults(world: &World, run: &RunName) -> Vec<Option<FaultClass>> {
    let past = &world.record(run).jobs[&JobKey::from(TRAIN)].past;
    past.iter().map(|past| past.fault.as_ref().map(|f| f.class)).collect()
}

#[test]
fn a_gang_goes_on_smaller_without_a_lost_node_and_grows_when_one_comes() {
    let mut world = World::new(&[2, 1, 1]);
    let run = world.submit(elastic(1));
    until_ranks(&mut world, &run, 4);
    world.until("steps", |w| w.record(&run).published_steps(&crate::testing::stage("general")) > 10);
    let mut lost = world.agents.pop().unwrap();
    lost.die(&mut world.gangs);
    // Lost after 10 s, and 10 s for a node that comes back; three slots are left, and three ranks cannot share four sequences.
    let took = until_ranks(&mut world, &run, 2);
    assert!((20_000..22_000).contains(&took), "{took} ms");
    assert_eq!(faults(&world, &run), [Some(FaultClass::Infrastructure)]);
    let at = world.record(&run).published_steps(&crate::testing::stage("general"));
    assert!(at > 10, "it began anew");

    world.agents.push(Agent::new(lost.name.as_str(), 2, 1));
    let took = until_ranks(&mut world, &run, 4);
    assert!((30_000..33_000).contains(&took), "{took} ms");
    assert_eq!(faults(&world, &run), [Some(FaultClass::Infrastructure), None], "growing is nobody's fault");
    assert!(world.record(&run).published_steps(&crate::testing::stage("general")) > at);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_gang_waits_for_a_node_that_is_back_in_time() {
    let mut world = World::new(&[2, 2]);
    let run = world.submit(elastic(1));
    until_ranks(&mut world, &run, 4);
    let mut lost = world.agents.pop().unwrap();
    lost.die(&mut world.gangs);
    world.until("its loss is noticed", |w| w.is(&run, TRAIN, "pending"));
    assert_eq!(world.why(&run, TRAIN), "2 of 4 slots free; starts with 1 or more in 10 s; worker b is lost");
    (0..50).for_each(|_| world.step());
    world.agents.push(Agent::new(lost.name.as_str(), 2, 2));
    assert!(until_ranks(&mut world, &run, 4) < 1_000);
    assert_eq!(faults(&world, &run).len(), 1, "it started with fewer ranks in between");
}

#[test]
fn no_gang_goes_below_its_least() {
    let mut world = World::new(&[2, 1]);
    let run = world.submit(elastic(4));
    for _ in 0..600 {
        world.step();
    }
    assert!(world.is(&run, TRAIN, "pending"));
    let mut none = World::new(&[2, 1]);
    let run = none.submit(RunSpec { resources: ResourceSpec { min_ranks: None, ..elastic(4).resources }, ..elastic(4) });
    for _ in 0..600 {
        none.step();
    }
    assert!(none.is(&run, TRAIN, "pending"), "a run that did not ask for it shrank");
}

#[test]
fn a_gang_does_not_grow_into_slots_that_others_wait_for() {
    let mut world = World::new(&[2]);
    let run = world.submit(elastic(2));
    until_ranks(&mut world, &run, 2);
    // As large as both nodes together: it waits for all of them, and goes first.
    let mut other = elastic(4);
    other.name = RunName::new("other").unwrap();
    let other = world.submit(other);
    world.agents.push(Agent::new("b", 1, 2));
    for _ in 0..600 {
        world.step();
    }
    assert_eq!(ranks(&world, &run), 2);
    world.apply(interruption(other)).unwrap();
    let took = until_ranks(&mut world, &run, 4);
    assert!(took >= 30_000, "{took} ms");
}

#[test]
fn only_sizes_that_share_the_batch_and_the_tree_are_tried() {
    let sizes = |ranks, least, determinism| {
        let mut spec = elastic(least);
        spec.resources = ResourceSpec { ranks, determinism, ..spec.resources };
        spec.stages.iter_mut().for_each(|stage| stage.global_batch = 24);
        let mut world = World::new(&[1]);
        let run = world.submit(spec);
        world.cluster.run(&run).unwrap().sizes(&JobKey::from(TRAIN))
    };
    assert_eq!(sizes(12, 2, Determinism::Fast), [12, 8, 6, 4, 3, 2]);
    assert_eq!(sizes(12, 6, Determinism::Fast), [12, 8, 6]);
}

#[test]
fn a_gang_of_one_rank_saves_when_it_is_stopped_and_grows_too() {
    let mut world = World::new(&[1]);
    let run = world.submit(elastic(1));
    until_ranks(&mut world, &run, 1);
    let at = |w: &World| w.cluster.run(&run).unwrap().progress.get(&(JobKey::from(TRAIN), 0)).map_or(0, |(word, _)| word.done);
    world.until("six steps, of which four are published", |w| at(w) >= 6);
    world.apply(interruption(run.clone())).unwrap();
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    assert!(world.record(&run).published_steps(&crate::testing::stage("general")) >= 6, "steps were lost to a stop");
    world.apply(Event::Resume { run: run.clone(), ranks: None }).unwrap();
    until_ranks(&mut world, &run, 1);
    world.agents.push(Agent::new("b", 1, 3));
    until_ranks(&mut world, &run, 4);
}
