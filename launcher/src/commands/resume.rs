//! `osler resume`: through the coordinator that lives, or, without one, like `up` on the stored run.

use crate::client::Access;
use crate::commands::up::{Goal, drive};
use crate::failure::{Outcome, usage};
use crate::machine;
use crate::show;
use crate::source::Source;
use osler_core::ids::RunName;

#[derive(Debug, clap::Args)]
pub struct Args {
    run: RunName,
    /// Processes to run at once if daemons have to be started [default: the ranks or the cores, whichever is more].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    slots: Option<u32>,
    #[command(flatten)]
    access: Access,
}

pub async fn run(args: Args) -> Outcome {
    let mut source = Source::find(&args.access).await?;
    let seen = source.run(&args.run).await?;
    match &mut source {
        Source::Live(coordinator) => {
            let state = coordinator.resume(args.run.as_str()).await?;
            show::out(&format!("run {0} is {state}; watch it with `osler status {0} -w`\n", args.run))
        }
        Source::Stored(store) => {
            if args.access.coordinator.is_some() {
                return Err(usage("--coordinator names one that is not there: leave it out to start one here"));
            }
            let slots = args.slots.unwrap_or_else(|| seen.record.spec.resources.ranks.max(machine::cores()));
            let address = store.shown();
            drive(&address, slots, Goal::Resume(Box::new(seen.record))).await
        }
    }
}
