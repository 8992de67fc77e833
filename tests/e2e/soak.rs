//! Many small runs one after the other, as a team leaves them behind: some removed by hand, some stopped on their way, most by the
//! cluster's policy. Memory, descriptors and threads of the daemons, and what is in the store, stay as they are.

use crate::cluster::{Cluster, wait_for};
use osler_core::spec::{Override, RunSpec, parse};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Runs that are under way at once.
const TOGETHER: usize = 3;

const RUN: &str = r#"
name = "soak"
seed = 7
[corpus.notes]
format = "jsonl"
files = "notes.jsonl"
[tokenizer]
train = { vocab_size = 300 }
[model]
family = "llama"
dim = 32
layers = 1
heads = 2
tied = true
[[stage]]
name = "only"
from = "scratch"
corpus = "notes"
steps = 4
sequence_length = 16
global_batch = 2
optimizer = { lr = 1e-3 }
schedule = { kind = "constant" }
[checkpoint]
every_steps = 1
"#;

/// What is to stay flat.
#[derive(Debug, Clone, Copy)]
struct Sample {
    runs: usize,
    /// Of the coordinator and of the agent: KiB, open descriptors, threads.
    daemons: [[u64; 3]; 2],
    /// Below `runs/`.
    objects: u64,
    kib: u64,
    /// Objects of the coordinator's own: the log of calls and notes of removed runs, which are kept.
    noted: u64,
    scratch: u64,
}

fn spec(folder: &Path, number: usize) -> RunSpec {
    let changes: [Override; 2] = [format!("name=soak-{number:04}").parse().unwrap(), format!("seed={number}").parse().unwrap()];
    let mut spec = parse(RUN, "soak.toml", &changes).unwrap();
    spec.corpora.values_mut().for_each(|corpus| corpus.files = vec![folder.join("notes.jsonl").to_string_lossy().into_owned()]);
    spec
}

fn notes(folder: &Path) {
    let line = |i: usize| {
        format!("{{\"id\": {i}, \"text\": \"note {i}: the patient {} was seen for the {}th time, and is well\"}}\n", i % 17, i % 23)
    };
    fs::write(folder.join("notes.jsonl"), (0..300).map(line).collect::<String>()).unwrap();
}

/// Files below a folder and their KiB; what vanishes meanwhile counts for nothing.
fn below(folder: &Path) -> (u64, u64) {
    let Ok(entries) = fs::read_dir(folder) else { return (0, 0) };
    entries.flatten().fold((0, 0), |(files, kib), entry| {
        let (f, k) = match entry.file_type() {
            Ok(kind) if kind.is_dir() => below(&entry.path()),
            _ => (1, entry.metadata().map_or(0, |found| found.len().div_ceil(1024))),
        };
        (files + f, kib + k)
    })
}

fn daemon(pid: u32) -> [u64; 3] {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse().ok()).unwrap();
    [of("VmRSS:"), fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64, of("Threads:")]
}

fn sample(cluster: &Cluster, runs: usize) -> Sample {
    let (objects, kib) = below(&cluster.store().join("runs"));
    let (noted, _) = below(&cluster.store().join("coordinator"));
    let (scratch, _) = below(&cluster.folder.path().join("scratch-a"));
    Sample { runs, daemons: [daemon(cluster.coordinator_pid()), daemon(cluster.agent_pid("a"))], objects, kib, noted, scratch }
}

fn state(cluster: &Cluster, run: &str) -> Option<String> {
    cluster.record(run).map(|record| record.state.as_str().to_owned())
}

/// Submits and ends one run after the other, and looks every `every` runs. The cluster keeps so many of the finished ones.
fn soak(cluster: &mut Cluster, kept: usize, runs: usize, within: Duration, every: usize) -> Vec<Sample> {
    let folder = cluster.folder.path().to_owned();
    notes(&folder);
    cluster.start_coordinator_with(&["--keep-finished", &kept.to_string()]);
    cluster.start_agent("a", 2);
    let begun = Instant::now();
    let (mut samples, mut live): (Vec<Sample>, Vec<(usize, String)>) = (vec![], vec![]);
    for number in 1..=runs {
        if begun.elapsed() > within {
            break;
        }
        cluster.submit(&spec(&folder, number)).unwrap();
        live.push((number, format!("soak-{number:04}")));
        while live.len() >= TOGETHER || (number == runs && !live.is_empty()) {
            let (number, run) = live.remove(0);
            end(cluster, number, &run);
        }
        if number.is_multiple_of(every) {
            let found = sample(cluster, number);
            println!("{:>5} s {found:?}", begun.elapsed().as_secs());
            samples.push(found);
        }
    }
    println!("{} runs in {} s", samples.last().map_or(0, |last| last.runs), begun.elapsed().as_secs());
    samples
}

/// Every tenth is removed by hand, every twenty-fifth stopped on its way and removed; the policy removes the others.
fn end(cluster: &Cluster, number: usize, run: &str) {
    if number.is_multiple_of(25) {
        cluster.stop(run).unwrap();
        wait_for("the run has ended", || state(cluster, run).filter(|state| state == "stopped" || state == "finished"));
        cluster.osler(&["rm", run, "--yes"]);
        return;
    }
    // One that the policy has removed was finished before.
    wait_for("the run has finished", || {
        state(cluster, run).map_or(Some(()), |state| (state == "finished" || state == "removed").then_some(()))
    });
    if number.is_multiple_of(10) {
        cluster.osler(&["rm", run, "--yes"]);
    }
}

/// No figure of the last third is beyond the largest of the middle one by more than a tenth, and a little.
fn is_flat(samples: &[Sample]) {
    assert!(samples.len() >= 3, "too few runs to compare: {} looks", samples.len());
    let third = samples.len() / 3;
    let (middle, last) = (&samples[third..2 * third], &samples[2 * third..]);
    /// Its name, how much of it is noise, and where it stands.
    type Figure = (&'static str, u64, fn(&Sample) -> u64);
    let figures: [Figure; 9] = [
        ("coordinator KiB", 2_048, |s| s.daemons[0][0]),
        ("coordinator descriptors", 4, |s| s.daemons[0][1]),
        ("coordinator threads", 4, |s| s.daemons[0][2]),
        ("agent KiB", 2_048, |s| s.daemons[1][0]),
        ("agent descriptors", 4, |s| s.daemons[1][1]),
        ("agent threads", 4, |s| s.daemons[1][2]),
        ("objects below runs/", 50, |s| s.objects),
        ("KiB", 2_048, |s| s.kib),
        ("files in scratch", 20, |s| s.scratch),
    ];
    for (what, slack, figure) in figures {
        let most = |samples: &[Sample]| samples.iter().map(figure).max().unwrap();
        let (before, after) = (most(middle), most(last));
        assert!(after <= before + before / 10 + slack, "{what} grew from {before} to {after}");
    }
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    let noted = (last.noted - first.noted) as f64 / (last.runs - first.runs) as f64;
    println!("{noted:.1} objects a run are noted by the coordinator");
    assert!(noted < 6.0);
}

/// `OSLER_SOAK_RUNS` and `OSLER_SOAK_MINUTES` set the size.
#[test]
#[ignore = "an hour: make soak"]
fn an_hour_of_small_runs_leaves_nothing_behind() {
    let of = |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (runs, minutes) = (of("OSLER_SOAK_RUNS", 1000) as usize, of("OSLER_SOAK_MINUTES", 60));
    let mut cluster = Cluster::new();
    let samples = soak(&mut cluster, 20, runs, Duration::from_secs(60 * minutes), 25);
    is_flat(&samples);
    leaves_no_more(&cluster, 20);
}

#[test]
fn slow_small_runs_leave_nothing_behind() {
    let mut cluster = Cluster::new();
    soak(&mut cluster, 3, 10, Duration::from_secs(600), 5);
    leaves_no_more(&cluster, 3);
}

fn leaves_no_more(cluster: &Cluster, kept: usize) {
    let runs = cluster.store().join("runs");
    wait_for("what is not kept is deleted", || (fs::read_dir(&runs).unwrap().count() <= kept).then_some(()));
    assert_eq!(below(&cluster.folder.path().join("scratch-a/jobs")).0, 0, "in the agent's scratch folder");
    let found = cluster.osler(&["fsck"]);
    println!("{found}");
}
