//! A cluster under random misfortune, in virtual time: one seed decides all of it.
//!
//! Ranks are killed, agents die or freeze, requests and answers are lost, late or repeated, the coordinator dies before, while and
//! after it writes. Then misfortune ends and every run must finish. `OSLER_SEEDS=FIRST..LAST` replays or extends.

use super::*;
use crate::testing::rng::Rng;
use crate::testing::spec;
use osler_core::audit::audit_stage;
use osler_core::checkpoint::Manifest;
use osler_core::digest::Digest;
use osler_core::ids::Generation;
use osler_core::job::FaultClass;
use osler_core::sync::Desired;

const MISFORTUNE_MS: u64 = 25_000;
const DEADLINE_MS: u64 = 400_000;

/// What is durable.
#[derive(Default)]
struct Disk {
    records: BTreeMap<RunName, Vec<u8>>,
    cluster: Option<Vec<u8>>,
    objects: BTreeMap<String, Vec<u8>>,
}

struct Node {
    agent: Agent,
    /// An answer on its way, and when it arrives.
    arriving: Option<(Millis, Desired)>,
    /// That answer is from before the agent froze.
    stale: bool,
    /// The call is held back until then.
    parked: Option<Millis>,
    frozen_until: Millis,
    /// It did what the newest coordinator said since it last froze.
    current: bool,
}

struct Simulation {
    rng: Rng,
    now: Millis,
    epoch: u64,
    cluster: Cluster,
    disk: Disk,
    nodes: Vec<Node>,
    gangs: Gangs,
    /// Newest step, and returns so far.
    published: BTreeMap<(RunName, StageName), (u64, usize)>,
    incarnations: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let now = Millis(1_000_000);
        let mut rng = Rng(seed);
        let shapes: [&[u32]; 4] = [&[2], &[1, 1], &[2, 1], &[1, 1, 2]];
        let shape = shapes[rng.below(4) as usize];
        let agents = shape.iter().zip(["a", "b", "c"]).map(|(slots, name)| Agent::new(name, 1, *slots));
        let nodes = agents
            .map(|agent| Node { agent, arriving: None, stale: false, parked: None, frozen_until: Millis(0), current: true })
            .collect();
        let cluster = Cluster::new(now, Epoch(1), "sim", limits());
        let (disk, gangs, published) = (Disk::default(), Gangs::default(), BTreeMap::new());
        Self { rng, now, epoch: 1, cluster, disk, nodes, gangs, published, incarnations: 1 }
    }

    fn misfortune(&self) -> bool {
        self.now.0 < 1_000_000 + MISFORTUNE_MS
    }

    /// True once in `n` while misfortune lasts.
    fn strikes(&mut self, n: u64) -> bool {
        self.misfortune() && self.rng.once_in(n)
    }

    /// Applies an event and writes what follows. False if the coordinator died over it.
    fn apply(&mut self, event: Event) -> bool {
        let effects = self.cluster.apply(self.now, event);
        if self.strikes(400) {
            self.restart(); // nothing was written
            return false;
        }
        self.disk.objects.extend(effects.puts);
        if self.strikes(400) {
            self.restart(); // manifests without a record that names them
            return false;
        }
        if effects.cluster {
            self.disk.cluster = Some(self.cluster.next_cluster_version().1);
        }
        self.check_queue();
        for run in &effects.persist {
            let (_, bytes) = self.cluster.next_version(run).unwrap();
            if self.rng.once_in(10) {
                let read = crate::document::read(&bytes).unwrap();
                assert_eq!(read, self.cluster.run(run).unwrap().record, "the record changes when it is written and read");
            }
            self.disk.records.insert(run.clone(), bytes);
            self.check_record(run);
        }
        if self.strikes(400) {
            self.restart(); // written, but nobody was told and nothing was deleted
            return false;
        }
        for path in effects.deletes {
            self.disk.objects.remove(&path);
        }
        true
    }

    fn restart(&mut self) {
        self.epoch += 1;
        self.cluster = Cluster::new(self.now, Epoch(self.epoch), "sim", limits());
        if let Some(bytes) = &self.disk.cluster {
            self.cluster.adopt_cluster(serde_json::from_slice(bytes).unwrap());
        }
        for bytes in self.disk.records.values() {
            let record = crate::document::read(bytes).unwrap();
            self.cluster.adopt(record);
        }
        self.nodes.iter_mut().for_each(|node| node.parked = None);
    }

    fn manifest(&self, object: &osler_core::checkpoint::ObjectRef) -> Manifest {
        let bytes = self.disk.objects.get(&object.path).unwrap_or_else(|| panic!("{} is named, but not there", object.path));
        assert_eq!(Digest::of(bytes), object.digest, "{}", object.path);
        serde_json::from_slice(bytes).unwrap()
    }

    /// What is published stays, and goes forward only, except by a return that the record tells of.
    fn check_record(&mut self, run: &RunName) {
        let record = &self.cluster.run(run).unwrap().record;
        for (stage, checkpoints) in &record.checkpoints {
            assert!(checkpoints.windows(2).all(|w| w[0].step < w[1].step), "{stage}: {checkpoints:?}");
            let known = self.published.entry((run.clone(), stage.clone())).or_default();
            let newest = record.published_steps(stage);
            let rewinds = record.rewinds.get(stage).map_or(&[][..], Vec::as_slice);
            assert!(rewinds.len() >= known.1, "{stage}: a return was forgotten");
            let floor = if rewinds.len() > known.1 { rewinds.last().unwrap().to } else { known.0 };
            assert!(newest >= floor, "{stage} went back from {known:?} to {newest}");
            *known = (newest, rewinds.len());
        }
        let mut generations: Vec<Generation> = record
            .jobs
            .values()
            .flat_map(|j| j.past.iter().map(|p| p.generation).chain(j.status.attempt().map(|a| a.generation)))
            .collect();
        let all = generations.len();
        generations.sort();
        generations.dedup();
        assert_eq!(generations.len(), all, "a generation was used twice");
    }

    /// No job is alive in two generations, as far as agents are in touch.
    fn check_processes(&self) {
        let mut alive: BTreeMap<(RunName, JobKey), BTreeSet<Generation>> = BTreeMap::new();
        for process in self.nodes.iter().filter(|n| n.current).flat_map(|n| n.agent.running()) {
            alive.entry((process.id.run.clone(), process.id.job.clone())).or_default().insert(process.generation);
        }
        for (job, generations) in alive {
            assert!(generations.len() == 1, "{job:?} is alive in generations {generations:?}");
        }
    }

    fn turn(&mut self, at: usize) {
        self.strike_node(at);
        if self.nodes[at].frozen_until > self.now {
            return;
        }
        if self.rng.below(10) < 7 {
            let node = &mut self.nodes[at];
            for path in node.agent.work(&mut self.gangs) {
                self.disk.objects.insert(path, vec![1]);
            }
        }
        self.talk(at);
        self.check_processes();
    }

    fn strike_node(&mut self, at: usize) {
        if self.strikes(150) {
            let running: Vec<_> = self.nodes[at].agent.running().cloned().collect();
            if !running.is_empty() {
                let victim = &running[self.rng.below(running.len() as u64) as usize];
                match self.rng.below(14) {
                    12 | 13 => self.gangs.spike(victim),
                    0 => self.nodes[at].agent.fail(victim, FaultClass::Internal, &mut self.gangs),
                    1 => self.nodes[at].agent.fail(victim, FaultClass::OutOfMemory, &mut self.gangs),
                    _ => self.nodes[at].agent.kill(victim, 137, &mut self.gangs),
                }
            }
        }
        if self.strikes(500) {
            self.nodes[at].agent.die(&mut self.gangs);
            self.incarnations += 1;
            let old = &self.nodes[at].agent;
            let agent = Agent::new(old.name.as_str(), self.incarnations, old.slots);
            self.nodes[at] = Node { agent, arriving: None, stale: false, parked: None, frozen_until: Millis(0), current: true };
        }
        if self.strikes(800) {
            let ms = self.rng.below(15_000);
            let node = &mut self.nodes[at];
            node.frozen_until = Millis(self.now.0 + ms);
            node.current = false;
            node.stale = node.arriving.is_some();
        }
    }

    /// The one conversation, with everything that can go wrong on the way.
    fn talk(&mut self, at: usize) {
        let name = self.nodes[at].agent.name.clone();
        if let Some((when, desired)) = self.nodes[at].arriving.take() {
            if when > self.now {
                self.nodes[at].arriving = Some((when, desired));
                return;
            }
            self.obey(at, desired);
            return;
        }
        if let Some(until) = self.nodes[at].parked {
            if until <= self.now {
                self.nodes[at].parked = None;
                let desired = self.cluster.desired(&name);
                self.obey(at, desired);
            }
            return;
        }
        if self.strikes(30) {
            return; // the request is lost
        }
        let observed = self.nodes[at].agent.observe();
        for _ in 0..if self.strikes(20) { 2 } else { 1 } {
            if !self.apply(Event::Sync(Box::new(observed.clone()))) {
                return;
            }
        }
        if self.strikes(30) {
            return; // the answer is lost
        }
        match self.rng.below(3) {
            0 => {
                let late = Millis(self.now.0 + self.rng.below(700));
                self.nodes[at].arriving = Some((late, self.cluster.desired(&name)));
            }
            1 => self.nodes[at].parked = Some(Millis(self.now.0 + self.rng.below(900))),
            _ => {
                let desired = self.cluster.desired(&name);
                self.obey(at, desired);
            }
        }
    }

    fn obey(&mut self, at: usize, desired: Desired) {
        let node = &mut self.nodes[at];
        node.current |= !std::mem::take(&mut node.stale);
        for work in node.agent.obey(desired, &mut self.gangs) {
            let manifests = work.checkpoint.iter().chain(&work.initial).map(|checkpoint| self.manifest(&checkpoint.manifest));
            for part in manifests.flat_map(|m| m.parts) {
                assert!(
                    self.disk.objects.contains_key(&part.path),
                    "{} g{} is to start from {}, which is deleted",
                    work.id,
                    work.generation,
                    part.path
                );
            }
        }
    }

    /// No team holds more than its quota, and nothing starts on a node that takes no work.
    fn check_queue(&self) {
        for line in self.cluster.quota_lines() {
            assert!(line.slots.is_none_or(|slots| line.used <= slots), "{line:?}");
        }
        let begun = self.cluster.attempts().filter(|(_, _, attempt)| attempt.started_at == self.now);
        for place in begun.flat_map(|(_, _, attempt)| &attempt.places) {
            // A node may be drained at the very moment that something started on it.
            let drained = self.cluster.record().drained.get(&place.worker).is_some_and(|drain| drain.at < self.now);
            assert!(!drained, "something started on {}, which is drained", place.worker);
        }
    }

    /// Nodes are drained at random, and taken back when misfortune ends.
    fn drain_nodes(&mut self) {
        let worker = self.nodes[self.rng.below(self.nodes.len() as u64) as usize].agent.name.clone();
        if self.strikes(150) {
            // Refused while this coordinator has not heard of it.
            self.apply(Event::Drain { worker: worker.clone(), reason: Some("told to".into()) });
        }
        if !self.misfortune() || self.rng.once_in(40) {
            self.apply(Event::Drain { worker, reason: None });
        }
    }

    fn operator(&mut self, run: &RunName) {
        if self.strikes(250) {
            self.apply(Event::Stop(run.clone()));
        }
        if self.strikes(100) {
            self.apply(Event::Submit(Box::new(sim_spec(run))));
        }
        let over = self.cluster.run(run).is_none_or(|r| matches!(r.record.state, RunState::Stopped | RunState::Failed(_)));
        if over && (!self.misfortune() || self.rng.once_in(20)) {
            self.apply(Event::Submit(Box::new(sim_spec(run))));
        }
    }

    fn run(mut self) {
        let runs = [RunName::new("first").unwrap(), RunName::new("second").unwrap()];
        let runs = &runs[..1 + self.rng.below(2) as usize];
        let finished = |sim: &Self| runs.iter().all(|run| sim.cluster.run(run).is_some_and(|r| r.record.state == RunState::Finished));
        self.apply(Event::Quota { team: TeamName::new("sim").unwrap(), slots: Some(2) });
        while !finished(&self) {
            self.now.0 += 20 + self.rng.below(130);
            assert!(self.now.0 < 1_000_000 + DEADLINE_MS, "not finished: {}", self.describe());
            self.apply(Event::Tick);
            self.drain_nodes();
            runs.iter().for_each(|run| self.operator(run));
            (0..self.nodes.len()).for_each(|at| self.turn(at));
        }
        runs.iter().for_each(|run| self.audit(run));
    }

    fn audit(&self, run: &RunName) {
        let record = &self.cluster.run(run).unwrap().record;
        for stage in &record.spec.stages {
            let manifests: Vec<Manifest> = record.checkpoints[&stage.name].iter().map(|c| self.manifest(&c.manifest)).collect();
            let (order, batches) = (record.order(stage).unwrap(), record.batches(&stage.name));
            let audit = audit_stage(&manifests, stage.steps(), |step| order.expected(batches.of(step)));
            assert!(audit.is_clean(), "{}: {audit:?}", stage.name);
        }
    }

    fn describe(&self) -> String {
        let line = |r: &Run| format!("{}: {} {:?}", r.record.name(), r.record.state, self.cluster.waiting(self.now, r));
        self.cluster.runs().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// The second run goes before the first, which has a team.
fn sim_spec(run: &RunName) -> RunSpec {
    let first = run.as_str() == "first";
    let queue = osler_core::spec::QueueSpec { priority: i32::from(!first), team: first.then(|| TeamName::new("sim").unwrap()) };
    RunSpec { queue, ..spec(run.as_str()) }
}

/// Short enough for preemptions to happen while misfortune lasts.
fn limits() -> Limits {
    Limits { least_hold: 2_000, ..Limits::default() }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("OSLER_SEEDS") else { return 0..300 };
    let (first, last) = range.split_once("..").expect("OSLER_SEEDS is FIRST..LAST");
    first.parse().unwrap()..last.parse().unwrap()
}

#[test]
fn whatever_dies_every_run_finishes_and_every_sample_is_consumed_once() {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| Simulation::new(seed).run());
        if let Err(panic) = outcome {
            eprintln!("replay with OSLER_SEEDS={seed}..{}", seed + 1);
            std::panic::resume_unwind(panic);
        }
    }
}
