//! Objects that a check of the store found damaged.

use super::mend::{PACK, events, look, output, training};
use super::*;
use crate::cluster::Doubt;
use crate::testing::{spec, stage};

fn doubt(world: &mut World, run: &RunName, path: &str) -> Result<Answer, Refused> {
    world.apply(Event::Doubt(Doubt { run: run.clone(), path: path.to_owned(), by: "ann".into() }))
}

fn part(world: &World, run: &RunName, step: u64) -> String {
    let record = world.record(run);
    record.parts(&stage("general"), record.checkpoint(&stage("general"), Some(step)).unwrap())[0].clone()
}

fn kept(world: &World, run: &RunName) -> Vec<u64> {
    world.record(run).checkpoints[&stage("general")].iter().filter(|c| !c.retired).map(|c| c.step).collect()
}

#[test]
fn what_is_doubted_is_read_by_the_coordinator_and_only_damage_has_consequences() {
    let (mut world, run) = training(1);
    let path = output(&world, &run, PACK);
    assert!(matches!(doubt(&mut world, &run, "runs/r/state/0000000001.json"), Err(Refused::NotNamed { .. })));
    doubt(&mut world, &run, &path).unwrap();
    doubt(&mut world, &run, &path).unwrap();
    assert_eq!(world.cluster.run(&run).unwrap().doubted.len(), 1);
    assert_eq!(look(&mut world, None).path, path);
    assert!(world.cluster.run(&run).unwrap().doubted.is_empty() && world.is(&run, PACK, "succeeded"));
    assert_eq!(events(&world, &run).last().unwrap(), &format!("{path} is intact"));
    doubt(&mut world, &run, &path).unwrap();
    look(&mut world, Some("it is missing"));
    assert!(!world.is(&run, PACK, "succeeded"), "it is not made again");
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_finished_run_makes_again_what_is_damaged_when_it_is_resumed() {
    let mut world = World::new(&[3]);
    let run = world.submit(spec("r"));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    let before = world.record(&run).result(&JobKey::from("export/general")).unwrap().clone();
    doubt(&mut world, &run, &before.outputs["out"].path).unwrap();
    look(&mut world, Some("it is missing"));
    assert_eq!(world.record(&run).state, RunState::Stopped);
    world.wait(1_000, &[0]);
    assert!(world.is(&run, "export/general", "pending"), "nobody asked for it");
    world.apply(Event::Resume { run: run.clone(), ranks: None }).unwrap();
    world.until("finished again", |w| w.record(&run).state == RunState::Finished);
    let again = world.record(&run).result(&JobKey::from("export/general")).unwrap();
    assert_eq!(again.outputs["out"].digest, before.outputs["out"].digest);
}

#[test]
fn a_stage_goes_back_only_if_it_would_go_on_from_the_damage() {
    let (mut world, run) = training(2);
    world.apply(stop_by_hand(&run)).unwrap();
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    let [older, newest] = kept(&world, &run)[..] else { panic!("{:?}", kept(&world, &run)) };
    let path = part(&world, &run, older);
    doubt(&mut world, &run, &path).unwrap();
    look(&mut world, Some("it is missing"));
    assert_eq!(kept(&world, &run), [newest], "nothing goes on from the older one");
    assert!(world.record(&run).rewinds.is_empty());
    let (mut world, run) = training(2);
    world.apply(stop_by_hand(&run)).unwrap();
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    let path = part(&world, &run, newest);
    doubt(&mut world, &run, &path).unwrap();
    look(&mut world, Some("it is missing"));
    assert_eq!(kept(&world, &run), [older], "it goes back");
    world.apply(Event::Resume { run: run.clone(), ranks: None }).unwrap();
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}
