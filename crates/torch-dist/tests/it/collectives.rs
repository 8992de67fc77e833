//! Numbers of the collectives over 2 and 4 processes.

use osler_torch_dist::{DistError, GroupOptions, ProcessGroup, Store};
use tch::{Device, Kind, Tensor};

use crate::gang::{LOOPBACK, PATIENT, Seat, gang};

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

fn floats(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.flatten(0, -1)).unwrap()
}

/// Rank r holds 1000 r + 0, 1, 2, ...
fn ramp(rank: usize, length: i64) -> Tensor {
    Tensor::arange(length, CPU) + 1000.0 * rank as f64
}

fn every_collective_gives_the_right_numbers(seat: Seat) {
    let group = seat.join(PATIENT);
    let (rank, world) = (seat.rank, seat.world);
    assert_eq!((group.rank(), group.world_size(), group.generation()), (rank, world, 7));

    // Several all-reduces under way at once, waited for in the other order.
    let mut tensors: Vec<Tensor> = (1..=8).map(|scale| ramp(rank, 1003) * f64::from(scale)).collect();
    let works: Vec<_> = tensors.iter_mut().map(|tensor| group.all_reduce_sum(tensor).unwrap()).collect();
    works.into_iter().rev().for_each(|work| work.wait(PATIENT).unwrap());
    let offset: usize = (0..world).map(|rank| 1000 * rank).sum();
    for (tensor, scale) in tensors.iter().zip(1..) {
        let sum: Vec<f32> = (0..1003).map(|i| (scale * (i * world + offset)) as f32).collect();
        assert_eq!(floats(tensor), sum, "scale {scale}");
    }

    for root in 0..world {
        let mut tensor = ramp(rank, 1003);
        group.reduce_sum(&mut tensor, root).unwrap().wait(PATIENT).unwrap();
        if rank == root {
            assert_eq!(floats(&tensor), (0..1003).map(|i| (i * world + offset) as f32).collect::<Vec<_>>());
        }
        let mut tensor = ramp(rank, 12).view([3, 4]);
        group.broadcast(&mut tensor, root).unwrap().wait(PATIENT).unwrap();
        assert_eq!(floats(&tensor), floats(&ramp(root, 12)));
    }

    let mut outputs: Vec<Tensor> = (0..world).map(|_| Tensor::zeros([5], CPU)).collect();
    group.all_gather(&mut outputs, &ramp(rank, 5)).unwrap().wait(PATIENT).unwrap();
    for (source, output) in outputs.iter().enumerate() {
        assert_eq!(floats(output), floats(&ramp(source, 5)));
    }

    let mut flat = Tensor::zeros([world as i64 * 6], CPU);
    group.all_gather_into(&mut flat, &ramp(rank, 6).view([2, 3])).unwrap().wait(PATIENT).unwrap();
    assert_eq!(floats(&flat), (0..world).flat_map(|source| floats(&ramp(source, 6))).collect::<Vec<_>>());

    let wanted: Vec<f32> = (6 * rank..6 * rank + 6).map(|i| (i * world + offset) as f32).collect();
    let mut whole = ramp(rank, world as i64 * 6);
    let mut share = Tensor::zeros([2, 3], CPU);
    group.reduce_scatter_sum(&mut share, &mut whole).unwrap().wait(PATIENT).unwrap();
    assert_eq!(floats(&share), wanted);
    let mut whole = ramp(rank, world as i64 * 6);
    let mut in_place = whole.narrow(0, 6 * rank as i64, 6);
    group.reduce_scatter_sum(&mut in_place, &mut whole).unwrap().wait(PATIENT).unwrap();
    assert_eq!(floats(&in_place), wanted);

    // Around the ring: to the right, from the left.
    let (right, left) = ((rank + 1) % world, (rank + world - 1) % world);
    let mut received = Tensor::zeros([4], CPU);
    let sending = group.send(&ramp(rank, 4), right, 5).unwrap();
    group.recv(&mut received, left, 5).unwrap().wait(PATIENT).unwrap();
    sending.wait(PATIENT).unwrap();
    assert_eq!(floats(&received), floats(&ramp(left, 4)));

    group.barrier().unwrap().wait(PATIENT).unwrap();
    drop(group);
}

#[test]
fn two_ranks_get_the_right_numbers() {
    gang("collectives::two_ranks_get_the_right_numbers", 2, every_collective_gives_the_right_numbers);
}

#[test]
fn four_ranks_get_the_right_numbers() {
    gang("collectives::four_ranks_get_the_right_numbers", 4, every_collective_gives_the_right_numbers);
}

#[test]
fn every_kind_that_is_accepted_is_summed() {
    gang("collectives::every_kind_that_is_accepted_is_summed", 2, |seat| {
        let group = seat.join(PATIENT);
        use Kind::{BFloat16, Double, Float, Half, Int, Int8, Int64, Uint8};
        for kind in [Float, Double, Half, BFloat16, Int8, Uint8, Int, Int64] {
            let mut tensor = Tensor::full([33], 3 + seat.rank as i64, (kind, Device::Cpu));
            group.all_reduce_sum(&mut tensor).unwrap().wait(PATIENT).unwrap();
            assert_eq!(floats(&tensor.to_kind(Float)), [7.0; 33], "{kind:?}");
        }
        let mut flags = Tensor::full([3], i64::from(seat.rank == 0), (Kind::Bool, Device::Cpu));
        group.broadcast(&mut flags, 0).unwrap().wait(PATIENT).unwrap();
        assert_eq!(Vec::<bool>::try_from(&flags).unwrap(), [true; 3]);
    });
}

#[test]
fn a_reduce_scatter_adds_in_the_order_of_the_ranks() {
    gang("collectives::a_reduce_scatter_adds_in_the_order_of_the_ranks", 4, |seat| {
        let group = seat.join(PATIENT);
        // Single precision loses the 1 in any other order.
        let own = [1e8, -1e8, 1.0, 0.5][seat.rank];
        let mut share = Tensor::zeros([3], CPU);
        let mut inputs: Vec<Tensor> = (0..3).map(|_| Tensor::full([12], own, CPU)).collect();
        // Three under way at once, each with its own numbers.
        for (i, input) in inputs.iter_mut().enumerate() {
            *input *= f64::from(1 << i);
        }
        let mut shares: Vec<Tensor> = (0..3).map(|_| share.copy()).collect();
        let works: Vec<_> =
            inputs.iter_mut().zip(&mut shares).map(|(input, share)| group.reduce_scatter_sum(share, input).unwrap()).collect();
        works.into_iter().for_each(|work| work.wait(PATIENT).unwrap());
        for (i, share) in shares.iter().enumerate() {
            assert_eq!(floats(share), [1.5 * (1 << i) as f32; 3]);
        }
        // 256 + 1 + 1 + 1: bfloat16 would drop each 1 by itself.
        let mut halves = Tensor::full([4], if seat.rank == 0 { 256.0 } else { 1.0 }, (Kind::BFloat16, Device::Cpu));
        share = Tensor::zeros([1], (Kind::BFloat16, Device::Cpu));
        group.reduce_scatter_sum(&mut share, &mut halves).unwrap().wait(PATIENT).unwrap();
        assert_eq!(floats(&share.to_kind(Kind::Float)), [260.0], "259 rounds to 260");
    });
}

#[test]
fn sums_are_the_same_bits_on_every_rank_and_every_time() {
    gang("collectives::sums_are_the_same_bits_on_every_rank_and_every_time", 4, |seat| {
        let group = seat.join(PATIENT);
        tch::manual_seed(seat.rank as i64);
        let source = Tensor::randn([100_003], CPU);
        let mut sums: Vec<Tensor> = (0..3).map(|_| source.copy()).collect();
        for sum in &mut sums {
            group.all_reduce_sum(sum).unwrap().wait(PATIENT).unwrap();
        }
        let mut of_all: Vec<Tensor> = (0..4).map(|_| source.zeros_like()).collect();
        group.all_gather(&mut of_all, &sums[0]).unwrap().wait(PATIENT).unwrap();
        for other in sums.iter().chain(&of_all) {
            assert!(sums[0].equal(other));
        }
    });
}

#[test]
fn agreement_names_the_ranks_that_differ() {
    gang("collectives::agreement_names_the_ranks_that_differ", 4, |seat| {
        let group = seat.join(PATIENT);
        group.agree("the plan", u64::MAX, PATIENT).unwrap();
        let odd = if seat.rank == 2 { 1 } else { 0 };
        match group.agree("the plan", odd, PATIENT) {
            Err(DistError::Disagreement { ranks, what, .. }) => {
                assert_eq!((ranks, what.as_str()), (vec![2], "the plan"))
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_gang_of_one_works_too() {
    let store = Store::host(LOOPBACK, 0, 1, PATIENT).unwrap();
    let group = ProcessGroup::gloo(&store, GroupOptions::new(0, 1, 1, PATIENT)).unwrap();
    let mut tensor = ramp(1, 3);
    group.all_reduce_sum(&mut tensor).unwrap().wait(PATIENT).unwrap();
    group.barrier().unwrap().wait(PATIENT).unwrap();
    group.agree("anything", 3, PATIENT).unwrap();
    assert_eq!(floats(&tensor), floats(&ramp(1, 3)));
}

#[test]
fn tensors_that_gloo_would_misread_are_refused() {
    let store = Store::host(LOOPBACK, 0, 1, PATIENT).unwrap();
    let group = ProcessGroup::gloo(&store, GroupOptions::new(0, 1, 1, PATIENT)).unwrap();
    let zeros = |shape: &[i64], kind| Tensor::zeros(shape, (kind, Device::Cpu));
    let flat = || zeros(&[6], Kind::Float);
    let refused = |result: Result<osler_torch_dist::Work, DistError>, words: &str| match result {
        Err(DistError::Invalid { operation, reason }) => {
            assert!(reason.contains(words), "{words:?} not in {reason:?}");
            assert!(operation.contains("rank 0 of 1, generation 1"), "{operation}");
        }
        Err(other) => panic!("{words}: {other}"),
        Ok(_) => panic!("{words}: accepted"),
    };
    for (mut tensor, words) in [
        (Tensor::new(), "undefined"),
        (zeros(&[0], Kind::Float), "no elements"),
        (zeros(&[2, 3], Kind::Float).transpose(0, 1), "not contiguous"),
        (zeros(&[1], Kind::Float).expand([4], false), "not contiguous"),
        (zeros(&[2], Kind::Int16), "Int16"),
        (zeros(&[2], Kind::ComplexFloat), "ComplexFloat"),
        (zeros(&[2], Kind::Bool), "bool"),
        (flat().to_sparse(None, None::<&[i64]>, None), "not dense"),
    ] {
        refused(group.all_reduce_sum(&mut tensor), words);
    }
    refused(group.broadcast(&mut flat(), 1), "no rank 1");
    refused(group.reduce_sum(&mut flat(), 1), "no rank 1");
    refused(group.reduce_sum(&mut zeros(&[2], Kind::Bool), 0), "bool");
    refused(group.send(&flat(), 0, 0), "itself");
    refused(group.recv(&mut flat(), 9, 0), "no rank 9");
    refused(group.all_gather(&mut [], &flat()), "0 outputs for 1 ranks");
    refused(group.all_gather(&mut [flat(), flat()], &flat()), "2 outputs for 1 ranks");
    refused(group.all_gather(&mut [zeros(&[7], Kind::Float)], &flat()), "shapes");
    refused(group.all_gather(&mut [zeros(&[6], Kind::Double)], &flat()), "kinds");
    refused(group.all_gather_into(&mut zeros(&[7], Kind::Float), &flat()), "7 elements");
    refused(group.all_gather_into(&mut zeros(&[6], Kind::Int), &flat()), "output is Int");
    refused(group.reduce_scatter_sum(&mut zeros(&[5], Kind::Float), &mut flat()), "6 elements");
}
