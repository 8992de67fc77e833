//! Peaks of devices: dense FLOP/s (no sparsity) by NVML's product name and number type, and the watts that a board may draw.
//!
//! Datasheets print tensor-core figures with 2:4 sparsity, which doubles them; here they are without. A product that is not listed has
//! no peak, and a part of one (MIG) has another name and so none either. A processor's peak is measured, because its clock under
//! vector load is in no table.

use super::believable;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The type of numbers that matrix products multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dtype {
    Fp32,
    Tf32,
    Fp16,
    Bf16,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
        })
    }
}

/// Where a peak comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The manufacturer's datasheet.
    Datasheet,
    /// The fastest of some matrix products, all ranks at once: when an attempt starts, and again when it ends.
    Measured,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// FLOP/s of all ranks that share the entry.
    pub flops: f64,
    pub basis: Basis,
}

/// Devices of one kind and how many ranks compute on them, one each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceUse {
    /// NVML's product name, or the processor's model name.
    pub name: String,
    pub dtype: Dtype,
    /// Of each rank, on a processor; 0 on a GPU.
    pub threads: u32,
    pub ranks: u32,
    /// Of all `ranks` together; None: unknown.
    pub peak: Option<Peak>,
}

impl DeviceUse {
    pub(super) fn add_to(&self, all: &mut Vec<Self>) {
        let peak = self.peak.filter(|peak| believable(peak.flops));
        let basis = |peak: Option<Peak>| peak.map(|p| p.basis);
        let alike = |known: &&mut Self| {
            (&known.name, known.dtype, known.threads, basis(known.peak)) == (&self.name, self.dtype, self.threads, basis(peak))
        };
        match all.iter_mut().find(alike) {
            Some(known) => {
                known.ranks = known.ranks.saturating_add(self.ranks);
                if let (Some(sum), Some(own)) = (&mut known.peak, peak) {
                    sum.flops += own.flops;
                }
            }
            None => all.push(Self { peak, ..self.clone() }),
        }
    }
}

/// One product: dense TFLOP/s by number type, None where it has no such unit, and watts.
struct Product {
    /// NVML's names, without the word NVIDIA that newer drivers put in front.
    names: &'static [&'static str],
    fp32: f64,
    tf32: Option<f64>,
    fp16: f64,
    bf16: Option<f64>,
    watts: f64,
}

/// fp32 is that of the ordinary cores, which is what matrix products in fp32 use unless TF32 is allowed; libtorch does not allow it by
/// default. fp16 and bf16 are with fp32 sums.
const PRODUCTS: &[Product] = &[
    // NVIDIA Blackwell datasheet (HGX B200, an eighth): bf16 36 PFLOP/s and tf32 18 with sparsity, fp32 600 TFLOP/s; 1,000 W.
    Product { names: &["B200"], fp32: 75.0, tf32: Some(1125.0), fp16: 2250.0, bf16: Some(2250.0), watts: 1000.0 },
    // NVIDIA H200 datasheet, SXM: bf16 1,979 and tf32 989 TFLOP/s with sparsity, fp32 67; 700 W.
    Product { names: &["H200"], fp32: 67.0, tf32: Some(494.7), fp16: 989.4, bf16: Some(989.4), watts: 700.0 },
    // NVIDIA H200 datasheet, NVL: bf16 1,671 and tf32 835 with sparsity, fp32 60; 600 W.
    Product { names: &["H200 NVL"], fp32: 60.0, tf32: Some(417.5), fp16: 835.5, bf16: Some(835.5), watts: 600.0 },
    // NVIDIA H100 architecture white paper, table of SXM5: dense bf16 989.4, tf32 494.7, fp32 66.9; 700 W.
    Product { names: &["H100 80GB HBM3"], fp32: 66.9, tf32: Some(494.7), fp16: 989.4, bf16: Some(989.4), watts: 700.0 },
    // NVIDIA H100 datasheet, PCIe: bf16 1,513 and tf32 756 with sparsity, fp32 51; 350 W.
    Product { names: &["H100 PCIe"], fp32: 51.0, tf32: Some(378.0), fp16: 756.5, bf16: Some(756.5), watts: 350.0 },
    // NVIDIA H100 datasheet, NVL: bf16 1,671 and tf32 835 with sparsity, fp32 60; up to 400 W.
    Product { names: &["H100 NVL"], fp32: 60.0, tf32: Some(417.5), fp16: 835.5, bf16: Some(835.5), watts: 400.0 },
    // NVIDIA A100 datasheet: dense bf16 312, tf32 156, fp32 19.5 on every board; 400 W SXM, 300 W PCIe 80 GB, 250 W PCIe 40 GB.
    Product { names: &["A100-SXM4-40GB", "A100-SXM4-80GB"], fp32: 19.5, tf32: Some(156.0), fp16: 312.0, bf16: Some(312.0), watts: 400.0 },
    Product { names: &["A100 80GB PCIe"], fp32: 19.5, tf32: Some(156.0), fp16: 312.0, bf16: Some(312.0), watts: 300.0 },
    Product { names: &["A100-PCIE-40GB"], fp32: 19.5, tf32: Some(156.0), fp16: 312.0, bf16: Some(312.0), watts: 250.0 },
    // NVIDIA A10 datasheet: dense bf16 125, tf32 62.5, fp32 31.2; 150 W. AWS' A10G is another product.
    Product { names: &["A10"], fp32: 31.2, tf32: Some(62.5), fp16: 125.0, bf16: Some(125.0), watts: 150.0 },
    // NVIDIA L4 datasheet: bf16 242 and tf32 120 with sparsity, fp32 30.3; 72 W.
    Product { names: &["L4"], fp32: 30.3, tf32: Some(60.0), fp16: 121.0, bf16: Some(121.0), watts: 72.0 },
    // NVIDIA L40S datasheet: dense bf16 362.05, tf32 183, fp32 91.6; 350 W.
    Product { names: &["L40S"], fp32: 91.6, tf32: Some(183.0), fp16: 362.05, bf16: Some(362.05), watts: 350.0 },
    // NVIDIA V100 datasheet: tensor cores fp16 125 (SXM2) and 112 (PCIe), fp32 15.7 and 14; no bf16, no tf32. 300 and 250 W.
    Product { names: &["Tesla V100-SXM2-16GB", "Tesla V100-SXM2-32GB"], fp32: 15.7, tf32: None, fp16: 125.0, bf16: None, watts: 300.0 },
    Product { names: &["Tesla V100-PCIE-16GB", "Tesla V100-PCIE-32GB"], fp32: 14.0, tf32: None, fp16: 112.0, bf16: None, watts: 250.0 },
    // NVIDIA Ada GPU architecture white paper, appendix: RTX 4090 dense fp16 with fp32 sums 165.2, bf16 165.2, tf32 82.6, fp32 82.6; 450 W.
    Product { names: &["GeForce RTX 4090"], fp32: 82.6, tf32: Some(82.6), fp16: 165.2, bf16: Some(165.2), watts: 450.0 },
    // NVIDIA Ampere GA102 white paper, appendix: RTX 3090 dense fp16 with fp32 sums 71, bf16 71, tf32 35.6, fp32 35.6; 350 W.
    Product { names: &["GeForce RTX 3090"], fp32: 35.6, tf32: Some(35.6), fp16: 71.0, bf16: Some(71.0), watts: 350.0 },
];

fn product(name: &str) -> Option<&'static Product> {
    let name = name.trim();
    let name = name.strip_prefix("NVIDIA ").unwrap_or(name);
    PRODUCTS.iter().find(|product| product.names.contains(&name))
}

/// The dense peak in FLOP/s of a GPU by NVML's product name; None for a product or a number type that is not in the table.
pub fn datasheet(name: &str, dtype: Dtype) -> Option<f64> {
    let product = product(name)?;
    let tera = match dtype {
        Dtype::Fp32 => Some(product.fp32),
        Dtype::Tf32 => product.tf32,
        Dtype::Fp16 => Some(product.fp16),
        Dtype::Bf16 => product.bf16,
    };
    tera.map(|tera| tera * 1e12)
}

/// The watts that a board of this product may draw, by its datasheet.
pub fn board_watts(name: &str) -> Option<f64> {
    product(name).map(|product| product.watts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_are_dense() {
        // What the datasheets print in large letters is twice this.
        for (name, bf16) in [
            ("NVIDIA H100 80GB HBM3", 989.4),
            ("NVIDIA H100 PCIe", 756.5),
            ("NVIDIA H100 NVL", 835.5),
            ("NVIDIA H200", 989.4),
            ("NVIDIA A100-SXM4-80GB", 312.0),
            ("NVIDIA A100 80GB PCIe", 312.0),
            ("NVIDIA A10", 125.0),
            ("NVIDIA L4", 121.0),
            ("NVIDIA L40S", 362.05),
            ("NVIDIA GeForce RTX 4090", 165.2),
            ("NVIDIA GeForce RTX 3090", 71.0),
            ("NVIDIA B200", 2250.0),
        ] {
            assert_eq!(datasheet(name, Dtype::Bf16), Some(bf16 * 1e12), "{name}");
        }
    }

    #[test]
    fn ordinary_cores_are_not_taken_for_tensor_cores() {
        assert_eq!(datasheet("NVIDIA A100-SXM4-40GB", Dtype::Fp32), Some(19.5e12));
        assert_eq!(datasheet("NVIDIA A100-SXM4-40GB", Dtype::Tf32), Some(156e12));
        for product in PRODUCTS {
            assert!(product.fp32 < product.fp16 && product.tf32.is_none_or(|tf32| product.fp32 <= tf32 && tf32 < product.fp16));
        }
    }

    #[test]
    fn what_is_not_in_the_table_has_no_peak() {
        assert_eq!(datasheet("Tesla V100-SXM2-16GB", Dtype::Bf16), None, "it has no bf16");
        assert_eq!(datasheet("Tesla V100-SXM2-16GB", Dtype::Fp16), Some(125e12));
        for unknown in ["NVIDIA A10G", "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "NVIDIA A100", "NVIDIA GeForce RTX 4090 D", "H1", ""] {
            assert_eq!((datasheet(unknown, Dtype::Fp32), board_watts(unknown)), (None, None), "{unknown}");
        }
    }

    #[test]
    fn a_name_means_one_product() {
        let names: Vec<_> = PRODUCTS.iter().flat_map(|product| product.names).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len());
        assert_eq!(board_watts("A100-SXM4-40GB"), board_watts(" NVIDIA A100-SXM4-40GB"), "older drivers leave the word out");
    }
}
