//! `osler-worker quantize`: compresses any model that Osler can read, without a run. The `osler` command passes its arguments on.

use clap::ValueEnum;
use osler_compress::Method;
use osler_core::json;
use osler_core::output::{document, error_document, harmless, printable};
use osler_core::process::exit;
use std::path::PathBuf;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Hugging Face folder.
    model: PathBuf,
    /// int8 (a compressed-tensors folder), gguf-q8_0, gguf-f16 or gguf-f32 (a file).
    #[arg(long)]
    to: Method,
    /// Must not exist; appears whole or not at all.
    out: PathBuf,
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

pub fn run(args: &Args) -> i32 {
    let report = match osler_compress::quantize(&args.model, args.to, &args.out) {
        Ok(report) => report,
        Err(error) => {
            let (kind, code) = if error.is_io() { ("failed", exit::FAILED) } else { ("usage", exit::USAGE) };
            let message = error.to_string();
            match args.output {
                Format::Json => {
                    eprintln!("{}", harmless(&json::text(&error_document(kind, &message, None, code))))
                }
                Format::Table => eprintln!("error: {}", printable(&message)),
            }
            return code;
        }
    };
    match args.output {
        Format::Table => print!("{}", printable(&report.to_string())),
        Format::Json => match serde_json::to_string(&document("quantization", &report)) {
            Ok(json) => println!("{}", harmless(&json)),
            Err(error) => {
                eprintln!("error: {error}");
                return exit::FAILED;
            }
        },
    }
    exit::OK
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_compress::QuantReport;

    #[test]
    fn every_field_of_the_document_is_described() {
        let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/output.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let section = docs.split("### `quantization`").nth(1).and_then(|rest| rest.split("### ").next()).unwrap();
        let report = QuantReport {
            method: Method::Int8,
            quantized: vec![],
            kept: vec![],
            fallback: vec![],
            dropped: vec![],
            tensors: vec![],
            bytes_before: 0,
            bytes_after: 0,
            bits_per_weight: 0.0,
            outputs: vec![],
            notes: vec![],
        };
        let document = serde_json::to_value(document("quantization", report)).unwrap();
        assert_eq!(document["schema"], "osler/v1 quantization");
        for key in document.as_object().unwrap().keys().filter(|key| *key != "schema") {
            assert!(section.contains(&format!("`{key}`")), "docs/output.md does not describe {key:?} of a quantization");
        }
    }
}
