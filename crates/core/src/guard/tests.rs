//! What the guard skips, what it lets through, and that its memory survives being written down.

use super::*;

/// A guard that has seen `n` steps around loss 2 and norm 1.
fn settled(spec: GuardSpec, n: u64) -> Guard {
    let mut guard = Guard::new(spec);
    for step in 0..n {
        let wave = if step % 2 == 0 { 0.1 } else { -0.1 };
        assert_eq!(guard.judge(step, 2.0 + wave, 1.0 - wave), Verdict::Apply, "step {step}");
    }
    guard
}

#[test]
fn a_step_is_a_spike_beyond_six_deviations_of_the_window() {
    // Mean 2 and 1, deviation 0.1 both: the bounds are 2.6 and 1.6.
    for (loss, norm, expected) in [
        (2.59, 1.0, Verdict::Apply),
        (2.61, 1.0, Verdict::Skip(Skipped::LossSpike)),
        (2.0, 1.59, Verdict::Apply),
        (2.0, 1.61, Verdict::Skip(Skipped::GradNormSpike)),
        (0.0, 0.0, Verdict::Apply),
        (f64::NAN, 1.0, Verdict::Skip(Skipped::LossNotFinite)),
        (2.0, f64::INFINITY, Verdict::Skip(Skipped::GradNormNotFinite)),
    ] {
        assert_eq!(settled(GuardSpec::default(), 128).judge(128, loss, norm), expected, "{loss} {norm}");
    }
}

#[test]
fn a_skipped_step_does_not_become_usual() {
    let mut guard = settled(GuardSpec { rewind_after: 0, ..GuardSpec::default() }, 128);
    for step in 128..160 {
        assert_eq!(guard.judge(step, 9.0, 1.0), Verdict::Skip(Skipped::LossSpike));
    }
    assert_eq!(guard.judge(160, 2.0, 1.0), Verdict::Apply);
}

#[test]
fn too_few_steps_are_not_judged_but_never_applied_without_numbers() {
    let mut young = settled(GuardSpec::default(), MIN_SAMPLES as u64 - 1);
    assert_eq!(young.judge(15, 1e9, 1e9), Verdict::Apply);
    assert_eq!(Guard::new(GuardSpec::default()).judge(0, f64::NAN, 1.0), Verdict::Skip(Skipped::LossNotFinite));
}

#[test]
fn a_constant_history_makes_no_spike_of_an_ordinary_step() {
    let mut guard = Guard::new(GuardSpec::default());
    (0..64).for_each(|step| assert_eq!(guard.judge(step, 2.0, 0.0), Verdict::Apply));
    assert_eq!(guard.judge(64, 2.1, 0.0), Verdict::Apply, "5 % above a constant");
    assert_eq!(guard.judge(65, 2.5, 0.0), Verdict::Skip(Skipped::LossSpike));
}

#[test]
fn an_old_step_leaves_the_window() {
    let mut guard = Guard::new(GuardSpec { window: 16, ..GuardSpec::default() });
    (0..16).for_each(|step| assert_eq!(guard.judge(step, 100.0, 1.0), Verdict::Apply));
    (16..32).for_each(|step| assert_eq!(guard.judge(step, 1.0, 1.0), Verdict::Apply));
    assert_eq!(guard.judge(32, 100.0, 1.0), Verdict::Skip(Skipped::LossSpike), "the first sixteen are forgotten");
}

#[test]
fn repeated_spikes_ask_for_a_rewind_over_exactly_their_range() {
    let mut guard = settled(GuardSpec { rewind_after: 3, ..GuardSpec::default() }, 100);
    for (step, loss, expected) in [(100, 9.0, None), (101, 2.0, None), (102, 9.0, None), (103, 9.0, Some(100..104))] {
        guard.judge(step, loss, 1.0);
        assert_eq!(guard.rewind(), expected, "after step {step}");
    }
}

#[test]
fn spikes_further_apart_than_the_window_ask_for_nothing() {
    let spec = GuardSpec { window: 16, rewind_after: 3, ..GuardSpec::default() };
    let mut guard = settled(spec, 16);
    for step in 16..100 {
        guard.judge(step, if step % 8 == 0 { 9.0 } else { 2.0 }, 1.0);
        assert_eq!(guard.rewind(), None, "step {step}: two in any sixteen");
    }
}

#[test]
fn a_guard_that_only_skips_ends_the_stage() {
    let mut guard = Guard::new(GuardSpec { window: 16, rewind_after: 0, ..GuardSpec::default() });
    (0..15).for_each(|step| assert!(matches!(guard.judge(step, f64::NAN, 1.0), Verdict::Skip(_)), "step {step}"));
    assert_eq!(guard.judge(15, f64::NAN, 1.0), Verdict::Fail(Skipped::LossNotFinite));
}

#[test]
fn switched_off_it_lets_spikes_pass_and_fails_on_what_is_no_number() {
    let mut off = settled(GuardSpec { enabled: false, rewind_after: 1, ..GuardSpec::default() }, 64);
    assert_eq!(off.judge(64, 1e6, 1e6), Verdict::Apply);
    assert_eq!(off.judge(65, 1.0, f64::NAN), Verdict::Fail(Skipped::GradNormNotFinite));
    assert_eq!(off.rewind(), None);
    let mut only_finite = settled(GuardSpec { sigmas: 0.0, ..GuardSpec::default() }, 64);
    assert_eq!(only_finite.judge(64, 1e6, 1e6), Verdict::Apply);
    assert!(matches!(only_finite.judge(65, f64::NAN, 1.0), Verdict::Skip(_)));
}

#[test]
fn a_guard_that_was_written_and_read_is_the_same_to_the_bit() {
    let mut guard = settled(GuardSpec::default(), 200);
    guard.judge(200, 9.0, 0.1 + 0.2);
    guard.judge(201, f64::MIN_POSITIVE, 1.0 / 3.0);
    let read = Guard::from_text(GuardSpec::default(), &guard.to_text()).unwrap();
    assert_eq!(read, guard);
    let fresh = Guard::new(GuardSpec::default());
    assert_eq!(Guard::from_text(GuardSpec::default(), &fresh.to_text()).unwrap(), fresh);
}

#[test]
fn what_is_no_guard_is_refused() {
    let read = |text: &str| Guard::from_text(GuardSpec::default(), text);
    for text in ["", "2 0 [] ", "1 x [] ", "1 0 [1 ", "1 0 [2,1] ", "1 0 [] 00", "1 0 [] ÿ", "1 0 [a] "] {
        assert!(read(text).is_err(), "{text:?}");
    }
    let nan = format!("1 0 [] {:016x}{:016x}", f64::NAN.to_bits(), 1f64.to_bits());
    assert!(read(&nan).is_err());
}
