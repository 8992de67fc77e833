//! What the ranks agree on in every step: the loss, that their shares make up the batch, and the control word.
//!
//! One small sum carries all of it. It starts when the loss is known and travels while backward runs.

use crate::EngineError;
use osler_torch_dist::{ProcessGroup, Work};
use std::time::Duration;
use tch::{Device, Tensor};

const BITS: usize = u32::BITS as usize;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Agreed {
    pub loss: f64,
    pub sequences: u64,
    /// Every bit that any rank set.
    pub control: u32,
}

pub(super) struct Pending {
    sums: Tensor,
    work: Option<Work>,
}

/// Starts the sum on the device whose memory the group moves; without a group the rank agrees with itself.
pub(super) fn start(group: Option<&ProcessGroup>, own: Agreed, device: Device) -> Result<Pending, EngineError> {
    let bits = (0..BITS).map(|bit| f64::from(own.control >> bit & 1));
    let values: Vec<f64> = [own.loss, own.sequences as f64].into_iter().chain(bits).collect();
    let mut sums = Tensor::f_from_slice(&values)?.f_to_device(device)?;
    let work = group.map(|g| g.all_reduce_sum(&mut sums)).transpose()?;
    Ok(Pending { sums, work })
}

impl Pending {
    pub fn finish(self, timeout: Duration) -> Result<Agreed, EngineError> {
        if let Some(work) = self.work {
            work.wait(timeout)?;
        }
        let mut sums = [0f64; 2 + BITS];
        self.sums.f_to_device(Device::Cpu)?.f_copy_data(&mut sums, 2 + BITS)?;
        let [loss, sequences, bits @ ..] = sums;
        let control = bits.iter().enumerate().filter(|(_, sum)| **sum > 0.0).fold(0, |word, (bit, _)| word | 1 << bit);
        Ok(Agreed { loss, sequences: sequences as u64, control })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_alone_agrees_with_itself() {
        for control in [0, 1, 0x8000_0001, u32::MAX] {
            let own = Agreed { loss: 2.5, sequences: 8, control };
            assert_eq!(start(None, own, Device::Cpu).unwrap().finish(Duration::ZERO).unwrap(), own);
        }
    }
}
