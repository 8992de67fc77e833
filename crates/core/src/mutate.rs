//! Seeded damage to bytes, for the tests of whatever reads bytes that it did not write. `OSLER_FUZZ` (rounds) makes them run longer.

use crate::splitmix::SplitMix64;

/// Rounds in the normal lane: a second or so.
const ROUNDS: u64 = 2_000;
const MAX_BYTES: usize = 1 << 16;
/// Where parsers change their minds: ends of strings and numbers, brackets, signs of varints.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xff\"\\{}[]:,.-/e0\n";

/// How many rounds are wanted: `OSLER_FUZZ`, as its caller read it.
pub fn rounds(wanted: Option<&str>) -> u64 {
    wanted.and_then(|text| text.parse().ok()).unwrap_or(ROUNDS)
}

/// The seeds' bytes, damaged in one to eight places; the same for the same round.
pub fn damaged(seeds: &[Vec<u8>], round: u64) -> Vec<u8> {
    let mut random = SplitMix64(round);
    let mut draw = |below: usize| (random.draw() % below.max(1) as u64) as usize;
    let mut bytes = seeds.get(draw(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=draw(8) {
        let (at, to) = (draw(bytes.len() + 1), draw(bytes.len() + 1));
        let telling = TELLING.get(draw(TELLING.len())).copied().unwrap_or(0);
        match draw(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, telling),
            2 => drop(bytes.drain(at.min(to)..at.max(to))),
            3 => {
                let piece = bytes.get(at.min(to)..at.max(to)).unwrap_or_default().to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let other = seeds.get(draw(seeds.len())).cloned().unwrap_or_default();
                let tail = other.get(draw(other.len() + 1)..).unwrap_or_default().to_vec();
                bytes.splice(at.., tail);
            }
            5 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << draw(8);
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = telling;
                }
            }
        }
        bytes.truncate(MAX_BYTES);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Ended, Follows, Known, LogEntry, NewToken, Role, TokenBook};
    use crate::digest::Digest;
    use crate::ids::{Epoch, Millis, TokenName, WorkerName};
    use crate::process::{Command, Progress, Report};
    use crate::spec::RunSpec;
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use std::collections::{BTreeMap, HashSet};

    #[test]
    fn damage_is_repeatable_varied_and_bounded() {
        let seeds = [vec![b'a'; 50], vec![b'b'; 9]];
        let all: HashSet<Vec<u8>> = (0..500).map(|round| damaged(&seeds, round)).collect();
        assert!(all.len() > 400 && all.iter().all(|bytes| bytes.len() <= MAX_BYTES), "{}", all.len());
        assert_eq!(damaged(&seeds, 7), damaged(&seeds, 7));
        assert_eq!((rounds(None), rounds(Some("5")), rounds(Some("x"))), (ROUNDS, 5, ROUNDS));
        assert!(damaged(&[], 1).len() < 20);
    }

    /// A damaged document is refused, or is one that says the same when it is written and read again.
    fn document<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(seeds: &[T]) {
        let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| serde_json::to_vec(seed).unwrap()).collect();
        for round in 0..rounds(std::env::var("OSLER_FUZZ").ok().as_deref()) {
            let bytes = damaged(&seeds, round);
            if let Ok(read) = serde_json::from_slice::<T>(&bytes) {
                let again: T = serde_json::from_slice(&serde_json::to_vec(&read).unwrap()).unwrap();
                assert_eq!(again, read, "round {round}: {}", String::from_utf8_lossy(&bytes));
            }
        }
    }

    #[test]
    fn damaged_documents_are_refused_or_mean_one_thing() {
        let name = TokenName::new("ann").unwrap();
        let sha256 = Digest::of(b"x");
        let worker = Some(WorkerName::new("a").unwrap());
        let known = Known {
            role: Role::Worker,
            sha256,
            worker: worker.clone(),
            created_at: Millis(1),
            created_by: "owner".into(),
            revoked_at: Some(Millis(2)),
        };
        document(&[TokenBook { tokens: BTreeMap::from([(name.clone(), known)]), ..TokenBook::empty(Epoch(3)) }]);
        document(&[vec![NewToken { name, role: Role::Worker, sha256, worker }]]);
        document(&[LogEntry {
            at: Millis(1),
            epoch: Epoch(2),
            number: 3,
            who: Some("ann".into()),
            role: Some(Role::Admin),
            peer: "127.0.0.1:1".into(),
            method: "StopRun".into(),
            what: "run=\"r\"".into(),
            outcome: "ok".into(),
            times: 1,
            follows: Some(Follows { epoch: Epoch(2), number: 2, link: sha256 }),
            ended: vec![Ended { number: 1, outcome: sha256 }],
        }]);
        document(&[
            Report::Progress(Progress::default()),
            Report::Rendezvous { address: "127.0.0.1:1".into() },
            Report::Stopped { step: 7 },
        ]);
        document(&[Command::Rendezvous { address: "127.0.0.1:1".into() }, Command::Stop]);
    }

    #[test]
    fn a_damaged_run_file_is_refused_or_checked_without_a_panic() {
        let text = include_str!("../../../configs/quickstart.toml");
        let spec = crate::spec::parse(text, "q", &[]).unwrap();
        document::<RunSpec>(&[spec]);
        let seeds = [text.as_bytes().to_vec()];
        for round in 0..rounds(std::env::var("OSLER_FUZZ").ok().as_deref()) / 4 {
            if let Ok(text) = std::str::from_utf8(&damaged(&seeds, round)) {
                let _refused_or_not = crate::spec::parse(text, "q", &[]);
            }
        }
    }
}
