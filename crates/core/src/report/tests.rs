//! Time that adds up, and shares of a peak reckoned by hand.

use super::cost::{EnergyBasis, cost};
use super::time::{of_ended, time};
use crate::accounting::{Basis, DeviceUse, Dtype, EnergyReading, Flops, Peak, Usage};
use crate::checkpoint::{Manifest, PhaseSeconds, StepRecord};
use crate::digest::Digest;
use crate::ids::{Generation, Millis, RunName, StageName};
use crate::job::{Fault, FaultClass, JobKind};
use crate::order::SampleSum;
use crate::plan::PlannedJob;
use crate::record::{JobRecord, JobState, PastAttempt};
use crate::time::{Age, Span};
use std::collections::{BTreeMap, BTreeSet};

const TOKENS: u64 = 100;

/// Attempts as (generation, start, end in seconds, failed).
fn job(attempts: &[(u64, f64, f64, bool)]) -> JobRecord {
    let at = |seconds: f64| Millis((seconds * 1e3) as u64);
    let past = attempts.iter().map(|(generation, start, end, failed)| PastAttempt {
        cause: None,
        generation: Generation(*generation),
        workers: BTreeSet::new(),
        started_at: at(*start),
        ended_at: at(*end),
        fault: failed.then(|| Fault::new(FaultClass::Infrastructure, "killed")),
        steps_published: 0,
        others: BTreeMap::new(),
        span: None,
    });
    let kind = JobKind::Train { stage: StageName::new("s").unwrap() };
    let planned = PlannedJob { kind, needs: BTreeSet::new(), ranks: 2 };
    JobRecord { past: past.collect(), ..JobRecord::new(planned, JobState::Blocked) }
}

/// Ten steps by two ranks of 20 GFLOP/s each, whose phases take `each` seconds a rank.
fn manifest(generation: u64, each: PhaseSeconds) -> Manifest {
    let record = |step| StepRecord { step, samples: SampleSum::default(), loss: 1.0, grad_norm: 1.0, lr: 0.1, skipped: None };
    let peak = Some(Peak { flops: 4e10, basis: Basis::Measured });
    Manifest {
        format: Manifest::FORMAT,
        run: RunName::new("r").unwrap(),
        stage: StageName::new("s").unwrap(),
        step: 10,
        generation: Generation(generation),
        world_size: 2,
        spec: Digest::of(b""),
        parent: None,
        parts: vec![],
        ledger: (0..10).map(record).collect(),
        seconds: each.scaled(2.0),
        usage: Usage {
            seconds: 10.0,
            flops_per_token: Some(Flops { model: 1e8, hardware: 1.2e8 }),
            devices: vec![DeviceUse { name: "a processor".into(), dtype: Dtype::Fp32, threads: 1, ranks: 2, peak }],
            energy: vec![EnergyReading { source: "rapl:n".into(), joules: 500.0, estimate: None }],
            peak_memory: 1 << 20,
        },
        published_at: Millis(0),
    }
}

fn phases() -> PhaseSeconds {
    PhaseSeconds {
        startup: 1.0,
        load: 1.0,
        data: 0.5,
        forward: 1.5,
        backward: 2.0,
        update: 1.0,
        checkpoint: 0.5,
        ..PhaseSeconds::default()
    }
}

#[test]
fn every_second_of_the_wall_has_a_cause() {
    // 10 s of which 7.5 are told, killed; 2 s until the next; 9 s that ended on request; 100 s stopped; 8 s to the end.
    let job = job(&[(1, 0.0, 10.0, true), (2, 12.0, 21.0, false), (3, 121.0, 129.0, false)]);
    let manifests = [manifest(1, phases()), manifest(2, phases()), manifest(3, phases())];
    let time = time(&job, &manifests, TOKENS).unwrap();
    assert_eq!((time.wall, time.lost_to_failures, time.stopped, time.idle), (129.0, 4.5, 100.0, 2.0));
    assert_eq!(time.phases.total() + time.lost_to_failures + time.stopped + time.idle, time.wall);
    // The first attempt's two seconds before its first step, and the stop, are not in the rate.
    assert_eq!((time.end_to_end, time.tokens_per_second), (27.0, 3000.0 / 27.0));
    assert_eq!(time.tokens_per_second_stepping, 3000.0 / 15.0);
}

#[test]
fn phases_that_exceed_their_attempt_are_cut_to_it() {
    let job = job(&[(1, 0.0, 5.0, false)]);
    let time = time(&job, &[manifest(1, phases())], TOKENS).unwrap();
    assert!((time.phases.total() - 5.0).abs() < 1e-9 && time.idle.abs() < 1e-9, "{time:?}");
}

/// The attempts of [`job`] by the run's age instead, whatever their stamps say; `alone`: seconds of the first one without a coordinator.
fn aged(mut job: JobRecord, stamps_off_by: &[i64], alone: u64) -> JobRecord {
    for (i, past) in job.past.iter_mut().enumerate() {
        let age = |at: Millis, inside: bool| {
            let alone = if i > 0 || inside { alone * 1000 } else { 0 };
            Age { watched: at.0 - alone, alone }
        };
        past.span = Some(Span { from: age(past.started_at, false), to: age(past.ended_at, true) });
        let off = |at: Millis, n: usize| Millis(at.0.saturating_add_signed(stamps_off_by.get(2 * i + n).copied().unwrap_or(0)));
        (past.started_at, past.ended_at) = (off(past.started_at, 0), off(past.ended_at, 1));
    }
    job
}

#[test]
fn no_jump_of_a_clock_is_told_as_time() {
    const FAR: i64 = 400 * 24 * 3_600_000;
    let attempts = [(1, 0.0, 10.0, true), (2, 12.0, 21.0, false), (3, 121.0, 129.0, false)];
    let manifests = [manifest(1, phases()), manifest(2, phases()), manifest(3, phases())];
    let right = time(&job(&attempts), &manifests, TOKENS).unwrap();
    for off in [[0, FAR, FAR, FAR, FAR, FAR], [FAR, 0, 0, 0, 0, 0], [0, 0, FAR, 0, 0, 0], [0, 0, 0, 0, FAR, FAR]] {
        assert_eq!(time(&aged(job(&attempts), &off, 0), &manifests, TOKENS).unwrap(), right, "{off:?}");
    }
}

#[test]
fn steps_that_were_made_without_a_coordinator_take_as_long_as_they_were_measured() {
    // Of 20 s a wall clock that was set back meanwhile knows only 5; the ranks measured 7.5 s.
    let job = aged(job(&[(1, 0.0, 5.0, false)]), &[], 1);
    let time = time(&job, &[manifest(1, phases())], TOKENS).unwrap();
    assert_eq!((time.wall, time.idle, time.phases.total()), (7.5, 0.0, 7.5));
}

#[test]
fn work_of_an_attempt_that_goes_on_is_not_counted_against_the_time_of_those_that_ended() {
    let job = job(&[(1, 0.0, 10.0, true)]);
    let manifests = [manifest(1, phases()), manifest(2, phases())];
    assert_eq!(time(&job, &manifests, TOKENS).unwrap().tokens_per_second, 1000.0 / 8.0);
    assert_eq!(of_ended(&job, &manifests).count(), 1);
    assert_eq!(time(&self::job(&[]), &manifests, TOKENS), None);
}

#[test]
fn utilisation_is_work_by_peak_and_time() {
    let job = job(&[(1, 0.0, 10.0, false)]);
    let manifests = [manifest(1, phases())];
    let time = time(&job, &manifests, TOKENS).unwrap();
    let cost = cost(&manifests.iter().collect::<Vec<_>>(), &time, TOKENS).unwrap();
    let used = cost.utilisation.unwrap();
    // 1,000 tokens of 100 MFLOP in 8 s (5 s of them in steps) at 40 GFLOP/s.
    assert_eq!((used.peak_flops, used.mfu, used.mfu_stepping), (4e10, 1e11 / (4e10 * 8.0), 0.5));
    assert_eq!((used.hfu, used.hfu_stepping), (1.2e11 / (4e10 * 8.0), 0.6));
    let energy = cost.energy.unwrap();
    assert_eq!((energy.joules, energy.joules_per_1k_tokens, energy.basis), (500.0, 500.0, EnergyBasis::Measured));
    assert_eq!((energy.kilowatt_hours, energy.covers_seconds), (500.0 / 3.6e6, 10.0));
    assert_eq!(cost.peak_memory, Some(1 << 20));
}

#[test]
fn an_unknown_peak_is_no_utilisation_and_says_why() {
    let job = job(&[(1, 0.0, 10.0, false)]);
    let mut manifests = [manifest(1, phases())];
    manifests[0].usage.devices[0].peak = None;
    let time = time(&job, &manifests, TOKENS).unwrap();
    let of = |manifests: &[Manifest]| cost(&manifests.iter().collect::<Vec<_>>(), &time, TOKENS).unwrap();
    assert_eq!(of(&manifests).no_utilisation.as_deref(), Some("no peak is known for a processor in fp32"));
    assert_eq!(of(&manifests).utilisation, None);
    manifests[0].usage = Usage::default();
    let old = of(&manifests);
    assert!(old.no_utilisation.unwrap().contains("older version") && old.energy.is_none() && old.peak_memory.is_none());
}

#[test]
fn an_estimate_in_the_energy_is_told() {
    let job = job(&[(1, 0.0, 10.0, false)]);
    let mut manifests = [manifest(1, phases())];
    manifests[0].usage.energy.push(EnergyReading::estimated("cpu", 12.0, 10.0));
    let time = time(&job, &manifests, TOKENS).unwrap();
    let basis = |manifests: &[Manifest]| cost(&manifests.iter().collect::<Vec<_>>(), &time, TOKENS).unwrap().energy.unwrap().basis;
    assert_eq!(basis(&manifests), EnergyBasis::PartlyEstimated);
    manifests[0].usage.energy.remove(0);
    assert_eq!(basis(&manifests), EnergyBasis::Estimated);
}

#[test]
fn the_best_of_several_measured_peaks_counts_and_training_shows_what_was_possible() {
    let job = job(&[(1, 0.0, 10.0, false)]);
    let used = |peaks: [f64; 2]| {
        let mut manifests = [manifest(1, phases()), manifest(1, phases())];
        for (manifest, flops) in manifests.iter_mut().zip(peaks) {
            manifest.usage.devices[0].peak = Some(Peak { flops, basis: Basis::Measured });
        }
        let time = time(&job, &manifests, TOKENS).unwrap();
        cost(&manifests.iter().collect::<Vec<_>>(), &time, TOKENS).unwrap().utilisation.unwrap()
    };
    let calm = used([4e10, 4.2e10]);
    assert_eq!((calm.peak_flops, calm.doubt), (4.2e10, None));
    let busy = used([2.5e10, 4e10]);
    assert_eq!(busy.peak_flops, 4e10);
    assert!(busy.doubt.as_ref().is_some_and(|why| why.contains("once at 62 % of the highest")), "{busy:?}");
    // The steps did 1.2e11 FLOP in 5 s: 24 GFLOP/s, whatever was measured.
    let disturbed = used([1.2e10, 1.2e10]);
    assert_eq!((disturbed.peak_flops, disturbed.hfu_stepping), (2.4e10, 1.0));
    assert!(disturbed.doubt.as_ref().is_some_and(|why| why.contains("reached 200 % of the measured peak")), "{disturbed:?}");
}

#[test]
fn more_than_a_datasheets_peak_is_explained() {
    let job = job(&[(1, 0.0, 10.0, false)]);
    let mut manifests = [manifest(1, phases())];
    manifests[0].usage.devices[0].peak = Some(Peak { flops: 1.2e10, basis: Basis::Datasheet });
    let time = time(&job, &manifests, TOKENS).unwrap();
    let used = cost(&manifests.iter().collect::<Vec<_>>(), &time, TOKENS).unwrap().utilisation.unwrap();
    assert_eq!((used.peak_flops, used.hfu_stepping), (1.2e10, 2.0));
    assert!(used.doubt.as_ref().is_some_and(|why| why.contains("datasheet")), "{used:?}");
}

#[test]
fn more_skipped_updates_than_usual_are_a_warning() {
    assert!(super::warnings(5, 0.005, None).is_empty());
    let [warning] = &super::warnings(9, 0.006, None)[..] else { panic!("one warning") };
    assert!(warning.starts_with("the guard skipped 9 updates, 0.60 % of the steps"), "{warning}");
}
