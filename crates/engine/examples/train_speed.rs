//! Training speed of the peers' sizes, and its share of this machine's matrix product speed, measured in the same run.
//!
//! `cargo run --release -p osler-engine --example train_speed -- [SIZE] [RANKS] [THREADS] [STEPS]`, by default `tiny 1 1 8`. Prints one JSON
//! line. With more than one rank the program starts itself once per rank. Losses are printed too: with the peers' seed and tokens they
//! must be the peers' losses. `OSLER_BENCH_MODE` adds what a mode costs: `mask` (packed documents do not see each other), `parts` (four
//! micro-batches a rank) and `elastic` (the same four, summed in the fixed tree). With `OSLER_BENCH_PIN=1`, rank r runs on the cores from r times THREADS on (and rank 0's product on its own only).
#![forbid(unsafe_code)]

use osler_core::spec::{ComputeSpec, DecayOn, Determinism, Family, GuardSpec, ModelSpec, OptimizerSpec, ScheduleSpec};
use osler_engine::reduce::BUCKET_BYTES;
use osler_engine::step::{StepStats, Trainer, TrainerOptions};
use osler_engine::{Device, keep_pages, set_threads};
use osler_torch_dist::{GroupOptions, ProcessGroup, Store};
use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

type Fallible<T> = Result<T, Box<dyn Error>>;

const LIMIT: Duration = Duration::from_secs(300);
/// Steps that warm caches and allocator, not counted.
const WARM_UP: usize = 2;

struct Size {
    name: &'static str,
    dim: u32,
    layers: u32,
    heads: u32,
    ffn: u32,
    vocab: usize,
    length: u32,
    micro: u32,
}

const SIZES: [Size; 3] = [
    Size { name: "micro", dim: 64, layers: 2, heads: 2, ffn: 172, vocab: 512, length: 64, micro: 2 },
    Size { name: "tiny", dim: 256, layers: 8, heads: 8, ffn: 688, vocab: 8192, length: 256, micro: 8 },
    Size { name: "small", dim: 512, layers: 8, heads: 8, ffn: 1376, vocab: 16384, length: 512, micro: 4 },
];

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| arguments.get(at).map_or(Ok(default), |a| a.parse());
    let name = arguments.first().map_or("tiny", String::as_str);
    let size = SIZES.iter().find(|s| s.name == name).ok_or("SIZE is micro, tiny or small")?;
    let (ranks, threads, steps) = (number(1, 1)?, number(2, 1)?, number(3, 8)?);
    set_threads(threads)?;
    keep_pages()?;
    let pinned = std::env::var_os("OSLER_BENCH_PIN").is_some();
    if let (Some(rank), Some(port)) = (arguments.get(4), arguments.get(5)) {
        let store = Store::connect("127.0.0.1", port.parse()?, ranks, LIMIT)?;
        return rank_of_gang(size, rank.parse()?, ranks, steps, &store).map(drop);
    }
    let peak = matrix_gflops(ranks * threads)?;
    set_threads(threads)?;
    let store = Store::host([127, 0, 0, 1].into(), 0, ranks, LIMIT)?;
    let others = (1..ranks).map(|rank| {
        let mut command = if pinned {
            let mut command = Command::new("taskset");
            command.args(["-c", &format!("{}-{}", rank * threads, (rank + 1) * threads - 1)]).arg(std::env::current_exe()?);
            command
        } else {
            Command::new(std::env::current_exe()?)
        };
        command.args([
            name.to_owned(),
            ranks.to_string(),
            threads.to_string(),
            steps.to_string(),
            rank.to_string(),
            store.port().to_string(),
        ]);
        command.spawn()
    });
    let others = others.collect::<Result<Vec<_>, _>>()?;
    let stats = rank_of_gang(size, 0, ranks, steps, &store)?;
    for mut other in others {
        other.wait()?;
    }
    report(size, ranks, threads, peak, &stats);
    Ok(())
}

fn rank_of_gang(size: &Size, rank: usize, ranks: usize, steps: usize, store: &Store) -> Fallible<Vec<Timed>> {
    let group = if ranks > 1 { Some(ProcessGroup::gloo(store, GroupOptions::new(rank, ranks, 1, LIMIT))?) } else { None };
    let mut trainer = Trainer::new(options(size, ranks, steps), group)?;
    let mut all = vec![];
    for step in 0..steps {
        let rows: Vec<Vec<u32>> = (0..size.micro as usize).map(|b| tokens(size, (step * ranks + rank) * size.micro as usize + b)).collect();
        let rows: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let stats = trainer.step(&rows, 0)?;
        all.push(Timed { stats, wall: start.elapsed().as_secs_f64(), cpu: cpu_seconds() - cpu });
    }
    Ok(all)
}

fn options(size: &Size, ranks: usize, steps: usize) -> TrainerOptions {
    let model = ModelSpec {
        family: Family::Llama,
        dim: size.dim,
        layers: size.layers,
        heads: size.heads,
        kv_heads: size.heads,
        head_dim: None,
        ffn: size.ffn,
        max_positions: size.length,
        tied: false,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        init_std: 0.02,
    };
    let mode = std::env::var("OSLER_BENCH_MODE").unwrap_or_default();
    let elastic = mode == "elastic";
    TrainerOptions {
        model,
        vocab: size.vocab,
        seed: 1,
        optimizer: OptimizerSpec { lr: 3e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: DecayOn::All, clip: 1.0 },
        schedule: ScheduleSpec::constant(),
        guard: GuardSpec::default(),
        total_steps: steps as u64,
        global_batch: size.micro * ranks as u32,
        micro_batch: if elastic || mode == "parts" { size.micro / 4 } else { size.micro },
        sequence_length: size.length,
        compute: ComputeSpec { document_mask: mode == "mask", ..ComputeSpec::default() },
        determinism: if elastic { Determinism::Elastic } else { Determinism::Fast },
        zero: true,
        end_of_text: Some(0),
        device: Device::Cpu,
        timeout: LIMIT,
        bucket_bytes: BUCKET_BYTES,
    }
}

/// Row `row` of the peers' token stream.
fn tokens(size: &Size, row: usize) -> Vec<u32> {
    let hash = |t: u64| {
        let x = ((1u64 << 32) + row as u64 * u64::from(size.length + 1) + t).wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    };
    let mut x = hash(0) % size.vocab as u64;
    let mut all = vec![x as u32];
    for t in 1..=u64::from(size.length) {
        x = (5 * x + 7 + hash(t) % 4) % size.vocab as u64;
        all.push(x as u32);
    }
    all
}

struct Timed {
    stats: StepStats,
    wall: f64,
    cpu: f64,
}

/// Time that this process has spent on a core, over all threads: other work on the machine touches it least.
fn cpu_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    tasks.filter_map(spent).sum::<f64>() / 1e9
}

/// The most memory that this process has had.
fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or_default() / 1024.0
}

/// Speed of an f32 2048 x 2048 x 2048 product, by wall clock and by CPU time of one core; medians.
fn matrix_gflops(threads: usize) -> Fallible<(f64, f64)> {
    const N: i64 = 2048;
    set_threads(threads)?;
    let (a, b) = (Tensor::randn([N, N], (Kind::Float, Device::Cpu)), Tensor::randn([N, N], (Kind::Float, Device::Cpu)));
    let out = Tensor::empty([N, N], (Kind::Float, Device::Cpu));
    let (mut wall, mut cpu): (Vec<f64>, Vec<f64>) = (0..12)
        .map(|_| {
            let (start, spent) = (Instant::now(), cpu_seconds());
            let _ = a.mm_out(&out, &b);
            (start.elapsed().as_secs_f64(), cpu_seconds() - spent)
        })
        .skip(2)
        .unzip();
    let work = 2.0 * (N as f64).powi(3) / 1e9;
    Ok((work / median(&mut wall), work / median(&mut cpu)))
}

fn report(size: &Size, ranks: usize, threads: usize, (peak, peak_by_cpu): (f64, f64), all: &[Timed]) {
    let timed = all.get(WARM_UP..).filter(|s| !s.is_empty()).unwrap_or(all);
    let middle = |pick: fn(&Timed) -> f64| median(&mut timed.iter().map(pick).collect::<Vec<_>>());
    let (step, cpu) = (middle(|t| t.wall), middle(|t| t.cpu));
    let tokens = all.first().map_or(0, |t| t.stats.tokens) as f64;
    let per_layer = 4 * u64::from(size.dim).pow(2) + 3 * u64::from(size.dim) * u64::from(size.ffn);
    let multiplied = u64::from(size.layers) * per_layer + size.vocab as u64 * u64::from(size.dim);
    let gflop = 6.0 * multiplied as f64 * tokens / 1e9;
    let round = |value: f64| (value * 1e3).round() / 1e3;
    let line = serde_json::json!({
        "size": size.name, "ranks": ranks, "threads": threads, "steps": all.len(),
        "tokens_per_s": (tokens / step).round(), "step_s": round(step), "sgemm_gflops": peak.round(),
        "share_of_sgemm": round(gflop / step / peak),
        // Rank 0's own CPU time against the product's: what the share would be on a machine without other work.
        "cpu_s": round(cpu), "share_of_sgemm_by_cpu": round(gflop / ranks as f64 / cpu / peak_by_cpu),
        "forward_s": round(middle(|t| t.stats.phases.forward)), "backward_s": round(middle(|t| t.stats.phases.backward)),
        "peak_rss_mib": peak_rss_mib().round(),
        "communication_s": round(middle(|t| t.stats.phases.communication)), "update_s": round(middle(|t| t.stats.phases.update)),
        "losses": all.iter().map(|t| (t.stats.loss * 1e6).round() / 1e6).collect::<Vec<_>>(),
    });
    println!("{line}");
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
