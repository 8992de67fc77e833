//! The slices of one checkpoint, opened together and checked before a value is believed.

use super::{FORMAT, TENSORS};
use crate::EngineError;
use crate::flat::FlatLayout;
use crate::safefile::SafeFile;
use crate::source::TensorSource;
use osler_core::guard::{Guard, GuardSpec};
use std::ops::Range;
use std::path::PathBuf;

/// Values read at once: 16 MiB.
const BLOCK: usize = 4 << 20;

pub struct SliceSet {
    layout: FlatLayout,
    step: u64,
    updates: u64,
    /// Absent in slices of before there was a guard.
    guard: Option<String>,
    /// Ascending, gapless from 0 to the layout's length.
    slices: Vec<(Range<usize>, SafeFile)>,
}

impl SliceSet {
    /// Errors when a file is no slice, belongs to another model or step, or when the slices do not cover the buffer once.
    pub fn open(paths: &[PathBuf], layout: &FlatLayout) -> Result<Self, EngineError> {
        let mut slices = vec![];
        let mut common: Option<[String; 5]> = None;
        for path in paths {
            let file = SafeFile::open(path)?;
            let field = |key: &str| {
                file.metadata(key)
                    .map(str::to_owned)
                    .ok_or_else(|| EngineError::file(path, format!("metadata has no {key:?}: not an Osler slice")))
            };
            let number = |key: &str| field(key)?.parse::<usize>().map_err(|e| EngineError::file(path, format!("metadata {key}: {e}")));
            if field("format")? != FORMAT {
                return Err(EngineError::file(path, format!("format {:?}, this version reads {FORMAT:?}", field("format")?)));
            }
            if field("layout")? != layout.digest().to_string() || number("total")? != layout.len() {
                return Err(EngineError::file(path, "was written for a model of another shape or vocabulary"));
            }
            // Slices of before there were skipped steps and forks: every step was an update of its own stage.
            let updates = file.metadata("updates").map_or_else(|| field("step"), |updates| Ok(updates.to_owned()))?;
            let guard = file.metadata("guard").unwrap_or_default().to_owned();
            let this = [field("step")?, field("world")?, field("seed")?, updates, guard];
            if let Some(first) = common.as_ref().filter(|first| **first != this) {
                let problem = format!("step, world size, seed, updates and guard are {this:?}, those of the first slice {first:?}");
                return Err(EngineError::file(path, problem));
            }
            common = Some(this);
            let range = number("start")?..number("end")?;
            let fits = |name: &&str| file.shape(name).is_some_and(|shape| *shape == [range.len()]);
            if range.start > range.end || range.end > layout.len() || !TENSORS.iter().all(fits) {
                return Err(EngineError::file(path, format!("its tensors do not have the {range:?} values of its metadata")));
            }
            slices.push((range, file));
        }
        slices.sort_by_key(|(range, _)| (range.start, range.end));
        let mut at = 0;
        for (range, file) in &slices {
            if range.start != at {
                return Err(EngineError::file(file.path(), format!("begins at value {}, the slices before it end at {at}", range.start)));
            }
            at = range.end;
        }
        if at != layout.len() {
            return Err(EngineError::Checkpoint(format!("{} slices hold {at} of {} values: one is missing", paths.len(), layout.len())));
        }
        let [step, _, _, updates, guard] = common.unwrap_or_default();
        let number = |what: &str, text: &str| text.parse().map_err(|e| EngineError::Checkpoint(format!("{what} {text:?}: {e}")));
        let (step, updates) = (number("step", &step)?, number("updates", &updates)?);
        Ok(Self { layout: layout.clone(), step, updates, guard: Some(guard).filter(|text| !text.is_empty()), slices })
    }

    /// Steps that the stage had done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Updates that the moments have seen.
    pub(super) fn updates(&self) -> u64 {
        self.updates
    }

    /// What the guard remembered.
    pub(super) fn guard(&self, spec: GuardSpec, clip: f64) -> Result<Guard, EngineError> {
        match &self.guard {
            None => Ok(Guard::new(spec, clip)),
            Some(text) => Guard::from_text(spec, clip, text).map_err(|e| EngineError::Checkpoint(e.to_string())),
        }
    }

    /// Hands out the `wanted` values of one buffer in blocks, with the position of each block's first value. Nothing else is read.
    pub(super) fn for_each_block(
        &self,
        name: &str,
        wanted: &Range<usize>,
        mut take: impl FnMut(usize, Vec<f32>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        for (range, file) in &self.slices {
            let part = range.start.max(wanted.start)..range.end.min(wanted.end);
            for at in part.clone().step_by(BLOCK) {
                let count = BLOCK.min(part.end - at);
                take(at, file.read_f32(name, at - range.start, count)?)?;
            }
        }
        Ok(())
    }
}

/// The weights, for export and for the next stage, with one tensor in memory at a time.
impl TensorSource for SliceSet {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EngineError> {
        let entry = self.layout.entry(name).filter(|e| e.shape == shape);
        let entry = entry.ok_or_else(|| EngineError::tensor(name, format!("the checkpoint has none of shape {shape:?}")))?;
        let wanted = entry.offset..entry.offset + entry.len;
        let mut values = Vec::with_capacity(entry.len);
        for (range, file) in &self.slices {
            let (from, to) = (wanted.start.max(range.start), wanted.end.min(range.end));
            if from < to {
                values.extend(file.read_f32("params", from - range.start, to - from)?);
            }
        }
        if let Some(value) = values.iter().find(|v| !v.is_finite()) {
            return Err(EngineError::tensor(name, format!("holds {value}")));
        }
        Ok(values)
    }
}
