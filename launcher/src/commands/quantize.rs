//! `osler quantize`: compresses a Hugging Face folder. The work is `osler-worker`'s, which this process becomes.

use super::Context;
use crate::binaries;
use crate::failure::{Outcome, usage};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Hugging Face folder: config.json and model.safetensors.
    model_dir: PathBuf,
    /// int8 makes a compressed-tensors folder, the others a GGUF file.
    #[arg(long, value_parser = ["int8", "gguf-q8_0", "gguf-f16", "gguf-f32"])]
    to: String,
    /// The folder or file to make; it must not be there yet.
    out: PathBuf,
}

pub fn run(args: Args, cx: &Context) -> Outcome {
    if !args.model_dir.join("config.json").is_file() {
        return Err(usage(format!("{}: not a Hugging Face folder: config.json is not in it", args.model_dir.display())));
    }
    let output = if cx.terminal().is_json() { "json" } else { "table" };
    let passed =
        ["quantize".into(), args.model_dir.into(), "--to".into(), args.to.into(), args.out.into(), "--output".into(), output.into()];
    Err(binaries::become_binary(binaries::WORKER, passed))
}
