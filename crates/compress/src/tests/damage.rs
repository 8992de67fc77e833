//! Damaged models: opened or refused by name, in bounded time and memory, and never a panic.

use super::folder;
use crate::{Method, fixtures, open_quantized, quantize};
use osler_core::mutate::{damaged, rounds};
use std::fs;
use std::path::{Path, PathBuf};

/// Models that are larger than the damage may be would only be cut off.
const LARGEST: usize = 1 << 16;

fn check(path: &Path) -> Result<(), String> {
    let model = open_quantized(path).map_err(|e| e.to_string())?;
    let names: Vec<String> = model.names().map(str::to_owned).collect();
    names.iter().try_for_each(|name| model.tensor(name).map(drop)).map_err(|e| e.to_string())
}

/// Each file of a model in turn, damaged while the others are whole.
fn damage(model: &Path, files: &[PathBuf], limit: u64) {
    let wanted = rounds(std::env::var("OSLER_FUZZ").ok().as_deref()).min(limit);
    for file in files {
        let whole = fs::read(file).unwrap();
        assert!(whole.len() <= LARGEST, "{}: {} bytes", file.display(), whole.len());
        let mut refused = 0;
        for round in 0..wanted {
            fs::write(file, damaged(std::slice::from_ref(&whole), round)).unwrap();
            if let Err(message) = check(model) {
                refused += 1;
                let name = model.file_name().unwrap().to_str().unwrap();
                assert!(message.contains(name), "round {round} of {}: {message}", file.display());
            }
        }
        assert!(refused > 0, "{}: no damage was found", file.display());
        fs::write(file, whole).unwrap();
        check(model).unwrap();
    }
}

#[test]
fn damaged_models_are_opened_or_refused_by_name() {
    let config = fixtures::llama_config(true);
    let (dir, model) = folder(&config, &fixtures::tensors(&config));
    for method in [Method::GgufQ8_0, Method::GgufF16] {
        let out = dir.path().join(format!("model-{method}.gguf"));
        quantize(&model, method, &out).unwrap();
        damage(&out, std::slice::from_ref(&out), 2_000);
    }
    let out = dir.path().join("model-int8");
    quantize(&model, Method::Int8, &out).unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| ["config.json", "model.safetensors"].iter().any(|name| file.ends_with(name)));
    assert_eq!(files.len(), 2);
    damage(&out, &files, 1_000);
}
