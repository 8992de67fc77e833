//! The same numbers as PyTorch's own data-parallel training, and what ranks agree on.

use crate::ranks::{self, Job};
use crate::support::{gpt2, llama, options, run, trainer};
use osler_engine::reduce::BUCKET_BYTES;

#[derive(serde::Deserialize)]
struct Golden {
    runs: Vec<GoldenRun>,
}

#[derive(serde::Deserialize)]
struct GoldenRun {
    ranks: u32,
    kv_heads: u32,
    tied: bool,
    lr: f64,
    losses: Vec<f64>,
}

fn job(ranks: u32) -> Job {
    Job::new(llama(2, false), ranks)
}

#[test]
fn losses_equal_pytorch_ddp_to_five_digits() {
    let golden: Golden = serde_json::from_str(include_str!("golden/ddp-micro.json")).unwrap();
    assert_eq!(golden.runs.len(), 5);
    for GoldenRun { ranks, kv_heads, tied, lr, losses } in golden.runs {
        let model = llama(kv_heads, tied);
        let found = if ranks == 1 {
            run(&mut trainer(options(model, 2, 2, lr)), losses.len() as u64)
        } else {
            // Buckets small enough that there are several.
            let outcomes = ranks::run(&Job { model, lr, steps: losses.len() as u64, bucket_bytes: 64 << 10, ..job(ranks) });
            assert!(
                outcomes.windows(2).all(|pair| pair[0].losses == pair[1].losses && pair[0].weights == pair[1].weights),
                "the ranks differ: {outcomes:?}"
            );
            outcomes[0].losses.clone()
        };
        assert_eq!(found.len(), losses.len());
        let worst = found.iter().zip(&losses).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        eprintln!("{ranks} ranks, {kv_heads} key heads, tied {tied}, lr {lr}: largest difference {worst:.1e}");
        assert!(worst <= 1e-5, "{ranks} ranks, tied {tied}: {found:?}");
    }
}

#[test]
fn the_number_of_ranks_and_the_buckets_do_not_change_the_loss() {
    let alone = run(&mut trainer(options(gpt2(), 6, 2, 1e-3)), 3);
    for (ranks, bucket_bytes) in [(2, 1), (3, BUCKET_BYTES)] {
        let outcomes = ranks::run(&Job { model: gpt2(), lr: 1e-3, global_batch: 6, micro_batch: 1, bucket_bytes, ..job(ranks) });
        for (a, b) in outcomes[0].losses.iter().zip(&alone) {
            assert!((a - b).abs() < 1e-5, "{ranks} ranks: {outcomes:?} {alone:?}");
        }
        assert!(outcomes.iter().all(|o| o.weights == outcomes[0].weights));
    }
}

#[test]
fn control_words_are_or_ed_over_the_ranks_in_every_step() {
    let outcomes = ranks::run(&Job { control: vec![0x8000_0001, 0x0000_0011], ..job(2) });
    assert!(outcomes.iter().all(|o| o.controls == [0x8000_0011; 3]));
}

#[test]
fn a_rank_with_other_weights_is_found_before_the_first_step() {
    for outcome in ranks::run(&Job { poison: Some(1), ..job(2) }) {
        assert!(outcome.error.as_deref().is_some_and(|e| e.contains("disagree")) && outcome.losses.is_empty(), "{outcome:?}");
    }
}

#[test]
fn a_batch_that_is_not_the_global_batch_is_refused_by_all() {
    for outcome in ranks::run(&Job { global_batch: 5, ..job(2) }) {
        assert!(outcome.error.as_deref().is_some_and(|e| e.contains("4 sequences, the global batch has 5")), "{outcome:?}");
    }
}
