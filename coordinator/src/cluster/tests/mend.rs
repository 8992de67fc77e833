//! Objects that are damaged: looked at, had again, and told; or not damaged at all.

use super::*;
use crate::cluster::{Doubt, RewindRequest};
use crate::testing::spec;
use osler_core::digest::Digest;
use osler_core::job::{Damage, Fault, FaultClass};
use osler_core::process::Report;

const TRAIN: &str = "train/general";
pub(super) const PACK: &str = "pack/general/16";

/// A process of the job's attempt, and where it runs. Of the attempt before it some may run on.
fn newest(world: &World, job: &str) -> Option<(usize, osler_core::sync::ProcessId)> {
    let generation = world.state(&RunName::new("r").unwrap(), job).attempt()?.generation;
    let of = |agent: &Agent| agent.running().find(|p| p.id.job == JobKey::from(job) && p.generation == generation).cloned();
    world.agents.iter().enumerate().find_map(|(at, agent)| Some((at, of(agent)?)))
}

/// A rank or process of a job says that it could not use an object, and ends.
fn complain(world: &mut World, job: &str, path: &str) {
    let (agent, process) = newest(world, job).unwrap();
    let damage = Some(Box::new(Damage { path: path.to_owned(), found: "it is missing".to_owned() }));
    let fault = Fault { damage, ..Fault::new(FaultClass::Infrastructure, format!("{path:?} is missing from the store")) };
    world.agents[agent].report(&process, Report::Failed { fault });
    world.agents[agent].kill(&process, 1, &mut world.gangs);
    world.sync(agent);
}

/// The coordinator has read what was complained of.
pub(super) fn look(world: &mut World, found: Option<&str>) -> Look {
    let [look] = world.cluster.take_looks().try_into().expect("one object is to be looked at");
    world
        .apply(Event::Looked {
            look: Box::new(Look::clone(&look)),
            found: found.map_or(Found::Intact, |found| Found::Damaged(found.to_owned())),
        })
        .unwrap();
    look
}

pub(super) fn output(world: &World, run: &RunName, job: &str) -> String {
    world.record(run).result(&JobKey::from(job)).unwrap().outputs["out"].path.clone()
}

pub(super) fn events(world: &World, run: &RunName) -> Vec<String> {
    world.record(run).events.iter().filter(|e| e.kind == EventKind::Store).map(|e| e.message.clone()).collect()
}

pub(super) fn training(keep_last: u32) -> (World, RunName) {
    let mut world = World::new(&[1, 1]);
    let mut spec = spec("r");
    spec.checkpoint.keep_last = keep_last;
    let run = world.submit(spec);
    world.until("step 9", |w| w.cluster.run(&run).unwrap().line().step == 9);
    (world, run)
}

#[test]
fn a_damaged_output_is_made_again_and_its_reader_waits_for_it() {
    let (mut world, run) = training(1);
    let before = output(&world, &run, PACK);
    complain(&mut world, TRAIN, &before);
    world.wait(1_000, &[0, 1]);
    assert!(world.is(&run, TRAIN, "ending"), "nothing follows before the coordinator has looked");
    assert!(world.why(&run, TRAIN).contains("is damaged"), "{}", world.why(&run, TRAIN));
    assert!(world.is(&run, PACK, "succeeded"));
    assert_eq!(look(&mut world, Some("it is missing")).path, before);
    assert!(!world.is(&run, PACK, "succeeded") && world.is(&run, TRAIN, "blocked"), "{}", world.why(&run, TRAIN));
    assert!(world.record(&run).order(&world.record(&run).spec.stages[0].clone()).is_ok(), "what it had left is still known");
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert_ne!(output(&world, &run, PACK), before);
    let pack = &world.record(&run).jobs[&JobKey::from(PACK)];
    assert_eq!((pack.made_again, &pack.before), (1, &None));
    assert!(world.record(&run).jobs[&JobKey::from(TRAIN)].past.iter().all(|p| p.fault.is_none()), "nobody is blamed");
    let [told] = events(&world, &run).try_into().unwrap();
    let digest = Digest::of(b"out");
    assert!(told.starts_with(&format!("{before} is damaged: it is missing, recorded as 3 bytes, sha256 {digest}")), "{told}");
    assert!(osler_core::leftover::Claims::of(world.record(&run)).leaves(&before), "what is left of it is deleted");
}

#[test]
fn what_is_made_again_must_be_what_it_was() {
    let (mut world, run) = training(1);
    let before = output(&world, &run, PACK);
    complain(&mut world, TRAIN, &before);
    look(&mut world, Some("7 bytes"));
    let job = world.cluster.runs.get_mut(&run).unwrap().record.jobs.get_mut(&JobKey::from(PACK)).unwrap();
    job.before.as_mut().unwrap().outputs.get_mut("out").unwrap().digest = Digest::of(b"something else");
    world.until("it fails", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    let RunState::Failed(why) = &world.record(&run).state else { unreachable!() };
    assert!(why.contains("out is 3 bytes") && why.contains("restore it from a copy"), "{why}");
}

#[test]
fn what_the_store_does_not_say_is_held_against_no_object() {
    let (mut world, run) = training(1);
    let pack = output(&world, &run, PACK);
    complain(&mut world, TRAIN, &pack);
    let [look] = world.cluster.take_looks().try_into().unwrap();
    world.apply(Event::Looked { look: Box::new(look), found: Found::Unknown("it times out".into()) }).unwrap();
    assert!(world.is(&run, PACK, "succeeded"));
    assert!(events(&world, &run)[0].contains("cannot be read here either (it times out)"), "{:?}", events(&world, &run));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert_eq!(output(&world, &run, PACK), pack);
}

#[test]
fn an_object_that_is_intact_is_kept_and_whoever_complained_has_failed() {
    let (mut world, run) = training(1);
    let before = output(&world, &run, PACK);
    complain(&mut world, TRAIN, &before);
    look(&mut world, None);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert_eq!(output(&world, &run, PACK), before);
    let faults: Vec<_> = world.record(&run).jobs[&JobKey::from(TRAIN)].past.iter().filter_map(|p| p.fault.clone()).collect();
    assert!(faults.len() == 1 && faults[0].class == FaultClass::Infrastructure, "{faults:?}");
    assert!(events(&world, &run)[0].contains("is intact"), "{:?}", events(&world, &run));
}

#[test]
fn a_process_that_names_what_it_does_not_read_has_the_coordinator_look_at_nothing() {
    for foreign in ["/etc/passwd", "runs/r/state/0000000001.json", "runs/r/jobs/merge/domain/g1/out", ""] {
        let (mut world, run) = training(1);
        complain(&mut world, TRAIN, foreign);
        assert_eq!(world.cluster.take_looks(), [], "{foreign}");
        world.until("finished", |w| w.record(&run).state == RunState::Finished);
    }
}

#[test]
fn a_damaged_checkpoint_is_given_up_and_the_one_before_is_gone_on_from() {
    for manifest in [false, true] {
        let (mut world, run) = training(2);
        let stage = world.record(&run).spec.stages[0].name.clone();
        let newest = world.record(&run).newest_checkpoint(&stage).unwrap().clone();
        assert_eq!(newest.step, 8);
        let victim = world.process(0, TRAIN);
        world.agents[0].kill(&victim, 137, &mut world.gangs);
        world.until("the next attempt", |w| w.state(&run, TRAIN).attempt().is_some_and(|a| a.generation > newest.generation));
        let path = if manifest { newest.manifest.path.clone() } else { world.record(&run).parts(&stage, &newest)[1].clone() };
        world.until("it runs", |w| w.agents.iter().all(|a| a.running().any(|p| p.id.job == JobKey::from(TRAIN))));
        complain(&mut world, TRAIN, &path);
        look(&mut world, Some("0 bytes"));
        world.until("the attempt after it", |w| w.state(&run, TRAIN).attempt().is_some_and(|a| a.published == 4));
        world.until("finished", |w| w.record(&run).state == RunState::Finished);
        let [rewind] = world.record(&run).rewinds[&stage].as_slice() else { panic!("{:?}", world.record(&run).rewinds) };
        assert_eq!((rewind.to, rewind.damaged.as_deref()), (4, Some(path.as_str())));
        assert!(rewind.left_out.is_empty() && rewind.reason.contains("checkpoint step 8 is damaged"), "{}", rewind.reason);
    }
}

#[test]
fn a_stage_that_is_done_is_gone_on_with_when_its_last_checkpoint_is_damaged() {
    let mut world = World::new(&[1, 1]);
    let mut spec = spec("r");
    spec.checkpoint.keep_last = 2;
    let run = world.submit(spec);
    let stage = world.record(&run).spec.stages[0].name.clone();
    world.until("the next stage begins", |w| w.agents.iter().any(|a| a.running().any(|p| p.id.job.as_str() == "train/domain")));
    let last = world.record(&run).newest_checkpoint(&stage).unwrap().clone();
    let path = world.record(&run).parts(&stage, &last)[0].clone();
    complain(&mut world, "train/domain", &path);
    look(&mut world, Some("it is missing"));
    world.until("it is trained again", |w| w.is(&run, TRAIN, "active"));
    assert!(!world.is(&run, "train/domain", "active"));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert_eq!(world.record(&run).published_steps(&stage), last.step);
}

#[test]
fn the_only_checkpoint_of_a_stage_is_not_given_up_silently() {
    let (mut world, run) = training(1);
    let stage = world.record(&run).spec.stages[0].name.clone();
    let newest = world.record(&run).newest_checkpoint(&stage).unwrap().clone();
    let victim = world.process(0, TRAIN);
    world.agents[0].kill(&victim, 137, &mut world.gangs);
    world.until("the next attempt", |w| w.state(&run, TRAIN).attempt().is_some_and(|a| a.generation > newest.generation));
    world.until("it runs", |w| w.agents.iter().all(|a| a.running().any(|p| p.id.job == JobKey::from(TRAIN))));
    complain(&mut world, TRAIN, &newest.manifest.path);
    look(&mut world, Some("it is missing"));
    world.until("it fails", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    let RunState::Failed(why) = &world.record(&run).state else { unreachable!() };
    assert!(why.contains("no older one is there") && why.contains("osler resume r --rewind general@0"), "{why}");
    assert_eq!(world.record(&run).published_steps(&stage), newest.step, "it is still there for whoever restores its files");
}

/// Found by the simulation: the way out that the failure named was refused, because the stage was done.
#[test]
fn a_done_stage_whose_only_checkpoint_is_damaged_can_be_begun_again() {
    let mut world = World::new(&[1, 1]);
    let run = world.submit(spec("r")); // which keeps one checkpoint
    let stage = world.record(&run).spec.stages[0].name.clone();
    world.until("the next stage begins", |w| w.agents.iter().any(|a| a.running().any(|p| p.id.job.as_str() == "train/domain")));
    let last = world.record(&run).newest_checkpoint(&stage).unwrap().clone();
    complain(&mut world, "train/domain", &last.manifest.path);
    look(&mut world, Some("it is missing"));
    world.until("it fails", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    let back = RewindRequest { run: run.clone(), stage: stage.clone(), to: 0, skip: 0..0, ranks: None };
    world.apply(Event::Rewind(back)).unwrap();
    world.apply(Event::Resume { run: run.clone(), ranks: None }).unwrap();
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert_eq!(world.record(&run).published_steps(&stage), last.step);
}

#[test]
fn a_disk_that_damages_again_and_again_ends_the_run() {
    let (mut world, run) = training(1);
    for _ in 0..6 {
        world.until("it runs", |w| w.is(&run, TRAIN, "active") && newest(w, TRAIN).is_some());
        let path = output(&world, &run, PACK);
        complain(&mut world, TRAIN, &path);
        look(&mut world, Some("it is missing"));
    }
    world.until("it fails", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    let RunState::Failed(why) = &world.record(&run).state else { unreachable!() };
    assert!(why.contains("was done again 5 times already: look at the store's disk"), "{why}");
}

#[test]
fn a_full_disk_is_nobodys_fault_and_a_wait_of_the_store_is_told() {
    let (mut world, run) = training(1);
    for _ in 0..15 {
        world.until("it runs", |w| w.agents.iter().all(|a| a.running().any(|p| p.id.job == JobKey::from(TRAIN))));
        let process = world.process(0, TRAIN);
        world.agents[0].fail(&process, FaultClass::NoRoom, &mut world.gangs);
        world.sync(0);
        world.until("it is over", |w| !w.is(&run, TRAIN, "active"));
        world.pass(60_000);
    }
    let waited = Waited { time: std::time::Duration::from_secs(4), no_room: true, why: "full".into() };
    world.apply(Event::StoreWaited(waited)).unwrap();
    assert_eq!(events(&world, &run), ["the store had no room for 4.0 s, and everything waited for it: full"]);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

/// Found by the simulation: the export was made again of a checkpoint that was given up at the same time.
#[test]
fn what_is_made_again_waits_for_its_own_inputs_that_are_made_again() {
    let mut world = World::new(&[1, 1]);
    let mut spec = spec("r");
    spec.checkpoint.keep_last = 2;
    let run = world.submit(spec);
    let stage = world.record(&run).spec.stages[0].name.clone();
    let (export, exam) = ("export/general", "exam/general/full/boards");
    world.until("the exam begins", |w| w.agents.iter().any(|a| a.running().any(|p| p.id.job.as_str() == exam)));
    let last = world.record(&run).newest_checkpoint(&stage).unwrap().clone();
    let out = output(&world, &run, export);
    world.apply(Event::Doubt(Doubt { run: run.clone(), path: last.manifest.path.clone(), by: "ann".into() })).unwrap();
    look(&mut world, Some("it is missing"));
    assert!(!world.is(&run, TRAIN, "succeeded"));
    complain(&mut world, exam, &out);
    look(&mut world, Some("it is missing"));
    assert!(world.is(&run, export, "blocked"), "{}", world.why(&run, export));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert_ne!(output(&world, &run, export), out);
}
