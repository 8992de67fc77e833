//! Deaths, lies and late words.

use super::*;
use crate::testing::results::{part, result};
use crate::testing::spec;
use osler_core::checkpoint::ObjectRef;
use osler_core::digest::Digest;
use osler_core::job::FaultClass;
use osler_core::process::{Assignment, Progress, Report};
use osler_core::sync::NumberedReport;
use osler_core::sync::Observed;

const TRAIN: &str = "train/general";

/// Two workers with one slot each, the first gang at its fifth step.
fn training() -> (World, RunName) {
    let mut world = World::new(&[1, 1]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
    (world, run)
}

fn last_fault(world: &World, run: &RunName, job: &str) -> osler_core::job::Fault {
    world.record(run).jobs[&JobKey::from(job)].past.iter().rev().find_map(|p| p.fault.clone()).expect("no fault is recorded")
}

/// The assignment that a rank of the active gang has.
fn assignment(world: &World, run: &RunName, rank: u32) -> Assignment {
    let record = world.record(run);
    let key = JobKey::from(TRAIN);
    let attempt = record.jobs[&key].status.attempt().unwrap();
    Assignment {
        id: record.id(&key),
        kind: record.jobs[&key].planned.kind.clone(),
        generation: attempt.generation,
        rank,
        world_size: 2,
        store: String::new(),
        spec: record.spec.clone(),
        inputs: record.inputs(&key).unwrap(),
        checkpoint: None,
        initial: None,
        batches: Default::default(),
    }
}

/// Agent `agent` reports something for its rank of the gang that no honest process would.
fn say(world: &mut World, agent: usize, report: Report) {
    let mut observed = world.agents[agent].observe();
    let process = world.process(agent, TRAIN);
    observed.reports.push(NumberedReport { seq: 1_000_000, process, report });
    world.apply(Event::Sync(Box::new(observed))).unwrap();
}

fn rank_of(world: &World, agent: usize) -> u32 {
    world.process(agent, TRAIN).rank
}

#[test]
fn a_killed_rank_ends_its_gang_and_the_next_generation_resumes() {
    let (mut world, run) = training();
    let first = world.state(&run, TRAIN).attempt().unwrap().generation;
    let victim = world.process(1, TRAIN);
    world.agents[1].kill(&victim, 137, &mut world.gangs);
    world.sync(1);
    assert!(world.is(&run, TRAIN, "ending"), "rank 0 is alive: the gang is not gone");
    world.sync(0);
    assert!(world.is(&run, TRAIN, "ending"), "the call was made before its agent knew");
    world.sync(0);
    let attempt = world.state(&run, TRAIN).attempt().expect("not placed again at once");
    assert!(attempt.generation > first);
    assert_eq!(attempt.published, 4);
    let past = &world.record(&run).jobs[&JobKey::from(TRAIN)].past[0];
    assert_eq!((past.generation, past.steps_published), (first, 4));
    let fault = past.fault.clone().unwrap();
    assert_eq!(
        (fault.class, fault.exit_code, fault.origin.as_deref()),
        (FaultClass::Infrastructure, Some(137), Some(format!("b/{}", victim.rank).as_str()))
    );
    assert_eq!(fault.log_tail, ["exit 137"]);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_user_fault_fails_the_run_even_when_a_broken_link_was_heard_of_first() {
    let (mut world, run) = training();
    let (rank0, rank1) = (world.process(0, TRAIN), world.process(1, TRAIN));
    world.agents[0].fail(&rank0, FaultClass::Infrastructure, &mut world.gangs);
    world.sync(0);
    assert!(world.is(&run, TRAIN, "ending"));
    world.agents[1].fail(&rank1, FaultClass::User, &mut world.gangs);
    world.until("failed", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    assert_eq!(last_fault(&world, &run, TRAIN).class, FaultClass::User);
    assert_eq!(world.record(&run).jobs[&JobKey::from(TRAIN)].past.len(), 1, "a user fault was tried again");
}

#[test]
fn an_internal_fault_is_tried_again_once_and_a_resume_forgives() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    let job = "clean/domain/00000";
    let fail = |world: &mut World| {
        world.until("it runs", |w| w.agents[0].running().any(|p| p.id.job == JobKey::from(job)));
        let process = world.process(0, job);
        world.agents[0].fail(&process, FaultClass::Internal, &mut world.gangs);
    };
    fail(&mut world);
    fail(&mut world);
    world.until("failed", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    assert_eq!(world.record(&run).jobs[&JobKey::from(job)].past.len(), 2);
    world.apply(Event::Resume { run: run.clone(), ranks: None }).unwrap();
    fail(&mut world);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn infrastructure_is_tried_ten_times_in_a_row_without_progress() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    let job = "clean/domain/00000";
    for _ in 0..10 {
        world.until("it runs", |w| w.agents[0].running().any(|p| p.id.job == JobKey::from(job)));
        let process = world.process(0, job);
        world.agents[0].kill(&process, 137, &mut world.gangs);
    }
    world.until("failed", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    assert_eq!(world.record(&run).jobs[&JobKey::from(job)].past.len(), 10);
}

#[test]
fn silence_makes_a_worker_suspect_then_lost() {
    let (mut world, run) = training();
    world.wait(4_000, &[0]);
    let state = |world: &World| world.cluster.worker_lines(world.now)[1].state;
    assert_eq!(state(&world), WorkerState::Suspect);
    assert!(world.is(&run, TRAIN, "active"));
    world.wait(7_000, &[0]);
    assert_eq!(state(&world), WorkerState::Lost);
    assert!(world.is(&run, TRAIN, "pending"), "{:?}", world.state(&run, TRAIN));
    assert_eq!(last_fault(&world, &run, TRAIN).message, "worker b lost: not heard of for 10 s");
    assert!(world.why(&run, TRAIN).starts_with("needs 2 slots, the workers have 1 in all"), "{}", world.why(&run, TRAIN));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_pause_of_the_coordinator_is_not_the_workers_silence() {
    let (mut world, run) = training();
    world.tick(60_000);
    assert!(world.is(&run, TRAIN, "active"));
    assert_eq!(world.cluster.worker_lines(world.now)[1].state, WorkerState::Busy);
    world.now.wall.0 -= 50_000; // the clock was set back
    world.step();
    assert!(world.is(&run, TRAIN, "active"));
}

#[test]
fn a_restarted_agent_supersedes_the_older_one() {
    let (mut world, run) = training();
    let old = world.agents[1].observe();
    world.agents[1] = Agent::new("b", 2, 1);
    world.agents[1].observe();
    world.sync(1);
    assert!(!world.is(&run, TRAIN, "active"));
    let refused = world.apply(Event::Sync(Box::new(old))).unwrap_err();
    assert!(matches!(refused, Refused::Superseded { newest: 2, given: 1, .. }), "{refused}");
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_call_that_was_overtaken_on_its_way_is_not_believed() {
    let (mut world, run) = training();
    let mut late = world.agents[0].observe();
    late.processes.clear(); // from before its processes started
    world.sync(0);
    let refused = world.apply(Event::Sync(Box::new(late))).unwrap_err();
    assert!(matches!(refused, Refused::Overtaken { .. }), "{refused}");
    assert!(world.is(&run, TRAIN, "active"), "a word from the past ended the gang");
}

#[test]
fn after_a_restart_the_records_still_know_the_newest_incarnation() {
    let (mut world, run) = training();
    let record = world.record(&run).clone();
    world.cluster = Cluster::new(world.now, Epoch(2), "file:///store", Limits::default());
    world.cluster.adopt(record);
    let older = Agent::new("b", 0, 1).observe();
    assert!(matches!(world.apply(Event::Sync(Box::new(older))), Err(Refused::Superseded { .. })));
}

#[test]
fn words_of_an_older_generation_are_fenced() {
    let (mut world, run) = training();
    let stale = assignment(&world, &run, rank_of(&world, 1));
    let late = world.process(1, TRAIN);
    world.agents[1].kill(&late.clone(), 137, &mut world.gangs);
    world.until("the next generation", |w| w.state(&run, TRAIN).attempt().is_some_and(|a| a.generation > stale.generation));
    let before = world.record(&run).clone();
    let reports = [
        Report::Part(part(&stale, 4, 8)),
        Report::Done { result: result(&stale) },
        Report::Failed { fault: osler_core::job::Fault::new(FaultClass::User, "late") },
        Report::Progress(Progress::default()),
        Report::Stack { lines: vec!["main".into()] },
    ];
    for (seq, report) in (1_000_000..).zip(reports) {
        let mut observed = world.agents[1].observe();
        observed.reports = vec![NumberedReport { seq, process: late.clone(), report }];
        world.apply(Event::Sync(Box::new(observed))).unwrap();
    }
    assert_eq!(world.cluster.fenced(), 3, "what would change a record is; how far a process is, is of no consequence");
    assert_eq!(world.record(&run).jobs, before.jobs);
}

#[test]
fn only_the_worker_of_a_rank_speaks_for_it() {
    let (mut world, run) = training();
    let before = world.record(&run).jobs.clone();
    let mut observed = world.agents[0].observe();
    let process = world.process(1, TRAIN);
    let strange = osler_core::sync::ProcessId { rank: 7, ..process.clone() };
    for (seq, process) in [(1_000_000, process), (1_000_001, strange)] {
        let fault = osler_core::job::Fault::new(FaultClass::User, "not mine to say");
        observed.reports.push(NumberedReport { seq, process, report: Report::Failed { fault } });
    }
    world.apply(Event::Sync(Box::new(observed))).unwrap();
    assert_eq!((world.cluster.fenced(), &world.record(&run).jobs), (2, &before));
}

#[test]
fn repeated_calls_change_nothing() {
    let (mut world, run) = training();
    world.agents.iter_mut().for_each(|a| drop(a.work(&mut world.gangs)));
    let observed = world.agents[0].observe();
    world.apply(Event::Sync(Box::new(observed.clone()))).unwrap();
    let before = world.record(&run).clone();
    let again = Observed { call: observed.call + 1, ..observed };
    world.apply(Event::Sync(Box::new(again))).unwrap();
    assert_eq!(*world.record(&run), before);
}

#[test]
fn no_lie_of_a_rank_is_published() {
    let honest = |world: &World, run: &RunName| {
        let work = assignment(world, run, rank_of(world, 0));
        (part(&work, 4, 5), work)
    };
    let foreign = |path: &str| ObjectRef { path: path.to_owned(), bytes: 1, digest: Digest::of(b"") };
    type Lie = (&'static str, fn(osler_core::checkpoint::Part, ObjectRef) -> osler_core::checkpoint::Part, &'static str);
    let lies: [Lie; 4] = [
        ("a part at", |p, o| osler_core::checkpoint::Part { object: o, ..p }, "runs/r/jobs/train/general/g1/../../x"),
        ("reported a part of rank", |p, _| osler_core::checkpoint::Part { rank: 1 - p.rank, ..p }, ""),
        ("but the stage has 10", |p, _| osler_core::checkpoint::Part { step: 11, ..p }, ""),
        (
            "whose ledger holds",
            |p, _| {
                let r = p.ledger[0].clone();
                osler_core::checkpoint::Part { ledger: vec![r; 6], ..p }
            },
            "",
        ),
    ];
    for (expected, lie, path) in lies {
        let (mut world, run) = training();
        let (part, _) = honest(&world, &run);
        say(&mut world, 0, Report::Part(lie(part, foreign(path))));
        let JobState::Ending { next: osler_core::record::Then::Retry { fault, .. }, .. } = world.state(&run, TRAIN) else {
            panic!("{expected}: believed")
        };
        assert!(fault.class == FaultClass::Internal && fault.message.contains(expected), "{expected}: {fault}");
    }
}

#[test]
fn other_samples_than_predicted_end_the_gang() {
    let (mut world, run) = training();
    for agent in [0, 1] {
        let work = assignment(&world, &run, rank_of(&world, agent));
        let mut part = part(&work, 4, 6);
        part.ledger[1].samples = part.ledger[0].samples;
        say(&mut world, agent, Report::Part(part));
    }
    assert_eq!(world.record(&run).published_steps(&crate::testing::stage("general")), 4);
    world.until("the fault is recorded", |w| w.record(&run).jobs[&JobKey::from(TRAIN)].past.len() == 1);
    assert!(last_fault(&world, &run, TRAIN).message.contains("other samples than the order predicts"));
}

#[test]
fn done_too_early_is_not_success() {
    let (mut world, run) = training();
    for agent in [0, 1] {
        let work = assignment(&world, &run, rank_of(&world, agent));
        say(&mut world, agent, Report::Done { result: result(&work) });
    }
    world.until("the fault is recorded", |w| w.record(&run).jobs[&JobKey::from(TRAIN)].past.len() == 1);
    assert_eq!(last_fault(&world, &run, TRAIN).message, "done, but step 4 of 10 is the last published one");
}

#[test]
fn outputs_outside_the_attempt_are_refused() {
    let (mut world, run) = training();
    let work = assignment(&world, &run, rank_of(&world, 0));
    let mut result = result(&work);
    result.outputs.insert("x".into(), ObjectRef { path: "runs/other/jobs/x/g1/y".into(), bytes: 1, digest: Digest::of(b"") });
    say(&mut world, 0, Report::Done { result });
    assert!(world.is(&run, TRAIN, "ending"));
}

#[test]
fn a_process_that_its_agent_forgot_is_lost() {
    let (mut world, run) = training();
    let mut observed = world.agents[1].observe();
    observed.processes.clear();
    world.apply(Event::Sync(Box::new(observed))).unwrap();
    assert!(world.is(&run, TRAIN, "ending"));
}

#[test]
fn a_gang_that_stands_still_is_ended_and_the_culprit_named() {
    for (silently, why) in [(true, "rank 1 is frozen: its last word, "), (false, "rank 1 is training while others wait for it")] {
        let mut world = World::new(&[1, 1]);
        let mut long = spec("r");
        long.stages[0].length = osler_core::spec::Length::Steps(60);
        let run = world.submit(long);
        world.until("step 20", |w| w.cluster.run(&run).unwrap().line().step == 20);
        let worker = world.state(&run, "train/general").attempt().unwrap().places[1].worker.clone();
        let agent = world.agents.iter().position(|a| a.name == worker).unwrap();
        let process = world.process(agent, "train/general");
        world.gangs.hang(&process, silently);
        let since = world.now.moment;
        let asked = |world: &World| -> usize {
            let wanted = world.agents.iter().flat_map(|agent| world.cluster.desired(&agent.name).wanted);
            wanted.filter(|wanted| wanted.look).count()
        };
        assert_eq!(asked(&world), 0);
        world.until("both are asked where they stand", |w| asked(w) == 2);
        assert!((7_500..8_500).contains(&(world.now.moment.since(since))), "after {} ms", world.now.moment.since(since));
        for each in [0, 1] {
            let lines = vec![format!("{} is here", world.agents[each].name)];
            let process = world.process(each, TRAIN);
            world.agents[each].report(&process, Report::Stack { lines });
        }
        world.until("ended", |w| !w.is(&run, "train/general", "active"));
        assert!((15_000..17_000).contains(&(world.now.moment.since(since))), "after {} ms", world.now.moment.since(since));
        world.until("finished", |w| w.record(&run).state == RunState::Finished);
        let past = &world.record(&run).jobs[&JobKey::from("train/general")].past;
        assert_eq!(past.len(), 2);
        let fault = past[0].fault.clone().unwrap();
        assert!(fault.message.starts_with("no step for 15.") && fault.message.contains("one takes 0.1 s usually"), "{fault}");
        assert!(fault.message.contains(why) && fault.origin == Some(format!("{worker}/1")), "{fault}");
        let other = if worker.as_str() == "a" { "b" } else { "a" };
        assert_eq!(fault.log_tail, [format!("rank 1: {worker} is here"), format!("rank 0: {other} is here")]);
        assert_eq!(asked(&world), 0);
    }
}

#[test]
fn a_gang_that_goes_on_is_not_asked_any_more_and_what_it_said_is_forgotten() {
    let mut world = World::new(&[1, 1]);
    let mut long = spec("r");
    long.stages[0].length = osler_core::spec::Length::Steps(60);
    let run = world.submit(long);
    world.until("step 20", |w| w.cluster.run(&run).unwrap().line().step == 20);
    let process = world.process(0, TRAIN);
    let asks = |w: &World| w.cluster.desired(&w.agents[0].name).wanted.iter().any(|wanted| wanted.look);
    world.gangs.hang(&process, false);
    world.until("it is asked", asks);
    say(&mut world, 0, Report::Stack { lines: vec!["not stuck, only slow".into()] });
    world.gangs.goes_on(&process);
    world.until("it is not asked any more", |w| !asks(w));
    world.gangs.hang(&process, false);
    world.until("ended", |w| !w.is(&run, TRAIN, "active"));
    let past = &world.record(&run).jobs[&JobKey::from(TRAIN)].past;
    let ending = world.state(&run, TRAIN);
    let told = past.iter().filter_map(|past| past.fault.clone()).map(|fault| fault.log_tail).collect::<Vec<_>>();
    assert!(told.iter().all(Vec::is_empty), "{told:?} {ending:?}");
}

#[test]
fn silence_on_the_link_is_no_hang() {
    let mut world = World::new(&[1, 1]);
    let mut long = spec("r");
    long.stages[0].length = osler_core::spec::Length::Steps(60);
    let run = world.submit(long);
    world.until("step 20", |w| w.cluster.run(&run).unwrap().line().step == 20);
    // Five times nearly lost: 45 s without a step, and no worker heard for most of it.
    for _ in 0..5 {
        world.wait(9_000, &[0]);
        world.sync(1);
    }
    assert!(world.is(&run, "train/general", "active"));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert!(world.record(&run).jobs[&JobKey::from("train/general")].past[0].fault.is_none());
}

#[test]
fn a_rank_that_freezes_when_others_have_ended_is_found_too() {
    let (mut world, run) = training();
    let first = world.state(&run, TRAIN).attempt().unwrap().places[0].worker.clone();
    let first = world.agents.iter().position(|agent| agent.name == first).unwrap();
    let one_has_ended = |w: &World| w.state(&run, TRAIN).attempt().is_some_and(|a| a.ended.len() == 1);
    for turn in 0.. {
        assert!(turn < 100, "rank 0 did not end alone");
        world.tick(100);
        world.agents[first].work(&mut world.gangs);
        world.sync(first);
        if one_has_ended(&world) {
            break;
        }
        world.agents[1 - first].work(&mut world.gangs);
        world.sync(1 - first);
    }
    // From here on the other rank does nothing, and its agent calls on.
    world.wait(30_000, &[0, 1]);
    assert!(!one_has_ended(&world), "nobody noticed");
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    let fault = world.record(&run).jobs[&JobKey::from(TRAIN)].past[0].fault.clone().unwrap();
    assert!(fault.message.contains("rank 1 is frozen"), "{fault}");
}

#[test]
fn a_save_that_takes_long_is_no_hang_while_its_rank_says_so() {
    use osler_core::process::{Progress, phase};
    let (mut world, run) = training();
    let processes = [0, 1].map(|agent| world.process(agent, TRAIN));
    processes.iter().for_each(|process| world.gangs.hang(process, true));
    for second in 0..900 {
        world.tick(1_000);
        for (agent, process) in processes.iter().enumerate() {
            let word = Progress { phase: phase::SAVING.into(), done: 5, total: 10, unit: "steps".into(), ..Progress::default() };
            let mut observed = world.agents[agent].observe();
            observed.reports = vec![NumberedReport { seq: 10_000 + second, process: process.clone(), report: Report::Progress(word) }];
            world.apply(Event::Sync(Box::new(observed))).unwrap();
        }
    }
    assert!(world.is(&run, TRAIN, "active"), "{:?}", world.record(&run).jobs[&JobKey::from(TRAIN)].past);
    world.wait(30_000, &[0, 1]);
    let past = &world.record(&run).jobs[&JobKey::from(TRAIN)].past;
    assert!(past.len() == 1 && past[0].fault.as_ref().is_some_and(|fault| fault.message.contains("is frozen")), "{past:?}");
}

#[test]
fn a_stage_that_dies_again_and_again_without_a_step_fails_for_want_of_progress() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    let train = JobKey::from("train/general");
    world.until("steps are published", |w| w.record(&run).published_steps(&crate::testing::stage("general")) >= 4);
    for times in 1..=11 {
        world.until("trains", |w| w.agents[0].running().any(|p| p.id.job == train));
        let victim = world.process(0, "train/general");
        world.agents[0].kill(&victim, 137, &mut world.gangs);
        world.until("the death is recorded", |w| w.record(&run).jobs[&train].past.len() == times);
    }
    world.until("failed", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    let JobState::Failed { fault, .. } = world.state(&run, "train/general") else { panic!() };
    assert_eq!(fault.class, FaultClass::NoProgress);
    assert!(fault.message.starts_with("10 attempts in a row published nothing beyond step 4; the last one ended with infra"), "{fault}");
}

#[test]
fn a_rule_of_the_run_file_makes_a_fault_another() {
    use osler_core::spec::{RetryRule, RetrySpec};
    let rule = RetryRule { exit_code: Some(3), log: None, class: FaultClass::User };
    let mut world = World::new(&[2]);
    let run = world.submit(RunSpec { retry: RetrySpec { rules: vec![rule], ..RetrySpec::default() }, ..spec("r") });
    for (code, tries) in [(4, 1), (3, 2)] {
        world.until("trains", |w| w.agents[0].running().any(|p| p.id.job == JobKey::from("train/general")));
        let victim = world.process(0, "train/general");
        world.agents[0].kill(&victim, code, &mut world.gangs);
        world.until("the death is recorded", |w| w.record(&run).jobs[&JobKey::from("train/general")].past.len() == tries);
    }
    let JobState::Failed { fault, .. } = world.state(&run, "train/general") else { panic!("tried again against the rule") };
    assert!(fault.message.ends_with("(retry.rule 0 makes this user error)"), "{fault}");
}

#[test]
fn ranks_of_several_machines_do_not_meet_on_loopback() {
    let mut world = World::new(&[1, 1]);
    world.agents[1].host = "elsewhere".into();
    let run = world.submit(spec("r"));
    world.until("failed", |w| matches!(w.record(&run).state, RunState::Failed(_)));
    let JobState::Failed { fault, .. } = world.state(&run, "train/general") else { panic!() };
    assert!(fault.message.contains("start every osler-worker with --gang-address IP"), "{fault}");
}

#[test]
fn no_number_of_names_fills_the_coordinator_and_those_it_knows_go_on() {
    let mut world = World::with(&[1, 1, 1], Limits { workers: 2, ..Limits::default() });
    let mut call = |agent: usize| {
        let observed = world.agents[agent].observe();
        world.apply(Event::Sync(Box::new(observed)))
    };
    assert_eq!([call(0), call(1), call(0)].map(|answer| answer.is_ok()), [true; 3]);
    assert_eq!(call(2), Err(Refused::TooManyWorkers(2)));
    assert!(call(1).is_ok());
}
