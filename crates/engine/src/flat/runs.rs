//! Neighbours in the flat buffer that the optimizer treats alike, inside what a rank owns. Pure.

use super::FlatLayout;
use osler_core::spec::DecayOn;
use std::ops::Range;

/// A range of flat values that are updated in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub values: Range<usize>,
    pub decays: bool,
}

/// The runs of `own`, ascending and gapless. Padding belongs to the entry before it: its values and gradients are zero and stay so.
pub(crate) fn runs(layout: &FlatLayout, own: &Range<usize>, decay: DecayOn) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    let ends = layout.entries().iter().skip(1).map(|e| e.offset).chain([layout.len()]);
    for (entry, end) in layout.entries().iter().zip(ends) {
        let values = entry.offset.max(own.start)..end.min(own.end);
        if values.is_empty() {
            continue;
        }
        let decays = decay == DecayOn::All || entry.shape.len() > 1;
        match runs.last_mut() {
            Some(last) if last.decays == decays => last.values.end = values.end,
            _ => runs.push(Run { values, decays }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::params::{Begin, Param};

    #[test]
    fn vectors_do_not_decay_and_runs_cover_what_is_owned() {
        let shapes: [&[usize]; 5] = [&[4, 8], &[8], &[3], &[16, 2], &[2, 8]];
        let param = |(i, shape): (usize, &&[usize])| Param { name: format!("p{i}"), shape: shape.to_vec(), begin: Begin::Normal };
        let layout = FlatLayout::of(&shapes.iter().enumerate().map(param).collect::<Vec<_>>());
        let told = |own: Range<usize>, decay| runs(&layout, &own, decay).into_iter().map(|r| (r.values, r.decays)).collect::<Vec<_>>();
        assert_eq!(told(0..112, DecayOn::Matrices), [(0..48, true), (48..80, false), (80..112, true)]);
        assert_eq!(told(16..64, DecayOn::Matrices), [(16..48, true), (48..64, false)]);
        assert_eq!(told(0..112, DecayOn::All), [(0..112, true)]);
        assert_eq!(told(32..32, DecayOn::All), []);
    }
}
