//! The shipped run files, word for word as their headers say: an invented world, then the smoke tier, on this machine, to the end.
//!
//! That the tiers keep the models' proportions is tested beside the parser (`crates/core/src/spec/parse/shipped.rs`).

use crate::cluster::{binary, wait_for};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A folder with `configs/` as it is shipped and an invented world beside it.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        fs::create_dir(bench.0.path().join("configs")).unwrap();
        for entry in fs::read_dir(shipped).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), bench.0.path().join("configs").join(entry.file_name())).unwrap();
        }
        bench.osler(&["demo", "osler-demo"]);
        bench
    }

    /// Runs one command to its end; what it said must be success.
    fn osler(&self, arguments: &[&str]) -> String {
        let log = self.0.path().join("log");
        let file = || Stdio::from(fs::File::options().create(true).append(true).open(&log).unwrap());
        let out = self.0.path().join("out");
        let mut command = Command::new(binary("osler"));
        command.args(arguments).current_dir(self.0.path()).env_remove("OSLER_STORE");
        let mut child = command.stdout(fs::File::create(&out).unwrap()).stderr(file()).spawn().unwrap();
        let status = wait_for(&format!("osler {arguments:?} has ended"), || child.try_wait().unwrap());
        let said = fs::read_to_string(&out).unwrap();
        assert!(status.success(), "osler {arguments:?}: {status}\n{said}\n{}", fs::read_to_string(&log).unwrap());
        said
    }

    /// A tier of one run file to the end: finished, every sample once, and steps that lower the loss.
    fn run(&self, file: &str, tier: &str, name: &str, steps: usize) {
        self.osler(&["up", &format!("configs/{file}"), "--tier", tier]);
        let json = |command: &str| -> Value { serde_json::from_str(&self.osler(&[command, name, "--output", "json"])).unwrap() };
        let audit = json("audit");
        assert_eq!((audit["state"].as_str(), audit["clean"].as_bool()), (Some("finished"), Some(true)), "{file} {tier}: {audit}");
        let report = json("report");
        let stage = &report["stages"][0];
        let losses: Vec<f64> = stage["losses"].as_array().unwrap().iter().map(|point| point["loss"].as_f64().unwrap()).collect();
        assert_eq!((stage["steps"].as_u64(), losses.len()), (Some(steps as u64), steps), "{file} {tier}: {stage}");
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let few = steps / 8;
        assert!(mean(&losses[steps - few..]) < mean(&losses[..few]), "{file} {tier} learned nothing: {losses:?}");
    }
}

#[test]
fn slow_biomedlm_runs_at_its_smoke_tier() {
    Bench::new().run("biomedlm-2.7b.toml", "smoke", "biomedlm-smoke", 40);
}

#[test]
fn slow_a_bert_runs_at_its_smoke_tier() {
    Bench::new().run("pubmedbert-base.toml", "smoke", "pubmedbert-smoke", 60);
}

/// The base is trained, exported as a Hugging Face folder, and continued from there.
#[test]
fn slow_llama2_is_continued_at_its_smoke_tier() {
    let bench = Bench::new();
    bench.run("llama2-7b-continued.toml", "base", "llama2-base", 40);
    bench.osler(&["export", "llama2-base", "--stage", "continued", "osler-base/llama2"]);
    bench.run("llama2-7b-continued.toml", "smoke", "llama2-smoke", 40);
}
