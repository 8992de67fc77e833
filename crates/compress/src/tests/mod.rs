//! Whole folders through every method and back, and the inputs that must be refused.

mod damage;
mod real;
mod refused;
mod round_trip;
mod specials;
mod tokenizers;

use crate::fixtures::{self, Tensors};
use safetensors::Dtype;
use serde_json::Value;
use std::path::PathBuf;
use tempfile::TempDir;

/// A model folder inside a scratch folder that also takes the outputs.
fn folder(config: &Value, tensors: &Tensors) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let model = dir.path().join("model");
    fixtures::write_folder(&model, config, tensors, Dtype::F32);
    (dir, model)
}
