//! A rank's part of a checkpoint: its slice of weights and moments, as one safetensors file.
//!
//! A checkpoint is weights, both moments and the step. Nothing else is needed for the same bits: initial weights are the only thing
//! drawn at random (their seed is kept for the record), the schedule is a function of the step, and so is the order of samples. Slices
//! written at one world size are read at any other, because all of them cut the same buffer.

mod read;

pub use read::SliceSet;

use crate::EngineError;
use crate::safefile::{self, Written};
use crate::step::Trainer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::{Device, Tensor};

const FORMAT: &str = "osler-slice-1";
const TENSORS: [&str; 3] = ["params", "exp_avg", "exp_avg_sq"];

/// A copy of one slice, apart from the trainer: it may be written by another thread while training goes on.
pub struct Slice {
    metadata: BTreeMap<String, String>,
    values: usize,
    parts: [Vec<u8>; 3],
}

impl Slice {
    /// Makes the file durable under `path`.
    pub fn write(mut self, path: &Path) -> Result<Written, EngineError> {
        let tensors = TENSORS.map(|name| (name.to_owned(), vec![self.values]));
        safefile::write(path, &self.metadata, &tensors, |i| Ok(self.parts.get_mut(i).map(std::mem::take).unwrap_or_default()))
    }

    pub fn params(&self) -> &[u8] {
        &self.parts[0]
    }

    pub fn exp_avg(&self) -> &[u8] {
        &self.parts[1]
    }

    pub fn exp_avg_sq(&self) -> &[u8] {
        &self.parts[2]
    }
}

impl Trainer {
    /// Copies what rank `rank` of `world` saves.
    pub fn slice(&self, rank: u32, world: u32) -> Result<Slice, EngineError> {
        if rank >= world {
            return Err(EngineError::Checkpoint(format!("there is no rank {rank} among {world}")));
        }
        let layout = self.layout();
        let range = layout.slice(rank, world);
        let copy = |flat: &Tensor| {
            let part = flat.f_narrow(0, range.start as i64, range.len() as i64)?.f_to_device(Device::Cpu)?;
            let mut bytes = vec![0; range.len() * 4];
            part.f_copy_data_u8(&mut bytes, range.len())?;
            Ok::<_, EngineError>(bytes)
        };
        let parts = [copy(&self.buffers.params)?, copy(&self.buffers.exp_avg)?, copy(&self.buffers.exp_avg_sq)?];
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("layout", layout.digest().to_string()),
            ("total", layout.len().to_string()),
            ("start", range.start.to_string()),
            ("end", range.end.to_string()),
            ("step", self.step.to_string()),
            ("rank", rank.to_string()),
            ("world", world.to_string()),
            ("seed", self.options().seed.to_string()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Ok(Slice { metadata, values: range.len(), parts })
    }

    /// Writes the slice of rank `rank` of `world`; returns when it is durable.
    pub fn save_slice(&self, path: &Path, rank: u32, world: u32) -> Result<Written, EngineError> {
        self.slice(rank, world)?.write(path)
    }

    /// Takes weights, moments and step from the slices of one checkpoint, whatever world size wrote them. With a group, all ranks must
    /// come here together. After an error the trainer's state is undefined; make a new one.
    pub fn load_slices(&mut self, paths: &[PathBuf]) -> Result<(), EngineError> {
        let set = SliceSet::open(paths, self.layout())?;
        let flats = [&self.buffers.params, &self.buffers.exp_avg, &self.buffers.exp_avg_sq];
        for (name, flat) in TENSORS.iter().zip(flats) {
            set.for_each_block(name, |at, values| {
                if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                    return Err(EngineError::Checkpoint(format!("{name}: value {} is {}", at + i, values[i])));
                }
                flat.f_narrow(0, at as i64, values.len() as i64)?.f_copy_(&Tensor::f_from_slice(&values)?)?;
                Ok(())
            })?;
        }
        self.step = set.step();
        self.agree_on_state()
    }
}
