//! The cluster's transitions, with an honest fake of an agent and virtual time.

mod clocks;
mod doubt;
mod elastic;
mod faults;
mod flow;
mod indexes;
mod mend;
mod metrics;
mod nodes;
mod pulse;
mod queue;
mod remove;
mod rewind;
mod scheduling;

use super::*;
use crate::testing::agent::{Agent, Gangs};
use osler_core::history::Contents;
use osler_core::ids::Millis;
use osler_core::record::{EventKind, JobState};
use osler_core::spec::RunSpec;
use osler_core::stop::StopKind;
use osler_core::time::{Moment, Now};

/// A cluster with agents, in which a step is 100 ms and every call is heard.
struct World {
    now: Now,
    cluster: Cluster,
    agents: Vec<Agent>,
    gangs: Gangs,
    deletes: Vec<String>,
    puts: BTreeMap<String, Vec<u8>>,
}

impl World {
    fn new(slots: &[u32]) -> Self {
        Self::with(slots, Limits::default())
    }

    fn with(slots: &[u32], limits: Limits) -> Self {
        let now = Now { moment: Moment(77_000), wall: Millis(1_000_000) };
        let names = ["a", "b", "c", "d"];
        let agents = slots.iter().zip(names).map(|(slots, name)| Agent::new(name, 1, *slots)).collect();
        let cluster = Cluster::new(now, Epoch(1), "file:///store", limits);
        Self { now, cluster, agents, gangs: Gangs::default(), deletes: vec![], puts: BTreeMap::new() }
    }

    fn apply(&mut self, event: Event) -> Result<Answer, Refused> {
        let before = indexes::Before::of(self.now, &self.cluster, &event);
        let (answer, effects) = self.cluster.apply(self.now, event);
        before.compare(&mut self.cluster, &answer, &effects);
        self.puts.extend(effects.puts);
        self.deletes.extend(effects.deletes);
        for run in effects.persist {
            let before = self.cluster.run(&run).unwrap().record.version;
            let NextVersion { version, pages, bytes } = self.cluster.next_version(&run).unwrap();
            assert_eq!(version, before + 1);
            self.puts.extend(pages);
            let mut read = crate::document::read(&bytes).unwrap();
            let pages: Vec<_> = read.history.wanted(0).iter().map(|page| Contents::read(&self.puts[&page.path]).unwrap()).collect();
            read.fill(pages);
            assert_eq!(read, self.cluster.run(&run).unwrap().record, "the record changes when it is written and read");
            serde_json::from_slice::<RunRecord>(&bytes).expect("a plain reader reads it too");
        }
        answer
    }

    fn submit(&mut self, spec: RunSpec) -> RunName {
        let name = spec.name.clone();
        self.apply(Event::Submit(Box::new(spec.into()))).unwrap();
        name
    }

    /// One agent calls and does as it is told.
    fn sync(&mut self, agent: usize) {
        let observed = self.agents[agent].observe();
        self.apply(Event::Sync(Box::new(observed))).unwrap();
        let desired = self.cluster.desired(&self.agents[agent].name);
        self.agents[agent].obey(desired, &mut self.gangs);
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { moment: self.now.moment.after(ms), wall: Millis(self.now.wall.0 + ms) };
    }

    fn tick(&mut self, ms: u64) {
        self.pass(ms);
        self.apply(Event::Tick).unwrap();
    }

    /// Everybody works and calls once.
    fn step(&mut self) {
        self.tick(100);
        for agent in 0..self.agents.len() {
            self.agents[agent].work(&mut self.gangs);
            self.sync(agent);
        }
    }

    /// Time passes in small ticks; only the given agents call.
    fn wait(&mut self, ms: u64, callers: &[usize]) {
        for _ in 0..ms / 500 {
            self.tick(500);
            callers.iter().for_each(|agent| self.sync(*agent));
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if done(self) {
                return;
            }
            self.step();
        }
        let states: Vec<_> = self.cluster.runs().map(|r| (&r.record.state, self.cluster.waiting(self.now, r))).collect();
        panic!("never: {what}; {states:?}");
    }

    fn record(&self, run: &RunName) -> &RunRecord {
        &self.cluster.run(run).unwrap().record
    }

    fn state(&self, run: &RunName, job: &str) -> &JobState {
        &self.record(run).jobs[&JobKey::from(job)].status
    }

    fn is(&self, run: &RunName, job: &str, state: &str) -> bool {
        self.state(run, job).as_str() == state
    }

    fn why(&self, run: &RunName, job: &str) -> String {
        let waiting = self.cluster.waiting(self.now, self.cluster.run(run).unwrap());
        waiting.into_iter().find(|(key, _)| *key == JobKey::from(job)).map(|(_, why)| why.to_string()).unwrap_or_default()
    }

    /// The process of a job's rank that runs on an agent.
    fn process(&self, agent: usize, job: &str) -> osler_core::sync::ProcessId {
        self.agents[agent]
            .running()
            .find(|p| p.id.job == JobKey::from(job))
            .unwrap_or_else(|| panic!("{job} does not run on {agent}"))
            .clone()
    }
}

/// As a command asks that watched over a run and must end.
fn interruption(run: RunName) -> Event {
    Event::Stop(StopRequest { run, kind: StopKind::Interrupted, by: "owner".into() })
}

fn stop_by_hand(run: &RunName) -> Event {
    Event::Stop(StopRequest { run: run.clone(), kind: StopKind::ByHand, by: "ann (ann@desk)".into() })
}
