//! `make bench-control`: one real `osler-coordinator`, and from this process thousands of simulated agents with live gangs.
//!
//! Agents are the real book and the real protocol over gRPC on loopback; their ranks are pretended and report progress every second, as
//! real ones do. Ten agents share a connection. One agent in twenty is a probe: it measures what agents feel.
//! Prints one table. The coordinator is measured from outside, by what the kernel says of its process.

#![allow(clippy::print_stdout)] // the table is the result

mod daemon;
mod fleet;
mod runs;
// The run file and the results of jobs that the tests pretend too.
#[allow(dead_code, clippy::unwrap_used)]
#[path = "../../src/testing/mod.rs"]
mod testing;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use daemon::{Daemon, Used};
use fleet::{Fleet, Probes};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Ranks of every gang.
const RANKS: u32 = 1_024;
/// Lost at once, with what runs there.
const LOST: usize = 100;
const LOST_AFTER: Duration = Duration::from_secs(10);
const STEADY: Duration = Duration::from_secs(12);
const SUBMITTING: Duration = Duration::from_secs(8);
/// Source files of each of the runs that are submitted one after the other; each is a job.
const FILES: usize = 300;
const PATIENCE: Duration = Duration::from_secs(60);
/// That train meanwhile: this process has to pretend all their ranks on the same cores.
const MOST_GANGS: usize = 4;

#[derive(Debug, Parser)]
struct Options {
    /// The coordinator's binary [default: beside this one's folder].
    #[arg(long)]
    coordinator: Option<PathBuf>,
    /// Numbers of agents, one table column each.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000")]
    agents: Vec<usize>,
}

/// One column of the table.
struct Column {
    agents: usize,
    ranks: usize,
    steady: Felt,
    used: Used,
    rss_before: u64,
    rss: u64,
    submitted_to_assigned: Duration,
    ready_to_assigned: Duration,
    lost_to_replaced: Duration,
    jobs_submitted: usize,
    submitting: Felt,
    unanswered: u64,
}

/// Percentiles of what probes felt, in milliseconds.
#[derive(Debug)]
struct Felt {
    calls: usize,
    now: [f64; 2],
    held: [f64; 2],
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = Options::parse();
    let binary = match options.coordinator {
        Some(binary) => binary,
        None => {
            let own = std::env::current_exe()?;
            own.parent().and_then(|examples| examples.parent()).context("no folder of binaries")?.join("osler-coordinator")
        }
    };
    let mut columns = vec![];
    for agents in options.agents {
        eprintln!("{agents} agents ...");
        columns.push(measure(&binary, agents).await.with_context(|| format!("{agents} agents"))?);
    }
    print(&columns);
    Ok(())
}

async fn measure(binary: &std::path::Path, agents: usize) -> Result<Column> {
    let folder = tempfile::tempdir()?;
    let daemon = Daemon::start(binary, folder.path()).await?;
    let rss_before = daemon.rss()?;
    let mut fleet = Fleet::start(&daemon, agents).await?;
    let mut control = daemon.control().await?;
    let gangs = (agents / RANKS as usize).clamp(1, MOST_GANGS);
    for gang in 0..gangs {
        let begun = runs::submit(&mut control, &runs::training(&format!("gang-{gang}"), RANKS)).await?;
        fleet.assigned(&format!("gang-{gang}"), 0, RANKS, begun, PATIENCE).await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;

    fleet.probes.take();
    let (from, at) = (daemon.used()?, Instant::now());
    tokio::time::sleep(STEADY).await;
    let used = daemon.used()?.since(&from, at.elapsed());
    let (steady, rss) = (felt(&fleet.probes)?, daemon.rss()?);

    // On 1,000 agents there is no room for a second gang: the first one makes it.
    if agents * fleet::SLOTS as usize <= gangs * RANKS as usize + RANKS as usize {
        runs::stop(&mut control, "gang-0").await?;
    }
    let begun = runs::submit(&mut control, &runs::training("placed", RANKS)).await?;
    let placed = fleet.assigned("placed", 0, RANKS, begun, PATIENCE).await?;

    let killed = Instant::now();
    let generation = fleet.lose("placed", LOST)?;
    let replaced = fleet.assigned("placed", generation, RANKS, killed, PATIENCE).await?;

    fleet.probes.take();
    let (begun, mut jobs_submitted) = (Instant::now(), 0);
    while begun.elapsed() < SUBMITTING {
        runs::submit(&mut control, &runs::cleaning(&format!("many-{jobs_submitted}"), FILES)).await?;
        jobs_submitted += FILES;
    }
    let submitting = felt(&fleet.probes)?;
    let ranks = gangs * RANKS as usize;
    Ok(Column {
        agents,
        ranks,
        steady,
        used,
        rss_before,
        rss,
        submitted_to_assigned: placed.all,
        ready_to_assigned: placed.since_ready,
        lost_to_replaced: replaced.all.saturating_sub(LOST_AFTER),
        jobs_submitted,
        submitting,
        unanswered: fleet.unanswered(),
    })
}

fn felt(probes: &Probes) -> Result<Felt> {
    let (now, held) = probes.take();
    ensure!(now.len() >= 20 && held.len() >= 20, "only {} and {} calls of probes: the machine is too busy", now.len(), held.len());
    let calls = now.len();
    Ok(Felt { calls, now: percentiles(now), held: percentiles(held) })
}

/// The 50th and the 99th, in milliseconds.
fn percentiles(mut all: Vec<Duration>) -> [f64; 2] {
    all.sort();
    let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied().unwrap_or_default();
    [50, 99].map(|share| at(share).as_secs_f64() * 1e3)
}

fn print(columns: &[Column]) {
    let row = |name: &str, value: &dyn Fn(&Column) -> String| {
        println!("| {name} | {} |", columns.iter().map(value).collect::<Vec<_>>().join(" | "));
    };
    row("agents", &|c| c.agents.to_string());
    println!("|---|{}", "---|".repeat(columns.len()));
    row("ranks that report every second", &|c| c.ranks.to_string());
    row("Sync answered at once, p50 / p99, ms", &|c| format!("{:.1} / {:.1}", c.steady.now[0], c.steady.now[1]));
    row("calls measured", &|c| c.steady.calls.to_string());
    row("Sync held for 1 s, later than that by p50 / p99, ms", &|c| format!("{:.1} / {:.1}", c.steady.held[0], c.steady.held[1]));
    row("coordinator, share of a core", &|c| format!("{:.0} %", c.used.share * 100.0));
    row("coordinator, memory", &|c| format!("{:.1} MB, {:.1} MB of it before any agent", mb(c.rss), mb(c.rss_before)));
    row("memory an agent", &|c| format!("{:.1} KB", c.rss.saturating_sub(c.rss_before) as f64 / 1e3 / c.agents as f64));
    row("1,024 ranks: from submit to all assigned, s", &|c| format!("{:.2}", c.submitted_to_assigned.as_secs_f64()));
    row("of which after the last preparatory job, s", &|c| format!("{:.2}", c.ready_to_assigned.as_secs_f64()));
    row("100 agents lost: until all 1,024 ranks are assigned again, less 10 s, s", &|c| format!("{:.2}", c.lost_to_replaced.as_secs_f64()));
    row("jobs submitted in 8 s", &|c| c.jobs_submitted.to_string());
    row("calls without an answer", &|c| c.unanswered.to_string());
    row("Sync answered at once meanwhile, p50 / p99, ms", &|c| format!("{:.1} / {:.1}", c.submitting.now[0], c.submitting.now[1]));
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
