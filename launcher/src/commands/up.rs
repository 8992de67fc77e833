//! `osler up`: a whole run on this machine. Daemons, submission, progress, report; Ctrl-C stops the run so that it can be resumed.

use super::Context;
use crate::client::Access;
use crate::closed;
use crate::commands::report;
use crate::commands::resume::Changes;
use crate::commands::status::ending;
use crate::daemons::{Daemons, Ended, Start, Which};
use crate::failure::{Failure, Kind, Outcome, failed, no_room, stopped, usage};
use crate::machine;
use crate::render::cause;
use crate::run_file::RunFile;
use crate::sources::submission;
use crate::stored;
use crate::terminal::Terminal;
use crate::watch::{Display, News, follow};
use osler_core::identity::{Submission, difference};
use osler_core::ids::RunName;
use osler_core::job::JobKey;
use osler_core::process::exit;
use osler_core::record::{JobState, RunRecord, RunState};
use osler_runtime::shutdown::{HangUp, Signals};
use osler_runtime::store::Store;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// Fields that are named when the run is another one.
const DIFFERENCES: usize = 8;
/// Seconds before a daemon that died is started again, while nothing is achieved: whatever it dies of gets some minutes to pass. After the
/// last it is not started again.
const PAUSES: [u64; 10] = [0, 1, 2, 5, 10, 30, 60, 60, 60, 60];
const OTHERS_STARTUP: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: RunFile,
    /// Processes to run at once [default: the run's ranks or the cores, whichever is more].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Take over from a coordinator that leads the store elsewhere, and move its runs to this machine.
    #[arg(long)]
    take_over: bool,
}

/// The largest gang among the stages that are not done.
pub fn open_ranks(record: &RunRecord) -> u32 {
    let open = record.jobs.values().filter(|job| job.status.result().is_none());
    open.map(|job| job.planned.ranks).max().unwrap_or(1)
}

#[derive(Debug)]
pub enum Goal {
    Submit(Box<Submission>),
    /// A run of the store, whose file need not be there any more.
    Resume {
        record: Box<RunRecord>,
        changes: Changes,
    },
}

impl Goal {
    fn run(&self) -> &RunName {
        match self {
            Self::Submit(run) => &run.spec.name,
            Self::Resume { record, .. } => record.name(),
        }
    }

    fn ranks(&self) -> u32 {
        match self {
            Self::Submit(run) => run.spec.resources.ranks,
            Self::Resume { record, changes } => changes.ranks.unwrap_or_else(|| open_ranks(record)),
        }
    }
}

pub async fn run(args: Args, cx: &Context) -> Outcome {
    let spec = args.file.resolve_all()?.spec;
    let slots = args.slots.unwrap_or_else(|| spec.resources.ranks.max(machine::cores()));
    closed::refuse(&cx.access.folder()?)?;
    let store = Store::open(&cx.access.store)?;
    let before = stored::record(&store, &spec.name).await?;
    let run = submission(spec, before.as_ref(), &cx.terminal())?;
    let spec = &run.spec;
    if let Some(record) = before {
        if !record.is_submitted_as(&run) {
            let differences = difference(&record.submission(), &run, DIFFERENCES).join("; ");
            let hint = format!("choose another name, for example with --set name={}-2, or another --store", spec.name);
            return Err(
                usage(format!("run {} exists already in {}, and is another one: {differences}", spec.name, store.shown())).hint(hint)
            );
        }
        if record.state == RunState::Finished {
            cx.terminal().note(format!("run {} is finished already: here is its report", spec.name));
            return report::print(&cx.terminal(), &store, &record).await;
        }
        // Repeating a command neither undoes what a person decided nor lets a gate pass.
        if !record.state.is_live() && !record.goes_on_when_submitted() {
            return ending(&record, &Access::local(&store.shown()));
        }
    }
    let start = Start { slots, take_over: args.take_over };
    drive(cx, &store.shown(), start, Goal::Submit(Box::new(run))).await
}

/// Brings a run to its end, or to a stop, with daemons of this machine.
pub async fn drive(cx: &Context, store: &str, start: Start, goal: Goal) -> Outcome {
    let terminal = cx.terminal();
    let slots = start.slots;
    if slots < goal.ranks() {
        return Err(usage(format!("the run has {} ranks and --slots is {slots}: a gang needs a slot for each rank", goal.ranks())));
    }
    let (mut signals, mut terminal_closed) = (Signals::new()?, HangUp::new()?);
    let mut daemons = tokio::select! {
        daemons = Daemons::own(store, start) => daemons?,
        () = signals.next() => return Err(interrupted(goal.run(), store)),
    };
    let access = Access::local(store);
    if daemons.is_none() {
        terminal.note(format!("using the coordinator that runs on {store} already"));
    }
    let ended = match begin(&terminal, &access, &goal).await {
        Ok(created) => {
            let watch = Watch { terminal: &terminal, access: &access, run: goal.run(), store, slots };
            tokio::select! {
                ended = watch.until_over(created, &mut daemons, &mut signals) => ended,
                // Nobody sees the run any more, and nobody said that it should end: the daemons go on with it.
                () = terminal_closed.next() => return Err(unwatched(goal.run(), store)),
            }
        }
        Err(refused) => Err(refused),
    };
    if let Some(mut daemons) = daemons {
        let hurried = tokio::select! {
            () = leave(&terminal, &mut daemons, &access, goal.run()) => false,
            () = signals.next() => true,
        };
        if hurried {
            daemons.kill();
        }
    }
    let record = ended?;
    if record.state == RunState::Stopped {
        return ending(&record, &access);
    }
    report::print(&terminal, &Store::open(store)?, &record).await?;
    if let (RunState::Failed(_), Some(cause)) = (&record.state, cause::of_run(&record)) {
        terminal.note(access.page(cause));
    }
    ending(&record, &access)
}

/// Whether the run is new.
async fn begin(terminal: &Terminal, access: &Access, goal: &Goal) -> Outcome<bool> {
    // Another `osler up` may just be starting its coordinator.
    let deadline = Instant::now() + OTHERS_STARTUP;
    let mut coordinator = loop {
        match access.living().await? {
            Some(coordinator) => break coordinator,
            None if Instant::now() > deadline => return access.need_coordinator().await.map(|_| false),
            None => sleep(Duration::from_millis(100)).await,
        }
    };
    match goal {
        Goal::Submit(run) => {
            let spec = &run.spec;
            let (created, state) = coordinator.submit(run).await?;
            if !created {
                ending(&coordinator.run(spec.name.as_str()).await?.record, access)?;
                terminal.note(format!("run {} goes on: it is {state}", spec.name));
            }
            Ok(created)
        }
        Goal::Resume { record, changes } => {
            changes.resume(&mut coordinator, record.name()).await?;
            Ok(false)
        }
    }
}

struct Watch<'a> {
    terminal: &'a Terminal,
    access: &'a Access,
    run: &'a RunName,
    store: &'a str,
    slots: u32,
}

impl Watch<'_> {
    /// Keeps the daemons alive and shows what happens until the run is over. Gives back its last record.
    async fn until_over(&self, created: bool, daemons: &mut Option<Daemons>, signals: &mut Signals) -> Outcome<RunRecord> {
        let mut display = Display::new(*self.terminal, created);
        let mut news = follow(self.access.clone(), self.run.to_string());
        let mut last: Option<RunRecord> = None;
        let mut budget = Budget::default();
        let mut stopping = false;
        // The daemon that is gone, and when it is started again.
        let mut restart = None;
        loop {
            tokio::select! {
                next = news.recv() => match next {
                    Some(News::View(seen)) => {
                        display.update(&seen, true)?;
                        last = Some(seen.record);
                    }
                    // One of ours that died is announced below. Somebody else's becomes ours when they have left it.
                    Some(News::Away { .. }) if daemons.is_some() => {}
                    Some(News::Away { again }) => {
                        if !again {
                            display.say("the coordinator does not answer; looking for it, or starting one when nobody else does");
                        }
                        *daemons = Daemons::own(self.store, Start { slots: self.slots, take_over: false }).await?;
                    }
                    Some(News::Refused(failure)) => return Err(failure),
                    None => return last.ok_or_else(|| failed("the coordinator ended before it answered")),
                },
                (which, ended) = died(daemons), if restart.is_none() => {
                    let Some(ours) = daemons.as_ref() else { continue };
                    let pause = budget.spend(which, ours, achieved(last.as_ref()), ended.code == Some(exit::STOPPED))?;
                    display.say(format!("the {} died: {}; starting it again{}", which.name(), ended.how, in_words(pause)));
                    restart = Some((which, Instant::now() + pause));
                }
                which = due(restart) => {
                    restart = None;
                    let Some(ours) = daemons.as_mut() else { continue };
                    if let Err(failure) = ours.restart(which).await {
                        // Somebody else leads now.
                        if failure.kind() == Kind::Usage {
                            return Err(failure);
                        }
                        display.say(failure.to_string());
                        let pause = budget.spend(which, ours, achieved(last.as_ref()), failure.kind() == Kind::NoRoom)?;
                        restart = Some((which, Instant::now() + pause));
                    }
                }
                () = signals.next() => {
                    if stopping {
                        daemons.iter_mut().for_each(Daemons::kill);
                        return Err(interrupted(self.run, self.store));
                    }
                    stopping = true;
                    display.say("stopping: the run saves a checkpoint and ends; a second signal ends it at once");
                    tokio::spawn(ask_to_stop(self.access.clone(), self.run.clone()));
                }
            }
        }
    }
}

/// Resolves when a restart is due.
async fn due(restart: Option<(Which, Instant)>) -> Which {
    match restart {
        Some((which, at)) => {
            sleep_until(at).await;
            which
        }
        None => std::future::pending().await,
    }
}

fn in_words(pause: Duration) -> String {
    if pause.is_zero() { String::new() } else { format!(" in {} s", pause.as_secs()) }
}

async fn died(daemons: &mut Option<Daemons>) -> (Which, Ended) {
    match daemons {
        Some(daemons) => daemons.died().await,
        None => std::future::pending().await,
    }
}

/// Until the coordinator has heard it: it may be restarting.
async fn ask_to_stop(access: Access, run: RunName) {
    loop {
        if let Ok(Some(mut coordinator)) = access.coordinator().await
            && coordinator.stop(run.as_str(), true).await.is_ok()
        {
            return;
        }
        sleep(Duration::from_millis(300)).await;
    }
}

/// Ends the daemons, unless they work for another run too.
async fn leave(terminal: &Terminal, daemons: &mut Daemons, access: &Access, run: &RunName) {
    let others = match access.coordinator().await {
        Ok(Some(mut coordinator)) => coordinator.runs().await.unwrap_or_default(),
        _ => vec![],
    };
    let busy: Vec<String> =
        others.into_iter().filter(|line| line.run != run.as_str() && RunState::is_live_name(&line.state)).map(|line| line.run).collect();
    if busy.is_empty() {
        daemons.end().await;
    } else {
        terminal.note(format!(
            "the coordinator and the worker go on for {}; {} saves what they train and ends them",
            busy.join(", "),
            access.command("down")
        ));
    }
}

fn interrupted(run: &RunName, store: &str) -> Failure {
    let go_on = Access::local(store).command(&format!("resume {run}"));
    stopped(format!("ended at once; what run {run} published is kept")).hint(format!("go on with {go_on}"))
}

fn unwatched(run: &RunName, store: &str) -> Failure {
    let access = Access::local(store);
    let (watch, down) = (access.command(&format!("status {run} -w")), access.command("down"));
    failed(format!("the terminal was closed; run {run} goes on without it"))
        .hint(format!("{watch} shows it, {down} saves it and ends the daemons"))
}

/// Grows with everything that is durable: published steps and finished jobs.
fn achieved(record: Option<&RunRecord>) -> u64 {
    let Some(record) = record else { return 0 };
    let done = record.jobs.values().filter(|job| matches!(job.status, JobState::Succeeded { .. })).count() as u64;
    let published =
        |key: &JobKey| record.jobs.get(key).and_then(|job| job.planned.kind.stage()).map_or(0, |stage| record.published_steps(stage));
    record.spec.stages.iter().map(|stage| published(&osler_core::plan::train_key(&stage.name))).sum::<u64>() + done
}

/// Restarts since something was last achieved.
#[derive(Debug, Default)]
struct Budget {
    achieved: u64,
    used: usize,
}

impl Budget {
    /// How long to wait before the next one. `full`: the daemon died because there was no room.
    fn spend(&mut self, which: Which, daemons: &Daemons, achieved: u64, full: bool) -> Outcome<Duration> {
        let message = match self.allows(achieved) {
            Some(pause) => return Ok(pause),
            None => format!(
                "daemons died {} times without any progress: see {}; the run can be resumed",
                self.used,
                daemons.log(which).display()
            ),
        };
        Err(if full { no_room(message) } else { failed(message) })
    }

    fn allows(&mut self, achieved: u64) -> Option<Duration> {
        if achieved > self.achieved {
            (self.achieved, self.used) = (achieved, 0);
        }
        let pause = PAUSES.get(self.used).copied();
        self.used += 1;
        pause.map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn restarts_are_bounded_only_while_nothing_is_achieved() {
        let mut budget = Budget::default();
        let pauses: Vec<u64> = std::iter::from_fn(|| budget.allows(0)).map(|pause| pause.as_secs()).collect();
        assert_eq!((pauses.len(), pauses[0]), (PAUSES.len(), 0));
        assert!(pauses.is_sorted() && pauses.iter().sum::<u64>() >= 240, "{pauses:?}");
        let mut budget = Budget::default();
        assert!((1..100).all(|achieved| budget.allows(achieved) == Some(Duration::ZERO)));
    }

    #[test]
    fn published_steps_and_finished_jobs_are_achievements() {
        let running = achieved(Some(&fixture::running().record));
        let finished = achieved(Some(&fixture::finished().0));
        assert!(0 < running && running < finished, "{running} {finished}");
        assert_eq!(achieved(None), 0);
    }
}
