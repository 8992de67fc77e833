//! Stages that go back, stages that are forked, gangs that change their size.

#![allow(clippy::single_range_in_vec_init)] // lists of ranges are what this is about

use super::*;
use crate::testing::{spec, stage};
use osler_core::audit::{Audit, audit_stage};
use osler_core::checkpoint::Manifest;
use osler_core::record::EventKind;
use osler_core::spec::{Determinism, Init};
use std::ops::Range;

fn at_step(world: &World, run: &RunName, step: u64) -> bool {
    world.cluster.run(run).unwrap().line().step == step
}

fn audit(world: &World, run: &RunName, name: &str) -> Audit {
    let record = world.record(run);
    let spec = record.spec.stage(&stage(name)).unwrap();
    let (order, batches) = (record.order(spec).unwrap(), record.batches(&spec.name));
    let published = &record.checkpoints[&spec.name];
    let manifests: Vec<Manifest> = published.iter().map(|c| serde_json::from_slice(&world.puts[&c.manifest.path]).unwrap()).collect();
    audit_stage(&manifests, record.published_steps(&spec.name), |step| order.expected(batches.of(step)))
}

fn spike(world: &mut World, job: &str) {
    let process = world.process(0, job);
    world.gangs.spike(&process);
}

fn left_out(world: &World, run: &RunName) -> Vec<(u64, Range<u64>)> {
    world.record(run).rewinds[&stage("general")].iter().map(|r| (r.to, r.left_out.clone())).collect()
}

#[test]
fn a_gang_that_skipped_too_much_goes_back_and_leaves_the_data_out() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    world.until("step 7", |w| at_step(w, &run, 7));
    spike(&mut world, "train/general");
    world.until("a return", |w| w.record(&run).rewinds.contains_key(&stage("general")));
    // Steps 5 and 6 were skipped, step 4 is published.
    assert_eq!(left_out(&world, &run), [(4, 5..7)]);
    let past = world.record(&run).jobs[&JobKey::from("train/general")].past[0].clone();
    assert_eq!((past.steps_published, past.fault.unwrap().class), (4, osler_core::job::FaultClass::Divergence));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    let record = world.record(&run);
    assert_eq!(record.jobs[&JobKey::from("train/general")].past.len(), 2);
    assert_eq!(Vec::from(record.batches(&stage("general"))), [5..7]);
    let audit = audit(&world, &run, "general");
    assert!(audit.is_clean() && audit.seen == 40, "{audit:?}");
    let told: Vec<_> = record.events.iter().filter(|e| e.kind == EventKind::Rewind).map(|e| e.message.as_str()).collect();
    assert_eq!(
        told,
        ["goes back from step 4 to 4; batches 5 to 6 of its order are left out: updates between steps 5 and 6 were skipped too often"]
    );
}

#[test]
fn a_checkpoint_beyond_the_return_is_abandoned_and_its_parts_deleted() {
    let mut world = World::new(&[2]);
    let mut kept = spec("r");
    kept.checkpoint.keep_last = 3;
    let run = world.submit(kept);
    world.until("step 9", |w| at_step(w, &run, 9));
    spike(&mut world, "train/general");
    world.until("a return", |w| w.record(&run).rewinds.contains_key(&stage("general")));
    let rewind = world.record(&run).rewinds[&stage("general")][0].clone();
    assert_eq!((rewind.to, rewind.left_out, rewind.abandoned.len()), (4, 7..9, 1));
    assert_eq!((rewind.abandoned[0].step, rewind.abandoned[0].retired), (8, true));
    assert_eq!(world.record(&run).published_steps(&stage("general")), 4);
    assert_eq!(world.deletes.iter().filter(|path| path.contains("general") && path.contains("step-00000008")).count(), 2, "one a rank");
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert!(audit(&world, &run, "general").is_clean());
}

#[test]
fn a_stage_goes_back_a_few_times_and_no_more() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    for returns in 1..=5 {
        world.until("step 6", |w| at_step(w, &run, 6));
        spike(&mut world, "train/general");
        world.until("a return", |w| w.record(&run).rewinds.get(&stage("general")).is_some_and(|all| all.len() == returns));
    }
    world.until("step 6", |w| at_step(w, &run, 6));
    spike(&mut world, "train/general");
    world.until("failed", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    let RunState::Failed(reason) = &world.record(&run).state else { unreachable!() };
    assert!(reason.contains("went back 5 times already"), "{reason}");
    // The same two steps, each time with the next data.
    assert_eq!(Vec::from(world.record(&run).batches(&stage("general"))), [4..14]);
}

#[test]
fn a_lie_about_skipped_steps_moves_nothing() {
    for skipped in [5..5, 3..11] {
        let mut world = World::new(&[2]);
        let run = world.submit(spec("r"));
        world.until("step 5", |w| at_step(w, &run, 5));
        let process = world.process(0, "train/general");
        let mut observed = world.agents[0].observe();
        let report = osler_core::process::Report::Rewind { skipped };
        observed.reports = vec![osler_core::sync::NumberedReport { seq: 1_000, process, report }];
        world.apply(Event::Sync(Box::new(observed))).unwrap();
        assert!(world.record(&run).rewinds.is_empty());
        assert!(world.is(&run, "train/general", "ending"));
    }
}

#[test]
fn a_person_sends_a_stopped_stage_back() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    world.until("step 6", |w| at_step(w, &run, 6));
    let ask = |to, skip: Range<u64>| Event::Rewind(RewindRequest { run: run.clone(), stage: stage("general"), to, skip, ranks: None });
    assert!(matches!(world.apply(ask(0, 0..0)), Err(Refused::NotRewound { .. })), "it runs");
    world.apply(interruption(run.clone())).unwrap();
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    let newest = world.record(&run).published_steps(&stage("general"));
    for (to, skip) in [(4, 0..0), (5, 0..0), (newest, 2..3), (0, 5..11), (0, u64::MAX - 5..u64::MAX), (0, Range { start: 4, end: 2 })] {
        assert!(matches!(world.apply(ask(to, skip.clone())), Err(Refused::NotRewound { .. })), "{to} {skip:?}");
    }
    // Ranks that cannot share the stage's batches: it does not go back for them.
    let unfit = RewindRequest { run: run.clone(), stage: stage("general"), to: 0, skip: 0..0, ranks: Some(3) };
    let refused = world.apply(Event::Rewind(unfit));
    assert!(matches!(refused, Err(Refused::UnfitRanks { ranks: 3, .. })), "{refused:?}");
    assert_eq!(world.record(&run).published_steps(&stage("general")), newest);
    world.apply(ask(0, 2..4)).unwrap();
    assert_eq!(left_out(&world, &run), [(0, 2..4)]);
    assert_eq!(world.record(&run).published_steps(&stage("general")), 0);
    let given_up = &world.record(&run).rewinds[&stage("general")][0].abandoned;
    let claims = osler_core::leftover::Claims::of(world.record(&run));
    let parts: Vec<String> = given_up.iter().flat_map(|c| world.record(&run).parts(&stage("general"), c)).collect();
    assert!(!parts.is_empty() && parts.iter().all(|part| claims.leaves(part)), "nobody deletes them: {parts:?}");
    world.apply(Event::Resume { run: run.clone(), ranks: None }).unwrap();
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert!(audit(&world, &run, "general").is_clean());
    let done = world.apply(ask(0, 0..0));
    assert!(matches!(done, Err(Refused::NotRewound { .. })), "{done:?}");
}

#[test]
fn a_fork_starts_from_the_step_that_it_names_which_is_kept_for_it() {
    let mut world = World::new(&[2]);
    let mut forked = spec("r");
    forked.stages[1].from = Init::Fork { stage: stage("general"), step: Some(4) };
    let run = world.submit(forked);
    world.until("general is done", |w| w.is(&run, "train/general", "succeeded"));
    let kept: Vec<_> = world.record(&run).checkpoints[&stage("general")].iter().filter(|c| !c.retired).map(|c| c.step).collect();
    assert_eq!(kept, [4, 10]);
    world.until("domain runs", |w| w.is(&run, "train/domain", "active"));
    let process = world.process(0, "train/domain");
    assert_eq!(world.agents[0].assignment(&process).initial.as_ref().map(|checkpoint| checkpoint.step), Some(4));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_stopped_run_goes_on_with_another_number_of_ranks() {
    let mut world = World::new(&[4]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| at_step(w, &run, 5));
    let resume = |ranks| Event::Resume { run: run.clone(), ranks: Some(ranks) };
    assert!(matches!(world.apply(resume(4)), Err(Refused::UnfitRanks { .. })), "it runs");
    assert!(world.apply(resume(2)).is_ok(), "it has as many");
    world.apply(interruption(run.clone())).unwrap();
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    let refused = world.apply(resume(3)).unwrap_err().to_string();
    assert!(refused.contains("stage domain: its global batch of 4 sequences cannot be shared evenly: use 2 or 4"), "{refused}");
    assert_eq!(world.record(&run).state, RunState::Stopped);
    world.apply(resume(4)).unwrap();
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    let sizes: Vec<_> = world.record(&run).checkpoints[&stage("general")].iter().map(|c| (c.step, c.world_size.unwrap())).collect();
    assert_eq!((sizes[0], *sizes.last().unwrap()), ((4, 2), (10, 4)));
    assert!(world.record(&run).checkpoints[&stage("domain")].iter().all(|c| c.world_size == Some(4)));
    assert!(audit(&world, &run, "general").is_clean());
}

#[test]
fn an_elastic_run_takes_powers_of_two_only() {
    let mut world = World::new(&[4]);
    let mut elastic = spec("r");
    elastic.resources.determinism = Determinism::Elastic;
    elastic.stages.iter_mut().for_each(|s| (s.global_batch, s.micro_batch) = (12, 6));
    let run = world.submit(elastic);
    world.until("step 2", |w| at_step(w, &run, 2));
    world.apply(interruption(run.clone())).unwrap();
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    for ranks in [3, 4] {
        let refused = world.apply(Event::Resume { run: run.clone(), ranks: Some(ranks) }).unwrap_err().to_string();
        assert!(refused.contains("a power of two, of its 2 micro-batches at most"), "{refused}");
    }
    world.apply(Event::Resume { run: run.clone(), ranks: Some(1) }).unwrap();
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}
