//! Parameter counts of published models, and small runs that can be reckoned by hand.

use super::*;
use crate::spec::{Determinism, DeviceKind, MlmSpec, Precision, Recompute, RunSpec, parse};

fn model(family: Family, dims: [u32; 6], tied: bool) -> ModelSpec {
    let [dim, layers, heads, kv_heads, ffn, max_positions] = dims;
    ModelSpec {
        family,
        dim,
        layers,
        heads,
        kv_heads,
        head_dim: None,
        ffn,
        max_positions,
        tied,
        norm_eps: 1e-5,
        rope_theta: 1e4,
        rope_scaling: None,
        init_std: 0.02,
    }
}

#[test]
fn published_models_have_their_published_sizes() {
    use Family::{Bert, Gemma, Gpt2, Llama, Qwen2};
    let gemma = ModelSpec { head_dim: Some(256), ..model(Gemma, [2048, 18, 8, 1, 16_384, 8192], true) };
    let table = [
        ("GPT-2 small", model(Gpt2, [768, 12, 12, 12, 3072, 1024], true), 50_257, 124_439_808),
        ("GPT-2 XL", model(Gpt2, [1600, 48, 25, 25, 6400, 1024], true), 50_257, 1_557_611_200),
        ("LLaMA-2-7B", model(Llama, [4096, 32, 32, 32, 11_008, 4096], false), 32_000, 6_738_415_616),
        ("Llama-3-8B", model(Llama, [4096, 32, 32, 8, 14_336, 8192], false), 128_256, 8_030_261_248),
        ("Qwen1.5-0.5B", model(Qwen2, [1024, 24, 16, 16, 2816, 32_768], true), 151_936, 463_987_712),
        ("Qwen1.5-1.8B", model(Qwen2, [2048, 24, 16, 16, 5504, 32_768], false), 151_936, 1_836_828_672),
        ("Qwen2-0.5B", model(Qwen2, [896, 24, 14, 2, 4864, 131_072], true), 151_936, 494_032_768),
        ("Gemma-2B", gemma, 256_000, 2_506_172_416),
        // With the head for masked tokens, without the pooler.
        ("BERT-base, uncased", model(Bert, [768, 12, 12, 12, 3072, 512], true), 30_522, 109_514_298),
        ("BERT-large, uncased", model(Bert, [1024, 24, 16, 16, 4096, 512], true), 30_522, 335_174_458),
        ("stories260k", model(Llama, [64, 5, 8, 4, 172, 512], true), 512, 260_032),
    ];
    for (name, model, vocab, expected) in table {
        assert_eq!(parameters(&model, vocab), expected, "{name}");
    }
}

#[test]
fn embeddings_count_as_work_once_when_they_are_the_head() {
    let tied = parameters_of(&model(Family::Llama, [64, 5, 8, 4, 172, 512], true), 512);
    assert_eq!(tied.total - tied.non_embedding, 64 * 512);
    assert_eq!(tied.active, tied.total);
    let own_head = parameters_of(&model(Family::Llama, [64, 5, 8, 4, 172, 512], false), 512);
    assert_eq!((own_head.non_embedding, own_head.active), (tied.non_embedding, tied.active));
    assert_eq!(own_head.total, tied.total + 64 * 512);
}

#[test]
fn hostile_shapes_saturate_instead_of_overflowing() {
    let most = u32::MAX;
    for family in Family::ALL {
        let shape = model(family, [most; 6], false);
        assert_eq!(parameters(&shape, most), u64::MAX);
        let mut spec = run("");
        spec.model = shape;
        for stage in &mut spec.stages {
            (stage.micro_batch, stage.sequence_length, stage.global_batch) = (most, most, most);
        }
        let estimate = estimate(&spec, most, &sizes(u64::MAX));
        assert_eq!((estimate.checkpoint_bytes, estimate.disk.total), (u64::MAX, u64::MAX));
        assert_eq!(estimate.stages[0].memory_per_rank.total, u64::MAX);
    }
}

/// 100 steps of 1024 tokens from scratch, then 300 that mix corpora 1 to 3.
fn run(extra: &str) -> RunSpec {
    let text = format!(
        r#"
        name = "t"
        seed = 1
        corpus.a = {{ format = "text", files = "a" }}
        corpus.b = {{ format = "text", files = "b" }}
        tokenizer.train.vocab_size = 512
        model = {{ family = "llama", dim = 64, layers = 2, heads = 4 }}
        after_stage.quantize = ["int8", {{ method = "gguf-q8_0", stages = ["two"] }}]
        checkpoint = {{ every_steps = 30, keep_last = 2, keep_every = 60 }}
        [[stage]]
        name = "one"
        corpus = "a"
        steps = 100
        sequence_length = 64
        global_batch = 16
        micro_batch = 4
        optimizer.lr = 0.1
        schedule.kind = "constant"
        [[stage]]
        name = "two"
        mixture = {{ a = 1, b = 3 }}
        tokens = 307_200
        sequence_length = 64
        global_batch = 16
        micro_batch = 4
        optimizer.lr = 0.1
        schedule.kind = "constant"
        {extra}"#
    );
    parse(&text, "run.toml", &[]).unwrap_or_else(|problems| panic!("{problems}"))
}

fn sizes(b: u64) -> BTreeMap<CorpusName, u64> {
    [(CorpusName::new("b").unwrap(), b)].into()
}

#[test]
fn only_the_tokens_that_a_bert_guesses_go_through_its_head() {
    let mut spec = run("");
    spec.model = model(Family::Bert, [64, 2, 4, 4, 256, 64], true);
    let flops = |spec: &RunSpec| estimate(spec, 512, &sizes(1)).stages[0].flops_per_token;
    let all = flops(&spec);
    spec.stages[0].mlm = Some(MlmSpec { probability: 0.25, whole_word: true });
    assert_eq!(all - flops(&spec), 6.0 * 0.75 * 512.0 * 64.0);
}

#[test]
fn a_small_run_is_reckoned_as_by_hand() {
    let spec = run("");
    let estimate = estimate(&spec, planned_vocab(&spec).unwrap(), &sizes(115_200));
    // Layer: 4 x 64 x 64 + 3 x 64 x 192 + 2 x 64; head and embeddings of 512 x 64 each; a last norm.
    let layer = 16_384 + 36_864 + 128;
    let non_embedding = 2 * layer + 64;
    let total = non_embedding + 2 * 32_768;
    assert_eq!(estimate.parameters, Parameters { total, non_embedding, active: total - 32_768 });
    assert_eq!(estimate.checkpoint_bytes, 12 * total);

    let [one, two] = estimate.stages.as_slice() else { panic!("two stages") };
    assert_eq!((one.steps, one.tokens, two.steps, two.tokens), (100, 102_400, 300, 307_200));
    assert_eq!(one.flops_per_token, (6 * (total - 32_768) + 12 * 2 * 64 * 64) as f64);
    assert_eq!(one.flops, one.flops_per_token * 102_400.0);

    let [a, b] = ["a", "b"].map(|name| CorpusName::new(name).unwrap());
    assert_eq!(two.epochs, [(a, None), (b.clone(), Some(2.0))].into());
    assert_eq!(estimate.epochs, [(b, 2.0)].into());

    // Saved at 30, 60, 90, 100 and at 30 to 300; kept for good: 60, 100 and 60, 120, 180, 240, 300.
    assert_eq!((one.checkpoints, one.kept, two.checkpoints, two.kept), (4, 2, 10, 5));
    assert_eq!(estimate.disk.checkpoints, (2 + 5 + 2 + 1) * 12 * total);
    let int8 = non_embedding + 4 * 65_536;
    assert_eq!(estimate.disk.models, 2 * (4 * total + int8) + (total / 32 * 34 + 34));
    assert_eq!(estimate.disk.shards, 2 * 115_200);
    assert_eq!(estimate.disk.total, estimate.disk.checkpoints + estimate.disk.models + estimate.disk.shards);
}

/// Of the first stage, after a change: 4 x 64 tokens at once, 2 layers of width 64 with 4 heads and a feed-forward of 192.
fn memory(change: impl FnOnce(&mut RunSpec)) -> Memory {
    let mut spec = run("");
    change(&mut spec);
    estimate(&spec, 512, &sizes(1)).stages[0].memory_per_rank
}

#[test]
fn a_ranks_memory_is_reckoned_as_by_hand() {
    let parameters = 2 * (16_384 + 36_864 + 128) + 64 + 2 * 32_768;
    let tokens = 4 * 64;
    let plain = memory(|_| {});
    assert_eq!((plain.weights, plain.gradients, plain.moments), (4 * parameters, 4 * parameters, 8 * parameters));
    assert_eq!((plain.checkpoint, plain.sums, plain.on_gpu), (12 * parameters, 0, 0));
    // Streams and norms, q k v in one and q k turned, attention's output, gate, up, product; a sum for each of 4 heads' rows.
    let layer = tokens * 4 * (4 * 64 + 3 * 64 + 2 * 64 + 64 + 3 * 192 + 4);
    // Last stream, hidden states and their gradient; 256 rows of logits, which are more than backward's first layer needs.
    let (around, head) = (tokens * 4 * 3 * 64, tokens * 4 * 512);
    assert_eq!(plain.activations, 2 * layer + around + head.max(tokens * 4 * (2 * 64 + 2 * 192)));
    // Logits, backward's first layer, the embedding's gradient and two streams come and go; twice that is kept.
    let passing = tokens * 4 * (512 + 2 * 64 + 2 * 192 + 2 * 64) + 4 * 32_768;
    assert_eq!(plain.process, PROCESS_BYTES + 2 * passing);
    assert_eq!(plain.total, 28 * parameters + plain.activations + plain.process);

    let shared = memory(|spec| spec.resources.ranks = 4);
    assert_eq!((shared.moments, shared.checkpoint), (2 * parameters, 3 * parameters));
    let whole = memory(|spec| (spec.resources.ranks, spec.resources.zero) = (4, false));
    assert_eq!((whole.moments, whole.checkpoint), (8 * parameters, 3 * parameters));

    let again = memory(|spec| spec.stages[0].compute.recompute = Recompute::All);
    // Two inputs, one layer while it is computed again, its gradients on the way.
    assert_eq!(again.activations, tokens * 4 * 64 * 2 + layer + 3 * tokens * 4 * 64 + tokens * 4 * (2 * 64 + 2 * 192));
}

#[test]
fn bf16_copies_weights_and_an_elastic_run_keeps_a_gradient_for_each_level_of_its_tree() {
    let parameters = memory(|_| {}).weights / 4;
    let elastic = |ranks, micro| {
        memory(|spec| {
            spec.resources.determinism = Determinism::Elastic;
            (spec.resources.ranks, spec.stages[0].micro_batch) = (ranks, micro);
        })
    };
    assert_eq!(elastic(1, 16).sums, 4 * parameters);
    assert_eq!(elastic(1, 4).sums, 3 * 4 * parameters);
    assert_eq!(elastic(4, 4).sums, 4 * parameters);
    assert_eq!(elastic(4, 16), elastic(4, 4), "a rank never computes more at once than its share");

    let bf16 = memory(|spec| spec.stages[0].compute.precision = Precision::Bf16);
    let tokens = 4 * 64;
    // Two norms; q and k turned, v, attention's output; gate, activated, up, product; fp32 of each norm twice; a sum for each head's row.
    let values = 2 * 64 + 4 * 64 + 4 * 192;
    let layer = tokens * (2 * values + 2 * 2 * 4 * 64 + 4 * 4) + 2 * (16_384 + 36_864);
    let around = tokens * (2 * 3 * 64 + 2 * 4 * 64);
    // bf16 logits, their softmax in fp32 and in bf16 again, the head's weights and gradient.
    let head = tokens * 512 * 8 + 2 * 2 * 32_768;
    assert_eq!(bf16.activations, 2 * layer + around + head);
    assert_eq!((bf16.weights, bf16.moments), (4 * parameters, 8 * parameters));

    let masked = memory(|spec| spec.stages[0].compute.document_mask = true);
    assert_eq!(masked.activations - memory(|_| {}).activations, 4 * 64 * 64 * (2 * 4 + 1));
}

#[test]
fn on_a_gpu_the_checkpoint_and_the_process_stay_with_the_host() {
    let gpu = memory(|spec| spec.resources.device = DeviceKind::Cuda);
    assert_eq!(gpu.on_host(), gpu.checkpoint + PROCESS_BYTES);
    assert_eq!(gpu.on_gpu, gpu.weights + gpu.gradients + gpu.moments + gpu.activations);
}

#[test]
fn warnings_say_what_is_unwise_and_cite_why() {
    let warnings = |spec: &RunSpec, b: u64| estimate(spec, 512, &sizes(b)).warnings;
    let few = warnings(&run(""), 115_200);
    assert_eq!(few.len(), 1, "{few:?}");
    assert!(few[0].contains("stage two ends after 409600 tokens") && few[0].contains("Hoffmann et al. 2022"), "{}", few[0]);
    let repeated = warnings(&run(""), 50_000);
    assert!(repeated[0].contains("corpus b is read 4.6 times") && repeated[0].contains("Muennighoff et al. 2023"), "{}", repeated[0]);

    let mut enough = run("");
    enough.stages[1].length = crate::spec::Length::Steps(4000);
    assert_eq!(warnings(&enough, 1 << 40), [""; 0]);
    enough.checkpoint.every_steps = 101;
    assert!(warnings(&enough, 1 << 40)[0].contains("stage one has 100 steps"));

    let mut unused = enough.clone();
    unused.checkpoint.every_steps = 100;
    unused.stages[1].mixture.remove(&CorpusName::new("b").unwrap());
    assert!(warnings(&unused, 1 << 40)[0].contains("corpus b is in no stage's mixture"));

    let mut pretrained = run("");
    pretrained.stages[0].from = crate::spec::Init::HuggingFace("m".to_owned());
    assert_eq!(warnings(&pretrained, 1 << 40), [""; 0], "what a given model has read is not known");
}

#[test]
fn an_estimate_can_be_shown_as_json() {
    let json = serde_json::to_value(estimate(&run(""), 512, &sizes(1000))).unwrap();
    assert_eq!(json["stages"][1]["epochs"]["a"], serde_json::Value::Null);
    assert_eq!(json["vocab"], 512);
}
