//! A report as a person reads it: on a terminal, or in a browser. Pure; the numbers are core's.

pub mod cause;
pub mod cost;
pub mod exams;
pub mod gates;
pub mod html;
pub mod text;

use osler_core::report::TimeReport;

/// A stage's wall time by cause, in the order of a process' life; the causes add up to the whole.
pub fn causes(time: &TimeReport) -> [(&'static str, f64); 12] {
    let phases = &time.phases;
    [
        ("start", phases.startup + phases.rendezvous),
        ("load", phases.load),
        ("data", phases.data),
        ("forward", phases.forward),
        ("backward", phases.backward),
        ("communication", phases.communication),
        ("update", phases.update),
        ("checkpoint", phases.checkpoint),
        ("checkpoint wait", phases.checkpoint_wait),
        ("lost to failures", time.lost_to_failures),
        ("stopped", time.stopped),
        ("idle", time.idle),
    ]
}
