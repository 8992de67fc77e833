//! What a GPU gives: numbers against the CPU's, NCCL, a checkpoint round trip, then speed. Prints a table, or with `--json` one JSON line.
//!
//! `make gpu-check CUDA=1` builds it as one file that needs a driver and torch 2.11's libraries only: put their folder into
//! LD_LIBRARY_PATH, or the file beside them. A part that this machine cannot run is *not run* and says why; the exit code is 1 only when
//! a part that ran failed. Speeds and ranks run in processes of their own, so that one that ends for want of memory ends alone.
#![forbid(unsafe_code)]

mod numbers;
mod setup;
mod speed;

use osler_engine::Device;
use osler_torch_dist::{GroupOptions, ProcessGroup, Store, cuda_device};
use serde_json::{Value, json};
use setup::{Fallible, LIMIT, Machine};
use std::process::{Command, ExitCode};
use tch::{Kind, Tensor};

/// How one part ended; `Ok` holds what was measured.
type Outcome = Result<Value, Ended>;

enum Ended {
    NotRun(String),
    Failed(String),
}

impl<E: std::fmt::Display> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => check(false),
        ["--json"] => check(true),
        ["rank", rank, world, port] => child(rank_of_gang(rank, world, port).map(|()| Value::Null)),
        ["speed", name] => child(speed::measure(name)),
        _ => {
            eprintln!("usage: gpu-check [--json]");
            ExitCode::from(64)
        }
    }
}

fn child(result: Fallible<Value>) -> ExitCode {
    match result {
        Ok(value) => {
            println!("{value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn check(as_json: bool) -> ExitCode {
    let machine = Machine::look();
    let place = if machine.gpus > 0 { Device::Cuda(0) } else { Device::Cpu };
    let mut parts: Vec<(String, Outcome)> = vec![
        (format!("fp32 losses of CPU and GPU agree within {}", numbers::FP32_BAND), gpu(&machine).and_then(numbers::agree)),
        (format!("bf16 losses stay within {} of fp32's, {place:?}", numbers::BF16_BAND), numbers::bf16(place)),
        (format!("checkpoint round trip, {place:?}"), numbers::round_trip(place)),
        ("Gloo, one rank".to_owned(), collectives_alone(Device::Cpu)),
        ("NCCL, one rank".to_owned(), gpu(&machine).and_then(collectives_alone)),
        (format!("NCCL, all GPUs ({})", machine.gpus), gang(&machine)),
    ];
    for shape in &speed::SHAPES {
        let ran = gpu(&machine).and_then(|_| speed::fits(shape, &machine)).and_then(|()| in_process(&["speed", shape.name]));
        parts.push((format!("speed: {}", shape.describe()), ran));
    }
    if as_json {
        println!("{}", as_document(&machine, &parts))
    } else {
        print_table(&machine, &parts)
    }
    let failed = parts.iter().any(|(_, outcome)| matches!(outcome, Err(Ended::Failed(_))));
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn gpu(machine: &Machine) -> Result<Device, Ended> {
    machine.first_gpu.clone().map_err(Ended::NotRun)
}

/// Runs this program again with `arguments`; it prints what it found as its last line.
fn in_process(arguments: &[&str]) -> Outcome {
    let output = Command::new(std::env::current_exe()?).args(arguments).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().last().unwrap_or_default().to_owned();
    if !output.status.success() {
        return Err(Ended::Failed(format!("{}: {}", output.status, text(&output.stderr))));
    }
    Ok(serde_json::from_str(&text(&output.stdout))?)
}

fn collectives_alone(device: Device) -> Outcome {
    let store = Store::host([127, 0, 0, 1].into(), 0, 1, LIMIT)?;
    let options = GroupOptions::new(0, 1, 1, LIMIT);
    let group = match device {
        Device::Cuda(index) => ProcessGroup::nccl(&store, options, index)?,
        _ => ProcessGroup::gloo(&store, options)?,
    };
    Ok(collectives(&group).map(|()| json!({ "ranks": 1 }))?)
}

fn gang(machine: &Machine) -> Outcome {
    gpu(machine)?;
    if machine.gpus < 2 {
        return Err(Ended::NotRun("there is one GPU, and NCCL wants one for each rank".to_owned()));
    }
    let store = Store::host([127, 0, 0, 1].into(), 0, machine.gpus, LIMIT)?;
    let (world, port) = (machine.gpus.to_string(), store.port().to_string());
    let start = |rank: usize| Command::new(std::env::current_exe()?).args(["rank", &rank.to_string(), &world, &port]).spawn();
    let ranks = (0..machine.gpus).map(start).collect::<Result<Vec<_>, std::io::Error>>()?;
    let mut bad = vec![];
    for (rank, mut process) in ranks.into_iter().enumerate() {
        let status = process.wait()?;
        if !status.success() {
            bad.push(format!("rank {rank}: {status}"));
        }
    }
    if bad.is_empty() { Ok(json!({ "ranks": machine.gpus })) } else { Err(Ended::Failed(bad.join(", "))) }
}

fn rank_of_gang(rank: &str, world: &str, port: &str) -> Fallible<()> {
    let (rank, world) = (rank.parse()?, world.parse()?);
    let store = Store::connect("127.0.0.1", port.parse()?, world, LIMIT)?;
    cuda_device(rank)?;
    collectives(&ProcessGroup::nccl(&store, GroupOptions::new(rank, world, 1, LIMIT), rank)?)
}

/// Every collective of the step, with numbers that can be told.
fn collectives(group: &ProcessGroup) -> Fallible<()> {
    let (rank, world) = (group.rank() as f64, group.world_size());
    let place = (Kind::Float, group.device());
    let all: f64 = (0..world).map(|r| r as f64 + 1.0).sum();
    let is = |tensor: &Tensor, wanted: f64, name: &str| match (tensor - wanted).abs().max().double_value(&[]) {
        0.0 => Ok(()),
        off => Err(format!("{name} is off by {off}")),
    };
    let mut tensor = Tensor::full([1 << 20], rank + 1.0, place);
    group.all_reduce_sum(&mut tensor)?.wait(LIMIT)?;
    is(&tensor, all, "all_reduce_sum")?;
    let mut tensor = Tensor::full([1 << 20], rank + 1.0, place);
    group.reduce_sum(&mut tensor, 0)?.wait(LIMIT)?;
    if group.rank() == 0 {
        is(&tensor, all, "reduce_sum")?;
    }
    let mut whole = Tensor::full([world as i64 * 1024], rank + 1.0, place);
    let mut share = Tensor::zeros([1024], place);
    group.reduce_scatter_sum(&mut share, &mut whole)?.wait(LIMIT)?;
    is(&share, all, "reduce_scatter_sum")?;
    group.all_gather_into(&mut whole, &share)?.wait(LIMIT)?;
    is(&whole, all, "all_gather_into")?;
    let mut tensor = Tensor::full([1024], rank + 1.0, place);
    group.broadcast(&mut tensor, world - 1)?.wait(LIMIT)?;
    is(&tensor, world as f64, "broadcast")?;
    group.barrier()?.wait(LIMIT)?;
    group.agree("this check", 7, LIMIT)?;
    Ok(())
}

fn as_document(machine: &Machine, parts: &[(String, Outcome)]) -> Value {
    let part = |(name, outcome): &(String, Outcome)| match outcome {
        Ok(found) => json!({ "part": name, "outcome": "ok", "found": found }),
        Err(Ended::NotRun(reason)) => json!({ "part": name, "outcome": "not run", "reason": reason }),
        Err(Ended::Failed(reason)) => json!({ "part": name, "outcome": "failed", "reason": reason }),
    };
    json!({ "gpus": machine.gpus, "gpu": machine.name, "memory_mib": machine.memory_mib, "parts": parts.iter().map(part).collect::<Vec<_>>() })
}

fn print_table(machine: &Machine, parts: &[(String, Outcome)]) {
    println!("GPUs: {} {}", machine.gpus, machine.name.as_deref().unwrap_or_default());
    for (name, outcome) in parts {
        let (word, rest) = match outcome {
            Ok(found) => ("ok", found.to_string()),
            Err(Ended::NotRun(reason)) => ("not run", reason.clone()),
            Err(Ended::Failed(reason)) => ("FAILED", reason.clone()),
        };
        println!("{word:8} {name}: {rest}");
    }
}
