//! The allocator of a process that takes and gives back the same large tensors in every step.

use std::time::Duration;

use crate::{DistError, sys};

/// From here on, CPU tensors of a MiB and more live in blocks that stay with the process when the tensor is dropped, for the next one of about
/// their size, in huge pages where the kernel has them. By default glibc hands each such block back to the kernel at once, which must find and
/// clear its pages anew every time.
///
/// The process holds at most 64 MiB more than its tensors once needed at a time. Only speed and memory change, no result. It cannot be undone;
/// calling it again does nothing.
///
/// # Errors
/// [`DistError::Torch`] when libtorch refuses.
pub fn keep_pages() -> Result<(), DistError> {
    // SAFETY: installs an object that lives as long as the process; tensors made before keep their own way of being freed.
    unsafe { sys::osler_keep_pages() }.check(|| "keep_pages".to_owned(), Duration::ZERO)
}

/// Gives back to the kernel what [`keep_pages`] keeps for later; returns how many bytes that were. For a process that has done its large work.
///
/// # Errors
/// None that is known of; the type leaves room for libtorch's.
pub fn release_pages() -> Result<usize, DistError> {
    let mut bytes = 0;
    // SAFETY: only blocks that no tensor uses are given back; `bytes` is a valid place.
    unsafe { sys::osler_release_pages(&mut bytes) }.check(|| "release_pages".to_owned(), Duration::ZERO)?;
    Ok(usize::try_from(bytes).unwrap_or_default())
}
