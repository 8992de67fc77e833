//! Large blocks stay with the process, and only as many as it needed at a time.

use osler_torch_dist::{keep_pages, release_pages};
use tch::{Device, Kind, Tensor};

const MIB: i64 = 1 << 20;

fn floats(mib: i64) -> Tensor {
    Tensor::ones([mib * MIB / 4], (Kind::Float, Device::Cpu))
}

#[test]
fn a_dropped_tensors_memory_serves_the_next_of_its_size_and_can_be_given_back() {
    let early = floats(3);
    keep_pages().unwrap();
    keep_pages().unwrap();
    assert_eq!(release_pages().unwrap(), 0);
    let first = floats(8);
    assert_eq!(first.data_ptr() as usize % 64, 0);
    let place = first.data_ptr();
    drop(first);
    assert_eq!(floats(8).data_ptr(), place, "the same block again");
    assert_ne!(floats(4).data_ptr(), place, "a block twice as large is not spent on it");
    assert_eq!(release_pages().unwrap(), 12 << 20);
    drop(early); // made before, freed its own way
    assert_eq!(release_pages().unwrap(), 0);

    // Sizes that never come again are given back by themselves: 40 blocks of 10 to 49 MiB, one at a time.
    for mib in 10..50 {
        assert_eq!(floats(mib).min().double_value(&[]), 1.0);
    }
    let kept = release_pages().unwrap();
    assert!(kept <= (49 + 64) << 20, "{} MiB kept", kept >> 20);

    // Tensors that are dropped by other threads.
    let threads: Vec<_> = (0..4).map(|i| floats(2 + i)).map(|t| std::thread::spawn(move || drop(t))).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(release_pages().unwrap() >= 14 << 20);
}
