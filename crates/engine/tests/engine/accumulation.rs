//! How a batch is cut into micro-batches does not matter; what is no batch is refused.

use crate::support::{VOCAB, gpt2, llama, options, rows, share, trainer};
use osler_engine::EngineError;

#[test]
fn eight_at_once_two_times_four_and_eight_times_one_are_one_step() {
    for model in [llama(1, false), llama(2, true), gpt2()] {
        let with = |micro_batch| {
            let mut trainer = trainer(options(model.clone(), 8, micro_batch, 1e-3));
            (0..3)
                .map(|step| {
                    let stats = trainer.step(&rows(&share(step, 8, 0, 1)), 0).unwrap();
                    [stats.loss, stats.grad_norm]
                })
                .collect::<Vec<_>>()
        };
        let whole = with(8);
        for micro_batch in [4, 3, 1] {
            for (a, b) in whole.iter().flatten().zip(with(micro_batch).iter().flatten()) {
                assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "micro-batch {micro_batch}: {a} {b}");
            }
        }
    }
}

#[test]
fn what_is_no_batch_is_refused() {
    let mut trainer = trainer(options(llama(2, false), 2, 2, 1e-3));
    let good = share(0, 2, 0, 1);
    let cases: [(&str, Vec<Vec<u32>>); 4] = [
        ("no sequences", vec![]),
        ("has 64 tokens", vec![good[0].clone(), good[1][1..].to_vec()]),
        ("outside the vocabulary", vec![good[0].clone(), vec![VOCAB as u32; good[1].len()]]),
        ("1 sequences, the global batch has 2", vec![good[0].clone()]),
    ];
    let before = trainer.state_digest().unwrap();
    for (word, batch) in cases {
        let error = trainer.step(&rows(&batch), 0).unwrap_err();
        assert!(matches!(error, EngineError::Batch(_) | EngineError::Disagreement(_)) && error.to_string().contains(word), "{error}");
    }
    assert_eq!(trainer.state_digest().unwrap(), before);
    trainer.step(&rows(&good), 0).unwrap();
}
