//! `determinism = "elastic"`: one, two and four ranks compute the same bits, also when their number changes on the way.

use crate::ranks::{self, Job, Outcome};
use crate::support::{gpt2, llama, options, trainer};
use osler_core::spec::{ComputeSpec, Determinism, ModelSpec, Recompute};
use osler_engine::EngineError;
use osler_engine::step::{Trainer, TrainerOptions};
use std::path::{Path, PathBuf};

/// Eight leaves a step: one sequence each.
fn job(model: ModelSpec, ranks: u32) -> Job {
    Job { lr: 1e-3, global_batch: 8, micro_batch: 1, steps: 6, determinism: Determinism::Elastic, ..Job::new(model, ranks) }
}

fn slices(folder: &Path, ranks: u32) -> Vec<PathBuf> {
    (0..ranks).map(|rank| folder.join(format!("slice-{rank}"))).collect()
}

/// Step, weights and both moments, put together from the slices of all ranks.
fn whole(model: &ModelSpec, slices: &[PathBuf]) -> String {
    let mut alone = trainer(TrainerOptions { determinism: Determinism::Elastic, ..options(model.clone(), 8, 1, 1e-3) });
    alone.load_slices(slices).unwrap();
    alone.state_digest().unwrap().to_string()
}

fn segment(model: &ModelSpec, ranks: u32, steps: u64, load: Vec<PathBuf>, folder: &Path) -> (Vec<Outcome>, Vec<PathBuf>) {
    let save = Some(folder.to_path_buf());
    (ranks::run(&Job { steps, load, save, ..job(model.clone(), ranks) }), slices(folder, ranks))
}

#[test]
fn one_two_and_four_ranks_end_in_identical_weights_and_moments() {
    for model in [llama(1, true), gpt2()] {
        let ends: Vec<_> = [1, 2, 4]
            .into_iter()
            .map(|ranks| {
                let folder = tempfile::tempdir().unwrap();
                let (outcomes, slices) = segment(&model, ranks, 6, vec![], folder.path());
                assert!(outcomes.iter().all(|o| o.losses == outcomes[0].losses && o.weights == outcomes[0].weights));
                (outcomes[0].losses.clone(), outcomes[0].weights.clone(), whole(&model, &slices))
            })
            .collect();
        assert_eq!(ends[0], ends[1]);
        assert_eq!(ends[0], ends[2]);
    }
}

#[test]
fn a_run_that_changes_its_world_size_twice_ends_in_the_bits_of_one_that_does_not() {
    let model = llama(2, false);
    let folders = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let (straight, end) = segment(&model, 2, 6, vec![], folders[0].path());
    let (first, slices) = segment(&model, 1, 2, vec![], folders[1].path());
    let (second, slices) = segment(&model, 4, 2, slices, folders[2].path());
    let (third, slices) = segment(&model, 2, 2, slices, folders[3].path());
    let losses: Vec<f64> = [first, second, third].iter().flat_map(|part| part[0].losses.clone()).collect();
    assert_eq!(losses, straight[0].losses);
    assert_eq!(whole(&model, &slices), whole(&model, &end));
}

#[test]
fn elastic_bits_do_not_depend_on_zero_or_recomputation() {
    let plain = ranks::run(&Job { zero: false, ..job(llama(2, false), 2) });
    let compute = ComputeSpec { recompute: Recompute::All, ..ComputeSpec::default() };
    let other = ranks::run(&Job { compute, ..job(llama(2, false), 2) });
    assert_eq!((&plain[0].losses, &plain[0].weights), (&other[1].losses, &other[1].weights));
}

#[test]
fn elastic_and_fast_sum_the_same_gradients() {
    let elastic = ranks::run(&job(llama(2, false), 2));
    let fast = ranks::run(&Job { determinism: Determinism::Fast, ..job(llama(2, false), 2) });
    for (a, b) in elastic[0].losses.iter().zip(&fast[0].losses) {
        assert!((a - b).abs() < 1e-5, "{elastic:?} {fast:?}");
    }
    assert_ne!(
        elastic[0].weights, fast[0].weights,
        "the modes sum in different orders; equal bits would mean that one of them is not used"
    );
}

#[test]
fn a_number_of_leaves_that_is_no_power_of_two_is_refused() {
    let options = TrainerOptions { determinism: Determinism::Elastic, ..options(llama(2, false), 6, 1, 1e-3) };
    let made = Trainer::new(options, None);
    assert!(matches!(made, Err(EngineError::Model(problems)) if problems[0].contains("needs a power of two")));
}
