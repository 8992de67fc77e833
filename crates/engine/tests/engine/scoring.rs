//! Log-likelihoods: right, independent of what else is scored, and equal to a reference on a real model.

use crate::support::{LENGTH, Random, VOCAB, gpt2, llama, shared, tokens};
use osler_engine::Device;
use osler_engine::models::Model;
use osler_engine::score::{LogLikelihood, LogLikelihoods, Request};

fn model(spec: &osler_core::spec::ModelSpec) -> Model {
    osler_engine::set_threads(1).unwrap();
    Model::from_source(spec, VOCAB, &mut Random(7), Device::Cpu).unwrap()
}

/// The definition, in f64, from the logits of one sequence.
fn slow(model: &Model, tokens: &[u32], scored: usize) -> LogLikelihood {
    let logits = model.logits(&tokens[..tokens.len() - 1]).unwrap();
    let (mut sum, mut greedy) = (0.0, true);
    for at in tokens.len() - scored..tokens.len() {
        let row = &logits[(at - 1) * VOCAB..at * VOCAB];
        let top = row.iter().copied().fold(f32::MIN, f32::max);
        let total: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
        let own = row[tokens[at] as usize];
        sum += f64::from(own - top) - total.ln();
        greedy &= own == top;
    }
    LogLikelihood { sum, greedy }
}

/// Of many lengths; some share a beginning, some begin another.
fn sequences() -> Vec<(Vec<u32>, usize)> {
    let mut all: Vec<(Vec<u32>, usize)> = (0..20u64).map(|i| (tokens(i)[..2 + (i as usize * 13) % 60].to_vec(), 1)).collect();
    for letter in 0..4 {
        let mut question = tokens(3)[..17].to_vec();
        question.push(letter);
        all.push((question, 1));
    }
    all.push((tokens(3)[..30].to_vec(), 20));
    all.push((tokens(5), LENGTH as usize));
    all.push((tokens(5)[..40].to_vec(), 39));
    all
}

#[test]
fn scores_are_the_definition_and_do_not_depend_on_companions() {
    for spec in [llama(1, false), llama(2, true), gpt2()] {
        let model = model(&spec);
        let sequences = sequences();
        let requests: Vec<Request<'_>> = sequences.iter().map(|(tokens, scored)| Request { tokens, scored: *scored }).collect();
        let together = LogLikelihoods::new(&model).score(&requests).unwrap();
        let narrow = LogLikelihoods::new(&model).with_batch_tokens(1).score(&requests).unwrap();
        assert_eq!(together, LogLikelihoods::new(&model).score(&requests).unwrap());
        for (i, request) in requests.iter().enumerate() {
            let expected = slow(&model, request.tokens, request.scored);
            let alone = LogLikelihoods::new(&model).score(&requests[i..=i]).unwrap()[0];
            for found in [together[i], narrow[i], alone] {
                assert!((found.sum - expected.sum).abs() <= 1e-6 * expected.sum.abs().max(1.0), "{i}: {found:?} {expected:?}");
                assert_eq!(found.greedy, expected.greedy, "{i}");
            }
        }
    }
}

#[test]
fn a_greedy_continuation_is_recognised() {
    let model = model(&llama(2, false));
    let mut tokens = tokens(1)[..10].to_vec();
    for _ in 0..3 {
        let logits = model.logits(&tokens).unwrap();
        let last = &logits[logits.len() - VOCAB..];
        let best = (0..VOCAB).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
        tokens.push(best as u32);
    }
    let other = [&tokens[..12], &[(tokens[12] + 1) % VOCAB as u32]].concat();
    let requests = [Request { tokens: &tokens, scored: 3 }, Request { tokens: &other, scored: 3 }];
    let found = LogLikelihoods::new(&model).score(&requests).unwrap();
    assert_eq!([found[0].greedy, found[1].greedy], [true, false]);
}

#[test]
fn requests_that_cannot_be_scored_are_named() {
    let model = model(&llama(2, false));
    let scorer = LogLikelihoods::new(&model);
    let long = vec![1; scorer.max_tokens() + 1];
    let cases: [(&[u32], usize, &str); 6] = [
        (&[], 0, "0 of 0"),
        (&[1], 1, "1 of 1"),
        (&[1, 2], 0, "0 of 2"),
        (&[1, 2], usize::MAX, "of 2"),
        (&[1, VOCAB as u32], 1, "outside the vocabulary"),
        (&long, 1, "cut it on the left"),
    ];
    for (tokens, scored, word) in cases {
        let requests = [Request { tokens: &[1, 2], scored: 1 }, Request { tokens, scored }];
        let error = scorer.score(&requests).unwrap_err().to_string();
        assert!(error.starts_with("scoring request 1") && error.contains(word), "{error}");
    }
    assert_eq!(scorer.score(&[]).unwrap(), []);
    let full = vec![1; scorer.max_tokens()];
    scorer.score(&[Request { tokens: &full, scored: full.len() - 1 }]).unwrap();
}

#[test]
fn stories260k_has_its_known_perplexity() {
    const NAME: &str = "stories260k_has_its_known_perplexity";
    let (Some(folder), Some(text)) = (shared(NAME, "stories260k/hf"), shared(NAME, "tinystories-bpe/tinystories_sample.txt")) else {
        return;
    };
    osler_engine::set_threads(1).unwrap();
    let model = Model::from_folder(&folder, Device::Cpu).unwrap();
    let tokenizer = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    let text = std::fs::read_to_string(text).unwrap();
    let documents = text.split("<|endoftext|>").map(str::trim).filter(|d| !d.is_empty());
    let sequences: Vec<Vec<u32>> = documents
        .map(|d| {
            let ids = tokenizer.encode(d, false).unwrap().get_ids().to_vec();
            [&[1], &ids[..]].concat().into_iter().take(512).collect()
        })
        .collect();
    let requests: Vec<Request<'_>> = sequences.iter().map(|s| Request { tokens: s, scored: s.len() - 1 }).collect();
    let scored: usize = requests.iter().map(|r| r.scored).sum();
    assert_eq!((requests.len(), scored), (5, 1804));
    let sum: f64 = LogLikelihoods::new(&model).score(&requests).unwrap().iter().map(|l| l.sum).sum();
    let perplexity = (-sum / scored as f64).exp();
    assert!((perplexity - 3.5482).abs() <= 0.001, "{perplexity}");
}
