//! `osler resume`: through the coordinator that lives, or, without one, like `up` on the stored run.

use super::Context;
use super::stop::RunNow;
use crate::client::{Access, Coordinator};
use crate::commands::status::ending;
use crate::commands::up::{Goal, drive, open_ranks};
use crate::daemons::Start;
use crate::failure::{Outcome, no_room, usage};
use crate::machine;
use crate::source::Source;
use crate::terminal::Page;
use osler_core::gate::GateOutcome;
use osler_core::ids::{RunName, StageName};
use osler_core::record::RunRecord;
use std::ops::Range;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    #[command(flatten)]
    changes: Changes,
    /// Processes to run at once if daemons have to be started [default: the ranks or the cores, whichever is more].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    /// Take over from a coordinator that leads the store elsewhere, and move its runs to this machine.
    #[arg(long)]
    take_over: bool,
}

/// What is different from now on.
#[derive(Debug, clap::Args)]
pub struct Changes {
    /// Ranks of the stages that are not done; only determinism = "elastic" gives the same bits [default: as before].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub ranks: Option<u32>,
    /// Go back to a published step of a stage that is not done (`osler ckpt list` shows them; 0: its beginning).
    #[arg(long, value_name = "STAGE@STEP", value_parser = read_point)]
    rewind: Option<(StageName, u64)>,
    /// Leave out the data of these steps, first and last, from then on.
    #[arg(long, value_name = "FIRST-LAST", value_parser = read_steps, requires = "rewind")]
    skip: Option<Range<u64>>,
    /// Let a failed gate pass, with --reason: STAGE/VARIANT/EXAM, or the end of it. The run's report says so. May be repeated.
    #[arg(long, value_name = "GATE", requires = "reason")]
    waive_gate: Vec<String>,
    /// Why the gate is let pass, for all to read.
    #[arg(long, value_name = "WHY", requires = "waive_gate")]
    reason: Option<String>,
}

impl Changes {
    /// Gives the run's state.
    pub async fn resume(&self, coordinator: &mut Coordinator, run: &RunName) -> Outcome<String> {
        if let Some((stage, to)) = &self.rewind {
            coordinator.rewind(run.as_str(), stage.as_str(), *to, self.skip.clone().unwrap_or(0..0), self.ranks).await?;
        }
        coordinator.resume(run.as_str(), self.ranks, (&self.waive_gate, self.reason.as_deref().unwrap_or_default())).await
    }

    /// A run that failed at a gate goes on only if somebody lets that gate pass, by its name and for a reason.
    fn look_at_gates(&self, record: &RunRecord, access: &Access) -> Outcome {
        let failed = |gate: &&GateOutcome| !gate.passed;
        if let Some(given) = self.waive_gate.iter().find(|given| !record.gates.iter().filter(failed).any(|gate| gate.is_named(given))) {
            let names: Vec<String> = record.gates.iter().filter(failed).map(GateOutcome::name).collect();
            let hint =
                if names.is_empty() { "no gate of it failed".to_owned() } else { format!("those that failed: {}", names.join(", ")) };
            return Err(usage(format!("run {} has no failed gate {given:?}", record.name())).hint(hint));
        }
        let shut = |gate: &GateOutcome| !self.waive_gate.iter().any(|given| gate.is_named(given));
        match record.shut_gates().any(shut) && !record.state.is_live() {
            true => ending(record, access),
            false => Ok(()),
        }
    }
}

fn read_point(text: &str) -> Result<(StageName, u64), String> {
    let (stage, step) = text.split_once('@').ok_or("expected STAGE@STEP, for example general@1000")?;
    let step = step.parse().map_err(|_| format!("{step:?} is not a step, expected for example {stage}@1000"))?;
    Ok((StageName::new(stage).map_err(|e| e.to_string())?, step))
}

fn read_steps(text: &str) -> Result<Range<u64>, String> {
    let expected = || format!("found {text:?}, expected two steps, for example 350-359");
    let (first, last) = text.split_once('-').ok_or_else(expected)?;
    let (first, last): (u64, u64) = (first.parse().map_err(|_| expected())?, last.parse().map_err(|_| expected())?);
    let end = last.checked_add(1).filter(|end| *end > first).ok_or_else(expected)?;
    Ok(first..end)
}

pub async fn run(args: Args, cx: &Context) -> Outcome {
    // Whoever means to take over does not ask the other.
    let mut source = if args.take_over { Source::Stored(cx.access.open_store()?) } else { Source::find_living(&cx.access).await? };
    let seen = source.run(&args.run).await?;
    if args.changes.reason.as_ref().is_some_and(|reason| reason.trim().is_empty()) {
        return Err(usage("--reason is empty: say why the gate is let pass"));
    }
    args.changes.look_at_gates(&seen.record, &cx.access)?;
    match &mut source {
        Source::Live(coordinator) => {
            let state = args.changes.resume(coordinator, &args.run).await?;
            let now = RunNow { run: args.run.clone(), state };
            cx.terminal().answer("run-state", &now, || {
                let watch = cx.access.command(&format!("status {} -w", now.run));
                Page::from(format!("run {} is {}; watch it with {watch}", now.run, now.state))
            })
        }
        Source::Waiting { alarm, .. } => Err(no_room(alarm.clone())),
        Source::Stored(store) => {
            if cx.access.names_one() {
                return Err(usage("--coordinator names one that is not there").hint("leave it out to start one here"));
            }
            let slots = args.slots.unwrap_or_else(|| args.changes.ranks.unwrap_or_else(|| open_ranks(&seen.record)).max(machine::cores()));
            let address = store.shown();
            let start = Start { slots, take_over: args.take_over };
            drive(cx, &address, start, Goal::Resume { record: Box::new(seen.record), changes: args.changes }).await
        }
    }
}
