//! A stage's last checkpoint to a Hugging Face folder: what exams, compression and everybody else start from.

use crate::model::{Vocabulary, failure, stage_spec, vocabulary};
use crate::train::parts;
use anyhow::Context as _;
use osler_core::ids::StageName;
use osler_core::job::{JobKind, JobResult, Summary};
use osler_engine::checkpoint::SliceSet;
use osler_engine::flat::FlatLayout;
use osler_engine::hf::ExportOptions;
use osler_engine::{hf, models};
use osler_worker::harness::{Failure, Job};
use osler_worker::jobs::TOKENIZER;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;

pub fn run(job: &Job, stage: &StageName) -> Result<JobResult, Failure> {
    let spec = &job.assignment.spec;
    let checkpoint = job.assignment.checkpoint.as_ref().context("the assignment lacks the stage's last checkpoint")?;
    let vocabulary = vocabulary(job, stage_spec(job, stage)?)?;
    let params = models::params::parameters(&spec.model, vocabulary.size).map_err(failure)?;
    let layout = FlatLayout::of(&params);
    let mut weights = SliceSet::open(&parts(job, checkpoint)?, &layout).map_err(failure)?;
    let folder = job.scratch.join("model");
    let options = ExportOptions { shard_bytes: spec.export.shard_bytes, dtype: spec.export.dtype };
    let written = hf::export(&folder, &spec.model, vocabulary.size, &mut weights, vocabulary.special, options).map_err(failure)?;

    let tokenizer = job.fetch(job.input(&JobKind::Tokenizer)?, TOKENIZER)?;
    fs::copy(&tokenizer, folder.join(TOKENIZER)).context("copy tokenizer.json")?;
    let config = tokenizer_config(&tokenizer, &vocabulary, spec.model.max_positions)?;
    fs::write(folder.join("tokenizer_config.json"), config).context("write tokenizer_config.json")?;
    let mut outputs = BTreeMap::new();
    for entry in fs::read_dir(&folder).context("list the exported folder")? {
        let entry = entry.context("list the exported folder")?;
        let name = entry.file_name().to_string_lossy().into_owned();
        outputs.insert(name.clone(), job.publish(&entry.path(), &name)?);
    }
    let parameters = params.iter().map(|p| p.len() as u64).sum();
    Ok(JobResult { outputs, summary: Summary::Export { step: checkpoint.step, parameters, bytes: written.bytes } })
}

/// What `transformers` and our own exams need to know about the tokenizer: its class, its special tokens, no BOS of its own.
fn tokenizer_config(tokenizer: &std::path::Path, vocabulary: &Vocabulary, max_positions: u32) -> Result<Vec<u8>, Failure> {
    let text: serde_json::Value =
        serde_json::from_slice(&fs::read(tokenizer).context("read tokenizer.json")?).context("read tokenizer.json")?;
    let mut config = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_positions });
    if vocabulary.special.eos.is_some() {
        let added = text["added_tokens"].as_array().map(Vec::as_slice).unwrap_or_default();
        let end = added.iter().find(|t| t["id"].as_u64() == Some(vocabulary.end_of_text.into())).and_then(|t| t["content"].as_str());
        config["add_bos_token"] = json!(false);
        config["bos_token"] = json!(end);
        config["eos_token"] = json!(end);
    } else {
        for (key, token) in [("pad", "[PAD]"), ("unk", "[UNK]"), ("cls", "[CLS]"), ("sep", "[SEP]"), ("mask", "[MASK]")] {
            config[format!("{key}_token")] = json!(token);
        }
        let normalizer = &text["normalizer"];
        if normalizer["type"] == "BertNormalizer" {
            // This class makes its normalizer anew from these words.
            config["tokenizer_class"] = json!("BertTokenizer");
            config["do_lower_case"] = normalizer["lowercase"].clone();
            config["strip_accents"] = normalizer["strip_accents"].clone();
            config["tokenize_chinese_chars"] = normalizer["handle_chinese_chars"].clone();
        }
    }
    Ok(serde_json::to_vec_pretty(&config).context("write tokenizer_config.json")?)
}
