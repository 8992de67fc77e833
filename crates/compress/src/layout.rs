//! The two rearrangements between Hugging Face weights and what the formats store: matrix transposition (GPT-2's Conv1D keeps
//! `[in, out]`) and the row order of LLaMA's query and key projections (two rotary halves there, interleaved pairs in GGUF).

/// Transposes a row-major `rows x cols` matrix.
pub(crate) fn transpose(data: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    debug_assert_eq!(data.len(), rows * cols);
    (0..cols).flat_map(|c| data.iter().skip(c).step_by(cols.max(1)).copied()).collect()
}

/// Hugging Face row order to GGUF: within each head, row `i * half + j` goes to `2 * j + i`. `data` has `heads * head_dim` rows
/// of equal length (a bias has rows of length 1); `head_dim` is even.
pub(crate) fn interleave_heads(data: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    reorder(data, heads, head_dim, |row, half| (row % 2) * half + row / 2)
}

/// The inverse of [`interleave_heads`].
pub(crate) fn split_heads(data: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    reorder(data, heads, head_dim, |row, half| 2 * (row % half) + row / half)
}

/// Builds the output row by row; `source(row, half)` says which row of the same head stands there.
fn reorder(data: &[f32], heads: usize, head_dim: usize, source: impl Fn(usize, usize) -> usize) -> Vec<f32> {
    let rows = heads * head_dim;
    debug_assert!(head_dim.is_multiple_of(2) && rows > 0 && data.len().is_multiple_of(rows));
    let cols = data.len() / rows;
    let mut out = Vec::with_capacity(data.len());
    for head in 0..heads {
        for row in 0..head_dim {
            let from = (head * head_dim + source(row, head_dim / 2)) * cols;
            out.extend_from_slice(&data[from..from + cols]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn interleaving_pairs_the_two_rotary_halves() {
        // One head of four rows, two columns: rows 0,1 are the first half, 2,3 the second.
        let rows = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5];
        assert_eq!(interleave_heads(&rows, 1, 4), [0.0, 0.5, 2.0, 2.5, 1.0, 1.5, 3.0, 3.5]);
    }

    #[test]
    fn transposing_swaps_rows_and_columns() {
        assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    proptest! {
        #[test]
        fn each_rearrangement_is_undone_by_its_inverse(heads in 1usize..5, half in 1usize..5, cols in 1usize..6) {
            let head_dim = half * 2;
            let data: Vec<f32> = (0..heads * head_dim * cols).map(|i| i as f32).collect();
            prop_assert_eq!(&split_heads(&interleave_heads(&data, heads, head_dim), heads, head_dim), &data);
            prop_assert_eq!(&interleave_heads(&split_heads(&data, heads, head_dim), heads, head_dim), &data);
            prop_assert_eq!(&transpose(&transpose(&data, heads * head_dim, cols), cols, heads * head_dim), &data);
        }
    }
}
