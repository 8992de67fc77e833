//! Jobs of every kind that say nothing, stand still or take too long.

use super::World;
use crate::testing::spec;
use osler_core::ids::RunName;
use osler_core::job::{Fault, FaultClass, JobKey};
use osler_core::process::{Progress, Report, phase};
use osler_core::record::RunState;
use osler_core::spec::{ByKind, LimitsSpec, RunSpec};

const JOB: &str = "tokenizer";

/// A run whose tokenizer job has begun.
fn learning(limits: LimitsSpec) -> (World, RunName) {
    let mut world = World::new(&[2]);
    let run = world.submit(RunSpec { limits, ..spec("r") });
    world.until("it has begun", |w| w.is(&run, JOB, "active"));
    (world, run)
}

/// The job's process says this, and its agent calls.
fn says(world: &mut World, phase: &str, still_ms: u64) {
    let process = world.process(0, JOB);
    world.agents[0].report(&process, Report::Progress(Progress { phase: phase.into(), still_ms, ..Progress::default() }));
    world.sync(0);
}

fn has_ended(world: &World, run: &RunName) -> bool {
    !world.record(run).jobs[&JobKey::from(JOB)].past.is_empty() || !world.is(run, JOB, "active")
}

/// Why the job's first attempt was ended; the run goes on to its end afterwards.
fn ended_for(mut world: World, run: &RunName) -> Fault {
    assert!(has_ended(&world, run), "nobody noticed");
    world.until("finished", |w| w.record(run).state == RunState::Finished);
    world.record(run).jobs[&JobKey::from(JOB)].past[0].fault.clone().unwrap()
}

#[test]
fn a_job_that_says_nothing_although_its_agent_calls_is_ended_and_done_again() {
    let (mut world, run) = learning(LimitsSpec::default());
    says(&mut world, "learning", 0);
    world.wait(30_000, &[0]);
    assert!(world.is(&run, JOB, "active"), "too soon");
    world.wait(2_000, &[0]);
    let fault = ended_for(world, &run);
    assert_eq!((fault.class, fault.origin.as_deref()), (FaultClass::Infrastructure, Some("a/0")), "{fault}");
    assert!(fault.message.contains("is frozen: it has said nothing for 3") && fault.message.contains("learning"), "{fault}");
}

#[test]
fn before_its_first_word_a_process_has_more_time() {
    let (mut world, run) = learning(LimitsSpec::default());
    world.wait(299_000, &[0]);
    assert!(world.is(&run, JOB, "active"), "its libraries may come from a slow disk");
    world.wait(3_000, &[0]);
    assert!(ended_for(world, &run).message.contains("has not said a word in 30"));
}

#[test]
fn silence_of_its_agent_is_not_the_jobs() {
    let (mut world, run) = learning(LimitsSpec::default());
    says(&mut world, "learning", 0);
    // Ten times nearly lost: 90 s, and the job's words came with none of the calls.
    for _ in 0..10 {
        world.wait(9_000, &[]);
        world.sync(0);
    }
    assert!(world.is(&run, JOB, "active"));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert!(world.record(&run).jobs[&JobKey::from(JOB)].past[0].fault.is_none());
}

#[test]
fn a_job_that_says_that_it_does_nothing_is_ended_unless_it_saves() {
    let (mut world, run) = learning(LimitsSpec { still_seconds: 60, ..LimitsSpec::default() });
    for (phase, still_ms) in [("merging", 60_000), (phase::SAVING, 600_000)] {
        says(&mut world, phase, still_ms);
        world.wait(2_000, &[0]);
        assert!(world.is(&run, JOB, "active"), "{phase}");
    }
    says(&mut world, "merging", 60_001);
    world.wait(2_000, &[0]);
    let fault = ended_for(world, &run);
    assert!(fault.message.contains("is stuck: merging") && fault.message.contains("limits.still_seconds: 60"), "{fault}");
}

#[test]
fn a_job_that_is_busy_for_ever_is_ended_by_its_kinds_time() {
    let (mut world, run) = learning(LimitsSpec { seconds: ByKind { tokenizer: Some(50), ..ByKind::default() }, ..LimitsSpec::default() });
    for second in 0..53 {
        assert!(second >= 49 || !has_ended(&world, &run), "after {second} s");
        if !has_ended(&world, &run) {
            says(&mut world, "learning", 0);
        }
        world.wait(1_000, &[0]);
    }
    let fault = ended_for(world, &run);
    assert!(fault.class == FaultClass::Internal && fault.message.contains("the 50 s that limits.seconds.tokenizer allows"), "{fault}");
}
