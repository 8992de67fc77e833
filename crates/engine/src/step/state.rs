//! A trainer's state as a whole: begun from other weights, compared between ranks, read out.

use super::{Trainer, print};
use crate::EngineError;
use crate::flat::{FlatBuffers, narrow, view};
use crate::source::TensorSource;
use osler_core::digest::Digest;
use sha2::{Digest as _, Sha256};
use tch::{Device, Tensor};

/// Values that are digested at once: 16 MiB.
const BLOCK: usize = 4 << 20;

impl Trainer {
    /// Replaces the weights; moments and step begin anew. For a stage that starts from another's weights or from a Hugging Face
    /// folder. With a group, all ranks must come here together.
    pub fn load_weights_only(&mut self, source: &mut dyn TensorSource) -> Result<(), EngineError> {
        self.settle()?;
        for param in &self.params {
            let values = source.read(&param.name, &param.shape)?;
            let entry = self.buffers.layout.entry(&param.name).ok_or_else(|| EngineError::tensor(&param.name, "not in the layout"))?;
            let values = Tensor::f_from_slice(&values)?.f_view(crate::models::dims(&param.shape).as_slice())?;
            view(&self.buffers.params, entry)?.f_copy_(&values)?;
        }
        let _ = (self.buffers.exp_avg.f_zero_()?, self.buffers.exp_avg_sq.f_zero_()?);
        self.updates = 0;
        self.begin_stage();
        self.agree_on_state()
    }

    /// SHA-256 over step, updates, guard, weights and the moments that this rank holds: equal for two trainers of the same rank and world size that will go
    /// on with the same bits.
    pub fn state_digest(&mut self) -> Result<Digest, EngineError> {
        self.settle()?;
        let FlatBuffers { params, exp_avg, exp_avg_sq, .. } = &self.buffers;
        self.digest_of(&[params, exp_avg, exp_avg_sq])
    }

    /// Proves that all ranks hold the same weights and step; other processors may draw other initial bits.
    pub(crate) fn agree_on_state(&self) -> Result<(), EngineError> {
        let Some(group) = &self.group else { return Ok(()) };
        let digest = self.digest_of(&[&self.buffers.params])?;
        Ok(group.agree("the weights and the step", print(digest.as_bytes()), self.options.timeout)?)
    }

    fn digest_of(&self, flats: &[&Tensor]) -> Result<Digest, EngineError> {
        let mut sha = Sha256::new();
        sha.update(self.step.to_le_bytes());
        sha.update(self.updates.to_le_bytes());
        sha.update(self.guard.to_text());
        let mut bytes = vec![];
        for flat in flats {
            let len = flat.numel();
            for start in (0..len).step_by(BLOCK) {
                let part = narrow(flat, &(start..(start + BLOCK).min(len)))?.f_detach()?.f_to_device(Device::Cpu)?;
                bytes.resize(part.numel() * 4, 0);
                part.f_copy_data_u8(&mut bytes, part.numel())?;
                sha.update(&bytes);
            }
        }
        Ok(Digest::from_bytes(sha.finalize().into()))
    }
}

impl TensorSource for Trainer {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        self.settle()?;
        let entry = self.buffers.layout.entry(name).filter(|e| e.shape == shape);
        let entry = entry.ok_or_else(|| EngineError::tensor(name, format!("the trainer has none of shape {shape:?}")))?;
        let mut values = vec![0.0; entry.len];
        view(&self.buffers.params, entry)?.f_detach()?.f_to_device(Device::Cpu)?.f_copy_data(&mut values, entry.len)?;
        Ok(values)
    }
}
