//! ZeRO, precision, recomputation, document masks, what decays, and targets that do not count: each against the plain way.

use crate::ranks::{self, Job};
use crate::support::{LENGTH, gpt2, llama, mask_row, options, rows, run, share, tokens, trainer, weights};
use osler_core::spec::{ComputeSpec, DecayOn, Precision, Recompute};
use osler_engine::models::Model;
use osler_engine::source::TensorSource;
use osler_engine::step::{Batch, TrainerOptions};
use osler_engine::{Device, EngineError};

fn close(a: &[f64], b: &[f64], limit: f64) {
    assert_eq!(a.len(), b.len());
    for (x, y) in a.iter().zip(b) {
        assert!((x - y).abs() <= limit, "{a:?} {b:?}");
    }
}

#[test]
fn zero_and_plain_data_parallel_training_are_the_same_training() {
    for ranks in [2, 3] {
        let job = Job { lr: 1e-3, steps: 6, bucket_bytes: 64 << 10, ..Job::new(llama(1, true), ranks) };
        let (zero, plain) = (ranks::run(&job), ranks::run(&Job { zero: false, ..job }));
        close(&zero[0].losses, &plain[0].losses, 1e-6);
        for outcomes in [&zero, &plain] {
            assert!(outcomes.iter().all(|o| o.weights == outcomes[0].weights && o.losses == outcomes[0].losses));
        }
    }
}

#[test]
fn recomputed_layers_give_the_same_bits() {
    for model in [llama(1, true), gpt2()] {
        let with = |recompute| {
            let compute = ComputeSpec { recompute, ..ComputeSpec::default() };
            let mut trainer = trainer(TrainerOptions { compute, ..options(model.clone(), 4, 2, 1e-3) });
            (run(&mut trainer, 3), weights(&mut trainer))
        };
        let kept = with(Recompute::None);
        assert_eq!(with(Recompute::All), kept);
        assert_eq!(with(Recompute::First(1)), kept);
    }
}

#[test]
fn bf16_follows_the_fp32_curve_and_keeps_fp32_weights() {
    for model in [llama(1, true), gpt2()] {
        let with = |precision| {
            let compute = ComputeSpec { precision, ..ComputeSpec::default() };
            let mut trainer = trainer(TrainerOptions { compute, ..options(model.clone(), 4, 2, 3e-3) });
            let losses = run(&mut trainer, 40);
            let name = trainer.layout().entries()[1].clone();
            (losses, trainer.read(&name.name, &name.shape).unwrap())
        };
        let ((fp32, _), (bf16, values)) = (with(Precision::Fp32), with(Precision::Bf16));
        assert!(fp32[39] < fp32[0] - 1.0, "the curve must fall for this to mean something: {fp32:?}");
        // Eight bits of mantissa: the curves stay within two percent of each other while the loss falls by more than a fifth.
        close(&bf16, &fp32, 0.02 * fp32[0]);
        assert!(values.iter().any(|v| v.to_bits() & 0xffff != 0), "the weights themselves are bf16");
    }
}

#[test]
fn gradients_that_travel_in_bf16_train_nearly_alike() {
    let job = Job { lr: 1e-3, steps: 6, ..Job::new(llama(2, false), 2) };
    let compute = ComputeSpec { reduce: Precision::Bf16, ..ComputeSpec::default() };
    let (fp32, bf16) = (ranks::run(&job), ranks::run(&Job { compute, ..job }));
    close(&fp32[0].losses, &bf16[0].losses, 1e-2);
    assert_ne!(fp32[0].weights, bf16[0].weights, "nothing was rounded: the gradients did not travel in bf16");
    assert_eq!(bf16[0].weights, bf16[1].weights);
}

const END: u32 = 7;

/// Two documents in one row, the first 20 tokens long with its end.
fn packed(first: u64) -> Vec<u32> {
    let no_end = |id: u32| if id == END { END + 1 } else { id };
    let mut row: Vec<u32> = tokens(first)[..19].iter().copied().map(no_end).collect();
    row.push(END);
    row.extend(tokens(99).iter().take(LENGTH as usize + 1 - row.len()).copied().map(no_end));
    row
}

#[test]
fn changing_document_one_leaves_document_twos_logits_untouched() {
    for spec in [llama(1, true), gpt2()] {
        let model = Model::from_source(&spec, crate::support::VOCAB, &mut crate::support::Random(5), Device::Cpu).unwrap();
        let logits = |row: &[u32]| model.logits_by_document(&row[..LENGTH as usize], END).unwrap();
        let (a, b) = (logits(&packed(1)), logits(&packed(2)));
        let second = 20 * crate::support::VOCAB;
        assert_ne!(a[..second], b[..second]);
        assert_eq!(a[second..], b[second..]);
        let unmasked = |row: &[u32]| model.logits(&row[..LENGTH as usize]).unwrap();
        assert_ne!(unmasked(&packed(1))[second..], unmasked(&packed(2))[second..], "the documents must see each other without a mask");
    }
}

#[test]
fn a_masked_step_learns_from_each_document_as_if_it_were_alone() {
    let compute = ComputeSpec { document_mask: true, ..ComputeSpec::default() };
    let with = |compute| TrainerOptions { compute, end_of_text: Some(END), ..options(llama(1, true), 1, 1, 1e-3) };
    let mut masked = trainer(with(compute));
    let row = packed(1);
    let found = masked.step(&rows(std::slice::from_ref(&row)), 0).unwrap().loss;
    // Rotary positions are relative, so the second document alone has the same predictions.
    let nll = |tokens: &[u32], from: usize| {
        let model = Model::from_source(&llama(1, true), crate::support::VOCAB, &mut trainer(with(compute)), Device::Cpu).unwrap();
        let scored = tokens.len() - from;
        let request = osler_engine::score::Request { tokens, scored };
        -osler_engine::score::LogLikelihoods::new(&model).score(&[request]).unwrap()[0].sum
    };
    // The end of the first document predicts the beginning of the second one, knowing the first.
    let expected = (nll(&row[..21], 1) + nll(&row[20..], 1)) / f64::from(LENGTH);
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    let plain = trainer(with(ComputeSpec::default())).step(&rows(&[row]), 0).unwrap().loss;
    assert_ne!(plain, found);
}

#[test]
fn a_document_mask_needs_to_know_where_documents_end() {
    let compute = ComputeSpec { document_mask: true, ..ComputeSpec::default() };
    let made = osler_engine::step::Trainer::new(TrainerOptions { compute, ..options(llama(1, true), 1, 1, 1e-3) }, None);
    assert!(matches!(made, Err(EngineError::Model(problems)) if problems[0].contains("document_mask")));
}

#[test]
fn norms_and_biases_do_not_decay_unless_asked_to() {
    for model in [llama(1, true), gpt2()] {
        let after = |weight_decay, decay| {
            let mut options = options(model.clone(), 2, 2, 1e-2);
            (options.optimizer.weight_decay, options.optimizer.decay) = (weight_decay, decay);
            let mut trainer = trainer(options);
            run(&mut trainer, 1);
            let entries = trainer.layout().entries().to_vec();
            entries.iter().map(|e| (e.shape.len(), trainer.read(&e.name, &e.shape).unwrap())).collect::<Vec<_>>()
        };
        let (matrices, all, none) = (after(0.1, DecayOn::Matrices), after(0.1, DecayOn::All), after(0.0, DecayOn::All));
        let differs = |a: &[(usize, Vec<f32>)], b: &[(usize, Vec<f32>)], matrices: bool| {
            let pairs = a.iter().zip(b).filter(|((dims, _), _)| (*dims > 1) == matrices);
            pairs.map(|((_, x), (_, y))| x.iter().zip(y).map(|(p, q)| f64::from((p - q).abs())).fold(0.0, f64::max)).fold(0.0, f64::max)
        };
        // A vector of ones loses lr x decay = 1e-3 when it decays.
        assert_eq!((differs(&matrices, &none, false), differs(&matrices, &all, true)), (0.0, 0.0));
        assert!(differs(&all, &none, false) > 9e-4 && differs(&matrices, &none, true) > 0.0);
    }
}

#[test]
fn only_targets_that_count_are_averaged_over_all_ranks() {
    let job = Job { masked: true, micro_batch: 1, ..Job::new(llama(2, false), 2) };
    let gang = ranks::run(&job);
    assert_eq!(gang[0].losses, gang[1].losses);
    let mut alone = trainer(options(llama(2, false), 4, 1, 3e-4));
    let losses: Vec<f64> = (0..3)
        .map(|step| {
            let share = share(step, 4, 0, 1);
            let masked: Vec<_> = share.iter().enumerate().map(|(i, row)| mask_row(row, if i < 2 { 2 } else { 3 })).collect();
            let stats = alone.step_on(Batch::Masked(&masked), 0).unwrap();
            assert_eq!(stats.tokens, 2 * u64::from(LENGTH.div_ceil(2) + LENGTH.div_ceil(3)));
            stats.loss
        })
        .collect();
    close(&gang[0].losses, &losses, 1e-5);
    let nothing = vec![osler_engine::step::Masked { inputs: vec![1; LENGTH as usize], targets: vec![-100; LENGTH as usize] }; 4];
    let error = alone.step_on(Batch::Masked(&nothing), 0).unwrap_err();
    assert!(error.to_string().contains("no target"), "{error}");
}
