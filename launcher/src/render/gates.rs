//! The gates of a run and their evidence, as a table.

use crate::terminal::{Cell, Table, name, prose};
use osler_core::gate::GateOutcome;

pub fn table(gates: &[GateOutcome]) -> Table {
    let mut table = Table::new([name("gate", 0), name("after", 0), name("variant", 1), name("outcome", 0), prose("evidence", 2)]);
    for gate in gates {
        let outcome = if gate.passed { "passed" } else { "FAILED" };
        let [exam, stage, variant] = [gate.exam.clone(), gate.stage.to_string(), gate.variant.to_string()];
        table.row([exam.into(), stage.into(), variant.into(), Cell::state(outcome), gate.evidence.as_str().into()]);
    }
    table
}
