//! The switches of the process really switch.

use osler_torch_dist::{DistError, set_threads, use_deterministic_algorithms};
use tch::Tensor;

#[test]
fn the_thread_count_is_what_was_asked_for() {
    for threads in [1, 2] {
        set_threads(threads).unwrap();
        assert_eq!(tch::get_num_threads(), threads as i32);
    }
    for threads in [0, usize::MAX] {
        assert!(matches!(set_threads(threads), Err(DistError::Invalid { .. })));
    }
}

#[test]
fn deterministic_mode_refuses_what_has_no_deterministic_form() {
    let put = || {
        let mut target = Tensor::from_slice(&[0.0f32; 4]);
        target.f_put_(&Tensor::from_slice(&[1i64, 2]), &Tensor::from_slice(&[1.0f32, 2.0]), false).map(drop)
    };
    use_deterministic_algorithms(true).unwrap();
    assert!(put().is_err());
    use_deterministic_algorithms(false).unwrap();
    put().unwrap();
}
