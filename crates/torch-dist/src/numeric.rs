//! Switches of the whole process that decide whether the same run gives the same bits.

use std::time::Duration;

use crate::{DistError, sys};

/// More than any machine has; a larger number is a mistake in a file.
const MOST_THREADS: usize = 4096;

/// Threads inside one tensor operation. Sums depend on how work is cut, so a run keeps one number.
pub fn set_threads(intra: usize) -> Result<(), DistError> {
    const NAME: &str = "set_threads";
    let threads = i32::try_from(intra).ok().filter(|_| (1..=MOST_THREADS).contains(&intra));
    let threads = threads.ok_or_else(|| DistError::invalid(NAME, format!("{intra} threads: give 1 to {MOST_THREADS}")))?;
    // SAFETY: takes a number and touches no memory of ours.
    unsafe { sys::osler_set_threads(threads) }.check(|| NAME.to_owned(), Duration::ZERO)
}

/// As `torch.use_deterministic_algorithms`: operations without a deterministic form become errors.
pub fn use_deterministic_algorithms(on: bool) -> Result<(), DistError> {
    // SAFETY: takes a number and touches no memory of ours.
    unsafe { sys::osler_deterministic(on.into()) }.check(|| "use_deterministic_algorithms".to_owned(), Duration::ZERO)
}
