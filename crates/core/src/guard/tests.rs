//! What the guard skips, what it lets through, and that its memory survives being written down.

use super::*;

mod series;

/// A guard that has seen `n` steps around loss 2 and norm 1; neighbours differ by 0.1.
fn settled(spec: GuardSpec, n: u64) -> Guard {
    let mut guard = Guard::new(spec, 1.0);
    for step in 0..n {
        let wave = if step % 2 == 0 { 0.05 } else { -0.05 };
        assert_eq!(guard.judge(step, 2.0 + wave, 1.0 - wave), Verdict::Apply, "step {step}");
    }
    guard
}

#[test]
fn a_spike_is_far_above_the_level_and_a_gradient_many_times_it() {
    // The deviation is 0.1 / sqrt(2), six of it 0.42: less than the least rise of 0.5. A norm may be a hundred times its level.
    for (loss, norm, expected) in [
        (2.54, 1.0, Verdict::Apply),
        (2.56, 1.0, Verdict::Skip(Skipped::LossSpike)),
        (2.0, 90.0, Verdict::Apply),
        (2.0, 110.0, Verdict::Skip(Skipped::GradNormSpike)),
        (0.0, 0.0, Verdict::Apply),
        (f64::NAN, 1.0, Verdict::Skip(Skipped::LossNotFinite)),
        (2.0, f64::INFINITY, Verdict::Skip(Skipped::GradNormNotFinite)),
    ] {
        assert_eq!(settled(GuardSpec::default(), 128).judge(128, loss, norm), expected, "{loss} {norm}");
    }
}

#[test]
fn noise_raises_the_bound_and_a_slope_does_not() {
    let first_spike = |series: &dyn Fn(u64) -> f64| {
        let mut guard = Guard::new(GuardSpec::default(), 1.0);
        (0..128).for_each(|step| assert_eq!(guard.judge(step, series(step), 1.0), Verdict::Apply, "step {step}"));
        let level = series(120);
        (1..100).map(|tenths| f64::from(tenths) / 10.0).find(|rise| guard.clone().judge(128, level + rise, 1.0) != Verdict::Apply).unwrap()
    };
    let calm = first_spike(&|_| 4.0);
    let falling = first_spike(&|step| 8.0 - step as f64 / 32.0);
    let noisy = first_spike(&|step| if step % 2 == 0 { 4.2 } else { 3.8 });
    assert!((0.5..0.7).contains(&calm) && (0.5..0.9).contains(&falling), "{calm} {falling}");
    assert!((1.6..2.2).contains(&noisy), "{noisy}");
}

#[test]
fn a_gradient_that_is_not_clipped_is_no_spike() {
    // A model that knows its text by heart has gradients near nothing, and an ordinary one on the first sentence that it does not know.
    let mut guard = Guard::new(GuardSpec::default(), 1.0);
    (0..64).for_each(|step| assert_eq!(guard.judge(step, 0.01, 1e-5), Verdict::Apply));
    assert_eq!(guard.judge(64, 0.3, 0.9), Verdict::Apply);
    assert_eq!(guard.judge(65, 0.3, 1.1), Verdict::Skip(Skipped::GradNormSpike));
    let mut unclipped = Guard::new(GuardSpec::default(), 0.0);
    (0..64).for_each(|step| assert_eq!(unclipped.judge(step, 2.0, 0.01), Verdict::Apply));
    assert_eq!(unclipped.judge(64, 2.0, 1.5), Verdict::Skip(Skipped::GradNormSpike));
}

#[test]
fn a_level_that_lasts_becomes_usual_after_a_few_steps() {
    let verdicts = |loss: f64, norm: f64| {
        let mut guard = settled(GuardSpec::default(), 128);
        (128..200).map(|step| guard.judge(step, loss, norm) == Verdict::Apply).collect::<Vec<_>>()
    };
    for (loss, norm) in [(9.0, 1.0), (2.0, 1e4), (9.0, 1e4)] {
        let applied = verdicts(loss, norm);
        assert!(!applied[..NEW_LEVEL].contains(&true) && !applied[NEW_LEVEL..].contains(&false), "{loss} {norm}: {applied:?}");
    }
}

#[test]
fn what_became_usual_says_nothing_of_what_is_far_above_it() {
    let mut guard = settled(GuardSpec::default(), 128);
    (128..133).for_each(|step| assert_eq!(guard.judge(step, 4.0, 1.0), Verdict::Skip(Skipped::LossSpike)));
    assert_eq!(guard.judge(133, 9.0, 1.0), Verdict::Skip(Skipped::LossSpike));
    assert_eq!(guard.judge(134, 4.0, 1.0), Verdict::Apply);
    assert_eq!(guard.judge(135, 4.0, 1e4), Verdict::Skip(Skipped::GradNormSpike), "a loss that is usual excuses no gradient");
}

#[test]
fn bad_batches_now_and_then_do_not_become_usual() {
    let mut guard = settled(GuardSpec::default(), 128);
    for step in 128..1000 {
        let bad = step % 10 == 0;
        let expected = if bad { Verdict::Skip(Skipped::LossSpike) } else { Verdict::Apply };
        assert_eq!(guard.judge(step, if bad { 9.0 } else { 2.0 }, 1.0), expected, "step {step}");
    }
}

#[test]
fn too_few_steps_are_not_judged_but_never_applied_without_numbers() {
    let mut young = settled(GuardSpec::default(), MIN_SAMPLES as u64 - 1);
    assert_eq!(young.judge(15, 1e9, 1e9), Verdict::Apply);
    assert_eq!(Guard::new(GuardSpec::default(), 1.0).judge(0, f64::NAN, 1.0), Verdict::Skip(Skipped::LossNotFinite));
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
fn a_window_without_numbers_ends_the_stage() {
    let mut guard = Guard::new(GuardSpec { window: 16, rewind_after: 0, ..GuardSpec::default() }, 1.0);
    (0..15).for_each(|step| assert!(matches!(guard.judge(step, f64::NAN, 1.0), Verdict::Skip(_)), "step {step}"));
    assert_eq!(guard.clone().judge(15, f64::NAN, 1.0), Verdict::Fail(Skipped::LossNotFinite));
    assert_eq!(guard.judge(15, 2.0, 1.0), Verdict::Apply, "one step with numbers, and the count begins again");
    assert!(matches!(guard.judge(16, f64::NAN, 1.0), Verdict::Skip(_)));
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
    for (step, loss, norm) in [(200, 9.0, 0.1 + 0.2), (201, f64::MIN_POSITIVE, 1.0 / 3.0), (202, 2.0, 1e5), (203, f64::NAN, 1.0)] {
        guard.judge(step, loss, norm);
    }
    let read = Guard::from_text(GuardSpec::default(), 1.0, &guard.to_text()).unwrap();
    assert_eq!(read, guard);
    let fresh = Guard::new(GuardSpec::default(), 1.0);
    assert_eq!(Guard::from_text(GuardSpec::default(), 1.0, &fresh.to_text()).unwrap(), fresh);
}

#[test]
fn the_applied_steps_of_an_earlier_version_are_kept() {
    let old = format!("1 3 [7,9] {}{}", hex(2.5), hex(1.0));
    let read = Guard::from_text(GuardSpec::default(), 1.0, &old).unwrap();
    assert_eq!((read.last_loss(), read.exceptions.len(), read.not_finite), (Some(2.5), 0, 0));
}

#[test]
fn what_is_no_guard_is_refused() {
    let read = |text: &str| Guard::from_text(GuardSpec::default(), 1.0, text);
    for text in [
        "",
        "3 0 [] ",
        "2 x [] ",
        "2 0 [1 ",
        "2 0 [2:-:-:1,1:-:-:1] ",
        "2 0 [1:-:-:2] ",
        "2 0 [1:-:-] ",
        "2 0 [1:x:-:1] ",
        "2 0 [] 00",
        "2 0 [] ÿ",
        "2 0 [a] ",
    ] {
        assert!(read(text).is_err(), "{text:?}");
    }
    for nan in [format!("2 0 [] {}{}", hex(f64::NAN), hex(1.0)), format!("2 0 [1:{}:-:1] ", hex(f64::NAN))] {
        assert!(read(&nan).is_err(), "{nan}");
    }
}
