//! What differs from seed to seed before anything goes wrong: nodes, runs and their place in the queue, how coordinators succeed each other.

use crate::cluster::Limits;
use crate::testing::rng::Rng;
use crate::testing::spec;
use osler_core::history::PageSize;
use osler_core::ids::TeamName;
use osler_core::spec::{Length, QueueSpec, RunSpec};

#[derive(Debug)]
pub struct Plan {
    /// Slots of each node.
    pub nodes: Vec<u32>,
    pub runs: Vec<RunSpec>,
    pub limits: Limits,
    /// Somebody drains nodes and sets quotas, and takes all of it back when misfortune ends. Elsewhere nobody does: there a node that the
    /// coordinator drained by itself stays so.
    pub administered: bool,
    /// Two coordinators wait for each other's end. Elsewhere somebody starts another one when there is none.
    pub standby: bool,
}

impl Plan {
    pub fn new(rng: &mut Rng) -> Self {
        let shapes: [&[u32]; 4] = [&[2], &[1, 1], &[2, 1], &[1, 1, 2]];
        let nodes = shapes[rng.below(4) as usize].to_vec();
        let runs = 1 + rng.below(2) as usize;
        let runs = ["first", "second"].into_iter().take(runs).map(|name| run(name, rng)).collect();
        let limits = if rng.once_in(2) {
            Limits { least_hold: rng.below(5_000), shrink_after: rng.below(1_500), grow_after: rng.below(1_500), ..Limits::default() }
        } else {
            Limits::default()
        };
        // So that every seed turns pages, and finished runs come to rest beside others that go on.
        let limits = Limits { page: PageSize { checkpoints: 2, events: 8 }, rest_after: 500 + rng.below(3_000), ..limits };
        Self { nodes, runs, limits, administered: rng.once_in(2), standby: rng.once_in(3) }
    }
}

pub fn team() -> TeamName {
    TeamName::new("team").unwrap()
}

fn run(name: &str, rng: &mut Rng) -> RunSpec {
    let mut spec = spec(name);
    spec.queue = QueueSpec { priority: rng.below(3) as i32, team: rng.once_in(2).then(team) };
    spec.checkpoint.keep_last = 1 + rng.below(3) as u32;
    spec.resources.min_ranks = rng.once_in(2).then_some(1);
    if rng.once_in(3) {
        spec.stages[1].length = Length::Steps(70); // long enough to shrink and grow on the way
    }
    spec
}
