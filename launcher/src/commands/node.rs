//! `osler node`: the nodes of a cluster, which of them take work, and why the others do not.

use crate::client::{Access, Coordinator, WorkerLine};
use crate::failure::{Outcome, failed, usage};
use crate::show::{self, Grid, Output};
use osler_core::health::Health;
use osler_core::ids::WorkerName;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longer than an agent holds a call and looks at a sound node.
const CHECKED_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the nodes: state, slots, labels, strikes, health.
    List {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        output: Output,
    },
    /// Give a node no more work: gangs on it save and leave, other jobs are done elsewhere. It stays so until `undrain`.
    Drain {
        name: WorkerName,
        /// For those who ask why.
        #[arg(long, default_value = "asked for")]
        reason: String,
        #[command(flatten)]
        access: Access,
    },
    /// Give a node work again, and forget its strikes.
    Undrain {
        name: WorkerName,
        #[command(flatten)]
        access: Access,
    },
    /// Have a node looked at now: its disks, memory, clock and GPUs.
    Check {
        name: WorkerName,
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        output: Output,
    },
}

pub async fn run(command: &Command) -> Outcome {
    match command {
        Command::List { access, output } => {
            let workers = access.need_coordinator().await?.workers().await?;
            if output.is_json() { show::json(&workers) } else { show::out(&list(&workers)) }
        }
        Command::Drain { name, reason, access } => access.need_coordinator().await?.drain(name.as_str(), Some(reason)).await,
        Command::Undrain { name, access } => access.need_coordinator().await?.drain(name.as_str(), None).await,
        Command::Check { name, access, output } => check(name, access, output).await,
    }
}

async fn check(name: &WorkerName, access: &Access, output: &Output) -> Outcome {
    let mut coordinator = access.need_coordinator().await?;
    let before = find(&mut coordinator, name).await?.health.map(|health| health.at);
    coordinator.check_node(name.as_str()).await?;
    let until = Instant::now() + CHECKED_WITHIN;
    let line = loop {
        let line = find(&mut coordinator, name).await?;
        if line.health.as_ref().map(|health| health.at) != before {
            break line;
        }
        if Instant::now() > until {
            let seconds = CHECKED_WITHIN.as_secs();
            return Err(failed(format!("worker {name} did not look at its node within {seconds} s: it is {}, see its log", line.state)));
        }
        sleep(LOOK_EVERY).await;
    };
    if output.is_json() {
        show::json(&line)?;
    } else {
        show::out(&looked(&line))?;
    }
    match line.health.as_ref().and_then(Health::unfit) {
        Some(why) => Err(failed(format!("worker {name} is unfit: {why}"))),
        None => Ok(()),
    }
}

async fn find(coordinator: &mut Coordinator, name: &WorkerName) -> Outcome<WorkerLine> {
    let found = coordinator.workers().await?.into_iter().find(|line| line.worker == name.as_str());
    found.ok_or_else(|| usage(format!("there is no worker {name}: `osler node list` lists them")))
}

fn list(workers: &[WorkerLine]) -> String {
    if workers.is_empty() {
        return "no workers: start one with osler-worker\n".to_owned();
    }
    let mut grid = Grid::new(&["node", "state", ">slots", "labels", ">strikes", "host", "seen", "why it takes no work"]);
    for w in workers {
        let labels: Vec<String> = w.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        grid.row([
            w.worker.clone(),
            w.state.clone(),
            format!("{}/{}", w.used, w.slots),
            labels.join(" "),
            w.strikes.len().to_string(),
            w.host.clone(),
            show::time(w.seen_at),
            w.why.clone().unwrap_or_default(),
        ]);
    }
    let mut text = grid.text();
    for w in workers {
        for strike in &w.strikes {
            text.push_str(&show::clean(&format!(
                "{}: {}  {} g{}: {}\n",
                w.worker,
                show::time(strike.at),
                strike.job,
                strike.generation,
                strike.message
            )));
        }
    }
    text
}

fn looked(line: &WorkerLine) -> String {
    let Some(health) = &line.health else { return format!("{} does not look at its node\n", line.worker) };
    let mut grid = Grid::new(&["looked at", ">free", ">took", "found"]);
    for folder in &health.folders {
        let free = folder.free_bytes.map_or_else(|| "-".to_owned(), show::bytes);
        grid.row([folder.path.clone(), free, format!("{} ms", folder.ms), folder.error.clone().unwrap_or_else(|| "ok".to_owned())]);
    }
    let memory = health.memory_available.map_or_else(|| "-".to_owned(), show::bytes);
    grid.row(["memory".to_owned(), memory, String::new(), String::new()]);
    grid.row(["clock".to_owned(), String::new(), format!("{} ms behind", line.skew_ms), String::new()]);
    for gpu in &health.gpus {
        let errors = gpu.uncorrected.map_or_else(|| "errors are not counted".to_owned(), |n| format!("{n} uncorrected errors"));
        let xids: String = gpu.xids.iter().map(|xid| format!(", XID {xid}")).collect();
        grid.row([gpu.name.clone(), String::new(), String::new(), gpu.error.clone().unwrap_or_else(|| errors + &xids)]);
    }
    grid.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_core::health::FolderCheck;
    use osler_core::ids::Millis;

    #[test]
    fn a_node_that_takes_no_work_says_why() {
        let folder = FolderCheck { path: "/scratch".into(), free_bytes: Some(1 << 30), ms: 4, error: Some("read-only".into()) };
        let health = Health { at: Millis(0), folders: vec![folder], memory_available: Some(1 << 30), gpus: vec![], overdue_ms: None };
        let line = WorkerLine {
            worker: "a".into(),
            host: "h".into(),
            state: "unfit".into(),
            slots: 4,
            used: 1,
            seen_at: Millis(1_795_410_000_000),
            labels: [("gpu".to_owned(), "h100".to_owned())].into(),
            why: Some("unfit: /scratch cannot be written: read-only".into()),
            drain: None,
            strikes: vec![],
            health: Some(health),
            skew_ms: 12,
        };
        let shown = list(std::slice::from_ref(&line));
        assert!(
            shown.contains("a     unfit    1/4  gpu=h100        0  h     2026-11-23 05:00:00 UTC  unfit: /scratch cannot be written"),
            "{shown}"
        );
        let shown = looked(&line);
        assert!(shown.contains("/scratch   1.00 GiB          4 ms  read-only\n"), "{shown}");
        assert!(shown.contains("clock                12 ms behind\n"), "{shown}");
    }
}
