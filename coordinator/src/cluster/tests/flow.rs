//! Submission to Finished, stop and resume, gates, retention, restarts of the coordinator.

use super::*;
use crate::testing::{spec, stage};
use osler_core::audit::audit_stage;
use osler_core::checkpoint::Manifest;
use osler_core::ids::ExamName;
use osler_core::spec::{GateSpec, OnFail, Variant};

fn gate(min_accuracy: f64, on_fail: OnFail) -> GateSpec {
    let exam = ExamName::new("boards").unwrap();
    GateSpec {
        exam,
        variant: Variant::Full,
        stages: vec![],
        min_accuracy: Some(min_accuracy),
        max_drop: None,
        max_perplexity_increase: None,
        on_fail,
    }
}

#[test]
fn an_undisturbed_run_finishes_with_a_clean_audit() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    assert_eq!(world.record(&run).jobs.len(), 20);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    let record = world.record(&run);
    assert!(
        record.jobs.values().all(|job| job.past.len() == 1 && job.past[0].fault.is_none()),
        "undisturbed, yet something was tried twice"
    );
    for stage in &record.spec.stages {
        let published = &record.checkpoints[&stage.name];
        let manifests: Vec<Manifest> = published.iter().map(|c| serde_json::from_slice(&world.puts[&c.manifest.path]).unwrap()).collect();
        let order = record.order(stage).unwrap();
        let audit = audit_stage(&manifests, stage.steps(), |step| order.expected(step));
        assert!(audit.is_clean() && audit.seen == stage.steps() * 4, "{audit:?}");
    }
    assert_eq!(
        record.checkpoints[&stage("general")].iter().map(|c| (c.step, c.retired)).collect::<Vec<_>>(),
        [(4, true), (8, true), (10, false)]
    );
    assert_eq!(world.deletes.len(), 2 * 2 + 2 * 3, "parts of retired checkpoints: two ranks each");
    assert!(!world.deletes.iter().any(|path| path.contains("step-00000010/") && path.contains("general")));
}

#[test]
fn a_run_is_submitted_once() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    let again = world.apply(Event::Submit(Box::new(spec("r").into()))).unwrap();
    assert_eq!(again, Answer::Submitted { created: false, state: RunState::Submitted });
    let other = RunSpec { seed: 8, ..spec("r") };
    assert!(matches!(world.apply(Event::Submit(Box::new(other.into()))), Err(Refused::AlreadyExists { .. })));
    let mut empty = spec("empty");
    empty.corpora.values_mut().for_each(|c| c.files.clear());
    assert!(matches!(world.apply(Event::Submit(Box::new(empty.into()))), Err(Refused::InvalidSpec(_))));
    assert_eq!(world.record(&run).events.len(), 1);
    assert!(matches!(world.apply(interruption(RunName::new("none").unwrap())), Err(Refused::NoSuchRun(_))));
}

#[test]
fn a_stop_checkpoints_the_gang_and_a_resume_goes_on_from_there() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
    assert_eq!(world.apply(interruption(run.clone())), Ok(Answer::State(RunState::Stopping)));
    assert!(matches!(world.apply(Event::Resume { run: run.clone(), ranks: None }), Err(Refused::StillEnding { .. })));
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    let stopped_at = world.record(&run).published_steps(&stage("general"));
    assert!((5..=6).contains(&stopped_at), "{stopped_at}");
    assert_eq!(world.record(&run).jobs[&JobKey::from("train/general")].past[0].fault, None);
    assert_eq!(world.why(&run, "train/general"), "the run is stopped");
    world.wait(5_000, &[0]);
    assert_eq!(world.apply(Event::Submit(Box::new(spec("r").into()))), Ok(Answer::Submitted { created: false, state: RunState::Running }));
    world.step();
    let JobState::Active { attempt } = world.state(&run, "train/general") else { panic!("not placed") };
    assert_eq!(attempt.published, stopped_at);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_stop_ends_other_jobs_and_waits_until_they_are_gone() {
    let mut world = World::new(&[1]);
    world.agents[0].effort = 100;
    let run = world.submit(spec("r"));
    world.step();
    world.step();
    assert!(world.is(&run, "clean/domain/00000", "active"));
    world.apply(interruption(run.clone())).unwrap();
    assert_eq!(world.record(&run).state, RunState::Stopping);
    assert!(world.is(&run, "clean/domain/00000", "ending"), "its process is not confirmed gone yet");
    world.sync(0); // still lists it: learns that it is unwanted
    assert!(world.is(&run, "clean/domain/00000", "ending"));
    world.sync(0);
    assert!(world.is(&run, "clean/domain/00000", "pending"));
    assert_eq!(world.record(&run).state, RunState::Stopped);
}

#[test]
fn what_a_person_stopped_only_a_resume_goes_on_with() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
    world.apply(interruption(run.clone())).unwrap();
    world.apply(stop_by_hand(&run)).unwrap(); // while it saves: the requeued job must not go on with it
    world.until("stopped", |w| w.record(&run).state == RunState::Stopped);
    let stop = world.record(&run).stopped_by_hand().unwrap();
    assert_eq!(stop.by, "ann (ann@desk)");
    let left = Ok(Answer::Submitted { created: false, state: RunState::Stopped });
    assert_eq!(world.apply(Event::Submit(Box::new(spec("r").into()))), left);
    assert_eq!(world.apply(interruption(run.clone())), Ok(Answer::State(RunState::Stopped)));
    assert!(world.record(&run).stopped_by_hand().is_some(), "an interruption does not weaken it");
    world.apply(Event::Resume { run: run.clone(), ranks: None }).unwrap();
    assert_eq!(world.record(&run).stop, None);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_failed_gate_stops_the_run_until_somebody_waives_it_by_name() {
    let mut world = World::new(&[4]);
    let run = world.submit(RunSpec { gates: vec![gate(90.0, OnFail::Stop), gate(50.0, OnFail::Stop)], ..spec("r") });
    world.until("failed", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    let RunState::Failed(reason) = &world.record(&run).state else { unreachable!() };
    assert!(reason.contains("accuracy 62.50 %, at least 90 %"), "{reason}");
    assert_eq!(world.record(&run).gates.iter().map(|g| g.passed).collect::<Vec<_>>(), [false, true]);
    let failed = world.record(&run).state.clone();
    let again = world.apply(Event::Submit(Box::new(RunSpec { name: run.clone(), ..world.record(&run).spec.clone() }.into())));
    assert_eq!(again, Ok(Answer::Submitted { created: false, state: failed.clone() }), "repeating the submission waives nothing");
    let resumed = world.apply(Event::Resume { run: run.clone(), ranks: None });
    assert!(matches!(&resumed, Err(Refused::ShutGate { gate, .. }) if *gate == world.record(&run).gates[0].name()), "{resumed:?}");
    let waive =
        |gate: &str| Event::Waive(WaiveRequest { run: run.clone(), gates: vec![gate.into()], reason: "noise".into(), by: "ann".into() });
    assert!(matches!(world.apply(waive("none")), Err(Refused::NoSuchGate { .. })));
    let exam = world.record(&run).gates[0].exam.clone();
    assert_eq!(world.apply(waive(&exam)), Ok(Answer::State(failed)));
    assert!(world.record(&run).waived().unwrap().ends_with("WAIVED by ann: noise"));
    world.apply(Event::Resume { run: run.clone(), ranks: None }).unwrap();
    world.until("over again", |w| !w.record(&run).state.is_live());
    assert_eq!(world.record(&run).gates.len(), 4, "each stage's gates are judged once");
    assert!(world.record(&run).gates[2].is_shut(), "a waiver is for one gate after one stage");
}

#[test]
fn a_warning_gate_is_recorded_and_the_run_finishes() {
    let mut world = World::new(&[4]);
    let run = world.submit(RunSpec { gates: vec![gate(90.0, OnFail::Warn)], ..spec("r") });
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert_eq!(world.record(&run).gates.iter().filter(|g| !g.passed).count(), 2);
}

#[test]
fn a_restarted_coordinator_readopts_a_live_gang() {
    let mut world = World::new(&[1, 1]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
    let generation = world.state(&run, "train/general").attempt().unwrap().generation;
    let record = world.record(&run).clone();
    world.cluster = Cluster::new(world.now, Epoch(2), "file:///store", Limits::default());
    world.cluster.adopt(record);
    world.until("succeeded", |w| w.is(&run, "train/general", "succeeded"));
    let past = &world.record(&run).jobs[&JobKey::from("train/general")].past;
    assert_eq!(past.iter().map(|p| (p.generation, p.fault.is_none())).collect::<Vec<_>>(), [(generation, true)]);
}

#[test]
fn a_rank_that_has_ended_is_never_started_again() {
    let mut world = World::new(&[1, 1]);
    let run = world.submit(spec("r"));
    let one_has_ended = |w: &World| w.state(&run, "train/general").attempt().is_some_and(|a| a.ended.len() == 1);
    for turn in 0.. {
        assert!(turn < 1_000, "no rank ended alone");
        world.tick(50);
        world.agents[turn % 2].work(&mut world.gangs);
        world.sync(turn % 2);
        if one_has_ended(&world) {
            break;
        }
    }
    let record = world.record(&run).clone();
    world.cluster = Cluster::new(world.now, Epoch(2), "file:///store", Limits::default());
    world.cluster.adopt(record);
    let ended = *world.state(&run, "train/general").attempt().unwrap().ended.first_key_value().unwrap().0;
    let agent = (0..2)
        .find(|a| world.state(&run, "train/general").attempt().unwrap().places[ended as usize].worker == world.agents[*a].name)
        .unwrap();
    let mut forgetful = world.agents[agent].observe();
    forgetful.processes.clear();
    world.apply(Event::Sync(Box::new(forgetful))).unwrap();
    let desired = world.cluster.desired(&world.agents[agent].name);
    assert_eq!(desired.wanted.iter().map(|w| w.assignment.is_some()).collect::<Vec<_>>(), [false]);
}

#[test]
fn after_a_restart_silent_workers_get_the_lost_limit_and_no_longer() {
    let mut world = World::new(&[1, 1]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
    let record = world.record(&run).clone();
    world.cluster = Cluster::new(world.now, Epoch(2), "file:///store", Limits::default());
    world.cluster.adopt(record);
    world.wait(9_500, &[0]);
    assert!(world.is(&run, "train/general", "active"));
    world.wait(1_500, &[0]);
    assert!(!world.is(&run, "train/general", "active"));
    let fault = world.record(&run).jobs[&JobKey::from("train/general")].past[0].fault.clone().unwrap();
    assert!(fault.message.contains("worker b lost"), "{fault}");
}

#[test]
fn a_pinned_checkpoint_stays_until_it_is_unpinned() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    let general = stage("general");
    world.until("a checkpoint", |w| w.record(&run).published_steps(&general) == 4);
    let pin = |step, pinned| Event::Pin { run: run.clone(), stage: general.clone(), step, pinned };
    assert!(matches!(world.apply(pin(5, true)), Err(Refused::NoSuchCheckpoint { step: 5, .. })));
    world.apply(pin(4, true)).unwrap();
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    let kept = |w: &World| w.record(&run).checkpoints[&general].iter().filter(|c| !c.retired).map(|c| c.step).collect::<Vec<_>>();
    assert_eq!(kept(&world), [4, 10]);
    assert!(matches!(world.apply(pin(8, true)), Err(Refused::NoSuchCheckpoint { step: 8, .. })), "its parts are gone");
    world.deletes.clear();
    world.apply(pin(4, false)).unwrap();
    assert_eq!((kept(&world), world.deletes.len()), (vec![10], 2));
    assert!(world.deletes.iter().all(|path| path.contains("general") && path.contains("step-00000004/")));
}
