//! `osler down`: ends the daemons that `osler up` left on this machine for a store, after what they train is saved.

use super::Context;
use crate::client::{Access, Coordinator, RunLine};
use crate::daemons::Started;
use crate::failure::{Kind, Outcome, failed, usage};
use crate::stored;
use crate::terminal::Page;
use osler_core::record::RunState;
use osler_runtime::shutdown::Signals;
use osler_runtime::store::Store;
use serde::Serialize;
use std::time::Duration;
use tokio::time::sleep;

const POLL: Duration = Duration::from_millis(200);
/// A coordinator that is started again meanwhile is asked again.
const TRIES: u32 = 3;

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
    let coordinator = access.coordinator().await?;
    if coordinator.is_some() && !started.leads() {
        let hint = "it was not started by `osler up` on this machine: end it where it was, with SIGTERM";
        return Err(usage(format!("the coordinator of {store} is not one of `osler up`'s daemons")).hint(hint));
    }
    let mut signals = Signals::new()?;
    let mut interrupted = vec![];
    if let Some(coordinator) = coordinator {
        tokio::select! {
            saved = save_all(coordinator, &access, &store, &mut interrupted) => saved?,
            () = signals.next() => return Err(failed("interrupted: the runs are being stopped, and the daemons go on")),
        }
    }
    let ended = started.end().await?;
    // Opening it again makes sure that it still is a store that can be read.
    let done = Down { store: Store::open(&store)?.shown(), interrupted, ended };
    cx.terminal().answer("down", &done, || page(&done))
}

/// Has every run save, by the coordinator that leads, and waits until nothing runs. An `osler up` that watches over a run ends its daemons
/// when that is saved, which is what is asked for here: then it is enough that nothing lives and that the store says so of the runs.
async fn save_all(mut coordinator: Coordinator, access: &Access, store: &str, asked: &mut Vec<String>) -> Outcome {
    for _ in 0..TRIES {
        let Err(failure) = interrupt_all(&mut coordinator, asked).await else { return Ok(()) };
        if failure.kind() != Kind::Failed {
            return Err(failure);
        }
        sleep(POLL).await;
        if let Some(other) = access.living().await? {
            coordinator = other;
            continue;
        }
        let gone = Started::are_gone(store).await? && access.living().await?.is_none();
        return if gone && are_saved(store, asked).await? { Ok(()) } else { Err(failure) };
    }
    interrupt_all(&mut coordinator, asked).await
}

/// Whether no run goes on, by the store. Of these runs, which were asked to stop, every record must say so.
async fn are_saved(store: &str, runs: &[String]) -> Outcome<bool> {
    let lines = stored::lines(&Store::open(store)?).await?;
    let is_unknown = |line: &RunLine| line.state == RunLine::UNREADABLE && runs.contains(&line.run);
    Ok(!lines.iter().any(|line| RunState::is_live_name(&line.state) || is_unknown(line)))
}

/// Has every run save, and waits until nothing runs. `asked`: those that were.
async fn interrupt_all(coordinator: &mut Coordinator, asked: &mut Vec<String>) -> Outcome {
    loop {
        let live: Vec<String> =
            coordinator.runs().await?.into_iter().filter(|line| RunState::is_live_name(&line.state)).map(|line| line.run).collect();
        if live.is_empty() {
            return Ok(());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use osler_core::paths;

    #[tokio::test]
    async fn a_run_is_saved_when_the_store_says_that_it_does_not_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().to_str().unwrap();
        let store = Store::open(url).unwrap();
        let mut record = fixture::running().record;
        let asked = [record.name().to_string()];
        for (state, saved) in [(RunState::Stopping, false), (RunState::Stopped, true)] {
            record.state = state;
            record.version += 1;
            store.create(&paths::state(record.name(), record.version), record.head().into()).await.unwrap();
            assert_eq!(are_saved(url, &asked).await.unwrap(), saved);
            assert_eq!(are_saved(url, &[]).await.unwrap(), saved, "also if none was asked yet");
        }
    }
}
