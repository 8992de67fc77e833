//! What the order promises, and vectors that pin version 1.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn component(name: &str, sequences: u64, parts: u32) -> Component {
    Component { corpus: CorpusName::new(name).unwrap(), sequences, parts, fingerprint: Digest::of(name.as_bytes()) }
}

fn order(seed: u64, batch: u32, components: &[(&str, u64, u32)]) -> SampleOrder {
    let components = components.iter().map(|(n, s, p)| component(n, *s, *p)).collect();
    SampleOrder::new(seed, &StageName::new("stage").unwrap(), batch, components).unwrap()
}

fn draw(order: &SampleOrder, samples: u64) -> Vec<SampleId> {
    let batch = u64::from(order.global_batch());
    (0..samples).map(|g| order.sample(g / batch, (g % batch) as u32)).collect()
}

proptest! {
    #[test]
    fn an_epoch_visits_every_sequence_once(seed: u64, n in 1u64..3000, batch in 1u32..40) {
        let order = order(seed, batch, &[("a", n, 1)]);
        let drawn = draw(&order, 2 * n);
        for epoch in 0..2 {
            let seen: BTreeSet<u64> = drawn.iter().filter(|s| s.epoch == epoch).map(|s| s.sequence).collect();
            prop_assert_eq!(seen.len() as u64, n);
            prop_assert_eq!(seen.last().copied(), Some(n - 1));
        }
    }

    #[test]
    fn a_mixture_keeps_its_proportions_and_skips_nothing(seed: u64, a in 1u32..20, b in 1u32..20, batch in 1u32..64) {
        let order = order(seed, batch, &[("a", 7, a), ("b", 1000, b)]);
        let periods = 5u64;
        let drawn = draw(&order, u64::from(a + b) * periods);
        let of_a = drawn.iter().filter(|s| s.component == 0).count() as u64;
        prop_assert_eq!(of_a, u64::from(a) * periods);
        let distinct: BTreeSet<_> = drawn.iter().collect();
        prop_assert_eq!(distinct.len(), drawn.len());
    }

    #[test]
    fn any_world_size_reads_the_same_samples(seed: u64, step in 0u64..1_000_000, share in 1u32..5) {
        let batch = 8 * share;
        let order = order(seed, batch, &[("a", 12_345, 1), ("b", 99, 2)]);
        for world in [1, 2, 4, 8] {
            let mut sum = SampleSum::default();
            for rank in (0..world).rev() {
                let mut own = SampleSum::default();
                rank_slots(batch, rank, world).unwrap().for_each(|slot| own.add(order.sample(step, slot)));
                sum.merge(own);
            }
            prop_assert_eq!(sum, order.expected(step));
        }
    }
}

#[test]
fn one_repeated_or_missing_sample_changes_the_sum() {
    let order = order(1, 8, &[("a", 100, 1)]);
    let mut sum = SampleSum::default();
    for slot in [0, 1, 2, 3, 4, 5, 6, 6] {
        sum.add(order.sample(0, slot));
    }
    assert_eq!(sum.count, order.expected(0).count);
    assert_ne!(sum, order.expected(0));
}

#[test]
fn seeds_and_epochs_give_different_orders() {
    let first = |seed| draw(&order(seed, 4, &[("a", 1000, 1)]), 1000);
    assert_ne!(first(1), first(2));
    let two = draw(&order(1, 4, &[("a", 1000, 1)]), 2000);
    let sequences = |range: std::ops::Range<usize>| two[range].iter().map(|s| s.sequence).collect::<Vec<_>>();
    assert_ne!(sequences(0..1000), sequences(1000..2000));
}

#[test]
fn neighbours_are_scattered() {
    let n = 100_000;
    let drawn = draw(&order(3, 32, &[("a", n, 1)]), 1000);
    let close = drawn.windows(2).filter(|w| w[0].sequence.abs_diff(w[1].sequence) < n / 100).count();
    assert!(close < 50, "{close} of 999 neighbours lie within 1 % of each other; a random order has about 20");
}

#[test]
fn mixtures_that_cannot_be_dealt_are_refused() {
    let stage = StageName::new("s").unwrap();
    let new = |components| SampleOrder::new(0, &stage, 4, components).map(|_| ());
    assert_eq!(new(vec![]), Err(OrderError::NoComponents));
    assert_eq!(new(vec![component("a", 0, 1)]), Err(OrderError::EmptyComponent(CorpusName::new("a").unwrap())));
    assert_eq!(new(vec![component("a", 1, 0)]), Err(OrderError::BadParts(0)));
    assert_eq!(new(vec![component("a", 1, MAX_PERIOD), component("b", 1, 1)]), Err(OrderError::BadParts(u64::from(MAX_PERIOD) + 1)));
    assert!(rank_slots(10, 0, 4).is_err() && rank_slots(8, 4, 4).is_err() && rank_slots(8, 0, 0).is_err());
}

#[test]
fn version_1_vectors() {
    let order = order(42, 4, &[("general", 10, 1), ("domain", 25, 3)]);
    let drawn: Vec<_> = draw(&order, 12).iter().map(|s| (s.component, s.epoch, s.sequence)).collect();
    assert_eq!(drawn, VECTORS);
    let sum = serde_json::to_string(&order.expected(7)).unwrap();
    assert_eq!(sum, SUM_OF_STEP_7);
}

// Made by tests/python/order_vectors.py, which is written from the specification and shares no code with it.
const VECTORS: [(u16, u64, u64); 12] = [
    (1, 0, 14),
    (0, 0, 6),
    (1, 0, 12),
    (1, 0, 15),
    (1, 0, 24),
    (0, 0, 5),
    (1, 0, 7),
    (1, 0, 9),
    (1, 0, 13),
    (0, 0, 3),
    (1, 0, 17),
    (1, 0, 20),
];
const SUM_OF_STEP_7: &str = r#"{"count":4,"low":"78c85614a0517f26","high":"eeb663d437e881f9"}"#;
