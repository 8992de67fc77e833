//! `osler rm`: removes runs that do not live, with all their objects. Only a coordinator does that; where none leads the store one is
//! started for as long as it takes.

use super::Context;
use crate::client::{Access, Coordinator, RunLine};
use crate::daemons::Alone;
use crate::failure::{Kind, Outcome, failed, no_room, usage};
use crate::show;
use crate::source::{Source, state_text};
use crate::terminal::{Cell, Page, Table, name, number, prose};
use osler_core::ids::RunName;
use osler_core::paths;
use osler_core::record::{RunRecord, RunState};
use osler_core::removal::Remains;
use osler_runtime::store::Store;
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Duration;
use tokio::time::sleep;

const POLL: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(required = true)]
    runs: Vec<RunName>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Show what would be removed, and remove nothing.
    #[arg(short = 'n', long, conflicts_with = "yes")]
    dry_run: bool,
    /// Stop a run that lives first, instead of refusing it.
    #[arg(long)]
    stop: bool,
}

#[derive(Serialize)]
pub(super) struct Removal {
    pub removed: bool,
    pub runs: Vec<Removed>,
}

#[derive(Serialize)]
pub(super) struct Removed {
    pub run: RunName,
    /// As it was before.
    pub state: String,
    /// None where the store cannot be read from here.
    pub objects: Option<u64>,
    pub bytes: Option<u64>,
    /// Checkpoints that were pinned by hand: STAGE@STEP.
    pub pinned: Vec<String>,
}

impl Removed {
    /// Of a run whose record cannot be read.
    fn unreadable(run: &RunName) -> Self {
        Self { run: run.clone(), state: RunLine::UNREADABLE.to_owned(), objects: None, bytes: None, pinned: vec![] }
    }

    fn is_unreadable(&self) -> bool {
        self.state == RunLine::UNREADABLE
    }
}

fn is_unreadable(lines: &[RunLine], run: &RunName) -> bool {
    lines.iter().any(|line| line.run == run.as_str() && line.state == RunLine::UNREADABLE)
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    let runs: BTreeSet<&RunName> = args.runs.iter().collect();
    let mut source = Source::find(&cx.access).await?;
    let store = cx.access.open_store().ok();
    let mut removal = Removal { removed: false, runs: vec![] };
    for run in runs {
        removal.runs.push(match source.run(run).await {
            Ok(seen) => {
                refuse_live(&seen.record, args, &source, &cx.access)?;
                of_run(&seen.record, store.as_ref(), &state_text(&seen.record, source.is_live())).await?
            }
            Err(failure) => {
                if !is_unreadable(&source.runs().await?, run) {
                    return Err(failure);
                }
                Removed::unreadable(run)
            }
        });
    }
    if let Some(alarm) = source.alarm() {
        return Err(no_room(alarm));
    }
    if args.dry_run {
        return cx.terminal().answer("removal", &removal, || page(&removal));
    }
    if !args.yes && !agreed(&removal, cx)? {
        return Err(failed("nothing was removed"));
    }
    let mut tries = 1;
    // An `osler up` ends its coordinator when its run is stopped: whoever comes next goes on.
    while let Err(failure) = attempt(source, &removal, args, cx).await {
        if failure.kind() != Kind::Failed || tries == TRIES {
            return Err(failure);
        }
        tries += 1;
        sleep(PAUSE).await;
        source = Source::find(&cx.access).await?;
    }
    removal.removed = true;
    cx.terminal().answer("removal", &removal, || page(&removal))
}

/// By the coordinator that leads, or by one that is started for as long as it takes. Trying again is harmless.
async fn attempt(source: Source, removal: &Removal, args: &Args, cx: &Context) -> Outcome {
    match source {
        Source::Live(mut coordinator) => remove_all(removal, &mut coordinator, args.stop).await,
        Source::Waiting { alarm, .. } => Err(no_room(alarm)),
        Source::Stored(_) => {
            let (mut alone, mut coordinator) = Alone::start(&cx.access).await?;
            let done = remove_all(removal, &mut coordinator, args.stop).await;
            let ended = alone.end().await;
            done.and(ended)
        }
    }
}

fn refuse_live(record: &RunRecord, args: &Args, source: &Source, access: &Access) -> Outcome {
    if args.stop || !record.state.is_live() {
        return Ok(());
    }
    let (run, state) = (record.name(), state_text(record, source.is_live()));
    let hint = match source.is_live() {
        true => format!("stop it first, with {}, or let this command do that: --stop", access.command(&format!("stop {run} --wait"))),
        false => format!("{} ends it and removes it", access.command(&format!("rm --stop {run}"))),
    };
    Err(usage(format!("run {run} is {state}, and only a run that does not live is removed")).hint(hint))
}

async fn of_run(record: &RunRecord, store: Option<&Store>, state: &str) -> Outcome<Removed> {
    let found = match store {
        Some(store) => Some(extent(store, &Remains::of(record)).await?),
        None => None,
    };
    let checkpoints = record.checkpoints.iter().flat_map(|(stage, all)| all.iter().map(move |c| (stage, c)));
    let pinned = checkpoints.filter(|(_, c)| c.pinned && !c.retired).map(|(stage, c)| format!("{stage}@{}", c.step)).collect();
    let (objects, bytes) = found.unzip();
    Ok(Removed { run: record.name().clone(), state: state.to_owned(), objects, bytes, pinned })
}

/// How many objects a removal would delete, and their bytes.
async fn extent(store: &Store, remains: &Remains) -> Outcome<(u64, u64)> {
    let sizes = store.sizes(&paths::run(&remains.run)).await?;
    let of_run = sizes.iter().filter(|(path, _)| remains.holds(path));
    Ok(of_run.fold((0, 0), |(objects, bytes), (_, size)| (objects + 1, bytes + size)))
}

/// Asks whoever sits at the terminal.
fn agreed(removal: &Removal, cx: &Context) -> Outcome<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(usage("nobody can be asked whether to remove that").hint("--yes removes it unasked, --dry-run shows what it is"));
    }
    cx.terminal().note(page(removal));
    cx.terminal().agrees("Remove for good?")
}

async fn remove_all(removal: &Removal, coordinator: &mut Coordinator, stop: bool) -> Outcome {
    let there = coordinator.runs().await?;
    for removed in removal.runs.iter().filter(|removed| there.iter().any(|line| line.run == removed.run.as_str())) {
        let run = &removed.run;
        if removed.is_unreadable() {
            // A finished run is read when somebody asks for it: before that the coordinator does not know that it cannot be.
            drop(coordinator.run(run.as_str()).await);
        } else if stop {
            stopped(coordinator, run).await?;
        }
        coordinator.remove(run.as_str()).await?;
    }
    // They are gone; their space is free when all is deleted.
    let asked = |name: &String| removal.runs.iter().any(|removed| removed.run.as_str() == name);
    loop {
        let under_way = coordinator.removing().await.map_err(|why| {
            failed(format!("the runs are removed, and the coordinator cannot be asked whether all is deleted: {}", why.message()))
                .hint("the next coordinator of the store deletes what is left")
        })?;
        if !under_way.iter().any(asked) {
            return Ok(());
        }
        sleep(POLL).await;
    }
}

/// Has a run save, if it lives, and waits until nothing of it runs.
async fn stopped(coordinator: &mut Coordinator, run: &RunName) -> Outcome {
    let mut state = coordinator.stop(run.as_str(), false).await?;
    while RunState::is_live_name(&state) {
        sleep(POLL).await;
        let line = coordinator.runs().await?.into_iter().find(|line| line.run == run.as_str());
        state = line.map(|line| line.state).unwrap_or_default();
    }
    Ok(())
}

pub(super) fn page(removal: &Removal) -> Page {
    let mut page = Page::new();
    let sum = |of: fn(&Removed) -> Option<u64>| removal.runs.iter().map(of).sum::<Option<u64>>();
    let extent = match (sum(|run| run.objects), sum(|run| run.bytes)) {
        (Some(objects), Some(bytes)) => format!(" with {}, {}", show::plural(objects, "object"), show::bytes(bytes)),
        _ => String::new(),
    };
    let runs = show::plural(removal.runs.len() as u64, "run");
    page.line(if removal.removed { format!("removed {runs}{extent}") } else { format!("{runs}{extent}, would be removed for good") });
    let mut table = Table::new([name("run", 0), name("state", 1), number("objects", 1), number("size", 0), prose("pinned checkpoints", 0)]);
    for run in &removal.runs {
        let number = |n: Option<u64>, shown: fn(u64) -> String| n.map_or_else(|| "?".to_owned(), shown);
        let pinned = match run.pinned.as_slice() {
            _ if run.is_unreadable() => "its record cannot be read".to_owned(),
            [] => "none".to_owned(),
            pinned => pinned.join(", "),
        };
        table.row([
            run.run.as_str().into(),
            Cell::state(run.state.clone()),
            number(run.objects, |n| n.to_string()).into(),
            number(run.bytes, show::bytes).into(),
            pinned.into(),
        ]);
    }
    page.section(table);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored;
    use crate::terminal::View;

    #[tokio::test]
    async fn a_run_that_cannot_be_read_is_removed_without_its_details() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let (torn, other) = (RunName::new("torn").unwrap(), RunName::new("other").unwrap());
        store.put(&paths::state(&torn, 1), "{".into()).await.unwrap();
        let lines = stored::lines(&store).await.unwrap();
        assert!(is_unreadable(&lines, &torn) && !is_unreadable(&lines, &other));

        let removal = Removal { removed: false, runs: vec![Removed::unreadable(&torn)] };
        let shown = page(&removal).render(View::PLAIN);
        assert!(shown.contains("its record cannot be read") && shown.contains("unreadable"), "{shown}");
    }
}
