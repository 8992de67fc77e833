//! `osler node`: the nodes of a cluster, which of them take work, and why the others do not.

use super::Context;
use crate::client::{Coordinator, WorkerLine};
use crate::failure::{Outcome, failed, usage};
use crate::show;
use crate::terminal::{Cell, Line, Page, Table, name, number, prose};
use osler_core::health::Health;
use osler_core::ids::WorkerName;
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longer than an agent holds a call and looks at a sound node.
const CHECKED_WITHIN: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show the nodes: state, slots, labels, strikes, health.
    List,
    /// Give a node no more work: gangs on it save and leave, other jobs are done elsewhere. It stays so until `undrain`.
    Drain {
        name: WorkerName,
        /// For those who ask why.
        #[arg(long, default_value = "asked for")]
        reason: String,
    },
    /// Give a node work again, and forget its strikes.
    Undrain { name: WorkerName },
    /// Have a node looked at now: its disks, memory, clock and GPUs.
    Check { name: WorkerName },
}

#[derive(Serialize)]
pub(super) struct Nodes {
    pub nodes: Vec<WorkerLine>,
}

#[derive(Serialize)]
pub(super) struct Drained {
    pub worker: WorkerName,
    pub drained: bool,
    pub reason: Option<String>,
}

pub async fn run(command: &Command, cx: &Context) -> Outcome {
    match command {
        Command::List => {
            let nodes = Nodes { nodes: cx.access.need_coordinator().await?.workers().await? };
            cx.terminal().answer("nodes", &nodes, || cx.access.page(list(&nodes.nodes)))
        }
        Command::Drain { name, reason } => drain(name, Some(reason), cx).await,
        Command::Undrain { name } => drain(name, None, cx).await,
        Command::Check { name } => check(name, cx).await,
    }
}

async fn drain(name: &WorkerName, reason: Option<&String>, cx: &Context) -> Outcome {
    cx.access.need_coordinator().await?.drain(name.as_str(), reason.map(String::as_str)).await?;
    let done = Drained { worker: name.clone(), drained: reason.is_some(), reason: reason.cloned() };
    let what = if done.drained { "gets no more work, until `osler node undrain`" } else { "gets work again" };
    cx.terminal().answer("drain", &done, || cx.access.page(Page::from(format!("worker {name} {what}"))))
}

async fn check(name: &WorkerName, cx: &Context) -> Outcome {
    let mut coordinator = cx.access.need_coordinator().await?;
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
            return Err(
                failed(format!("worker {name} did not look at its node within {seconds} s: it is {}", line.state)).hint("see its log")
            );
        }
        sleep(LOOK_EVERY).await;
    };
    cx.terminal().answer("node", &line, || looked(&line))?;
    match line.health.as_ref().and_then(Health::unfit) {
        Some(why) => Err(failed(format!("worker {name} is unfit: {why}"))),
        None => Ok(()),
    }
}

async fn find(coordinator: &mut Coordinator, name: &WorkerName) -> Outcome<WorkerLine> {
    let found = coordinator.workers().await?.into_iter().find(|line| line.worker == name.as_str());
    found.ok_or_else(|| usage(format!("there is no worker {name}")).hint("`osler node list` lists them"))
}

pub(super) fn list(workers: &[WorkerLine]) -> Page {
    if workers.is_empty() {
        return Page::from("no workers: start one with osler-worker");
    }
    let mut table = Table::new([
        name("node", 0),
        name("state", 0),
        number("slots", 0),
        prose("labels", 3),
        number("strikes", 2),
        name("host", 4),
        name("seen", 5),
        prose("why it takes no work", 1),
    ]);
    for w in workers {
        let labels: Vec<String> = w.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row([
            w.worker.as_str().into(),
            Cell::state(w.state.as_str()),
            format!("{}/{}", w.used, w.slots).into(),
            labels.join(" ").into(),
            w.strikes.len().to_string().into(),
            w.host.as_str().into(),
            show::time(w.seen_at).into(),
            w.why.clone().unwrap_or_default().into(),
        ]);
    }
    let mut page = Page::new();
    page.table(table);
    for w in workers {
        for strike in &w.strikes {
            let (at, job, generation) = (show::time(strike.at), &strike.job, strike.generation);
            page.line(Line::from(format!("{}: {at}  {job} g{generation}: {}", w.worker, strike.message)).hang(2));
        }
    }
    page
}

pub(super) fn looked(line: &WorkerLine) -> Page {
    let Some(health) = &line.health else { return Page::from(format!("{} does not look at its node", line.worker)) };
    let mut table = Table::new([name("looked at", 0), number("free", 0), number("took", 2), prose("found", 0)]);
    let mut row = |cells: [String; 4]| {
        table.cells(cells.map(Cell::from));
    };
    for folder in &health.folders {
        let free = folder.free_bytes.map_or_else(|| "-".to_owned(), show::bytes);
        row([folder.path.clone(), free, format!("{} ms", folder.ms), folder.error.clone().unwrap_or_else(|| "ok".to_owned())]);
    }
    let memory = health.memory_available.map_or_else(|| "-".to_owned(), show::bytes);
    row(["memory".to_owned(), memory, String::new(), String::new()]);
    row(["clock".to_owned(), String::new(), String::new(), format!("{} ms behind", line.skew_ms)]);
    for gpu in &health.gpus {
        let errors = gpu.uncorrected.map_or_else(|| "errors are not counted".to_owned(), |n| format!("{n} uncorrected errors"));
        let xids: String = gpu.xids.iter().map(|xid| format!(", XID {xid}")).collect();
        row([gpu.name.clone(), String::new(), String::new(), gpu.error.clone().unwrap_or_else(|| errors + &xids)]);
    }
    let mut page = Page::new();
    page.table(table);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::View;
    use osler_core::health::FolderCheck;
    use osler_core::ids::Millis;

    #[test]
    fn a_node_that_takes_no_work_says_why() {
        let folder = FolderCheck { path: "/scratch".into(), free_bytes: Some(1 << 30), ms: 4, error: Some("read-only".into()) };
        let health =
            Health { at: Millis(0), folders: vec![folder], memory_available: Some(1 << 30), gpus: vec![], ranks: None, overdue_ms: None };
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
        let shown = list(std::slice::from_ref(&line)).render(View::PLAIN);
        assert!(
            shown.contains("a     unfit    1/4  gpu=h100        0  h     2026-11-23 05:00:00 UTC  unfit: /scratch cannot be written"),
            "{shown}"
        );
        let shown = looked(&line).render(View::PLAIN);
        assert!(shown.contains("/scratch   1.00 GiB  4 ms  read-only\n"), "{shown}");
        assert!(shown.contains("clock                      12 ms behind\n"), "{shown}");
    }
}
