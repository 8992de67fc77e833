//! `quantize METHOD MODEL_DIR OUT`: compresses a model folder and prints the report as JSON.

use osler_compress::{CompressError, Method, quantize};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [method, model_dir, out] = args.as_slice() else {
        eprintln!("usage: quantize METHOD MODEL_DIR OUT");
        return ExitCode::from(64);
    };
    match run(method, model_dir, out) {
        Ok(json) => {
            println!("{json}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(method: &str, model_dir: &str, out: &str) -> Result<String, CompressError> {
    let method: Method = method.parse()?;
    let report = quantize(Path::new(model_dir), method, Path::new(out))?;
    Ok(serde_json::to_string_pretty(&report).unwrap_or_else(|e| e.to_string()))
}
