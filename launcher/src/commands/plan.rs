//! `osler plan`: what a run will take. Starts nothing, writes nothing.

use super::Context;
use crate::closed;
use crate::failure::{Failure, Outcome, failed, usage};
use crate::machine;
use crate::planning::{Basis, Machine, Plan, planned};
use crate::run_file::RunFile;
use crate::show;
use crate::stored;
use crate::terminal::{Cell, Line, Page, Style, Table, name, number, prose};
use osler_core::estimate::{Memory, StageEstimate};
use osler_runtime::store::{Store, local_folder};
use std::net::TcpListener;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: RunFile,
}

pub async fn run(args: &Args, cx: &Context) -> Outcome {
    // Where the run would be kept: its free disk counts.
    let store = &cx.access.store;
    let resolved = args.file.resolve()?;
    // Of a remote store only what this machine keeps beside it lies here.
    let folder = local_folder(store)?;
    closed::refuse(&folder)?;
    let earlier = if store.contains("://") || folder.is_dir() {
        let record = stored::record(&Store::open(store)?, &resolved.spec.name).await?;
        record.filter(|record| record.spec == resolved.spec)
    } else {
        None
    };
    let machine = Machine {
        cores: machine::cores(),
        available_memory: osler_runtime::memory::available(),
        free_disk: machine::free_disk(&folder),
        no_port: TcpListener::bind("127.0.0.1:0").err().map(|e| e.to_string()),
    };
    let plan = planned(&resolved, earlier.as_ref(), machine);
    cx.terminal().answer("plan", &plan, || page(&plan))?;
    verdict(&plan, resolved.problems.len())
}

/// Files that are missing are the file's fault, the rest is the machine's.
fn verdict(plan: &Plan, problems: usize) -> Result<(), Failure> {
    if problems > 0 {
        return Err(usage(format!("run {} cannot start: {} with its files", plan.run, show::plural(problems as u64, "problem"))));
    }
    if plan.would_fail.is_empty() { Ok(()) } else { Err(failed(format!("run {} would fail on this machine", plan.run))) }
}

pub(super) fn page(plan: &Plan) -> Page {
    let estimate = &plan.estimate;
    let mut page = Page::new();
    page.line(format!("run {}  {}", plan.run, plan.description)).line(format!("settings sha256 {}", plan.spec_digest)).blank();
    let p = &estimate.parameters;
    page.line(format!(
        "model: {} parameters ({} without embeddings), vocabulary {}",
        show::short(p.total as f64),
        show::short(p.non_embedding as f64),
        show::count(estimate.vocab.into())
    ));
    let jobs: Vec<String> = plan.jobs.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    page.line(format!("jobs: {} ({})", plan.jobs_total, jobs.join(", ")));
    page.section(corpora(plan));
    if plan.corpora.values().any(|corpus| corpus.basis == Basis::FileSizes) {
        page.line("Estimates are rough guesses from file sizes; tokens and epochs are known only after packing.");
    }
    page.section(stages(&estimate.stages)).section(memory(&estimate.stages)).section(exams(plan)).section(needs(plan));
    for (title, lines, style) in
        [("would fail:", &plan.would_fail, Style::Bad), ("unwise, though possible:", &plan.warnings, Style::Careful)]
    {
        if !lines.is_empty() {
            page.blank().line(Line::default().styled(title, style));
            lines.iter().for_each(|line| {
                page.line(format!("  - {line}"));
            });
        }
    }
    if plan.would_fail.is_empty() {
        page.blank().line(Line::default().styled("nothing is known that would make it fail here", Style::Good));
    }
    page
}

fn corpora(plan: &Plan) -> Table {
    let columns = [name("corpus", 0), number("files", 2), number("size", 1), number("tokens", 0), name("basis", 1), number("epochs", 0)];
    let mut table = Table::new(columns);
    for (name, corpus) in &plan.corpora {
        let basis = if corpus.basis == Basis::Packed { "packed" } else { "estimate" };
        let epochs = plan.estimate.epochs.get(name).map_or_else(|| "unknown".to_owned(), |passes| format!("{passes:.2}"));
        let [files, size, tokens] = [corpus.files.to_string(), show::bytes(corpus.bytes), show::short(corpus.tokens as f64)];
        table.row([name.as_str().into(), files.into(), size.into(), tokens.into(), basis.into(), epochs.into()]);
    }
    table
}

fn stages(stages: &[StageEstimate]) -> Table {
    let columns =
        [name("stage", 0), number("steps", 0), number("tokens", 0), number("FLOPs", 1), number("checkpoints", 2), number("kept", 2)];
    let mut table = Table::new(columns);
    for stage in stages {
        let [tokens, flops] = [stage.tokens as f64, stage.flops].map(|n| Cell::from(show::short(n)));
        let [steps, checkpoints, kept] = [stage.steps, stage.checkpoints, stage.kept].map(|n| Cell::from(show::count(n)));
        table.row([stage.name.as_str().into(), steps, tokens, flops, checkpoints, kept]);
    }
    table
}

/// Where a rank's memory goes, stage by stage.
fn memory(stages: &[StageEstimate]) -> Table {
    let mut table = Table::new([
        name("memory a rank", 0),
        number("total", 0),
        number("weights", 1),
        number("gradients", 2),
        number("moments", 2),
        number("checkpoint", 3),
        number("sums", 5),
        number("activations", 1),
        number("process", 4),
        number("on a GPU", 6),
    ]);
    for stage in stages {
        let Memory { weights, gradients, moments, checkpoint, sums, activations, process, total, on_gpu } = stage.memory_per_rank;
        let parts = [total, weights, gradients, moments, checkpoint, sums, activations, process, on_gpu];
        let shown = parts.map(|bytes| Cell::from(if bytes == 0 { "-".to_owned() } else { show::bytes(bytes) }));
        table.cells([stage.name.as_str().into()].into_iter().chain(shown));
    }
    table
}

fn exams(plan: &Plan) -> Table {
    let mut table = Table::new([name("after stage", 0), name("exam", 0), prose("variants", 0)]);
    for e in &plan.exams {
        table.row([e.stage.as_str().into(), e.exam.as_str().into(), e.variants.join(", ").into()]);
    }
    table
}

/// What it needs of this machine.
fn needs(plan: &Plan) -> Table {
    let known = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), show::bytes);
    let mut table = Table::new([name("", 0), number("needed at most", 0), number("here", 0), prose("of which", 1)]);
    let ranks = show::plural(plan.ranks.into(), "rank");
    let of_memory = format!("{ranks} x {}", show::bytes(plan.memory_all_ranks / u64::from(plan.ranks.max(1))));
    let (needed, here) = (show::bytes(plan.memory_all_ranks), known(plan.machine.available_memory));
    table.row(["memory".into(), needed.into(), here.into(), of_memory.into()]);
    let disk = &plan.estimate.disk;
    let of_disk = format!(
        "checkpoints {} ({} each), models {}, shards {}",
        show::bytes(disk.checkpoints),
        show::bytes(plan.estimate.checkpoint_bytes),
        show::bytes(disk.models),
        show::bytes(disk.shards)
    );
    table.row(["disk".into(), show::bytes(disk.total).into(), known(plan.machine.free_disk).into(), of_disk.into()]);
    let of_cores = format!("{ranks} x {}", show::plural(plan.threads_per_rank.into(), "thread"));
    let cores = plan.ranks.saturating_mul(plan.threads_per_rank).to_string();
    table.row(["cores".into(), cores.into(), plan.machine.cores.to_string().into(), of_cores.into()]);
    table
}
