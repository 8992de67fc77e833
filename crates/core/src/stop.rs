//! Why a run stands still although nothing failed, and who let a failed gate pass: decisions of people, kept in the record.

use crate::gate::GateOutcome;
use crate::ids::Millis;
use crate::record::{RunRecord, RunState};
use crate::spec::OnFail;
use serde::{Deserialize, Serialize};

/// The exit code of whoever watched, and whether the same `osler up` goes on with the run, depend on this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopKind {
    /// Somebody said `osler stop`. Only `osler resume` goes on: no requeued job and no repeated `osler up` undoes it.
    ByHand,
    /// The command that watched over it was asked to end, by Ctrl-C or by a scheduler that takes the machine away. It goes on when the
    /// same command is given again.
    Interrupted,
}

/// The stop of a run that is stopping or stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    pub kind: StopKind,
    /// The caller's token, and in parentheses what it says of itself: "owner (alice@login1)".
    pub by: String,
    pub at: Millis,
}

/// A failed gate that somebody let pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// As in [`Stop`].
    pub by: String,
    pub at: Millis,
    pub reason: String,
}

impl GateOutcome {
    /// As people name it; its last word alone will do where no other is alike.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.stage, self.variant, self.exam)
    }

    /// Whether somebody means this one by a name: all of its name, or its end.
    pub fn is_named(&self, given: &str) -> bool {
        let name = self.name();
        name == given || name.strip_suffix(given).is_some_and(|rest| rest.ends_with('/'))
    }

    /// It failed, it stops the run, and nobody let it pass.
    pub fn is_shut(&self) -> bool {
        !self.passed && self.on_fail == OnFail::Stop && self.waived.is_none()
    }
}

impl RunRecord {
    /// The stop that only a person's `osler resume` ends.
    pub fn stopped_by_hand(&self) -> Option<&Stop> {
        self.stop.as_ref().filter(|stop| self.state == RunState::Stopped && stop.kind == StopKind::ByHand)
    }

    /// Failed gates that keep the run from going on.
    pub fn shut_gates(&self) -> impl Iterator<Item = &GateOutcome> {
        self.gates.iter().filter(|gate| gate.is_shut())
    }

    /// Whether the same submission, given again, goes on with a run that stands still: nobody stopped it by hand, and no gate is shut.
    pub fn goes_on_when_submitted(&self) -> bool {
        match self.state {
            RunState::Stopped => self.stopped_by_hand().is_none(),
            RunState::Failed(_) => self.shut_gates().next().is_none(),
            _ => false,
        }
    }

    /// Gates that somebody let pass, which is told wherever the run's state is.
    pub fn waived(&self) -> Option<String> {
        waived(&self.gates)
    }

    /// Who stopped it, and when it was, in a record that tells.
    pub fn stopped_by(&self) -> Option<String> {
        let stop = self.stop.as_ref().filter(|_| matches!(self.state, RunState::Stopping | RunState::Stopped))?;
        Some(match stop.kind {
            StopKind::ByHand => format!("stopped by {}", stop.by),
            StopKind::Interrupted => format!("{} was interrupted", stop.by),
        })
    }

    /// What belongs beside a state in a line of its own: why the run fails, or who stopped it, and which gates were waived.
    pub fn beside_state(&self) -> Option<String> {
        let why = match &self.state {
            RunState::Failing(why) | RunState::Failed(why) => Some(why.clone()),
            _ => self.stopped_by(),
        };
        let all: Vec<String> = why.into_iter().chain(self.waived()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// "gate domain/full/seen WAIVED by owner (alice@login1): noise".
pub fn waived(gates: &[GateOutcome]) -> Option<String> {
    let of = |gate: &GateOutcome| gate.waived.as_ref().map(|w| format!("gate {} WAIVED by {}: {}", gate.name(), w.by, w.reason));
    let all: Vec<String> = gates.iter().filter_map(of).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::StageName;
    use crate::spec::Variant;

    fn failed() -> GateOutcome {
        GateOutcome {
            stage: StageName::new("domain").unwrap(),
            exam: "seen".into(),
            variant: Variant::Full,
            passed: false,
            evidence: "accuracy 1 %".into(),
            on_fail: OnFail::Stop,
            waived: None,
        }
    }

    #[test]
    fn a_gate_is_named_by_its_end() {
        for (given, meant) in
            [("seen", true), ("full/seen", true), ("domain/full/seen", true), ("een", false), ("unseen", false), ("", false)]
        {
            assert_eq!(failed().is_named(given), meant, "{given:?}");
        }
    }

    #[test]
    fn only_a_failed_gate_that_stops_and_that_nobody_waived_is_shut() {
        assert!(failed().is_shut());
        let waiver = Waiver { by: "owner (a@b)".into(), at: Millis(1), reason: "noise".into() };
        let open = GateOutcome { waived: Some(waiver), ..failed() };
        assert!(!open.is_shut());
        assert!(!GateOutcome { passed: true, ..failed() }.is_shut());
        assert!(!GateOutcome { on_fail: OnFail::Warn, ..failed() }.is_shut());
        assert_eq!(waived(&[failed(), open]).unwrap(), "gate domain/full/seen WAIVED by owner (a@b): noise");
        assert_eq!(waived(&[failed()]), None);
    }

    #[test]
    fn gates_of_older_records_load() {
        let json = r#"{"stage":"s","exam":"e","variant":"full","passed":false,"evidence":"","on_fail":"stop"}"#;
        let gate: GateOutcome = serde_json::from_str(json).unwrap();
        assert!(gate.is_shut());
        assert_eq!(serde_json::to_string(&gate).unwrap(), json);
    }
}
