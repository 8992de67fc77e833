//! Wall clocks that jump: by 400 days, an hour, forward and back, put right again or not. Nothing is timed by them, and what is decided
//! while they are wrong does not last.

use super::*;
use crate::testing::spec;
use osler_core::cluster::{ClusterRecord, Strike};
use osler_core::job::{Fault, FaultClass, JobId};
use osler_core::record::Then;
use osler_core::spec::{ByKind, Length, LimitsSpec};

const HOUR: i64 = 3_600_000;
const FAR: i64 = 400 * 24 * HOUR;
const TRAIN: &str = "train/general";

impl World {
    /// The coordinator's wall clock jumps; no time passes.
    fn jump(&mut self, by: i64) {
        self.now.wall = Millis(self.now.wall.0.saturating_add_signed(by));
    }

    /// The coordinator dies, and the next one finds what was written, by a clock of its own that is `by` ahead; it may be on another
    /// machine, whose running clock tells another number.
    fn restart(&mut self, by: i64) {
        let records: Vec<RunRecord> = self.cluster.runs().map(|run| run.record.clone()).collect();
        let (_, own) = self.cluster.next_cluster_version();
        let mut next = self.now;
        next.wall = Millis(next.wall.0.saturating_add_signed(by));
        next.moment = Moment(9_000_000_000 - next.moment.0);
        self.now = next;
        let epoch = Epoch(self.cluster.epoch().0 + 1);
        self.cluster = Cluster::new(next, epoch, "file:///store", Limits::default());
        self.cluster.adopt_cluster(serde_json::from_slice(&own).unwrap());
        records.into_iter().for_each(|record| self.cluster.adopt(record));
    }
}

/// A run of long stages that makes its steps, on a clock that shows a date of these years.
fn training() -> (World, RunName) {
    let mut world = World::new(&[2, 2]);
    world.now.wall = Millis(1_795_410_000_000);
    let mut long = spec("r");
    long.stages.iter_mut().for_each(|stage| stage.length = Length::Steps(60));
    let run = world.submit(long);
    world.until("step 9", |w| w.cluster.run(&run).unwrap().line().step == 9);
    (world, run)
}

/// Every attempt that is over was blamed for nothing and took seconds.
fn is_unharmed(world: &World, run: &RunName) {
    for (key, job) in &world.record(run).jobs {
        for past in &job.past {
            assert!(past.fault.is_none(), "{key}: {past:?}");
            assert!(past.millis() < 60_000, "{key}: {past:?}");
        }
    }
}

#[test]
fn a_jump_that_is_undone_while_a_run_trains_leaves_only_the_stamps_made_meanwhile() {
    for by in [FAR, HOUR, -HOUR, -FAR] {
        let (mut world, run) = training();
        let events = world.record(&run).events.len();
        world.jump(by);
        world.until("step 20", |w| w.cluster.run(&run).unwrap().line().step == 20);
        let made = world.record(&run).events[events..].iter().map(|event| event.at.0.abs_diff(world.now.wall.0));
        assert!(made.max().unwrap() < 60_000, "people read what the clock shows, while it does");
        let meanwhile = world.record(&run).events.len();
        world.jump(-by);
        world.until("finished", |w| w.record(&run).state == RunState::Finished);
        let later = &world.record(&run).events[meanwhile..];
        assert!(later.iter().all(|event| event.at <= world.now.wall && world.now.wall.0 - event.at.0 < 60_000), "{by}: {later:?}");
        let ended = world.record(&run).jobs.values().flat_map(|job| &job.past).filter(|past| past.generation.0 > 12);
        assert!(ended.map(|past| world.now.wall.0.abs_diff(past.ended_at.0)).max().unwrap() < 60_000, "{by}");
        is_unharmed(&world, &run);
        let past = &world.record(&run).jobs[&JobKey::from(TRAIN)].past;
        assert_eq!(past.len(), 1, "the gang trained through it");
        // The next version's reader is told the same.
        let NextVersion { bytes, .. } = world.cluster.next_version(&run).unwrap();
        let aged = crate::document::read(&bytes).unwrap().aged;
        assert!(aged.age.total() < 300_000 && aged.at == world.now.wall, "{aged:?}");
    }
}

#[test]
fn a_jump_that_lasts_is_followed() {
    let (mut world, run) = training();
    world.jump(FAR);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    is_unharmed(&world, &run);
    let record = world.record(&run);
    assert!(world.now.wall.0 - record.events.last().unwrap().at.0 < 1_000);
    let train = &record.jobs[&JobKey::from(TRAIN)].past[0];
    assert!(train.ended_at.0 - train.started_at.0 > FAR as u64 && train.millis() < 60_000, "by the stamps it took 400 days: {train:?}");
}

#[test]
fn silence_is_noticed_in_its_time_whatever_a_clock_does() {
    for by in [FAR, HOUR, -HOUR, -FAR] {
        let (mut world, _) = training();
        world.jump(by);
        world.wait(9_000, &[0]);
        assert_eq!(world.cluster.worker_lines(world.now)[1].state, WorkerState::Suspect, "{by}");
        world.wait(3_000, &[0]);
        let line = world.cluster.worker_lines(world.now).remove(1);
        assert_eq!(line.state, WorkerState::Lost, "{by}");
        assert_eq!(world.now.wall.0 - line.seen_at.0, 12_000, "{by}: people are told by the clock as it is");
    }
}

/// A retry was decided by a clock; the job's wait in the run's record, and its coordinator's clock as far from that one as given.
fn with_retry(ending: bool, ahead: i64) -> (World, RunName) {
    let mut world = World::new(&[2]);
    let run = world.submit(spec("r"));
    let key = JobKey::from("clean/domain/00000");
    world.until("a job runs", |w| w.is(&run, key.as_str(), "active"));
    let mut record = world.record(&run).clone();
    let stamp = |ms: u64| Millis((world.now.wall.0 + ms).saturating_add_signed(ahead));
    let job = record.jobs.get_mut(&key).unwrap();
    let JobState::Active { attempt } = job.status.clone() else { panic!("{:?}", job.status) };
    let (fault, not_before) = (Fault::new(FaultClass::Internal, "it failed"), stamp(250));
    job.status = match ending {
        true => JobState::Ending { attempt, next: Then::Retry { fault, not_before } },
        false => JobState::Pending { since: stamp(0), not_before },
    };
    world.cluster = Cluster::new(world.now, Epoch(2), "file:///store", Limits::default());
    world.cluster.adopt(record);
    world.agents[0] = Agent::new("a", 2, 2);
    (world, run)
}

#[test]
fn a_wait_that_another_clock_decided_is_no_longer_than_it_was_to_be() {
    for ahead in [FAR, HOUR, 0, -HOUR, -FAR] {
        for ending in [true, false] {
            let (mut world, run) = with_retry(ending, ahead);
            let job = &world.record(&run).jobs[&JobKey::from("clean/domain/00000")].status;
            if let JobState::Pending { not_before, .. } = job {
                assert!(not_before.0 <= world.now.wall.0 + 250, "it is told that it waits for {not_before}");
            }
            world.until("the run is over", |w| w.record(&run).state == RunState::Finished);
        }
    }
}

#[test]
fn a_wait_is_not_stretched_by_a_jump_that_comes_while_it_lasts() {
    for by in [FAR, HOUR, -HOUR, -FAR] {
        let mut world = World::new(&[2]);
        world.now.wall = Millis(1_795_410_000_000);
        let run = world.submit(spec("r"));
        // Killed four times in a row: the next try is to wait for a second.
        for times in 1..=4 {
            world.until("trains", |w| w.agents[0].running().any(|p| p.id.job == JobKey::from(TRAIN)));
            let victim = world.process(0, TRAIN);
            world.agents[0].kill(&victim, 137, &mut world.gangs);
            world.until("it is told", |w| w.record(&run).jobs[&JobKey::from(TRAIN)].past.len() == times);
        }
        let since = world.now.moment;
        assert!(world.why(&run, TRAIN).starts_with("tried again in "), "{}", world.why(&run, TRAIN));
        world.jump(by);
        world.step();
        assert!(world.why(&run, TRAIN).starts_with("tried again in "), "{by}: {}", world.why(&run, TRAIN));
        world.until("it is tried again", |w| w.is(&run, TRAIN, "active"));
        let waited = world.now.moment.since(since);
        assert!((600..1_300).contains(&waited), "{by}: {waited} ms");
    }
}

/// The clock jumps, the coordinator dies meanwhile, and the next one has the right time again; or a wrong one.
#[test]
fn a_coordinator_that_dies_while_its_clock_is_wrong_leaves_nothing_that_waits_or_ends() {
    for (in_its_life, between) in [(FAR, -FAR), (-FAR, FAR), (0, FAR), (0, -FAR), (HOUR, -HOUR), (0, HOUR)] {
        let (mut world, run) = training();
        world.jump(in_its_life);
        world.until("step 20", |w| w.cluster.run(&run).unwrap().line().step == 20);
        drop(world.cluster.next_version(&run).unwrap());
        world.restart(between);
        assert!(world.is(&run, TRAIN, "active"));
        world.until("finished", |w| w.record(&run).state == RunState::Finished);
        is_unharmed_but_for_absence(&world, &run, between);
        assert_eq!(world.record(&run).jobs[&JobKey::from(TRAIN)].past.len(), 1, "the gang trained through it");
        assert!(world.now.wall.0 - world.record(&run).events.last().unwrap().at.0 < 1_000);
    }
}

/// As [`is_unharmed`], but a clock that is ahead after a restart may have been right: a day at most is believed.
fn is_unharmed_but_for_absence(world: &World, run: &RunName, between: i64) {
    let most = 60_000 + u64::try_from(between).unwrap_or(0).min(24 * HOUR as u64);
    for past in world.record(run).jobs.values().flat_map(|job| &job.past) {
        assert!(past.fault.is_none() && past.millis() < most && past.watched_millis() < 60_000, "{past:?}");
    }
}

#[test]
fn the_time_that_a_job_has_is_counted_while_somebody_looks() {
    let limits = LimitsSpec { seconds: ByKind { tokenizer: Some(50), ..ByKind::default() }, ..LimitsSpec::default() };
    let mut world = World::new(&[2]);
    world.now.wall = Millis(1_795_410_000_000);
    let run = world.submit(RunSpec { limits, ..spec("r") });
    world.until("it has begun", |w| w.is(&run, "tokenizer", "active"));
    let begun = world.now.moment;
    let says = |world: &mut World| {
        let process = world.process(0, "tokenizer");
        let word = osler_core::process::Progress { phase: "learning".into(), ..Default::default() };
        world.agents[0].report(&process, osler_core::process::Report::Progress(word));
        world.wait(1_000, &[0]);
    };
    world.jump(FAR);
    (0..20).for_each(|_| says(&mut world));
    let _the_next_one_reads_it = world.cluster.next_version(&run);
    let before = world.now.moment.since(begun);
    world.restart(-FAR);
    let begun = world.now.moment;
    world.jump(FAR);
    (0..20).for_each(|_| says(&mut world));
    assert!(world.is(&run, "tokenizer", "active"), "{}", world.why(&run, "tokenizer"));
    while world.record(&run).jobs[&JobKey::from("tokenizer")].past.is_empty() {
        says(&mut world);
    }
    let took = before + world.now.moment.since(begun);
    assert!((50_000..54_000).contains(&took), "{took} ms, both coordinators' time together");
}

#[test]
fn what_is_submitted_while_a_clock_is_ahead_keeps_its_place_in_the_queue() {
    let mut world = World::new(&[]);
    world.now.wall = Millis(1_795_410_000_000);
    world.jump(FAR);
    let first = world.submit(spec("z-first"));
    world.jump(-FAR);
    world.tick(100);
    let second = world.submit(spec("a-second"));
    let order = |world: &World| world.cluster.queue(world.now).first().map(|line| line.id.run.clone());
    assert_eq!(order(&world), Some(first));
    // The next coordinator has only the stamps. It does not believe those ahead of it: what comes from now on comes later.
    world.restart(0);
    world.tick(100);
    world.submit(spec("a-third"));
    let third = world.cluster.queue(world.now).last().map(|line| line.id.run.clone());
    assert_eq!((order(&world), third), (Some(second), Some(RunName::new("a-third").unwrap())));
}

#[test]
fn a_strike_that_was_noted_on_a_clock_ahead_is_forgiven_in_its_time() {
    let mut world = World::new(&[2]);
    let worker = WorkerName::new("a").unwrap();
    let job = JobId { run: RunName::new("r").unwrap(), job: JobKey::from(TRAIN) };
    let at = Millis(world.now.wall.0 + FAR as u64);
    let strikes = vec![Strike { at, job, generation: osler_core::ids::Generation(1), message: "killed".into() }];
    let record = ClusterRecord { strikes: [(worker.clone(), strikes)].into(), ..ClusterRecord::default() };
    world.cluster = Cluster::new(world.now, Epoch(2), "file:///store", Limits::default());
    world.cluster.adopt_cluster(record);
    let run = world.submit(spec("r"));
    world.until("trains", |w| w.agents[0].running().any(|p| p.id.job == JobKey::from(TRAIN)));
    world.pass(HOUR as u64);
    world.tick(0);
    let victim = world.process(0, TRAIN);
    world.agents[0].kill(&victim, 137, &mut world.gangs);
    world.until("it is told", |w| !w.record(&run).jobs[&JobKey::from(TRAIN)].past.is_empty());
    let left = &world.cluster.record().strikes[&worker];
    assert_eq!(left.iter().map(|strike| strike.generation.0 > 1).collect::<Vec<_>>(), [true], "{left:?}");
}

#[test]
fn a_coordinator_whose_own_clock_jumps_blames_no_node() {
    let mut world = World::new(&[2, 2, 2]);
    let run = world.submit(spec("r"));
    world.step();
    world.jump(FAR);
    world.agents.iter_mut().for_each(|agent| agent.skew = FAR);
    world.until("finished", |w| w.record(&run).state == RunState::Finished);
    let lines = world.cluster.worker_lines(world.now);
    assert!(lines.iter().all(|line| line.why.is_none() && line.skew == FAR), "{lines:?}");
    // One whose clock is right beside two that are wrong cannot be told from the contrary; it takes no work, and says why.
    world.agents[0].skew = 0;
    (0..3).for_each(|_| world.step());
    let line = world.cluster.worker_lines(world.now).remove(0);
    assert_eq!(line.state, WorkerState::Unfit, "{line:?}");
}
