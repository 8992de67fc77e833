//! A report as a person reads it: on a terminal, or in a browser. Pure; the numbers are core's.

pub mod exams;
pub mod html;
pub mod text;

use osler_core::report::TimeReport;

/// A stage's wall time by cause, in the order of a step; the causes add up to the whole.
pub fn causes(time: &TimeReport) -> [(&'static str, f64); 6] {
    [
        ("data", time.data),
        ("compute", time.compute),
        ("communication", time.communication),
        ("checkpoint", time.checkpoint),
        ("lost to failures", time.lost_to_failures),
        ("idle", time.idle),
    ]
}
