//! Gangs that stand still, and ranks that hold the others up.
//!
//! Every rank says each second what it does. From the steps that were heard a gang's usual pace follows; one that makes no step for
//! many times that long hangs. The culprit is a rank that says nothing although its worker is heard, else the one that works while
//! the others wait for it. Time counts only while every worker of the gang is heard: silence on the link is not the gang's.

use super::limits::Limits;
use super::run::Run;
use super::workers::{WorkerState, Workers};
use osler_core::ids::{Generation, WorkerName};
use osler_core::job::{Fault, FaultClass, JobKey};
use osler_core::process::{Progress, phase};
use osler_core::record::{Attempt, EventKind, JobState};
use osler_core::time::{Moment, Now};
use std::collections::{BTreeMap, VecDeque};

/// Paces that the usual one is the median of.
const HEARD: usize = 31;

/// What is remembered of a gang's steps; forgotten with the coordinator, learned anew in seconds.
#[derive(Debug, Clone)]
pub struct Pace {
    generation: Generation,
    /// The furthest step that was heard of, and since when.
    done: u64,
    since: Moment,
    /// Milliseconds a step, newest last.
    heard: VecDeque<u64>,
    /// Ranks whose own work takes too long, and since when; none once it was told.
    slow: BTreeMap<u32, Option<Moment>>,
    /// Half of the patience is over: the ranks are to say where they stand.
    late: bool,
}

impl Pace {
    fn new(generation: Generation, now: Moment) -> Self {
        Self { generation, done: 0, since: now, heard: VecDeque::new(), slow: BTreeMap::new(), late: false }
    }

    /// Whether the ranks of this generation are to say where they stand.
    pub fn asks(&self, generation: Generation) -> bool {
        self.late && self.generation == generation
    }

    fn hear(&mut self, now: Moment, done: u64) {
        if done <= self.done {
            return;
        }
        // The first step heard of may be one of many that were made while this coordinator was away.
        if self.done > 0 {
            self.heard.push_back(now.since(self.since) / (done - self.done));
            let surplus = self.heard.len().saturating_sub(HEARD);
            self.heard.drain(..surplus);
        }
        (self.done, self.since) = (done, now);
    }

    /// The median, once a step was heard of.
    fn usual(&self) -> Option<u64> {
        let mut sorted: Vec<u64> = self.heard.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// `first`: until the pace is known.
    fn limit(&self, limits: &Limits, first: u64) -> u64 {
        let usual = self.usual().map(|usual| usual.saturating_mul(limits.hang_factor).max(limits.hang_least));
        usual.unwrap_or(first)
    }
}

/// The last word of one rank.
struct Word<'a> {
    rank: u32,
    worker: &'a WorkerName,
    said: Option<&'a (Progress, Moment)>,
}

/// What one look at a gang says.
struct Look {
    pace: Pace,
    hang: Option<Fault>,
    slow: Vec<String>,
}

impl Run {
    /// Looks at every gang that has met: notes its pace, ends it if it hangs, tells of slow ranks.
    pub(super) fn watch_gangs(&mut self, now: Now, workers: &Workers) {
        for key in self.held(|job| matches!(&job.status, JobState::Active { attempt } if attempt.has_met())) {
            let Some(Look { pace, hang, slow }) = self.look(now, &key, workers) else { continue };
            let generation = pace.generation;
            let about = Some(generation);
            let asked = self.paces.insert(key.clone(), pace).is_some_and(|before| before.asks(generation));
            self.ask_for_stacks(&key, asked);
            slow.into_iter().for_each(|message| self.happened(now, EventKind::Worker, Some((&key, about)), message));
            if let Some(mut fault) = hang {
                let culprit = fault.origin.as_deref().and_then(|origin| origin.rsplit_once('/'));
                fault.log_tail = self.take_stacks(&key, culprit.and_then(|(_, rank)| rank.parse().ok()));
                if let Some(worker) = culprit.and_then(|(worker, _)| WorkerName::new(worker).ok()) {
                    self.blame(&worker, &key, generation, &fault);
                }
                self.fail(now, &key, fault, workers);
            }
        }
    }

    fn look(&self, now: Now, key: &JobKey, workers: &Workers) -> Option<Look> {
        let (attempt, limits) = (self.active(key)?, &workers.limits);
        let words = self.words(key, attempt);
        let mut pace = match self.paces.get(key) {
            Some(pace) if pace.generation == attempt.generation => pace.clone(),
            _ => Pace::new(attempt.generation, now.moment),
        };
        pace.hear(now.moment, words.iter().filter_map(|word| Some(word.said?.0.done)).max().unwrap_or(0));
        // A rank that saves and says so has the store's patience, however long that is; one that falls silent over it has not.
        let saves =
            |word: &Word<'_>| word.said.is_some_and(|(p, _)| phase::is_patient(&p.phase)) && word.silence(now.moment) <= limits.silent;
        if words.iter().any(saves) || !workers.all_heard(now, attempt) {
            pace.since = now.moment;
        }
        let still = now.moment.since(pace.since);
        let limit = pace.limit(limits, self.record.spec.limits.first_step_seconds.saturating_mul(1000));
        pace.late = still > limit / 2;
        let hang = (still > limit).then(|| hang(now.moment, still, &pace, &words, limits));
        let slow = slow_ranks(now.moment, &mut pace, &words, limits);
        Some(Look { pace, hang, slow })
    }

    /// Of the ranks that have not ended.
    fn words<'a>(&'a self, key: &JobKey, attempt: &'a Attempt) -> Vec<Word<'a>> {
        // All ranks' latest words, ascending like the ranks: one walk instead of a search for each.
        let mut latest = self.progress.range((key.clone(), 0)..=(key.clone(), u32::MAX)).peekable();
        let started = self.times.started(key);
        let word = |(rank, place): (usize, &'a osler_core::record::Place)| {
            let rank = rank as u32;
            while latest.next_if(|((_, of), _)| *of < rank).is_some() {}
            let said = latest.next_if(|((_, of), _)| *of == rank).map(|(_, said)| said);
            Word { rank, worker: &place.worker, said: said.filter(|(p, at)| p.unit == "steps" && *at >= started) }
        };
        attempt.places.iter().enumerate().filter(|(rank, _)| !attempt.ended.contains_key(&(*rank as u32))).map(word).collect()
    }
}

impl Word<'_> {
    fn place(&self) -> String {
        format!("{}/{}", self.worker, self.rank)
    }

    /// Milliseconds since its last word.
    fn silence(&self, now: Moment) -> u64 {
        self.said.map_or(u64::MAX, |(_, at)| now.since(*at))
    }
}

impl Workers {
    pub(super) fn all_heard(&self, now: Now, attempt: &Attempt) -> bool {
        let silent = |state| matches!(state, WorkerState::Suspect | WorkerState::Lost | WorkerState::Gone);
        attempt.places.iter().all(|place| self.at(place).is_some_and(|worker| !silent(self.state(now, &place.worker, worker, 1))))
    }
}

fn hang(now: Moment, still: u64, pace: &Pace, words: &[Word<'_>], limits: &Limits) -> Fault {
    let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1e3);
    let usual = pace.usual().map_or_else(|| "it has made none yet".to_owned(), |usual| format!("one takes {} usually", seconds(usual)));
    let frozen = words.iter().max_by_key(|word| word.silence(now)).filter(|word| word.silence(now) > limits.silent);
    let working = || words.iter().find(|word| word.said.is_some_and(|(p, _)| p.phase != phase::WAITING));
    let (culprit, why) = match (frozen, working()) {
        (Some(word), _) => {
            let last = word.said.map_or_else(
                || "it has not said a word".to_owned(),
                |(p, at)| format!("its last word, {} ago, was {} at step {}", seconds(now.since(*at)), p.phase, p.done),
            );
            (Some(word), format!("rank {} is frozen: {last}", word.rank))
        }
        (None, Some(word)) if words.len() > 1 => (
            Some(word),
            format!("rank {} is {} while others wait for it", word.rank, word.said.map_or("silent", |(p, _)| p.phase.as_str())),
        ),
        (None, Some(word)) => (Some(word), "its only rank is stuck".to_owned()),
        (None, None) => (None, "all ranks wait for each other".to_owned()),
    };
    let message = format!("no step for {} ({usual}); {why}", seconds(still));
    Fault { origin: culprit.map(Word::place), ..Fault::new(FaultClass::Infrastructure, message) }
}

/// The median of sorted values without one that equals `own`.
fn median_of_others(sorted: &[f64], own: f64) -> f64 {
    let at = (sorted.len() - 1) / 2;
    let own_at = sorted.partition_point(|ms| ms.total_cmp(&own).is_lt());
    sorted.get(if own_at <= at { at + 1 } else { at }).copied().unwrap_or(own)
}

/// Sentences about ranks that have been slow for long enough, each once.
fn slow_ranks(now: Moment, pace: &mut Pace, words: &[Word<'_>], limits: &Limits) -> Vec<String> {
    let busy: Vec<(&Word<'_>, f64)> =
        words.iter().filter_map(|word| Some((word, word.said?.0.busy_ms.filter(|ms| ms.is_finite())?))).collect();
    let mut told = vec![];
    if busy.len() < 2 || busy.len() < words.len() {
        return told;
    }
    let mut sorted: Vec<f64> = busy.iter().map(|(_, ms)| *ms).collect();
    sorted.sort_by(f64::total_cmp);
    for (word, own) in &busy {
        let usual = median_of_others(&sorted, *own);
        if own * 100.0 <= usual * limits.slow_percent as f64 {
            pace.slow.remove(&word.rank);
            continue;
        }
        let since = pace.slow.entry(word.rank).or_insert(Some(now));
        if since.is_some_and(|since| now.since(since) >= limits.slow_for) {
            *since = None;
            told.push(format!(
                "rank {} on {} is slow: its own work takes {own:.0} ms a step, the others' {usual:.0} ms; a gang is as fast as its slowest rank",
                word.rank,
                word.place()
            ));
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(heard: &[(u64, u64)]) -> Pace {
        let mut pace = Pace::new(Generation(1), Moment(0));
        heard.iter().for_each(|(at, done)| pace.hear(Moment(*at as i64), *done));
        pace
    }

    #[test]
    fn the_usual_pace_is_learned_from_what_was_heard() {
        assert_eq!(pace(&[]).usual(), None);
        // What was made before the first word says nothing about the pace.
        assert_eq!(pace(&[(10_000, 500)]).usual(), None);
        // 400 ms a step; one slow stretch does not change what is usual.
        assert_eq!(pace(&[(1_000, 1), (1_800, 3), (2_200, 4), (22_200, 5), (22_600, 6)]).usual(), Some(400));
        let repeated = pace(&[(1_000, 1), (1_400, 2), (9_000, 2)]);
        assert_eq!((repeated.usual(), repeated.since), (Some(400), Moment(1_400)));
    }

    #[test]
    fn patience_grows_with_the_steps() {
        let limits = Limits::default();
        let with = |ms: u64| pace(&[(1_000, 1), (1_000 + ms, 2)]);
        assert_eq!(pace(&[]).limit(&limits, 77), 77);
        assert_eq!(with(100).limit(&limits, 77), 15_000);
        assert_eq!(with(2_000).limit(&limits, 77), 60_000);
        assert_eq!(with(60_000).limit(&limits, 77), 1_800_000);
    }

    #[test]
    fn the_median_of_others_is_that_of_the_list_without_one() {
        for sorted in [vec![1.0, 2.0], vec![1.0, 1.0, 5.0], vec![1.0, 2.0, 2.0, 3.0, 9.0], vec![4.0; 6]] {
            for at in 0..sorted.len() {
                let mut others = sorted.clone();
                let own = others.remove(at);
                assert_eq!(median_of_others(&sorted, own), others[others.len() / 2], "{sorted:?} without {own}");
            }
        }
    }

    #[test]
    fn a_rank_that_is_slow_for_long_enough_is_told_once() {
        let limits = Limits::default();
        let said = |ms: f64| (Progress { busy_ms: Some(ms), ..Progress::default() }, Moment(0));
        let mut pace = pace(&[]);
        let w = WorkerName::new("w").unwrap();
        let mut look = |now: u64, busy: [f64; 3]| {
            let said = busy.map(said);
            let words: Vec<Word<'_>> = (0..3).map(|rank| Word { rank, worker: &w, said: said.get(rank as usize) }).collect();
            slow_ranks(Moment(now as i64), &mut pace, &words, &limits)
        };
        assert!(look(0, [100.0, 151.0, 100.0]).is_empty());
        assert!(look(29_999, [100.0, 151.0, 100.0]).is_empty());
        let told = look(30_000, [100.0, 151.0, 100.0]);
        assert!(told.len() == 1 && told[0].starts_with("rank 1 on w/1 is slow: its own work takes 151 ms"), "{told:?}");
        assert!(look(90_000, [100.0, 151.0, 100.0]).is_empty(), "it was told");
        // As fast as the others for a moment: the time begins anew.
        assert!(look(91_000, [100.0, 120.0, 100.0]).is_empty());
        assert!(look(92_000, [100.0, 400.0, 100.0]).is_empty());
        assert_eq!(look(122_000, [100.0, 400.0, 100.0]).len(), 1);
    }
}
