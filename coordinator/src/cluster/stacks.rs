//! Where the threads of a gang stand that makes no steps. Asked for when half of its patience is over, so that the evidence is there when
//! it is ended; forgotten when it goes on.

use super::Run;
use osler_core::job::JobKey;
use osler_core::record::Attempt;
use std::collections::BTreeMap;

/// Of one rank, and of the evidence of a hang, which a fault holds in place of a log.
const LINES: usize = 40;
const LINE: usize = 240;

/// Lines of each rank.
#[derive(Debug, Clone, Default)]
pub struct Stacks(BTreeMap<(JobKey, u32), Vec<String>>);

impl Stacks {
    pub fn add(&mut self, key: &JobKey, rank: u32, lines: Vec<String>) {
        let known = self.0.entry((key.clone(), rank)).or_default();
        let room = LINES.saturating_sub(known.len());
        known.extend(lines.into_iter().take(room).map(|line| line.chars().take(LINE).collect()));
    }

    fn forget(&mut self, key: &JobKey) {
        self.0.retain(|(of, _), _| of != key);
    }

    /// The culprit first, then the others in turn.
    fn evidence(&self, key: &JobKey, culprit: Option<u32>) -> Vec<String> {
        let all = self.0.range((key.clone(), 0)..=(key.clone(), u32::MAX)).map(|((_, rank), lines)| (*rank, lines));
        let (first, others): (Vec<_>, Vec<_>) = all.partition(|(rank, _)| Some(*rank) == culprit);
        let told = first.into_iter().chain(others).flat_map(|(rank, lines)| lines.iter().map(move |line| format!("rank {rank}: {line}")));
        told.take(LINES).collect()
    }
}

impl Run {
    /// Whether the ranks of an attempt are to say where they stand.
    pub(super) fn asks_for_stacks(&self, key: &JobKey, attempt: &Attempt) -> bool {
        self.paces.get(key).is_some_and(|pace| pace.asks(attempt.generation))
    }

    /// Tells the workers when that has changed; `asked`: whether they were asked before.
    pub(super) fn ask_for_stacks(&mut self, key: &JobKey, asked: bool) {
        let asks = self.active(key).is_some_and(|attempt| self.asks_for_stacks(key, attempt));
        if asks != asked {
            self.stacks.forget(key);
            self.tell(key);
        }
    }

    /// What was said, once.
    pub(super) fn take_stacks(&mut self, key: &JobKey, culprit: Option<u32>) -> Vec<String> {
        let evidence = self.stacks.evidence(key, culprit);
        self.stacks.forget(key);
        evidence
    }

    /// The coordinator stood still, and so did what it knows of the gangs' paces.
    pub(super) fn forget_paces(&mut self) {
        let asked: Vec<JobKey> = self.paces.keys().cloned().collect();
        self.paces.clear();
        asked.iter().for_each(|key| self.ask_for_stacks(key, true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_culprit_comes_first_and_nobody_says_too_much() {
        let key = JobKey::from("train/s");
        let mut stacks = Stacks::default();
        stacks.add(&key, 0, vec!["waits".into()]);
        stacks.add(&key, 1, vec!["x".repeat(1000); 10]);
        stacks.add(&key, 1, vec!["y".into(); 1000]);
        stacks.add(&JobKey::from("train/t"), 1, vec!["another gang".into()]);
        let told = stacks.evidence(&key, Some(1));
        assert_eq!(told.len(), LINES);
        assert!(told[0].starts_with("rank 1: xx") && told[0].len() < 260 && told.iter().all(|line| line.starts_with("rank 1: ")));
        assert_eq!(stacks.evidence(&key, None)[0], "rank 0: waits");
        stacks.forget(&key);
        assert!(stacks.evidence(&key, None).is_empty());
    }
}
