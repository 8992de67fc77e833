//! Steps that the guard does not apply, and moments that outlive their stage.

use crate::ranks::{self, Job};
use crate::support::{llama, options, rows, run, share, trainer};
use osler_core::guard::Skipped;
use osler_core::spec::{GuardSpec, ScheduleSpec};
use osler_engine::EngineError;
use osler_engine::step::{StepStats, Trainer, TrainerOptions};

fn bits(trainer: &Trainer) -> [Vec<u8>; 3] {
    let all = trainer.slice(0, 1).unwrap();
    [all.params().to_vec(), all.exp_avg().to_vec(), all.exp_avg_sq().to_vec()]
}

fn one(trainer: &mut Trainer) -> StepStats {
    let share = share(trainer.steps_done(), trainer.options().global_batch.into(), 0, 1);
    trainer.step(&rows(&share), 0).unwrap()
}

/// So strict that ordinary steps are spikes, once there are enough to compare with; the rate is so low that no step is below all before it.
const STILL: f64 = 1e-7;

fn strict() -> TrainerOptions {
    let guard = GuardSpec { sigmas: 0.001, least_rise: 0.0, window: 16, rewind_after: 0, ..GuardSpec::default() };
    TrainerOptions { guard, ..options(llama(2, true), 2, 2, STILL) }
}

#[test]
fn a_step_without_numbers_changes_no_weight_and_no_moment_and_the_schedule_moves_on() {
    // Adam moves every weight by about the learning rate, so in the second step loss or gradient overflows.
    let schedule = ScheduleSpec::Cosine { warmup_steps: 0, warmup_from: 0.0, min_ratio: 0.0 };
    let mut alone = trainer(TrainerOptions { schedule, ..options(llama(2, false), 2, 2, 1e30) });
    let first = one(&mut alone);
    assert_eq!(first.skipped, None);
    let before = bits(&alone);
    let second = one(&mut alone);
    assert!(matches!(second.skipped, Some(Skipped::LossNotFinite | Skipped::GradNormNotFinite)), "{second:?}");
    assert_eq!((second.step, alone.steps_done()), (1, 2));
    assert!(second.lr < first.lr);
    assert!(bits(&alone) == before, "a skipped step changed the state");
    assert_eq!(alone.last_loss(), Some(first.loss));
}

#[test]
fn without_the_guard_it_ends_the_step_on_all_ranks_before_the_update() {
    let guard = GuardSpec { enabled: false, ..GuardSpec::default() };
    for outcome in ranks::run(&Job { lr: 1e30, guard: guard.clone(), ..Job::new(llama(2, false), 2) }) {
        assert!(outcome.error.as_deref().is_some_and(|e| e.starts_with("step 1: ") && e.contains("is not finite")), "{outcome:?}");
    }
    let mut alone = trainer(TrainerOptions { guard, ..options(llama(2, false), 2, 2, 1e30) });
    run(&mut alone, 1);
    let before = bits(&alone);
    let error = alone.step(&rows(&share(1, 2, 0, 1)), 0).unwrap_err();
    assert!(matches!(error, EngineError::Guard { step: 1, .. }), "{error}");
    assert!(bits(&alone) == before);
}

#[test]
fn all_ranks_skip_the_same_steps() {
    let guard = strict().guard;
    let outcomes = ranks::run(&Job { guard, steps: 30, lr: STILL, ..Job::new(llama(2, false), 2) });
    assert!(!outcomes[0].skipped.is_empty(), "nothing was skipped: {outcomes:?}");
    assert_eq!(outcomes[0].skipped, outcomes[1].skipped);
    assert_eq!(outcomes[0].weights, outcomes[1].weights);
}

#[test]
fn a_resumed_guard_skips_what_it_would_have_skipped() {
    let skipped =
        |trainer: &mut Trainer, steps| (0..steps).filter_map(|_| Some((one(trainer).step, trainer.last_loss()?))).collect::<Vec<_>>();
    let mut straight = trainer(strict());
    let all = skipped(&mut straight, 28);
    let losses: std::collections::BTreeSet<u64> = all[18..].iter().map(|(_, loss)| loss.to_bits()).collect();
    assert!(losses.len() < 10, "nothing was skipped behind the checkpoint");
    let mut first = trainer(strict());
    skipped(&mut first, 18);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slice");
    first.save_slice(&path, 0, 1).unwrap();
    let mut second = trainer(strict());
    second.load_slices(&[path]).unwrap();
    assert_eq!(skipped(&mut second, 10), all[18..]);
    assert_eq!(second.state_digest().unwrap(), straight.state_digest().unwrap());
}

#[test]
fn a_forked_stage_continues_the_moments_and_their_bias_correction() {
    let constant = || options(llama(2, true), 2, 2, 1e-3);
    let mut straight = trainer(constant());
    run(&mut straight, 9);
    let mut stable = trainer(constant());
    run(&mut stable, 5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slice");
    stable.save_slice(&path, 0, 1).unwrap();
    let mut forked = trainer(constant());
    forked.load_slices(std::slice::from_ref(&path)).unwrap();
    forked.begin_stage();
    assert_eq!((forked.steps_done(), forked.last_loss()), (0, None));
    // The rows of the straight run's steps 5 to 8: the same updates, in a stage that counts from 0.
    for step in 5..9 {
        forked.step(&rows(&share(step, 2, 0, 1)), 0).unwrap();
    }
    assert!(bits(&forked) == bits(&straight), "the fork did not go on as the stable stage would have");
    // And once more from a checkpoint of the fork's own.
    forked.save_slice(&path, 0, 1).unwrap();
    let mut resumed = trainer(constant());
    resumed.load_slices(&[path]).unwrap();
    assert_eq!(resumed.steps_done(), 4);
    let more = share(9, 2, 0, 1);
    for trainer in [&mut resumed, &mut straight] {
        trainer.step(&rows(&more), 0).unwrap();
    }
    assert!(bits(&resumed) == bits(&straight));
}
