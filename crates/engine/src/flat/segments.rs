//! Which part of the flat buffer each stretch of a forward pass reads. Pure.

use super::FlatLayout;

/// The first flat value that a stretch needs: everything from there to the end of the buffer is read by it or by what comes before it,
/// because the buffer is in reverse order of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segments {
    embed: usize,
    layers: Vec<usize>,
}

impl Segments {
    /// Hugging Face names number their layers: the first part of a name that is a number tells the layer.
    pub fn new(layout: &FlatLayout, depth: usize) -> Self {
        let (mut embed, mut layers) = (layout.len(), vec![layout.len(); depth]);
        // In order of use: what precedes the first layer is the embedding's, what follows the last one is read at the end.
        let mut reached = None;
        for entry in layout.entries().iter().rev() {
            let layer = entry.name.split('.').find_map(|part| part.parse::<usize>().ok()).filter(|layer| *layer < depth);
            match (layer, reached) {
                (Some(layer), _) => {
                    layers[layer] = layers[layer].min(entry.offset);
                    reached = Some(layer);
                }
                (None, None) => embed = embed.min(entry.offset),
                (None, Some(_)) => {}
            }
        }
        Self { embed, layers }
    }

    pub fn embed(&self) -> usize {
        self.embed
    }

    /// 0, the whole buffer, for a layer that is not there.
    pub fn layer(&self, index: usize) -> usize {
        self.layers.get(index).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::params::{Begin, Param};

    #[test]
    fn a_stretch_needs_the_buffer_from_its_own_parameters_to_the_end() {
        let names = ["m.embed", "m.layers.0.a", "m.layers.0.b", "m.layers.1.a", "m.layers.1.b", "m.norm", "head"];
        let param = |name: &&str| Param { name: (*name).to_owned(), shape: vec![16], begin: Begin::Normal };
        let layout = FlatLayout::of(&names.iter().map(param).collect::<Vec<_>>());
        let segments = Segments::new(&layout, 2);
        assert_eq!((segments.embed(), segments.layer(0), segments.layer(1), segments.layer(2)), (96, 64, 32, 0));
    }
}
