//! The page for Prometheus: its grammar, its numbers, and that another coordinator goes on with the same series.

use super::*;
use crate::metrics::text;
use crate::testing::spec;
use std::collections::BTreeSet;

/// Samples by name and labels. Panics where the text format's rules are broken.
fn parse(page: &str) -> BTreeMap<String, f64> {
    let (mut kinds, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let mut current = String::new();
    for line in page.lines() {
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            let (name, kind) = comment.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(kinds.insert(name.to_owned()), "{name} is declared twice");
            current = name.to_owned();
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert_eq!(series.split('{').next().unwrap(), current, "a sample outside of its family");
            assert!(samples.insert(series.to_owned(), value.parse().unwrap()).is_none(), "{series} is there twice");
        }
    }
    samples
}

#[test]
fn a_scrape_shows_where_everything_stands() {
    let mut world = World::new(&[2, 1]);
    let run = world.submit(spec("r"));
    world.until("step 9", |w| w.cluster.run(&run).unwrap().line().step == 9);
    let shown = parse(&text(&world.cluster, world.now));
    for (series, value) in [
        ("osler_coordinator_epoch", 1.0),
        ("osler_workers{state=\"busy\"}", 1.0),
        ("osler_workers{state=\"idle\"}", 1.0),
        ("osler_slots", 3.0),
        ("osler_slots_used", 2.0),
        ("osler_run_state{run=\"r\",state=\"running\"}", 1.0),
        ("osler_jobs{run=\"r\",state=\"active\"}", 1.0),
        ("osler_stage_steps{run=\"r\",stage=\"general\"}", 9.0),
        ("osler_stage_steps_published{run=\"r\",stage=\"general\"}", 8.0),
        ("osler_stage_steps_planned{run=\"r\",stage=\"domain\"}", 13.0),
        ("osler_stage_tokens_published{run=\"r\",stage=\"general\"}", 8.0 * 64.0),
        ("osler_stage_ranks{run=\"r\",stage=\"general\"}", 2.0),
        ("osler_attempts_total{run=\"r\",kind=\"clean\",outcome=\"ok\"}", 5.0),
    ] {
        assert_eq!(shown.get(series), Some(&value), "{series} in {shown:#?}");
    }
}

#[test]
fn counts_go_on_when_another_coordinator_answers() {
    let mut world = World::new(&[1, 1]);
    let run = world.submit(spec("r"));
    world.until("step 5", |w| w.cluster.run(&run).unwrap().line().step == 5);
    let process = world.process(0, "train/general");
    world.agents[0].kill(&process, 137, &mut world.gangs);
    world.until("failed once", |w| w.record(&run).jobs[&JobKey::from("train/general")].past.len() == 1);
    let before = parse(&text(&world.cluster, world.now));
    assert_eq!(before["osler_attempts_total{run=\"r\",kind=\"train\",outcome=\"infrastructure\"}"], 1.0);
    let record = world.record(&run).clone();
    world.cluster = Cluster::new(world.now, Epoch(2), "file:///store", Limits::default());
    world.cluster.adopt(record);
    let after = parse(&text(&world.cluster, world.now));
    for (series, value) in before.iter().filter(|(series, _)| series.starts_with("osler_attempts") || series.contains("published")) {
        assert_eq!(after.get(series), Some(value), "{series}");
    }
}
