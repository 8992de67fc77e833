//! Rotary positions in the rotate-half layout that Hugging Face's Llama uses.

use tch::{Device, Kind, Tensor};

pub(super) struct Rope {
    cos_td: Tensor,
    /// The first half of each row negated: rotate-half is a roll by half a head with that sign.
    sin_td: Tensor,
}

impl Rope {
    pub fn new(positions: i64, head_dim: i64, theta: f64, device: Device) -> Self {
        let options = (Kind::Float, device);
        let exponents = Tensor::arange_start_step(0, head_dim, 2, options) / head_dim as f64;
        let frequencies = Tensor::pow_scalar(theta, &exponents).reciprocal();
        let angles = Tensor::arange(positions, options).outer(&frequencies).repeat([1, 2]);
        let sign = Tensor::ones([head_dim], options);
        let _ = sign.narrow(0, 0, head_dim / 2).fill_(-1.0);
        Self { cos_td: angles.cos(), sin_td: angles.sin() * sign }
    }

    /// Turns `[batch, heads, time, head_dim]` by its positions, which begin at 0.
    pub fn turn(&self, x_bhtd: &Tensor) -> Tensor {
        let (_, _, time, width) = x_bhtd.size4().unwrap_or_default();
        let table = |table: &Tensor| table.narrow(0, 0, time).to_kind(x_bhtd.kind());
        let (cos, sin) = (table(&self.cos_td), table(&self.sin_td));
        // Backward of a roll is a roll; two narrow halves would each fill and add a whole tensor of zeros.
        x_bhtd * cos + x_bhtd.roll([width / 2], [3]) * sin
    }
}
