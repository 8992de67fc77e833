//! The gates of a run and their evidence, as a table.

use crate::show;
use crate::terminal::{Cell, Table, name, prose};
use osler_core::gate::GateOutcome;

pub fn table(gates: &[GateOutcome]) -> Table {
    let mut table = Table::new([name("gate", 0), name("after", 0), name("variant", 1), name("outcome", 0), prose("evidence", 2)]);
    for gate in gates {
        let outcome = match (gate.passed, &gate.waived) {
            (true, _) => "passed",
            (false, None) => "FAILED",
            (false, Some(_)) => "WAIVED",
        };
        let waiver = gate.waived.as_ref().map(|w| format!("; waived by {}, {}: {}", w.by, show::time(w.at), w.reason));
        let evidence = format!("{}{}", gate.evidence, waiver.unwrap_or_default());
        let [exam, stage, variant] = [gate.exam.clone(), gate.stage.to_string(), gate.variant.to_string()];
        table.row([exam.into(), stage.into(), variant.into(), Cell::state(outcome), evidence.into()]);
    }
    table
}
