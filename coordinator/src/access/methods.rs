//! The one table of authorization: every method of the wire contract, what it needs, and whether it changes anything.

use osler_core::access::Need;

#[derive(Debug, Clone, Copy)]
pub struct Method {
    pub path: &'static str,
    pub need: Need,
    /// Then it is noted, also when it succeeds.
    pub changes: bool,
}

const fn looks(path: &'static str, need: Need) -> Method {
    Method { path, need, changes: false }
}

const fn changes(path: &'static str, need: Need) -> Method {
    Method { path, need, changes: true }
}

pub const METHODS: &[Method] = &[
    looks("/osler.v1.Control/ListRuns", Need::Look),
    looks("/osler.v1.Control/GetRun", Need::Look),
    looks("/osler.v1.Control/WatchRun", Need::Look),
    looks("/osler.v1.Control/ListWorkers", Need::Look),
    looks("/osler.v1.Control/ListQueue", Need::Look),
    changes("/osler.v1.Control/Submit", Need::ChangeRuns),
    changes("/osler.v1.Control/StopRun", Need::ChangeRuns),
    changes("/osler.v1.Control/ResumeRun", Need::ChangeRuns),
    changes("/osler.v1.Control/RemoveRun", Need::ChangeRuns),
    changes("/osler.v1.Control/DoubtObject", Need::ChangeRuns),
    changes("/osler.v1.Control/PinCheckpoint", Need::ChangeRuns),
    changes("/osler.v1.Control/RewindStage", Need::ChangeRuns),
    changes("/osler.v1.Control/SetQuota", Need::Administer),
    changes("/osler.v1.Control/DrainNode", Need::Administer),
    changes("/osler.v1.Control/CheckNode", Need::Administer),
    changes("/osler.v1.Control/CreateToken", Need::Administer),
    changes("/osler.v1.Control/RevokeToken", Need::Administer),
    looks("/osler.v1.Control/ListTokens", Need::Administer),
    looks("/osler.v1.Control/ListCalls", Need::Administer),
    looks("/osler.v1.Work/Sync", Need::Work),
];

/// None: nobody may call it.
pub fn find(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

impl Method {
    /// As people know it.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_holds_every_method_of_the_contract_and_no_other() {
        let contract = include_str!("../../../proto/osler/v1/osler.proto");
        let mut service = "";
        let mut declared = BTreeSet::new();
        for line in contract.lines() {
            let mut words = line.split([' ', '(', '{']).filter(|word| !word.is_empty());
            match (words.next(), words.next()) {
                (Some("service"), Some(name)) => service = name,
                (Some("rpc"), Some(name)) => drop(declared.insert(format!("/osler.v1.{service}/{name}"))),
                _ => {}
            }
        }
        assert!(declared.len() > 10, "the contract was not understood: {declared:?}");
        assert_eq!(METHODS.iter().map(|m| m.path.to_owned()).collect::<BTreeSet<_>>(), declared);
        assert_eq!(METHODS.len(), declared.len(), "a method is in the table twice");
    }
}
