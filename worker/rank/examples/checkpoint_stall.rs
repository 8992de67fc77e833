//! What a checkpoint costs training, for `make bench`: size small, with one process for each rank, as in a gang.
//!
//!     checkpoint_stall REPEATS RANKS FOLDER
//!
//! A rank does what the train job does: copies its slice of weights and moments, hands it to the writer, and goes on with its steps while
//! that digests, writes and forces to disk. The stall is the copy; the slow-down is how much longer the steps beside the write took than
//! the same steps without. Of the slowest rank. Prints one line a repetition: figure, unit, seconds by wall clock, by CPU time.
#![forbid(unsafe_code)]

#[path = "../src/writer.rs"]
mod writer;

use osler_core::accounting::Usage;
use osler_core::checkpoint::PhaseSeconds;
use osler_core::spec::{ComputeSpec, DecayOn, Determinism, Family, GuardSpec, ModelSpec, OptimizerSpec, ScheduleSpec};
use osler_engine::Device;
use osler_engine::checkpoint::Slice;
use osler_engine::reduce::BUCKET_BYTES;
use osler_engine::step::{Trainer, TrainerOptions};
use osler_runtime::store::BlockingStore;
use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Write, stdin};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};
use writer::{Order, Writer};

type Fallible<T> = Result<T, Box<dyn Error>>;

const PHASES: [&str; 3] = ["stall of the loop", "slow-down of the steps beside the write", "steps without a write"];
/// Long enough for the write to end beside them.
const STEPS: usize = 5;
const TOKENS: u32 = 128;

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [repeats, ranks, folder, rank @ ..] = arguments.as_slice() else {
        return Err("usage: checkpoint_stall REPEATS RANKS FOLDER".into());
    };
    let (repeats, ranks): (usize, u32) = (repeats.parse()?, ranks.parse()?);
    if repeats == 0 || ranks == 0 {
        return Err("REPEATS and RANKS are at least 1".into());
    }
    if let Some(rank) = rank.first() {
        return save_when_told(rank.parse()?, ranks, Path::new(folder));
    }
    let mut gang = (0..ranks).map(|rank| Rank::start(rank, &arguments)).collect::<Fallible<Vec<_>>>()?;
    for rank in &mut gang {
        rank.answer()?;
    }
    // The first goes uncounted: it grows the allocator and makes the folders.
    for repetition in 0..=repeats {
        for rank in &mut gang {
            writeln!(rank.orders, "save")?;
        }
        let times = gang.iter_mut().map(Rank::answer).collect::<Fallible<Vec<_>>>()?;
        for (phase, name) in PHASES.iter().enumerate().filter(|_| repetition > 0) {
            let slowest = |column: usize| times.iter().filter_map(|t| t.get(2 * phase + column)).copied().fold(0.0, f64::max);
            println!("checkpoint of small, {ranks} rank(s): {name}\ts\t{}\t{}", slowest(0), slowest(1));
        }
    }
    for rank in gang {
        rank.end()?;
    }
    Ok(())
}

/// A rank's process: a line in for each checkpoint, a line of seconds out.
struct Rank {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Rank {
    fn start(rank: u32, arguments: &[String]) -> Fallible<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(arguments).arg(rank.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().ok_or("no pipe to the rank")?;
        let answers = BufReader::new(child.stdout.take().ok_or("no pipe from the rank")?).lines();
        Ok(Self { child, orders, answers })
    }

    fn answer(&mut self) -> Fallible<Vec<f64>> {
        // What begins with a brace is the writer's report to an agent.
        let is_report = |line: &Result<String, _>| line.as_ref().is_ok_and(|line| line.starts_with('{'));
        let line = self.answers.find(|line| !is_report(line)).ok_or("a rank ended early")??;
        Ok(line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
    }

    fn end(self) -> Fallible<()> {
        let Self { mut child, orders, .. } = self;
        drop(orders);
        if child.wait()?.success() { Ok(()) } else { Err("a rank failed".into()) }
    }
}

fn save_when_told(rank: u32, ranks: u32, folder: &Path) -> Fallible<()> {
    osler_engine::set_threads(1)?;
    let mut trainer = Trainer::new(options(), None)?;
    let tokens: Vec<u32> = (0..=TOKENS).collect();
    let steps = |trainer: &mut Trainer| (0..STEPS).try_for_each(|_| trainer.step(&[&tokens], 0).map(drop));
    steps(&mut trainer)?; // moments that are not all zero
    let store = BlockingStore::open(&folder.join("store").to_string_lossy())?;
    let scratch = folder.join(format!("scratch-{rank}"));
    std::fs::create_dir_all(&scratch)?;
    let mut writer = Writer::start(store, scratch, trainer.layout().slice(rank, ranks).len())?;
    writer.check().map_err(|failed| failed.error)?;
    println!();
    for order in stdin().lines() {
        order?;
        let start = Mark::now();
        steps(&mut trainer)?;
        let plain = Mark::now();
        let room = writer.room().map_err(|failed| failed.error)?;
        let slice = trainer.slice_into(room, rank, ranks)?;
        let copied = Mark::now();
        writer.write(to_write(slice, rank, ranks)).map_err(|failed| failed.error)?;
        steps(&mut trainer)?;
        let beside = Mark::now();
        let (without, with) = (start.until(&plain), copied.until(&beside));
        let slower = [with[0] - without[0], with[1] - without[1]];
        let phases = [plain.until(&copied), slower, without];
        println!("{}", phases.concat().iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    }
    writer.finish().map_err(|failed| failed.error.into())
}

fn to_write(slice: Slice, rank: u32, world_size: u32) -> Order {
    let (seconds, usage) = (PhaseSeconds::default(), Usage::default());
    Order { slice, path: format!("parts/{rank}"), rank, world_size, step: 1, ledger: vec![], seconds, usage, awaited: false }
}

struct Mark {
    wall: Instant,
    cpu: f64,
}

impl Mark {
    fn now() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    fn until(&self, later: &Self) -> [f64; 2] {
        [later.wall.duration_since(self.wall).as_secs_f64(), later.cpu - self.cpu]
    }
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

/// Size small, as in the engine's `train_speed`.
fn options() -> TrainerOptions {
    let model = ModelSpec {
        family: Family::Llama,
        dim: 512,
        layers: 8,
        heads: 8,
        kv_heads: 8,
        head_dim: None,
        ffn: 1376,
        max_positions: 512,
        tied: false,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: None,
        init_std: 0.02,
    };
    TrainerOptions {
        model,
        vocab: 16_384,
        seed: 1,
        optimizer: OptimizerSpec { lr: 3e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: DecayOn::All, clip: 1.0 },
        schedule: ScheduleSpec::constant(),
        guard: GuardSpec::default(),
        total_steps: 1_000_000,
        global_batch: 1,
        micro_batch: 1,
        sequence_length: TOKENS,
        compute: ComputeSpec::default(),
        determinism: Determinism::Fast,
        zero: true,
        end_of_text: None,
        device: Device::Cpu,
        timeout: Duration::from_secs(60),
        bucket_bytes: BUCKET_BYTES,
    }
}
