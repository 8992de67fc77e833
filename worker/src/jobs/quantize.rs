//! A stage's exported model to a smaller one.

use crate::harness::{Failure, Job, user};
use anyhow::Context as _;
use osler_compress::CompressError;
use osler_core::ids::StageName;
use osler_core::job::{JobKind, JobResult, Summary};
use osler_core::spec::Method;
use std::collections::BTreeMap;
use std::fs;

/// Where the compressed model is among the outputs: one file, or files below a folder.
pub const GGUF: &str = "model.gguf";
pub const FOLDER: &str = "model/";
const REPORT: &str = "quantization.json";

pub fn run(job: &Job, stage: &StageName, method: Method) -> Result<JobResult, Failure> {
    job.say("fetching");
    let exported = job.input(&JobKind::Export { stage: stage.clone() })?;
    let folder = job.fetch_folder(exported, "")?;
    let made_by = osler_compress::Method::from(method);
    let out = job.scratch.join(if made_by.writes_file() { GGUF } else { "model" });
    job.say("quantizing");
    let report = osler_compress::quantize(&folder, made_by, &out).map_err(failure)?;
    let mut outputs = BTreeMap::new();
    if out.is_dir() {
        for file in &report.outputs {
            let name = format!("{FOLDER}{}", file.name);
            outputs.insert(name.clone(), job.publish(&out.join(&file.name), &name)?);
        }
    } else {
        outputs.insert(GGUF.to_owned(), job.publish(&out, GGUF)?);
    }
    let report_file = job.scratch.join(REPORT);
    fs::write(&report_file, serde_json::to_vec_pretty(&report).context("write report")?).context("write report")?;
    outputs.insert(REPORT.to_owned(), job.publish(&report_file, REPORT)?);
    let summary = Summary::Quantize {
        method,
        tensors: report.quantized.len() as u64,
        kept: (report.kept.len() + report.fallback.len()) as u64,
        bytes_before: report.bytes_before,
        bytes_after: report.bytes_after,
        bits_per_weight: report.bits_per_weight,
    };
    Ok(JobResult { outputs, summary })
}

/// The model is what it is: only trouble with files may pass.
fn failure(error: CompressError) -> Failure {
    if error.is_io() { error.into() } else { user(error) }
}
