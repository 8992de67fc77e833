//! `osler down`: ends the daemons that `osler up` left on this machine for a store, after what they train is saved.

use super::Context;
use crate::client::{Access, Coordinator};
use crate::daemons::Started;
use crate::failure::{Outcome, failed, usage};
use crate::terminal::Page;
use osler_core::record::RunState;
use osler_runtime::shutdown::Signals;
use osler_runtime::store::Store;
use serde::Serialize;
use std::time::Duration;
use tokio::time::sleep;

const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, clap::Args)]
pub struct Args {}

#[derive(Serialize)]
pub(super) struct Down {
    pub store: String,
    /// Runs that saved and were interrupted; `osler up` or `osler resume` goes on with each.
    pub interrupted: Vec<String>,
    /// The daemons that ended: coordinator, worker.
    pub ended: Vec<&'static str>,
}

pub async fn run(_: &Args, cx: &Context) -> Outcome {
    let store = cx.access.open_store()?.shown();
    let access = Access::local(&store);
    let mut started = Started::of(&store)?;
    let mut coordinator = access.coordinator().await?;
    if coordinator.is_some() && !started.leads() {
        let hint = "it was not started by `osler up` on this machine: end it where it was, with SIGTERM";
        return Err(usage(format!("the coordinator of {store} is not one of `osler up`'s daemons")).hint(hint));
    }
    let mut signals = Signals::new()?;
    let mut interrupted = vec![];
    if let Some(coordinator) = &mut coordinator {
        tokio::select! {
            stopped = interrupt_all(coordinator) => interrupted = stopped?,
            () = signals.next() => return Err(failed("interrupted: the runs are being stopped, and the daemons go on")),
        }
    }
    let ended = started.end().await?;
    // Opening it again makes sure that it still is a store that can be read.
    let done = Down { store: Store::open(&store)?.shown(), interrupted, ended };
    cx.terminal().answer("down", &done, || page(&done))
}

/// Has every run save, and waits until nothing runs.
async fn interrupt_all(coordinator: &mut Coordinator) -> Outcome<Vec<String>> {
    let mut asked: Vec<String> = vec![];
    loop {
        let live: Vec<String> =
            coordinator.runs().await?.into_iter().filter(|line| RunState::is_live_name(&line.state)).map(|line| line.run).collect();
        if live.is_empty() {
            return Ok(asked);
        }
        for run in live.into_iter().filter(|run| !asked.contains(run)).collect::<Vec<_>>() {
            coordinator.stop(&run, true).await?;
            asked.push(run);
        }
        sleep(POLL).await;
    }
}

pub(super) fn page(done: &Down) -> Page {
    if done.ended.is_empty() {
        return Page::from(format!("no daemons of `osler up` run on this machine for {}", done.store));
    }
    let mut page = Page::from(format!("ended: {}", done.ended.join(", ")));
    for run in &done.interrupted {
        let go_on = Access::local(&done.store).command(&format!("resume {run}"));
        page.line(format!("run {run} is saved; {go_on} goes on with it"));
    }
    page
}
