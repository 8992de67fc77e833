//! Which CUDA devices this build on this machine can use.

use tch::{Cuda, Device};

use crate::DistError;

/// The CUDA device with this index.
///
/// # Errors
/// [`DistError::Unavailable`] says what is missing: CUDA in this build, a GPU and its driver, or a device of this number.
pub fn cuda_device(index: usize) -> Result<Device, DistError> {
    let operation = format!("use CUDA device {index}");
    if !cfg!(osler_cuda) {
        return Err(no_cuda_in_this_build(operation));
    }
    let devices = usize::try_from(Cuda::device_count()).unwrap_or(0);
    let reason = match devices {
        0 => "this machine has no CUDA device that its driver lets this process use: look at `nvidia-smi` and CUDA_VISIBLE_DEVICES"
            .to_owned(),
        _ if index < devices => return Ok(Device::Cuda(index)),
        1 => "this process can use only one CUDA device, number 0".to_owned(),
        _ => format!("this process can use {devices} CUDA devices, numbers 0 to {}", devices - 1),
    };
    Err(DistError::Unavailable { operation, reason })
}

pub(crate) fn no_cuda_in_this_build(operation: String) -> DistError {
    let reason = "this build has no CUDA: build against a libtorch that has it (`make build CUDA=1`)".to_owned();
    DistError::Unavailable { operation, reason }
}
