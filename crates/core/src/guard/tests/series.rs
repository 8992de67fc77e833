//! The guard against real training: losses and gradient norms that runs of the shipped configurations went through without a guard. Nothing
//! of them may be skipped, and what breaks a run must be, wherever in the series it happens.
//!
//! The files are made by `tests/record_series` from the ledgers of those runs; a line is a step: its loss and its gradient norm.

use super::*;

struct Series {
    name: String,
    steps: Vec<[f64; 2]>,
}

fn recorded() -> Vec<Series> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/guard/tests/recorded");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let step = |line: &str| line.split(' ').map(|n| n.parse().unwrap()).collect::<Vec<f64>>().try_into().unwrap();
        let steps = std::fs::read_to_string(&path).unwrap().lines().map(step).collect();
        Series { name: path.file_stem().unwrap().to_string_lossy().into_owned(), steps }
    };
    paths.into_iter().map(read).collect()
}

/// The clip of every shipped configuration.
const CLIP: f64 = 1.0;

#[test]
fn nothing_of_healthy_training_is_skipped() {
    let all = recorded();
    assert!(all.len() >= 18, "only {} series", all.len());
    for Series { name, steps } in all {
        let mut guard = Guard::new(GuardSpec::default(), CLIP);
        for (step, [loss, norm]) in steps.iter().enumerate() {
            assert_eq!(guard.judge(step as u64, *loss, *norm), Verdict::Apply, "{name}, step {step}: loss {loss}, norm {norm}");
        }
    }
}

/// Where something is broken: at every tenth step, from the one at which so many steps are behind.
fn everywhere(behind: usize, judge: impl Fn(&str, Guard, u64, [f64; 2])) {
    for Series { name, steps } in recorded() {
        let mut guard = Guard::new(GuardSpec::default(), CLIP);
        for (step, values) in steps.iter().enumerate() {
            if step >= behind && step % 10 == 0 {
                judge(&format!("{name}, step {step}"), guard.clone(), step as u64, *values);
            }
            guard.judge(step as u64, values[0], values[1]);
        }
    }
}

#[test]
fn one_ranks_gradients_times_ten_thousand_are_skipped() {
    // The mean over eight ranks, one of which is wrong. Clipping to a norm of one is what makes smaller ones harmless.
    everywhere(MIN_SAMPLES, |place, mut guard, step, [loss, norm]| {
        let wrong = norm * (1e4 + 7.0) / 8.0;
        let expected = if wrong > CLIP { Verdict::Skip(Skipped::GradNormSpike) } else { Verdict::Apply };
        assert_eq!(guard.judge(step, loss, wrong), expected, "{place}: norm {norm}");
    });
}

#[test]
fn a_batch_of_garbage_is_skipped_once_the_model_knows_anything() {
    // Garbage costs a model at least what it cost an untrained one: the first loss of its scratch stage, ln of 2,048 tokens or more.
    let garbage = 2048f64.ln();
    everywhere(LOSS_SAMPLES, |place, mut guard, step, [loss, norm]| {
        if loss < 0.6 * garbage {
            assert_eq!(guard.judge(step, garbage, norm), Verdict::Skip(Skipped::LossSpike), "{place}: loss {loss}");
        }
    });
}

#[test]
fn after_a_rate_that_jumps_the_first_losses_are_skipped_and_training_goes_on() {
    everywhere(LOSS_SAMPLES, |place, mut guard, step, [loss, norm]| {
        let verdicts: Vec<_> = (0..20).map(|i| guard.judge(step + i, loss + 6.0, norm * 3.0) == Verdict::Apply).collect();
        assert!(!verdicts[0], "{place}: loss {loss}");
        assert!(verdicts[NEW_LEVEL..].iter().all(|applied| *applied), "{place}: {verdicts:?}");
    });
}

#[test]
fn numbers_that_are_not_finite_are_skipped_everywhere() {
    everywhere(0, |place, mut guard, step, [loss, norm]| {
        assert_eq!(guard.judge(step, f64::INFINITY, norm), Verdict::Skip(Skipped::LossNotFinite), "{place}");
        assert_eq!(guard.judge(step + 1, loss, f64::INFINITY), Verdict::Skip(Skipped::GradNormNotFinite), "{place}");
        assert_eq!(guard.judge(step + 2, loss, norm), Verdict::Apply, "{place}");
    });
}
