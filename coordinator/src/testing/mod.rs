//! Honest fakes for tests: a run file, the results of its jobs, and an agent that keeps the real protocol.

pub mod agent;
pub mod results;
pub mod rng;

use osler_core::ids::{CorpusName, ExamName, RunName, StageName};
use osler_core::spec::*;
use std::collections::BTreeMap;

pub fn corpus(name: &str) -> CorpusName {
    CorpusName::new(name).unwrap()
}

pub fn stage(name: &str) -> StageName {
    StageName::new(name).unwrap()
}

fn corpus_spec(files: usize) -> CorpusSpec {
    let files = (0..files).map(|i| format!("/data/{i:02}.jsonl")).collect();
    CorpusSpec { held_out: 0.1, ..CorpusSpec::new(CorpusFormat::Jsonl, files) }
}

fn stage_spec(name: &str, from: Init, mixture: &[(&str, u32)], steps: u64) -> StageSpec {
    StageSpec {
        name: stage(name),
        from,
        mixture: mixture.iter().map(|(name, parts)| (corpus(name), *parts)).collect(),
        length: Length::Steps(steps),
        sequence_length: 16,
        global_batch: 4,
        micro_batch: 1,
        optimizer: OptimizerSpec { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, decay: DecayOn::All, clip: 1.0 },
        schedule: ScheduleSpec::constant(),
        guard: GuardSpec::default(),
        compute: ComputeSpec::default(),
        mlm: None,
    }
}

/// Two corpora, two stages, two ranks; an exam and an int8 form after each stage. 20 jobs.
pub fn spec(name: &str) -> RunSpec {
    RunSpec {
        name: RunName::new(name).unwrap(),
        description: String::new(),
        seed: 7,
        data_seed: 0,
        corpora: BTreeMap::from([(corpus("general"), corpus_spec(2)), (corpus("domain"), corpus_spec(3))]),
        tokenizer: TokenizerSpec::Train {
            vocab_size: 300,
            min_frequency: 1,
            corpora: vec![corpus("general"), corpus("domain")],
            wordpiece: None,
        },
        model: ModelSpec {
            family: Family::Llama,
            dim: 32,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: None,
            ffn: 64,
            max_positions: 16,
            tied: true,
            norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            init_std: 0.02,
        },
        stages: vec![
            stage_spec("general", Init::Scratch, &[("general", 1)], 10),
            stage_spec("domain", Init::Stage(stage("general")), &[("general", 1), ("domain", 3)], 13),
        ],
        exams: vec![ExamSpec {
            name: ExamName::new("boards").unwrap(),
            format: ExamFormat::Medmcqa,
            files: vec!["/data/exam.json".into()],
            corpus: None,
            protocol: Protocol::Letter,
            shots: 0,
            shots_files: vec![],
            limit: None,
            stages: vec![],
        }],
        quantize: vec![QuantizeSpec { method: Method::Int8, stages: vec![] }],
        gates: vec![],
        export: ExportSpec::default(),
        checkpoint: CheckpointSpec { every_steps: 4, keep_last: 1, keep_every: None, keep_best: 0, pinned: vec![] },
        resources: ResourceSpec {
            ranks: 2,
            min_ranks: None,
            device: DeviceKind::Cpu,
            threads_per_rank: 1,
            determinism: Determinism::Fast,
            zero: true,
            affinity: None,
            require: BTreeMap::new(),
        },
        retry: RetrySpec::default(),
        limits: Default::default(),
        queue: QueueSpec::default(),
    }
}
