//! `osler plan`: what a run will take. Starts nothing, writes nothing.

use crate::failure::{Failure, Outcome, failed, usage};
use crate::machine;
use crate::planning::{Basis, Machine, Plan, planned};
use crate::run_file::RunFile;
use crate::show::{self, Format, Grid};
use crate::stored;
use osler_core::estimate::{Memory, StageEstimate};
use osler_runtime::store::{Store, local_folder};
use std::net::TcpListener;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    file: RunFile,
    /// Where the run would be kept: its free disk counts.
    #[arg(long, env = "OSLER_STORE", default_value = "./osler-store", value_name = "STORE")]
    store: String,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub async fn run(args: &Args) -> Outcome {
    let resolved = args.file.resolve()?;
    // Of a remote store only what this machine keeps beside it lies here.
    let folder = local_folder(&args.store)?;
    let earlier = if args.store.contains("://") || folder.is_dir() {
        let record = stored::record(&Store::open(&args.store)?, &resolved.spec.name).await?;
        record.filter(|record| record.spec_digest == resolved.spec.digest())
    } else {
        None
    };
    let machine = Machine {
        cores: machine::cores(),
        available_memory: machine::available_memory(),
        free_disk: machine::free_disk(&folder),
        no_port: TcpListener::bind("127.0.0.1:0").err().map(|e| e.to_string()),
    };
    let plan = planned(&resolved, earlier.as_ref(), machine);
    match args.output {
        Format::Json => show::json(&plan)?,
        Format::Table => show::out(&text(&plan))?,
    }
    verdict(&plan, resolved.problems.len())
}

/// Files that are missing are the file's fault, the rest is the machine's.
fn verdict(plan: &Plan, problems: usize) -> Result<(), Failure> {
    if problems > 0 {
        return Err(usage(format!("run {} cannot start: {} with its files", plan.run, show::plural(problems as u64, "problem"))));
    }
    if plan.would_fail.is_empty() { Ok(()) } else { Err(failed(format!("run {} would fail on this machine", plan.run))) }
}

fn text(plan: &Plan) -> String {
    let estimate = &plan.estimate;
    let mut text = format!("run {}  {}\nrun file sha256 {}\n", plan.run, show::clean(&plan.description), plan.spec_digest);
    let p = &estimate.parameters;
    text.push_str(&format!(
        "\nmodel: {} parameters ({} without embeddings), vocabulary {}\n",
        show::short(p.total as f64),
        show::short(p.non_embedding as f64),
        show::count(estimate.vocab.into())
    ));
    let jobs: Vec<String> = plan.jobs.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    text.push_str(&format!("jobs: {} ({})\n", plan.jobs_total, jobs.join(", ")));

    let mut grid = Grid::new(&["corpus", ">files", ">size", ">tokens", "", ">epochs"]);
    let mut guessed = false;
    for (name, corpus) in &plan.corpora {
        guessed |= corpus.basis == Basis::FileSizes;
        let basis = if corpus.basis == Basis::Packed { "packed" } else { "estimate" };
        let epochs = estimate.epochs.get(name).map_or_else(|| "unknown".to_owned(), |passes| format!("{passes:.2}"));
        grid.row([
            name.to_string(),
            corpus.files.to_string(),
            show::bytes(corpus.bytes),
            show::short(corpus.tokens as f64),
            basis.into(),
            epochs,
        ]);
    }
    text.push_str(&format!("\n{}", grid.text()));
    if guessed {
        text.push_str("Estimates are rough guesses from file sizes; tokens and epochs are known only after packing.\n");
    }

    let mut grid = Grid::new(&["stage", ">steps", ">tokens", ">FLOPs", ">checkpoints", ">kept"]);
    for stage in &estimate.stages {
        grid.row([
            stage.name.to_string(),
            show::count(stage.steps),
            show::short(stage.tokens as f64),
            show::short(stage.flops),
            show::count(stage.checkpoints),
            show::count(stage.kept),
        ]);
    }
    text.push_str(&format!("\n{}\n{}", grid.text(), memory(&estimate.stages)));

    if !plan.exams.is_empty() {
        let mut grid = Grid::new(&["after stage", "exam", "variants"]);
        for e in &plan.exams {
            grid.row([e.stage.clone(), e.exam.clone(), e.variants.join(", ")]);
        }
        text.push_str(&format!("\n{}", grid.text()));
    }

    let known = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), show::bytes);
    let mut grid = Grid::new(&["", ">needed at most", ">here", "of which"]);
    let of_memory =
        format!("{} x {}", show::plural(plan.ranks.into(), "rank"), show::bytes(plan.memory_all_ranks / u64::from(plan.ranks.max(1))));
    grid.row(["memory".into(), show::bytes(plan.memory_all_ranks), known(plan.machine.available_memory), of_memory]);
    let disk = &estimate.disk;
    let of_disk = format!(
        "checkpoints {} ({} each), models {}, shards {}",
        show::bytes(disk.checkpoints),
        show::bytes(estimate.checkpoint_bytes),
        show::bytes(disk.models),
        show::bytes(disk.shards)
    );
    grid.row(["disk".into(), show::bytes(disk.total), known(plan.machine.free_disk), of_disk]);
    let of_cores = format!("{} x {}", show::plural(plan.ranks.into(), "rank"), show::plural(plan.threads_per_rank.into(), "thread"));
    grid.row(["cores".into(), plan.ranks.saturating_mul(plan.threads_per_rank).to_string(), plan.machine.cores.to_string(), of_cores]);
    text.push_str(&format!("\n{}", grid.text()));

    for (title, lines) in [("would fail:", &plan.would_fail), ("unwise, though possible:", &plan.warnings)] {
        if !lines.is_empty() {
            let lines: String = lines.iter().map(|line| format!("  - {}\n", show::clean(line))).collect();
            text.push_str(&format!("\n{title}\n{lines}"));
        }
    }
    if plan.would_fail.is_empty() {
        text.push_str("\nnothing is known that would make it fail here\n");
    }
    text
}

/// Where a rank's memory goes, stage by stage.
fn memory(stages: &[StageEstimate]) -> String {
    let header =
        ["memory a rank", ">weights", ">gradients", ">moments", ">checkpoint", ">sums", ">activations", ">process", ">total", ">on a GPU"];
    let mut grid = Grid::new(&header);
    for stage in stages {
        let Memory { weights, gradients, moments, checkpoint, sums, activations, process, total, on_gpu } = stage.memory_per_rank;
        let parts = [weights, gradients, moments, checkpoint, sums, activations, process, total, on_gpu];
        let shown = parts.map(|bytes| if bytes == 0 { "-".to_owned() } else { show::bytes(bytes) });
        grid.cells([stage.name.to_string()].into_iter().chain(shown));
    }
    grid.text()
}
