//! Three hosts, a fault about every half minute, and the bits of an undisturbed run at the end.
//!
//! The short one runs each kind of fault once. `make chaos` runs for half an hour and prints the figures of `docs/reliability.md`.
//! Needs root, `ip` and `mount`; says SKIPPED without them.

mod faults;
mod lab;

use crate::cluster::{Cluster, TRAINING_ALONE, events, mini_spec, wait_for, wait_within};
use crate::rng::Rng;
use faults::{ALL, Fault};
use lab::Lab;
use osler_core::ids::StageName;
use osler_core::record::RunRecord;
use osler_core::report::Report;
use std::time::{Duration, Instant};

/// A gang that does not move for so long will not.
const PATIENCE: Duration = Duration::from_secs(240);
/// The undisturbed run of the long test takes as long as the storm.
const CALM_RUN: Duration = Duration::from_secs(3_600);
/// More than are made: the run is stopped when the storm is over.
const STEPS: &str = "stage.domain.steps=10000000";
const EVERY: u64 = 50;
/// Undisturbed training after a recovery, so that faults do not pile up.
const CALM: Duration = Duration::from_secs(4);

struct Recovery {
    fault: Fault,
    what: String,
    seconds: f64,
}

struct Storm {
    lab: Lab,
    stage: StageName,
    rng: Rng,
    recoveries: Vec<Recovery>,
}

impl Storm {
    fn record(&self) -> Option<RunRecord> {
        self.lab.cluster.record("mini")
    }

    /// Until two checkpoints more are published than now; daemons that end meanwhile are started again.
    fn until_it_moves(&mut self) {
        let published = |storm: &Self| storm.record().map_or(0, |r| r.checkpoints.get(&storm.stage).map_or(0, Vec::len));
        let (before, begun) = (published(self), Instant::now());
        while published(self) < before + 2 {
            self.lab.tend();
            let events = || self.record().map_or(String::new(), |record| events(&record));
            assert!(begun.elapsed() < PATIENCE, "training did not go on\n{}", events());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.lab.tend();
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// At least `CALM` after the gang has recovered, and not before `pace` is over since the fault began.
    fn strike(&mut self, fault: Fault, pace: Duration) {
        let begun = Instant::now();
        let struck = fault.strike(&self.lab, &mut self.rng);
        let what = struck.what.clone();
        eprintln!("{what}");
        self.wait(struck.lasts);
        struck.undo(&self.lab);
        self.until_it_moves();
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!("    {seconds:.1} s later two more checkpoints are published");
        self.recoveries.push(Recovery { fault, what, seconds });
        self.wait(CALM.max(pace.saturating_sub(begun.elapsed())));
    }
}

fn changes() -> Vec<&'static str> {
    [&TRAINING_ALONE[..], &[STEPS, "checkpoint.every_steps=50", "retry.infrastructure=100"]].concat()
}

/// Each kind of fault once, then any of them for so long; `pace` apart, or further. The run is stopped in the end.
fn storm(lasts: Duration, pace: Duration) -> Option<(Storm, RunRecord)> {
    let lab = match Lab::new() {
        Ok(lab) => lab,
        Err(why) => {
            eprintln!("SKIPPED: chaos: {why}");
            return None;
        }
    };
    let seed = std::env::var("OSLER_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    eprintln!("seed {seed}: repeat with OSLER_TEST_SEED={seed}");
    let spec = mini_spec(lab.cluster.folder.path(), &changes());
    let file = lab.cluster.folder.path().join("world/mini.toml");
    std::fs::write(&file, include_str!("../mini.toml")).unwrap();
    let mut storm = Storm { lab, stage: spec.stages[1].name.clone(), rng: Rng(seed), recoveries: vec![] };
    storm.lab.tend();
    wait_for("a coordinator takes the run", || {
        let mut submit = storm.lab.osler(3);
        submit.arg("submit").arg(&file).args(changes().iter().flat_map(|change| ["--set", change]));
        submit.output().unwrap().status.success().then_some(())
    });
    wait_for("training", || storm.record().filter(|r| r.published_steps(&storm.stage) >= 100));
    let begun = Instant::now();
    ALL.into_iter().for_each(|fault| storm.strike(fault, pace));
    while begun.elapsed() < lasts {
        let fault = ALL[storm.rng.below(ALL.len() as u64) as usize];
        storm.strike(fault, pace);
    }
    wait_for("a coordinator stops the run", || {
        storm.lab.tend();
        storm.lab.osler(3).args(["stop", "mini"]).output().unwrap().status.success().then_some(())
    });
    let record = wait_for("the run has stopped", || {
        storm.lab.tend();
        storm.record().filter(|record| !record.state.is_live())
    });
    assert_eq!(record.state.as_str(), "stopped", "{}", events(&record));
    Some((storm, record))
}

/// A run of the same file that nothing disturbs, up to the same step.
fn calm(stage: &StageName, until: u64) -> (Cluster, RunRecord) {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &changes());
    cluster.start_coordinator();
    cluster.start_agent("a", 1);
    cluster.start_agent("b", 1);
    cluster.submit(&spec).unwrap();
    wait_within(CALM_RUN, "as many steps", || cluster.record("mini").filter(|r| r.published_steps(stage) >= until));
    let record = cluster.stop_within("mini", stage, 0);
    (cluster, record)
}

/// Compares with an undisturbed run at the last checkpoint that both must have; gives both reports.
fn unharmed(storm: &Storm, record: &RunRecord) -> (Report, Report) {
    let (ours, stage) = (&storm.lab.cluster, &storm.stage);
    let audit = ours.audit(record);
    assert!(audit.is_clean() && audit.expected > 0, "{audit:?}");
    let last = record.published_steps(stage) / EVERY * EVERY;
    let (cluster, undisturbed) = calm(stage, last);
    assert_eq!(ours.bits_until(record, stage, last), cluster.bits_until(&undisturbed, stage, last), "{}", events(record));
    (ours.report(record), cluster.report(&undisturbed))
}

fn pace(report: &Report) -> f64 {
    report.stages[1].time.map_or(0.0, |time| time.tokens_per_second_stepping)
}

#[test]
fn slow_every_fault_on_three_hosts_leaves_the_same_bits() {
    if let Some((storm, record)) = storm(Duration::ZERO, CALM) {
        unharmed(&storm, &record);
    }
}

/// `OSLER_CHAOS_MINUTES` sets the length, `OSLER_CHAOS_PACE` the seconds from one fault to the next.
#[test]
#[ignore = "half an hour of faults and as long without: make chaos"]
fn half_an_hour_of_faults() {
    let number = |name: &str, otherwise| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise);
    let lasts = Duration::from_secs(60 * number("OSLER_CHAOS_MINUTES", 30));
    let begun = Instant::now();
    let Some((storm, record)) = storm(lasts, Duration::from_secs(number("OSLER_CHAOS_PACE", 30))) else { return };
    let took = begun.elapsed();
    let (stormy, quiet) = unharmed(&storm, &record);
    let mut seconds: Vec<f64> = storm.recoveries.iter().map(|recovery| recovery.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    let quantile = |q: f64| seconds[((seconds.len() - 1) as f64 * q).round() as usize];
    println!("| Fault | Times | Median s | Longest s |\n|---|---|---|---|");
    for fault in ALL {
        let mut of: Vec<&Recovery> = storm.recoveries.iter().filter(|recovery| recovery.fault == fault).collect();
        of.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        if let (Some(middle), Some(last)) = (of.get(of.len() / 2), of.last()) {
            println!("| {fault:?} | {} | {:.1} | {:.1} ({}) |", of.len(), middle.seconds, last.seconds, last.what);
        }
    }
    println!(
        "{} faults in {:.1} min; from fault to two more checkpoints: p50 {:.1} s, p99 {:.1} s",
        seconds.len(),
        took.as_secs_f64() / 60.0,
        quantile(0.5),
        quantile(0.99)
    );
    println!("pace of steps beside an undisturbed run: {:.1} %", 100.0 * pace(&stormy) / pace(&quiet));
    println!("goodput: {:?}", stormy.goodput);
}
