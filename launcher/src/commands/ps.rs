//! `osler ps`: the runs of a store, and the workers of its coordinator.

use crate::client::Access;
use crate::failure::Outcome;
use crate::show::{self, Format, Grid};
use crate::source::Source;
use osler_core::record::RunState;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    access: Access,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn run(args: &Args) -> Outcome {
    let mut source = Source::find(&args.access).await?;
    let live = source.is_live();
    let runs = source.runs().await?;
    let workers = match &mut source {
        Source::Live(coordinator) => coordinator.workers().await?,
        Source::Stored(_) => vec![],
    };
    if args.output == Format::Json {
        return show::json(&serde_json::json!({ "coordinator": live, "runs": runs, "workers": workers }));
    }
    let mut grid = Grid::new(&["run", "state", "stage", ">step", "submitted", "reason"]);
    let ended = [RunState::Stopped, RunState::Finished].map(|state| state.as_str());
    for run in &runs {
        let over = ended.contains(&run.state.as_str()) || run.state == "failed";
        let state = if live || over { run.state.clone() } else { format!("{} (no coordinator)", run.state) };
        let step = format!("{}/{}", run.step, run.planned_steps);
        grid.row([run.run.clone(), state, run.stage.clone(), step, show::time(run.submitted_at), run.reason.clone()]);
    }
    let mut text = if runs.is_empty() { "no runs\n".to_owned() } else { grid.text() };
    let mut grid = Grid::new(&["worker", "state", ">slots", "host", "seen"]);
    for worker in &workers {
        let slots = format!("{}/{}", worker.used, worker.slots);
        grid.row([worker.worker.clone(), worker.state.clone(), slots, worker.host.clone(), show::time(worker.seen_at)]);
    }
    if !grid.is_empty() {
        text = format!("{text}\n{}", grid.text());
    } else if live {
        text.push_str("\nno workers: start one with osler-worker\n");
    }
    show::out(&text)
}
