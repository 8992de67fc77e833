//! Nodes that take no work: drained by a person or by their strikes, or unfit.

use super::*;
use crate::testing::spec;
use osler_core::health::{FolderCheck, Health};
use osler_core::process::{Progress, Report, phase};
use osler_core::reason::Cause;

const TRAIN: &str = "train/general";

fn name(worker: &str) -> WorkerName {
    WorkerName::new(worker).unwrap()
}

fn drain(world: &mut World, worker: &str, reason: Option<&str>) -> Result<Answer, Refused> {
    world.apply(Event::Drain { worker: name(worker), reason: reason.map(str::to_owned) })
}

fn on(world: &World, run: &RunName) -> String {
    let places = world.state(run, TRAIN).attempt().map(|a| a.places.iter().map(|p| p.worker.to_string()).collect());
    places.unwrap_or_default()
}

fn state(world: &World, worker: &str) -> WorkerState {
    world.cluster.worker_lines(world.now).into_iter().find(|line| line.worker == name(worker)).unwrap().state
}

/// As another coordinator finds it.
fn restart(world: &mut World) {
    let (_, bytes) = world.cluster.next_cluster_version();
    let mut next = Cluster::new(world.now, Epoch(world.cluster.epoch().0 + 1), "file:///store", Limits::default());
    next.adopt_cluster(serde_json::from_slice(&bytes).unwrap());
    world.cluster.runs().for_each(|run| next.adopt(run.record.clone()));
    world.cluster = next;
}

#[test]
fn a_drained_node_stays_drained_whoever_restarts_and_its_gang_saves_and_moves() {
    let mut world = World::new(&[2, 2]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
    assert_eq!(on(&world, &run), "aa");
    drain(&mut world, "a", Some("new disks")).unwrap();
    world.until("moved", |w| on(w, &run) == "bb");
    let past = &world.record(&run).jobs[&JobKey::from(TRAIN)].past;
    assert_eq!(past.len(), 1);
    assert_eq!((past[0].fault.as_ref(), past[0].cause.as_ref()), (None, Some(&Cause::Draining { worker: name("a") })));
    assert!(past[0].steps_published >= 5, "it did not save");
    restart(&mut world);
    world.agents[0] = Agent::new("a", 2, 2);
    world.step();
    assert_eq!(state(&world, "a"), WorkerState::Drained);
    let other = world.submit(spec("other"));
    world.step();
    assert!(world.why(&other, "clean/domain/00000").ends_with("; worker a is drained (new disks): `osler node undrain a`"));
    drain(&mut world, "a", None).unwrap();
    world.step();
    assert_eq!(state(&world, "a"), WorkerState::Busy);
    assert!(drain(&mut world, "nobody", Some("x")).unwrap_err().to_string().contains("`osler node list`"));
}

#[test]
fn an_unfit_node_takes_no_work_and_says_why() {
    let mut world = World::new(&[2]);
    let folder = FolderCheck { path: "/scratch".into(), free_bytes: None, ms: 1, error: Some("read-only".into()) };
    world.agents[0].health =
        Some(Health { at: Millis(1), folders: vec![folder], memory_available: None, gpus: vec![], ranks: None, overdue_ms: None });
    let run = world.submit(spec("r"));
    world.step();
    let why = world.why(&run, "clean/domain/00000");
    assert_eq!(
        why,
        "needs 1 slots, the workers have 0 in all: start more workers; worker a is unfit: /scratch cannot be written: read-only"
    );
    world.agents[0].health.as_mut().unwrap().folders.clear();
    world.step();
    assert_eq!(state(&world, "a"), WorkerState::Busy);
}

#[test]
fn a_clock_that_is_far_off_is_no_slow_call() {
    let mut world = World::new(&[1]);
    for (skew, expected) in
        [(31_000, WorkerState::Idle), (31_000, WorkerState::Unfit), (0, WorkerState::Idle), (-31_000, WorkerState::Idle)]
    {
        world.agents[0].skew = skew;
        world.step();
        assert_eq!(state(&world, "a"), expected, "{skew}");
    }
    world.step();
    assert!(world.cluster.worker_lines(world.now)[0].why.as_ref().unwrap().contains("differs from the coordinator's by -31.0 s"));
}

#[test]
fn a_clock_that_is_a_little_off_is_told_of_once() {
    let mut world = World::new(&[1]);
    world.agents[0].skew = 2_500;
    let told: Vec<usize> = (0..4)
        .map(|_| {
            let observed = world.agents[0].observe();
            let notes = world.cluster.apply(world.now, Event::Sync(Box::new(observed))).1.notes;
            notes.iter().filter(|note| note.contains("clock of worker a differs from the coordinator's by 2.5 s")).count()
        })
        .collect();
    assert_eq!(told, [0, 1, 0, 0]);
}

/// The gang's first rank on an agent dies as soon as the gang runs there.
fn kill_rank(world: &mut World, run: &RunName, agent: usize) {
    let before = world.record(run).jobs[&JobKey::from(TRAIN)].past.len();
    world.until("trains", |w| w.agents[agent].running().any(|p| p.id.job == JobKey::from(TRAIN)));
    let victim = world.process(agent, TRAIN);
    world.agents[agent].kill(&victim, 137, &mut world.gangs);
    world.until("it is told", |w| w.record(run).jobs[&JobKey::from(TRAIN)].past.len() > before);
}

fn strikes(world: &World) -> usize {
    world.cluster.record().strikes.get(&name("a")).map_or(0, Vec::len)
}

#[test]
fn a_node_with_three_strikes_is_drained_and_told() {
    let mut world = World::with(&[2, 2], Limits { strike_apart: 0, ..Limits::default() });
    let run = world.submit(spec("r"));
    for expected in 1..=3 {
        kill_rank(&mut world, &run, 0);
        assert_eq!(strikes(&world), expected);
    }
    let drain = &world.cluster.record().drained[&name("a")];
    assert!(drain.automatic && drain.reason.contains("3 strikes within 60 min, the last by r/train/general"), "{drain:?}");
    assert!(world.record(&run).events.iter().any(|e| e.message.starts_with("worker a is drained: 3 strikes")));
    world.until("it goes on elsewhere", |w| on(w, &run) == "bb");
    self::drain(&mut world, "a", None).unwrap();
    assert_eq!(strikes(&world), 0, "who undrains a node vouches for it");
}

#[test]
fn work_that_went_well_forgives_and_one_incident_is_one_strike() {
    let mut world = World::with(&[2, 2], Limits { strike_apart: 0, ..Limits::default() });
    let run = world.submit(spec("r"));
    kill_rank(&mut world, &run, 0);
    assert_eq!(strikes(&world), 1);
    world.until("a checkpoint", |w| w.record(&run).published_steps(&"general".parse().unwrap()) > 0);
    assert_eq!(strikes(&world), 0);

    let mut world = World::new(&[2, 2]);
    let run = world.submit(spec("r"));
    kill_rank(&mut world, &run, 0);
    kill_rank(&mut world, &run, 0);
    assert_eq!(strikes(&world), 1, "two deaths within ten seconds");
}

#[test]
fn the_last_node_that_work_needs_is_not_drained_by_its_strikes() {
    let mut world = World::with(&[2, 1], Limits { strike_apart: 0, ..Limits::default() });
    let run = world.submit(spec("r"));
    (0..4).for_each(|_| kill_rank(&mut world, &run, 0));
    assert!(world.cluster.record().drained.is_empty());
    assert!(world.record(&run).events.iter().any(|e| e.message.contains("it is not drained, because work could not go on without it")));
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

/// Found by the simulation: a node that was silent when it was judged seemed to be none that anybody could miss.
#[test]
fn a_needed_node_that_is_lost_again_and_again_is_not_drained_while_it_is_away() {
    let mut world = World::with(&[1, 1], Limits { strike_apart: 0, ..Limits::default() });
    let run = world.submit(spec("r"));
    for expected in 1..=3 {
        world.until("both train", |w| (0..2).all(|agent| w.agents[agent].running().any(|p| p.id.job == JobKey::from(TRAIN))));
        for _ in 0..120 {
            world.tick(100);
            world.sync(1);
        }
        assert_eq!(strikes(&world), expected);
    }
    assert!(world.cluster.record().drained.is_empty());
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

/// While a store stood still only a call came that waits to be read. Its author falls silent: that counts from there.
#[test]
fn who_was_heard_of_during_a_pause_is_lost_ten_seconds_later() {
    let mut world = World::new(&[1]);
    world.step();
    world.pass(30_000);
    let unread = world.agents[0].observe();
    world.cluster.heard_of(world.now, &unread);
    (0..99).for_each(|_| world.tick(100));
    assert_eq!(state(&world, "a"), WorkerState::Suspect);
    (0..3).for_each(|_| world.tick(100));
    assert_eq!(state(&world, "a"), WorkerState::Lost);
}

/// A disk that is full for two minutes was held against the node: its ranks said that they were saving, in calls that waited.
#[test]
fn what_processes_say_in_calls_that_wait_is_heard() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    world.until("step 9", |w| w.cluster.run(&run).unwrap().line().step == 9);
    let key = JobKey::from("train/general");
    let generation = world.cluster.run(&run).unwrap().active(&key).unwrap().generation;
    let ranks: Vec<_> = world.agents[0].running().filter(|p| p.id.job == key).cloned().collect();
    for _ in 0..240 {
        world.pass(500);
        for rank in &ranks {
            let word = Progress { phase: phase::SAVING.into(), done: 9, unit: "steps".into(), ..Progress::default() };
            world.agents[0].report(rank, Report::Progress(word));
        }
        let unread = world.agents[0].observe();
        world.cluster.heard_of(world.now, &unread);
    }
    world.tick(100);
    assert_eq!(world.cluster.run(&run).unwrap().active(&key).map(|attempt| attempt.generation), Some(generation));
    assert_eq!(strikes(&world), 0);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
}

#[test]
fn a_look_that_is_asked_for_reaches_the_agent() {
    let mut world = World::new(&[1]);
    world.step();
    assert_eq!(world.cluster.desired(&name("a")).check, 0);
    world.apply(Event::CheckNode(name("a"))).unwrap();
    assert_eq!(world.cluster.desired(&name("a")).check, 1);
    assert!(world.apply(Event::CheckNode(name("b"))).is_err());
}
