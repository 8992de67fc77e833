//! What one seed decides and what all actors share: chance, virtual time, the trace, and the first law that was broken.

use super::law::Law;
use crate::testing::rng::Rng;
use osler_core::ids::Millis;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Where the wall clocks of all machines stand at first.
const DAWN: u64 = 1_000_000_000_000;
const MISFORTUNE: Duration = Duration::from_secs(22);
/// Lines of trace that a failing seed prints.
const TRACED: usize = 120;

#[derive(Debug)]
pub struct World {
    pub rng: Rng,
    pub law: Law,
    /// How often each kind of misfortune struck.
    pub struck: BTreeMap<&'static str, u64>,
    /// Objects that misfortune has damaged or taken away.
    pub damaged: BTreeSet<String>,
    /// The store has no room until then.
    pub full_until: Option<Instant>,
    begun: Instant,
    trace: Option<VecDeque<String>>,
    broken: Option<String>,
}

/// One thread runs all actors of a seed; the lock is for the traits that ask for `Send`, and is never held across an await.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub fn new(seed: u64, traced: bool) -> Self {
        let trace = traced.then(VecDeque::new);
        let (rng, law, struck) = (Rng(seed), Law::default(), BTreeMap::new());
        Self(Arc::new(Mutex::new(World {
            rng,
            law,
            struck,
            damaged: BTreeSet::new(),
            full_until: None,
            begun: Instant::now(),
            trace,
            broken: None,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl World {
    /// Virtual time since the beginning, also for clocks that never jump.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A wall clock that is `off` by so many milliseconds.
    pub fn clock(&self, off: i64) -> Millis {
        Millis((DAWN + self.elapsed().as_millis() as u64).saturating_add_signed(off))
    }

    pub fn misfortune(&self) -> bool {
        self.elapsed() < MISFORTUNE
    }

    /// True once in `n` while misfortune lasts; counted under the name of what then happens.
    pub fn strikes(&mut self, what: &'static str, n: u64) -> bool {
        let strikes = self.rng.once_in(n) && self.misfortune();
        if strikes {
            *self.struck.entry(what).or_default() += 1;
        }
        strikes
    }

    pub fn below(&mut self, ms: u64) -> Duration {
        Duration::from_millis(self.rng.below(ms))
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        let at = self.begun.elapsed().as_millis();
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACED {
                trace.pop_front();
            }
            trace.push_back(format!("{at:>7} ms  {}", line()));
        }
    }

    /// Notes a broken law; the first one counts.
    pub fn broken(&mut self, what: String) {
        self.note(|| format!("BROKEN: {what}"));
        self.broken.get_or_insert(what);
    }

    /// The first law that was broken, and what led to it if that was traced.
    pub fn verdict(&self) -> Option<String> {
        let trace = self.trace.iter().flatten().map(|line| format!("\n  {line}")).collect::<String>();
        self.broken.as_ref().map(|what| format!("{what}{trace}"))
    }

    pub fn judge(&mut self, found: Result<(), String>) {
        if let Err(what) = found {
            self.broken(what);
        }
    }
}
