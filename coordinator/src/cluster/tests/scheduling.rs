//! Who starts, where, and what the others are told.

use super::*;
use crate::testing::spec;
use osler_core::spec::ResourceSpec;

fn with_ranks(name: &str, ranks: u32) -> RunSpec {
    RunSpec { resources: ResourceSpec { ranks, ..spec(name).resources }, ..spec(name) }
}

fn places(world: &World, run: &RunName, job: &str) -> Vec<String> {
    world.state(run, job).attempt().map(|a| a.places.iter().map(|p| p.worker.to_string()).collect()).unwrap_or_default()
}

#[test]
fn a_gang_goes_to_the_fewest_workers() {
    for (slots, ranks, expected) in
        [(&[1, 2, 4][..], 4, "cccc"), (&[1, 2, 2], 4, "bbcc"), (&[2, 2], 2, "aa"), (&[1, 1, 1, 1], 4, "abcd"), (&[1, 2], 2, "bb")]
    {
        let mut world = World::new(slots);
        let run = world.submit(with_ranks("r", ranks));
        world.until("trains", |w| w.is(&run, "train/general", "active"));
        assert_eq!(places(&world, &run, "train/general").concat(), expected, "{slots:?}");
    }
}

#[test]
fn the_next_gang_goes_before_exams_and_they_run_beside_it_when_there_is_room() {
    let mut narrow = World::new(&[2]);
    let run = narrow.submit(spec("r"));
    narrow.until("the second stage trains", |w| w.is(&run, "train/domain", "active"));
    assert!(narrow.is(&run, "export/general", "pending"));
    narrow.until("finished", |w| w.record(&run).state == RunState::Finished);

    let mut wide = World::new(&[3]);
    wide.agents[0].effort = 1;
    let run = wide.submit(spec("r"));
    wide.until("an exam is over while the second stage trains", |w| {
        w.is(&run, "exam/general/full/boards", "succeeded") && w.is(&run, "train/domain", "active")
    });
}

#[test]
fn a_gang_that_waits_keeps_its_slots_from_what_comes_after() {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    world.until("trains", |w| w.is(&run, "train/general", "active"));
    let other = world.submit(spec("younger"));
    let train = JobKey::from("train/general");
    for times in 1..=4 {
        world.until("trains", |w| w.agents[0].running().any(|p| p.id.job == train));
        let victim = world.process(0, "train/general");
        world.agents[0].kill(&victim, 137, &mut world.gangs);
        world.until("the death is recorded", |w| w.record(&run).jobs[&train].past.len() == times);
    }
    let why = world.why(&run, "train/general");
    assert!(why.starts_with("tried again in ") && why.contains(" s after infrastructure: "), "{why}");
    assert_eq!(world.why(&other, "clean/domain/00000"), "r/train/general waits for its slots and goes first");
    world.until("trains again", |w| w.is(&run, "train/general", "active"));
    assert!(world.record(&other).jobs.values().all(|job| job.past.is_empty()), "the younger run took the gang's slots");
    assert_eq!(world.record(&other).state, RunState::Submitted);
}

#[test]
fn a_gang_larger_than_the_cluster_keeps_nobody_waiting() {
    let mut world = World::new(&[2]);
    let big = world.submit(with_ranks("big", 4));
    let small = world.submit(spec("small"));
    world.until("the small run finishes", |w| w.record(&small).state == RunState::Finished);
    assert!(world.is(&big, "train/general", "pending"));
    assert_eq!(world.why(&big, "train/general"), "needs 4 slots, the workers have 2 in all: start more workers");
    world.agents.push(Agent::new("b", 1, 2));
    world.until("the big run finishes", |w| w.record(&big).state == RunState::Finished);
}

#[test]
fn whatever_waits_says_why() {
    let mut world = World::new(&[]);
    let run = world.submit(spec("r"));
    assert_eq!(world.why(&run, "clean/domain/00000"), "there are no workers: start osler-worker");
    assert_eq!(world.why(&run, "merge/domain"), "needs clean/domain/00000, clean/domain/00001, clean/domain/00002");
    assert_eq!(world.why(&run, "tokenizer"), "needs merge/domain, merge/general");
    world.agents.push(Agent::new("a", 1, 1));
    world.agents[0].effort = 100;
    world.step();
    assert_eq!(world.why(&run, "clean/domain/00000"), "");
    assert_eq!(world.why(&run, "clean/domain/00001"), "0 of 1 slots free");
    world.step();
    let process = world.process(0, "clean/domain/00000");
    world.agents[0].kill(&process, 137, &mut world.gangs);
    world.sync(0);
    world.wait(4_000, &[]);
    assert!(world.why(&run, "clean/domain/00001").ends_with("; worker a is suspect"), "{}", world.why(&run, "clean/domain/00001"));
    let record = world.record(&run);
    let silent = record.jobs.iter().filter(|(key, job)| job.status.attempt().is_none() && world.why(&run, key.as_str()).is_empty());
    assert_eq!(silent.count(), 0);
}

#[test]
fn a_draining_worker_gets_nothing_and_its_gang_moves() {
    let mut world = World::new(&[2, 2]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
    assert_eq!(places(&world, &run, "train/general").concat(), "aa");
    world.agents[0].draining = true;
    world.until("moved", |w| places(w, &run, "train/general").concat() == "bb");
    let past = &world.record(&run).jobs[&JobKey::from("train/general")].past;
    assert_eq!(past.iter().map(|p| p.fault.is_none()).collect::<Vec<_>>(), [true]);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    assert!(world.record(&run).jobs.values().all(|job| job.past.iter().all(|p| p.fault.is_none())));
}

#[test]
fn work_that_cannot_save_is_given_back_by_a_draining_worker_without_blame() {
    let mut world = World::new(&[1, 1]);
    world.agents.iter_mut().for_each(|agent| agent.effort = 50);
    let run = world.submit(spec("r"));
    world.until("a job on a", |w| w.agents[0].running().next().is_some());
    let job = world.agents[0].running().next().unwrap().id.job.clone();
    world.agents[0].draining = true;
    world.until("moved", |w| w.agents[0].running().next().is_none() && w.is(&run, job.as_str(), "active"));
    assert_eq!(places(&world, &run, job.as_str()).concat(), "b");
    assert!(world.record(&run).jobs[&job].past.iter().all(|past| past.fault.is_none()));
}

#[test]
fn a_process_that_dies_of_its_schedulers_signal_is_not_to_blame() {
    for (draining, faults) in [(true, 0), (false, 1)] {
        let mut world = World::new(&[2]);
        let run = world.submit(spec("r"));
        world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
        let process = world.process(0, "train/general");
        world.agents[0].kill(&process, 128 + 10, &mut world.gangs);
        world.agents[0].draining = draining;
        world.sync(0);
        world.sync(0);
        let past = &world.record(&run).jobs[&JobKey::from("train/general")].past;
        assert_eq!(past.iter().map(|p| p.fault.iter().count()).sum::<usize>(), faults, "{past:?}");
    }
}

/// How fast is measured by `make bench-control`.
#[test]
fn of_thousands_of_files_as_many_are_cleaned_at_once_as_there_are_slots() {
    let mut big = spec("big");
    big.corpora.values_mut().for_each(|c| c.files = (0..4_000).map(|i| format!("/data/{i}.jsonl")).collect());
    let mut world = World::new(&[8]);
    let run = world.submit(big);
    world.step();
    let wanted = world.cluster.desired(&world.agents[0].name).wanted;
    assert_eq!(wanted.len(), 8);
    let waiting = world.cluster.waiting(world.now, world.cluster.run(&run).unwrap());
    assert_eq!(waiting.len(), 8_000 - 8 + 15);
}
