//! Resume is bit-exact: `kill -9` of ranks, agents, the coordinator, or all at once, at seeded random moments, changes nothing.

use crate::cluster::{Cluster, events, mini_spec, wait_for};
use crate::rng::Rng;
use std::time::Duration;

const KILLS: u32 = 20;
const STEPS: u64 = 1200;

fn spec_changes() -> [String; 5] {
    [
        format!("stage.domain.steps={STEPS}"),
        "checkpoint.every_steps=20".into(),
        "after_stage.quantize=[]".into(),
        "after_stage.gate=[]".into(),
        "after_stage.exam=[]".into(),
    ]
}

fn start(cluster: &mut Cluster) {
    cluster.start_coordinator();
    cluster.start_agent("a", 1);
    cluster.start_agent("b", 1);
}

fn seed() -> u64 {
    std::env::var("OSLER_TEST_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20_260_101)
}

#[test]
fn slow_kills_at_any_moment_leave_the_same_bits() {
    let seed = seed();
    eprintln!("seed {seed}: repeat with OSLER_TEST_SEED={seed}");
    let mut rng = Rng(seed);
    let changes = spec_changes();
    let changes: Vec<&str> = changes.iter().map(String::as_str).collect();

    let mut calm = Cluster::new();
    let spec = mini_spec(calm.folder.path(), &changes);
    start(&mut calm);
    calm.submit(&spec).unwrap();
    let undisturbed = calm.wait_finished("mini");
    let expected = calm.outcome(&undisturbed);

    let mut stormy = Cluster::new();
    start(&mut stormy);
    stormy.submit(&spec).unwrap();
    let domain = spec.stages[1].name.clone();
    let mut killed = 0;
    while killed < KILLS {
        let before = stormy.record("mini").map_or(0, |r| r.published_steps(&domain));
        // Half of the kills come right at a publication, while the next part may be half-written; the others at any time.
        if rng.below(2) == 0 {
            wait_for("progress or the end", || stormy.record("mini").filter(|r| r.published_steps(&domain) > before || !r.state.is_live()));
        } else {
            wait_for("processes run", || stormy.job_processes().first().copied().or_else(|| over(&stormy)));
        }
        std::thread::sleep(Duration::from_millis(rng.below(700)));
        if stormy.record("mini").is_some_and(|r| !r.state.is_live()) {
            break;
        }
        strike(&mut stormy, &mut rng);
        killed += 1;
    }
    let record = stormy.wait_finished("mini");
    eprintln!("{killed} kills; {} attempts at training", record.jobs.values().map(|j| j.past.len()).max().unwrap_or(0));
    assert_eq!(killed, KILLS, "the run was over after {killed} kills: raise STEPS\n{}", events(&record));
    assert!(stormy.audit(&record).is_clean(), "{:?}", stormy.audit(&record));
    let found = stormy.outcome(&record);
    let differing = expected.iter().zip(&found).find(|(a, b)| a != b);
    assert_eq!((differing, expected.len()), (None, found.len()), "seed {seed}\n{}", events(&record));
}

fn over(cluster: &Cluster) -> Option<nix::unistd::Pid> {
    cluster.record("mini").is_some_and(|r| !r.state.is_live()).then(nix::unistd::Pid::this)
}

fn strike(cluster: &mut Cluster, rng: &mut Rng) {
    match rng.below(10) {
        0..5 => {
            let running = cluster.job_processes();
            if !running.is_empty() {
                Cluster::kill_process(running[rng.below(running.len() as u64) as usize]);
            }
        }
        5..7 => {
            let (name, slots) = cluster.agents()[rng.below(2) as usize].clone();
            cluster.kill_agent(&name);
            cluster.start_agent(&name, slots);
        }
        7..9 => {
            cluster.kill_coordinator();
            cluster.start_coordinator();
        }
        _ => {
            let agents = cluster.agents();
            cluster.job_processes().into_iter().for_each(Cluster::kill_process);
            cluster.kill_everything();
            cluster.start_coordinator();
            agents.iter().for_each(|(name, slots)| cluster.start_agent(name, *slots));
        }
    }
}
