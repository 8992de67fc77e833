//! Reads Hugging Face folders that others wrote, and compares the engine's logits with theirs.
//!
//! `check_logits FOLDER...`: each has `expected_logits.json` beside its weights, as `tests/python/make_models.py` writes it. Exits 1 when a
//! logit differs by more than 1e-4.
#![forbid(unsafe_code)]

use osler_engine::Device;
use osler_engine::models::Model;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

const LIMIT: f32 = 1e-4;

#[derive(serde::Deserialize)]
struct Expected {
    tokens: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let folders: Vec<String> = std::env::args().skip(1).collect();
    if folders.is_empty() {
        return Err("usage: check_logits FOLDER...".into());
    }
    let mut good = true;
    for folder in &folders {
        let worst = difference(Path::new(folder))?;
        let fits = worst <= LIMIT;
        println!("{} {folder}: largest difference {worst:.2e}", if fits { "ok  " } else { "FAIL" });
        good &= fits;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn difference(folder: &Path) -> Result<f32, Box<dyn Error>> {
    let expected: Expected = serde_json::from_slice(&std::fs::read(folder.join("expected_logits.json"))?)?;
    let found = Model::from_folder(folder, Device::Cpu)?.logits(&expected.tokens)?;
    let wanted: Vec<f32> = expected.logits.into_iter().flatten().collect();
    if wanted.is_empty() || wanted.len() != found.len() {
        return Err(format!("{}: {} logits, {} expected", folder.display(), found.len(), wanted.len()).into());
    }
    // A NaN is the largest difference of all.
    Ok(found.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, |worst, d| if d <= worst { worst } else { d }))
}
