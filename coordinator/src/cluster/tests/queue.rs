//! Priorities, quotas, labels, and slots that are lent while a gang waits.

use super::*;
use crate::testing::spec;
use osler_core::ids::{LabelKey, LabelValue};
use osler_core::job::JobId;
use osler_core::reason::{Cause, Reason};
use osler_core::spec::{Affinity, Length};

const TRAIN: &str = "train/general";

/// One long stage.
fn long(name: &str, ranks: u32, priority: i32) -> RunSpec {
    let mut spec = spec(name);
    spec.stages.truncate(1);
    spec.stages[0].length = Length::Steps(200);
    spec.resources.ranks = ranks;
    spec.queue.priority = priority;
    spec
}

fn of_team(spec: RunSpec, team: &str) -> RunSpec {
    let queue = osler_core::spec::QueueSpec { team: Some(TeamName::new(team).unwrap()), ..spec.queue.clone() };
    RunSpec { queue, ..spec }
}

fn quota(world: &mut World, team: &str, slots: Option<u32>) {
    world.apply(Event::Quota { team: TeamName::new(team).unwrap(), slots }).unwrap();
}

fn labelled(world: &mut World, agent: usize, labels: &[(&str, &str)]) {
    let label = |(key, value): &(&str, &str)| (LabelKey::new(*key).unwrap(), LabelValue::new(*value).unwrap());
    world.agents[agent].labels = labels.iter().map(label).collect();
}

fn reason(world: &World, run: &RunName, job: &str) -> Option<Reason> {
    let waiting = world.cluster.waiting(world.now, world.cluster.run(run).unwrap());
    waiting.into_iter().find(|(key, _)| *key == JobKey::from(job)).map(|(_, reason)| reason)
}

fn held(world: &World, run: &RunName) -> usize {
    world.record(run).jobs.values().filter_map(|job| job.status.attempt()).map(|attempt| attempt.places.len()).sum()
}

fn step_of(world: &World, run: &RunName) -> u64 {
    world.cluster.run(run).unwrap().line().step
}

fn finished(world: &World, runs: &[&RunName]) -> bool {
    runs.iter().all(|run| world.record(run).state == RunState::Finished)
}

#[test]
fn of_runs_that_come_together_the_higher_priority_starts_whichever_was_heard_first() {
    let mut world = World::new(&[1]);
    world.until("the worker is known", |w| w.cluster.workers.known.len() == 1);
    let mut effects = Effects::default();
    for spec in [long("first", 1, 0), long("urgent", 1, 5)] {
        world.cluster.take_in(world.now, Event::Submit(Box::new(spec.into())), &mut effects).unwrap();
    }
    world.cluster.settle(&mut effects);
    let names = ["first", "urgent"].map(|name| RunName::new(name).unwrap());
    assert_eq!(effects.persist, BTreeSet::from(names.clone()));
    assert_eq!(names.map(|run| held(&world, &run)), [0, 1]);
}

#[test]
fn a_higher_priority_preempts_and_the_gang_goes_on_from_where_it_saved() {
    let mut world = World::with(&[2], Limits { least_hold: 0, ..Limits::default() });
    let low = world.submit(long("low", 2, 0));
    world.until("step 9", |w| step_of(w, &low) == 9);
    let high = world.submit(RunSpec { queue: osler_core::spec::QueueSpec { priority: 5, team: None }, ..spec("high") });
    world.until("the gang has left", |w| w.is(&low, TRAIN, "pending"));
    let past = world.record(&low).jobs[&JobKey::from(TRAIN)].past.clone();
    let [past] = past.as_slice() else { panic!("{past:?}") };
    assert_eq!(past.fault, None, "a preemption is nobody's fault");
    let Some(Cause::Preempted { by, priority: 5 }) = &past.cause else { panic!("{past:?}") };
    assert_eq!(by.run, high);
    assert!(past.steps_published >= 9, "what was done after the last checkpoint is lost: {past:?}");
    let told = world.record(&low).events.iter().find(|e| e.kind == EventKind::Preempted).expect("nobody was told");
    assert_eq!(told.reason, past.cause);
    world.until("the higher one finishes first", |w| finished(w, &[&high]));
    assert_eq!(world.record(&low).state, RunState::Running);
    world.until("goes on", |w| w.is(&low, TRAIN, "active"));
    assert!(world.state(&low, TRAIN).attempt().unwrap().published >= 9);
    world.until("finished", |w| finished(w, &[&low]));
}

#[test]
fn the_same_priority_never_preempts() {
    let mut world = World::with(&[2], Limits { least_hold: 0, ..Limits::default() });
    let first = world.submit(long("first", 2, 3));
    world.until("trains", |w| step_of(w, &first) == 9);
    let second = world.submit(long("second", 2, 3));
    world.until("finished", |w| finished(w, &[&first, &second]));
    assert!(world.record(&first).events.iter().all(|e| e.kind != EventKind::Preempted));
}

#[test]
fn a_gang_that_began_a_moment_ago_is_not_preempted() {
    let mut world = World::with(&[2], Limits { least_hold: 3_000, ..Limits::default() });
    let low = world.submit(long("low", 2, 0));
    world.until("trains", |w| w.is(&low, TRAIN, "active"));
    let began = world.now.moment;
    let high = world.submit(long("high", 2, 1));
    world.step();
    let Some(Reason::Hold { gang, in_ms, .. }) =
        reason(&world, &high, "clean/domain/00000").or(reason(&world, &high, "clean/general/00000"))
    else {
        panic!("{:?}", world.cluster.queue(world.now))
    };
    assert_eq!(gang, JobId { run: low.clone(), job: JobKey::from(TRAIN) });
    assert!(in_ms <= 3_000);
    world.until("asked to leave", |w| w.state(&low, TRAIN).attempt().is_none_or(|attempt| attempt.leave.is_some()));
    assert!(world.now.moment.since(began) >= 3_000, "after {} ms", world.now.moment.since(began));
}

#[test]
fn who_loses_least_makes_room() {
    let mut world = World::with(&[2], Limits { least_hold: 0, ..Limits::default() });
    let rare = RunSpec { checkpoint: osler_core::spec::CheckpointSpec { every_steps: 150, ..spec("x").checkpoint }, ..long("rare", 1, 0) };
    let (rare, often) = (world.submit(rare), world.submit(long("often", 1, 0)));
    world.until("both train", |w| step_of(w, &rare) >= 9 && step_of(w, &often) >= 9);
    quota(&mut world, "one", Some(1));
    let high = world.submit(of_team(long("high", 1, 1), "one"));
    world.until("the higher one runs", |w| held(w, &high) == 1);
    let preempted = |w: &World, run: &RunName| w.record(run).events.iter().any(|e| e.kind == EventKind::Preempted);
    assert!(preempted(&world, &often) && !preempted(&world, &rare));
}

#[test]
fn a_team_never_holds_more_than_its_quota_and_blocks_nobody() {
    let mut world = World::new(&[4]);
    quota(&mut world, "nlp", Some(1));
    let team = world.submit(of_team(spec("team"), "nlp"));
    world.step();
    assert_eq!(held(&world, &team), 1);
    assert_eq!(world.why(&team, "clean/domain/00001"), "needs 1 slots, team nlp holds 1 of 1: waits for them, or `osler quota set nlp 2`");
    let other = world.submit(spec("other"));
    for _ in 0..2_000 {
        world.step();
        assert!(held(&world, &team) <= 1);
        if finished(&world, &[&other]) {
            break;
        }
    }
    assert!(finished(&world, &[&other]), "what is behind a run over its quota is blocked");
    world.until("only the gang is left", |w| w.is(&team, TRAIN, "pending"));
    assert_eq!(world.why(&team, TRAIN), "needs 2 slots, team nlp may hold 1: `osler quota set nlp 2`");
    quota(&mut world, "nlp", Some(2));
    world.until("finished", |w| held(w, &team) > 2 || finished(w, &[&team]));
    assert!(finished(&world, &[&team]));
    let gone = world.apply(Event::Quota { team: TeamName::new("other").unwrap(), slots: None });
    assert!(gone.unwrap_err().to_string().contains("`osler quota list`"));
}

#[test]
fn a_teams_small_jobs_do_not_take_the_quota_that_its_gang_waits_for() {
    let mut world = World::new(&[4]);
    let first = world.submit(of_team(long("first", 2, 0), "nlp"));
    world.until("its gang is next", |w| w.is(&first, TRAIN, "active"));
    quota(&mut world, "nlp", Some(2));
    let second = world.submit(of_team(long("second", 2, 0), "nlp"));
    world.apply(interruption(first.clone())).unwrap();
    world.until("stopped", |w| w.record(&first).state == RunState::Stopped);
    world.until("its gang waits or trains", |w| w.is(&second, TRAIN, "active"));
    world.apply(Event::Resume { run: first.clone(), ranks: None }).unwrap();
    let third = world.submit(of_team(spec("third"), "nlp"));
    world.step();
    assert_eq!(
        world.why(&third, "clean/domain/00000"),
        "needs 1 slots, team nlp holds 4 of 2, kept ones for first/train/general included: waits for them, or `osler quota set nlp 5`"
    );
    world.until("finished", |w| finished(w, &[&first, &second, &third]));
}

#[test]
fn a_gang_is_kept_within_one_label_where_that_can_be() {
    for (affinity, required, expected) in [(None, false, "ab"), (Some("switch"), false, "ac"), (Some("switch"), true, "ac")] {
        let mut world = World::new(&[1, 1, 1]);
        for (agent, switch) in ["s1", "s2", "s1"].into_iter().enumerate() {
            labelled(&mut world, agent, &[("switch", switch)]);
        }
        let mut spec = long("r", 2, 0);
        spec.resources.affinity = affinity.map(|label| Affinity { label: LabelKey::new(label).unwrap(), required });
        let run = world.submit(spec);
        world.until("trains", |w| w.is(&run, TRAIN, "active"));
        let places: String = world.state(&run, TRAIN).attempt().unwrap().places.iter().map(|p| p.worker.to_string()).collect();
        assert_eq!(places, expected, "{affinity:?}");
    }
}

#[test]
fn a_gang_that_must_stay_together_waits_and_says_so() {
    let mut world = World::new(&[1, 1]);
    labelled(&mut world, 0, &[("switch", "s1")]);
    labelled(&mut world, 1, &[("switch", "s2")]);
    let mut spec = long("r", 2, 0);
    spec.resources.affinity = Some(Affinity { label: LabelKey::new("switch").unwrap(), required: true });
    let run = world.submit(spec);
    world.until("the gang is next", |w| w.is(&run, TRAIN, "pending"));
    world.step();
    assert_eq!(
        world.why(&run, TRAIN),
        "needs 2 slots within one switch, the largest has 1: add workers to one, or leave affinity_required out"
    );
    labelled(&mut world, 1, &[("switch", "s1")]);
    world.until("trains", |w| w.is(&run, TRAIN, "active"));
}

#[test]
fn a_run_goes_only_to_workers_that_say_what_it_requires() {
    let mut world = World::new(&[2, 2]);
    let mut spec = spec("r");
    spec.resources.require = BTreeMap::from([(LabelKey::new("gpu").unwrap(), LabelValue::new("h100").unwrap())]);
    let (run, free) = (world.submit(spec), world.submit(crate::testing::spec("free")));
    world.step();
    assert_eq!(
        world.why(&run, "clean/domain/00000"),
        "needs 1 slots of workers with gpu=h100, which have 0: start osler-worker --label gpu=h100"
    );
    world.until("others run", |w| finished(w, &[&free]));
    labelled(&mut world, 1, &[("gpu", "h100")]);
    world.until("finished", |w| finished(w, &[&run]));
    let on = world.record(&run).jobs.values().flat_map(|job| &job.past).flat_map(|past| &past.workers);
    assert!(on.into_iter().all(|worker| worker.as_str() == "b"));
}

/// A gang of one rank trains, one of two waits for its slot, and whoever comes then finds the other slot idle.
fn idle_slot() -> (World, RunName, RunName) {
    let mut world = World::new(&[2]);
    let older = world.submit(long("older", 1, 0));
    world.until("trains", |w| step_of(w, &older) >= 1);
    let gang = world.submit(long("gang", 2, 0));
    world.until("the gang waits", |w| w.is(&gang, TRAIN, "pending"));
    (world, older, gang)
}

/// Steps until the gang trains, once the older run is stopped.
fn steps_until_it_trains(world: &mut World, older: &RunName, gang: &RunName) -> usize {
    world.apply(interruption(older.clone())).unwrap();
    let mut steps = 0;
    while !world.is(gang, TRAIN, "active") {
        world.step();
        steps += 1;
        assert!(steps < 100, "{:?}", world.cluster.queue(world.now));
    }
    steps
}

#[test]
fn idle_slots_are_lent_until_the_gang_can_start_and_nobody_is_blamed() {
    let (mut world, older, gang) = idle_slot();
    let alone = steps_until_it_trains(&mut world, &older, &gang);

    let (mut world, older, gang) = idle_slot();
    world.agents[0].effort = 100_000;
    let late = world.submit(spec("late"));
    world.until("a job borrows the slot", |w| held(w, &late) == 1);
    let borrows = |w: &World| w.record(&late).jobs.values().any(|job| job.status.attempt().is_some_and(|attempt| attempt.backfill));
    assert!(borrows(&world));
    let beside = steps_until_it_trains(&mut world, &older, &gang);
    assert!(beside <= alone + 4, "the gang waited {beside} steps for what was lent, {alone} without");
    let ended: Vec<_> = world.record(&late).jobs.values().flat_map(|job| &job.past).collect();
    assert!(matches!(ended.as_slice(), [past] if past.fault.is_none() && matches!(past.cause, Some(Cause::GaveWay { .. }))), "{ended:?}");

    world.agents[0].effort = 2;
    world.apply(Event::Resume { run: older.clone(), ranks: None }).unwrap();
    world.until("everybody finishes", |w| finished(w, &[&older, &gang, &late]));
}

#[test]
fn what_cannot_be_ended_at_any_time_borrows_nothing() {
    let (mut world, _, gang) = idle_slot();
    let mut late = long("late", 1, 0);
    late.corpora.values_mut().for_each(|corpus| corpus.files.truncate(1));
    let late = world.submit(late);
    world.until("it is cleaned", |w| w.is(&late, "clean/domain/00000", "succeeded") && w.is(&late, "clean/general/00000", "succeeded"));
    for _ in 0..20 {
        world.step();
        assert_eq!(held(&world, &late), 0, "{:?}", world.record(&late).jobs.values().filter_map(|job| job.status.attempt()).next());
    }
    assert_eq!(world.why(&late, "merge/general"), format!("{gang}/{TRAIN} waits for its slots and goes first"));
}

#[test]
fn slots_that_are_about_to_be_free_are_not_lent() {
    let (mut world, older, gang) = idle_slot();
    world.apply(interruption(older)).unwrap();
    let late = world.submit(spec("late"));
    while !world.is(&gang, TRAIN, "active") {
        assert_eq!(held(&world, &late), 0);
        world.step();
    }
}
