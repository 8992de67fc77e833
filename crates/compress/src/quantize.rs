//! Model folder in, compressed model out: one tensor in memory at a time, everything checked before the first byte is written,
//! and nothing visible until all of it is on disk.

use crate::arch::{ROPE_FACTORS, Role, TensorSpec, rope_factors};
use crate::gguf::{self, GgmlType, padding};
use crate::hf::model::Model;
use crate::hf::write;
use crate::int8;
use crate::output::{StagedDir, StagedFile, check_absent};
use crate::report::{ErrorSum, Outcome};
use crate::{CompressError, Method, QuantReport};
use osler_core::spec::Family;
use osler_model::config::CONFIG;
use osler_model::safetensors::Dtype;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Compresses the Hugging Face model folder `model_dir` (LLaMA, Qwen2, Gemma or GPT-2; float32, float16 or bfloat16 safetensors) to `out`: a
/// folder for [`Method::Int8`], else a `.gguf` file. `out` must not exist; it appears whole or not at all. The same input
/// gives the same bytes.
pub fn quantize(model_dir: &Path, method: Method, out: &Path) -> Result<QuantReport, CompressError> {
    check_absent(out)?;
    let model = Model::open(model_dir)?;
    let mut report = QuantReport::empty(method);
    report.dropped = model.dropped().to_vec();
    report.bytes_before = model.bytes();
    if !model.unknown().is_empty() {
        report.notes.push(format!("config.json has keys that are not known here and were passed over: {}", model.unknown().join(", ")));
    }
    let data_bytes = match method.gguf_type() {
        None => write_int8(&model, out, &mut report)?,
        Some(ty) => write_gguf(&model, ty, out, &mut report)?,
    };
    let weights: usize = model.specs.iter().map(TensorSpec::elements).sum();
    report.bits_per_weight = data_bytes as f64 * 8.0 / weights as f64;
    Ok(report)
}

fn nothing(model: &Model, method: Method) -> CompressError {
    CompressError::NothingQuantized { path: model.dir.clone(), method: method.to_string() }
}

/// The type a tensor gets in a GGUF file whose matrices are `wanted`.
fn gguf_plan(spec: &TensorSpec, wanted: GgmlType) -> (GgmlType, Outcome) {
    let columns = spec.rows_shape().last().copied().unwrap_or(0);
    match spec.role {
        Role::Small => (GgmlType::F32, Outcome::Kept),
        _ if columns.is_multiple_of(wanted.block()) => (wanted, Outcome::Quantized),
        _ => (GgmlType::F16, Outcome::Fallback),
    }
}

/// Whether a method has a tensor stored in its own type.
pub(crate) fn is_quantized(spec: &TensorSpec, method: Method) -> bool {
    match method.gguf_type() {
        None => spec.role == Role::Linear,
        Some(ty) => matches!(gguf_plan(spec, ty).1, Outcome::Quantized),
    }
}

fn write_gguf(model: &Model, wanted: GgmlType, out: &Path, report: &mut QuantReport) -> Result<u64, CompressError> {
    if let Some(what) = model.arch.spec.unsayable_in_gguf() {
        return Err(CompressError::field(&model.dir.join(CONFIG), "rope_scaling", what));
    }
    if !model.specs.iter().any(|spec| is_quantized(spec, report.method)) {
        return Err(nothing(model, report.method));
    }
    let tokenizer = gguf::tokenizer::read(&model.dir, model.arch.vocab)?;
    report.notes.extend(tokenizer.notes);
    let mut metadata = gguf::metadata::from_arch(&model.dir.join(CONFIG), &model.arch, wanted)?;
    metadata.extend(tokenizer.values);
    let mut plan: Vec<gguf::Planned> = model
        .specs
        .iter()
        .map(|spec| gguf::Planned { name: spec.gguf.clone(), shape: spec.rows_shape(), ty: gguf_plan(spec, wanted).0 })
        .collect();
    let factors = rope_factors(&model.arch.spec);
    plan.extend(factors.iter().map(|f| gguf::Planned { name: ROPE_FACTORS.to_owned(), shape: vec![f.len()], ty: GgmlType::F32 }));

    let mut staged = StagedFile::create(out)?;
    staged.file.write(&gguf::header(&metadata, &plan))?;
    let mut data_bytes = 0;
    for spec in &model.specs {
        let (ty, outcome) = gguf_plan(spec, wanted);
        let (bytes, error) = gguf::encode_tensor(ty, &spec.hf_to_gguf(model.floats(spec)?)).map_err(|value| CompressError::OutOfRange {
            path: model.dir.clone(),
            tensor: spec.hf.clone(),
            value,
            target: ty.name(),
        })?;
        staged.file.write(&bytes)?;
        staged.file.write(&padding(bytes.len() as u64))?;
        data_bytes += bytes.len() as u64;
        report.record(&spec.hf, &spec.shape, ty.name(), outcome, error);
    }
    if let Some(factors) = factors {
        let bytes: Vec<u8> = factors.iter().flat_map(|f| f.to_le_bytes()).collect();
        staged.file.write(&bytes)?;
        staged.file.write(&padding(bytes.len() as u64))?;
    }
    let output = staged.publish()?;
    report.bytes_after = output.bytes;
    report.outputs = vec![output];
    Ok(data_bytes)
}

/// Where the bytes of one tensor of the int8 folder come from.
enum Item<'a> {
    Kept(&'a TensorSpec),
    Packed(&'a TensorSpec),
    Scale(&'a TensorSpec),
    Shape(&'a TensorSpec),
}

/// Names of a quantized matrix: `x.weight` becomes `x.weight_packed`, `x.weight_scale` and `x.weight_shape`.
pub(crate) fn int8_names(spec: &TensorSpec) -> [String; 3] {
    ["packed", "scale", "shape"].map(|part| format!("{}_{part}", spec.hf))
}

fn int8_plan(model: &Model) -> Result<Vec<write::Planned<Item<'_>>>, CompressError> {
    let mut plan = Vec::new();
    for spec in &model.specs {
        let dtype = model.dtype(spec)?;
        match (spec.role, spec.rows_shape().as_slice()) {
            (Role::Linear, &[rows, cols]) => {
                let [packed, scale, shape] = int8_names(spec);
                let words = int8::packed_row(cols) / 4;
                plan.push(write::Planned { name: packed, dtype: Dtype::I32, shape: vec![rows, words], item: Item::Packed(spec) });
                plan.push(write::Planned { name: scale, dtype, shape: vec![rows, 1], item: Item::Scale(spec) });
                plan.push(write::Planned { name: shape, dtype: Dtype::I64, shape: vec![2], item: Item::Shape(spec) });
            }
            _ => plan.push(write::Planned { name: spec.hf.clone(), dtype, shape: spec.shape.clone(), item: Item::Kept(spec) }),
        }
    }
    Ok(plan)
}

fn write_int8(model: &Model, out: &Path, report: &mut QuantReport) -> Result<u64, CompressError> {
    let mut plan = int8_plan(model)?;
    if !plan.iter().any(|p| matches!(p.item, Item::Packed(_))) {
        return Err(nothing(model, report.method));
    }
    if model.arch.spec.family == Family::Gpt2 {
        let note = "transformers does not load this form of a GPT-2 model (its Conv1D is not Linear): give its users a GGUF file";
        report.notes.push(note.to_owned());
    }
    let mut staged = StagedDir::create(out)?;
    let mut file = staged.file("model.safetensors")?;
    file.write(&write::header(&mut plan))?;
    // File order puts the packed matrix before its scales (same or narrower type, later name), so each matrix is read once.
    let mut scales: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for planned in &plan {
        match planned.item {
            Item::Kept(spec) => {
                file.write(&model.raw(spec)?)?;
                report.record(&spec.hf, &spec.shape, planned.dtype.name(), Outcome::Kept, ErrorSum::default());
            }
            Item::Packed(spec) => {
                let cols = spec.rows_shape().last().copied().unwrap_or(1);
                let matrix = int8::quantize(&spec.hf_to_rows(model.floats(spec)?), cols, model.dtype(spec)?);
                file.write(&matrix.packed)?;
                report.record(&spec.hf, &spec.shape, "int8", Outcome::Quantized, matrix.error);
                scales.insert(&spec.hf, matrix.scales);
            }
            Item::Scale(spec) => {
                let missing = || CompressError::MissingTensor { path: out.to_owned(), tensor: planned.name.clone() };
                file.write(&scales.remove(spec.hf.as_str()).ok_or_else(missing)?)?;
            }
            Item::Shape(spec) => {
                for dim in spec.rows_shape() {
                    file.write(&(dim as u64).to_le_bytes())?;
                }
            }
        }
    }
    report.bytes_after = staged.add(file)?;
    in_model_order(report, model);

    let mut file = staged.file("config.json")?;
    file.write(&int8_config(model).into_bytes())?;
    staged.add(file)?;
    for name in companions(&model.dir)? {
        copy(model, &name, &mut staged)?;
    }
    report.outputs = staged.publish()?;
    Ok(plan.iter().map(write::Planned::bytes).sum())
}

/// The file's order is by type; the report's is the model's, whatever the method.
fn in_model_order(report: &mut QuantReport, model: &Model) {
    let place: BTreeMap<&str, usize> = model.specs.iter().enumerate().map(|(i, s)| (s.hf.as_str(), i)).collect();
    let key = |name: &str| place.get(name).copied();
    report.tensors.sort_by_key(|t| key(&t.name));
    report.quantized.sort_by_key(|name| key(name));
    report.kept.sort_by_key(|name| key(name));
}

fn int8_config(model: &Model) -> String {
    let mut config = model.config().clone();
    if let Value::Object(map) = &mut config {
        map.insert("quantization_config".to_owned(), int8_quantization_config());
    }
    format!("{config:#}\n")
}

pub(crate) fn int8_quantization_config() -> Value {
    json!({
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {
            "group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "group_size": null, "dynamic": false},
                "input_activations": null,
                "output_activations": null,
            }
        },
    })
}

/// Files of a model folder that go with the weights unchanged.
fn companions(dir: &Path) -> Result<Vec<String>, CompressError> {
    let mut names = osler_model::tokenizer_files(dir)?;
    names.extend([osler_model::TOKENIZER, "generation_config.json"].map(str::to_owned));
    Ok(names)
}

fn copy(model: &Model, name: &str, staged: &mut StagedDir) -> Result<(), CompressError> {
    let path = model.dir.join(name);
    let mut source = match File::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(CompressError::io("open", &path))?,
    };
    let mut target = staged.file(name)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = source.read(&mut buffer).map_err(CompressError::io("read", &path))?;
        match buffer.get(..read) {
            None | Some([]) => break,
            Some(bytes) => target.write(bytes)?,
        }
    }
    staged.add(target)?;
    Ok(())
}
