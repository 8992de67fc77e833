//! A machine with far more work than cores: agents answer late, ranks crawl, and nobody is taken for lost or hanging.

use crate::cluster::{Cluster, TRAINING_ALONE, events, mini_spec};
use osler_core::plan::train_key;
use serde_json::Value;
use std::collections::BTreeMap;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Threads that only burn time, for each core.
const HOGS: usize = 4;
const LOOK: Duration = Duration::from_secs(5);

/// Burns the machine's time until it is dropped.
struct Hogs<'a>(&'a AtomicBool);

impl Drop for Hogs<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// `OSLER_LOAD_MINUTES` sets the length.
#[test]
#[ignore = "an hour: make load"]
fn an_hour_of_full_load_loses_nobody() {
    let minutes = std::env::var("OSLER_LOAD_MINUTES").ok().and_then(|minutes| minutes.parse().ok()).unwrap_or(60);
    let mut cluster = Cluster::new();
    let spec =
        mini_spec(cluster.folder.path(), &[&TRAINING_ALONE[..], &["stage.domain.steps=10000000", "checkpoint.every_steps=50"]].concat());
    let domain = &spec.stages[1].name;
    cluster.start_coordinator();
    cluster.start_standby();
    ["a", "b", "c"].into_iter().for_each(|name| cluster.start_agent(name, 1));
    cluster.submit(&spec).unwrap();
    let before = cluster.wait_until("mini", "steps", |r| r.published_steps(domain) >= 50);
    let over = AtomicBool::new(false);
    let mut states: BTreeMap<String, u64> = BTreeMap::new();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let hogs = Hogs(&over);
        for _ in 0..HOGS * std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    spin_loop();
                }
            });
        }
        while begun.elapsed() < Duration::from_secs(60 * minutes) {
            let lines: Value = serde_json::from_str(&cluster.osler(&["node", "list", "--json"])).unwrap();
            for line in lines["nodes"].as_array().unwrap() {
                *states.entry(line["state"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            std::thread::sleep(LOOK);
        }
        drop(hogs);
    });
    let record = cluster.stop_within("mini", domain, 0);
    println!("{minutes} minutes, {} threads a core that burn time; workers were seen as {states:?}", HOGS);
    println!("steps {} to {}", before.published_steps(domain), record.published_steps(domain));
    let past = &record.jobs[&train_key(domain)].past;
    assert_eq!((past.len(), past[0].fault.as_ref()), (1, None), "{}", events(&record));
    assert_eq!(record.epoch, before.epoch, "the standby took over from a coordinator that lived");
    assert!(!states.contains_key("lost"), "{states:?}");
    assert!(cluster.audit(&record).is_clean());
}
