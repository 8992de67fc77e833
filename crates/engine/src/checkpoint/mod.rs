//! A rank's part of a checkpoint: its slice of weights and moments, as one safetensors file.
//!
//! A checkpoint is weights, both moments, the step, AdamW's own count, and what the guard remembers. Nothing else is needed for the same
//! bits: initial weights are the only thing drawn at random (their seed is kept for the record), the schedule is a function of the step, and so is the order of samples. Slices
//! written at one world size are read at any other, because all of them cut the same buffer.

mod read;

pub use read::SliceSet;

use crate::EngineError;
use crate::flat::narrow;
use crate::safefile::{self, Written};
use crate::step::Trainer;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::Tensor;

const FORMAT: &str = "osler-slice-1";
const TENSORS: [&str; 3] = ["params", "exp_avg", "exp_avg_sq"];

/// Memory for one slice, kept from checkpoint to checkpoint: a copy into pages that are there already is several times faster.
#[derive(Default)]
pub struct SliceRoom([Vec<u8>; 3]);

impl SliceRoom {
    /// Room for slices of so many values, every page of it written once. Takes as long as a copy: for another thread.
    pub fn prepared(values: usize) -> Self {
        // Not zero: zeroed memory would be promised by the kernel, and made only when the first copy comes.
        Self([(); 3].map(|()| vec![1; values * 4]))
    }
}

/// A copy of one slice, apart from the trainer: it may be written by another thread while training goes on.
pub struct Slice {
    metadata: BTreeMap<String, String>,
    values: usize,
    room: SliceRoom,
}

impl Slice {
    /// Makes the file durable under `path`.
    pub fn write(&self, path: &Path) -> Result<Written, EngineError> {
        let tensors = TENSORS.map(|name| (name.to_owned(), vec![self.values]));
        safefile::write(path, &self.metadata, &tensors, |i| Ok(self.room.0.get(i).map(Vec::as_slice).unwrap_or_default()))
    }

    /// Its memory, for the next slice.
    pub fn into_room(self) -> SliceRoom {
        self.room
    }

    pub fn params(&self) -> &[u8] {
        &self.room.0[0]
    }

    pub fn exp_avg(&self) -> &[u8] {
        &self.room.0[1]
    }

    pub fn exp_avg_sq(&self) -> &[u8] {
        &self.room.0[2]
    }
}

impl Trainer {
    /// Copies what rank `rank` of `world` saves. A rank that shares the moments with others has only its own.
    pub fn slice(&self, rank: u32, world: u32) -> Result<Slice, EngineError> {
        self.slice_into(SliceRoom::default(), rank, world)
    }

    /// As [`Self::slice`], into memory that an earlier slice had.
    pub fn slice_into(&self, room: SliceRoom, rank: u32, world: u32) -> Result<Slice, EngineError> {
        if rank >= world {
            return Err(EngineError::Checkpoint(format!("there is no rank {rank} among {world}")));
        }
        let layout = self.layout();
        let range = layout.slice(rank, world);
        let [exp_avg, exp_avg_sq] = self.buffers.moments(&range)?;
        let copy = |part: &Tensor, mut bytes: Vec<u8>| {
            if bytes.len() != range.len() * 4 {
                bytes = vec![0; range.len() * 4];
            }
            part.f_copy_data_u8(&mut bytes, range.len())?; // from any device
            Ok::<_, EngineError>(bytes)
        };
        let SliceRoom([first, second, third]) = room;
        let params = narrow(&self.buffers.params, &range)?;
        let room = SliceRoom([copy(&params, first)?, copy(&exp_avg, second)?, copy(&exp_avg_sq, third)?]);
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("layout", layout.digest().to_string()),
            ("total", layout.len().to_string()),
            ("start", range.start.to_string()),
            ("end", range.end.to_string()),
            ("step", self.step.to_string()),
            ("updates", self.updates.to_string()),
            ("guard", self.guard.to_text()),
            ("rank", rank.to_string()),
            ("world", world.to_string()),
            ("seed", self.options().seed.to_string()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Ok(Slice { metadata, values: range.len(), room })
    }

    /// Writes the slice of rank `rank` of `world`; returns when it is durable.
    pub fn save_slice(&self, path: &Path, rank: u32, world: u32) -> Result<Written, EngineError> {
        self.slice(rank, world)?.write(path)
    }

    /// Takes weights, moments and step from the slices of one checkpoint, whatever world size wrote them. With a group, all ranks must
    /// come here together. After an error the trainer's state is undefined; make a new one.
    pub fn load_slices(&mut self, paths: &[PathBuf]) -> Result<(), EngineError> {
        self.settle()?;
        let set = SliceSet::open(paths, self.layout())?;
        let (all, own) = (0..self.layout().len(), &self.buffers.own);
        let flats = [(&self.buffers.params, &all), (&self.buffers.exp_avg, own), (&self.buffers.exp_avg_sq, own)];
        for (name, (flat, wanted)) in TENSORS.iter().zip(flats) {
            set.for_each_block(name, wanted, |at, values| {
                if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                    return Err(EngineError::Checkpoint(format!("{name}: value {} is {}", at + i, values[i])));
                }
                flat.f_narrow(0, (at - wanted.start) as i64, values.len() as i64)?.f_copy_(&Tensor::f_from_slice(&values)?)?;
                Ok(())
            })?;
        }
        self.step = set.step();
        self.updates = set.updates();
        self.guard = set.guard(self.options().guard.clone(), self.options().optimizer.clip)?;
        self.agree_on_state()
    }
}
