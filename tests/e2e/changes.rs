//! Runs that change on the way: their number of ranks, the step that a stage goes on from, the stage that another one is forked from.

use crate::cluster::{Cluster, TRAINING_ALONE, events, mini_spec};
use nix::sys::signal::Signal;
use osler_core::ids::StageName;
use osler_core::plan::train_key;
use osler_core::record::{EventKind, RunRecord};
use osler_core::report::StageReport;
use osler_core::spec::RunSpec;
use osler_proto::v1;

/// Training alone, with the given changes.
fn training(cluster: &Cluster, changes: &[&str]) -> RunSpec {
    mini_spec(cluster.folder.path(), &[&TRAINING_ALONE, changes].concat())
}

fn started(cluster: &mut Cluster, slots: u32) {
    cluster.start_coordinator();
    cluster.start_agent("a", slots);
}

fn stage_report(cluster: &Cluster, record: &RunRecord, stage: &StageName) -> StageReport {
    cluster.report(record).stages.into_iter().find(|s| s.name == *stage).unwrap()
}

#[test]
fn an_elastic_run_that_changes_its_ranks_twice_ends_with_the_same_bits() {
    let elastic = ["resources.determinism=elastic", "resources.ranks=1", "stage.domain.steps=300", "checkpoint.every_steps=50"];
    let mut steady = Cluster::new();
    let spec = training(&steady, &elastic);
    let domain = &spec.stages[1].name;
    started(&mut steady, 1);
    steady.submit(&spec).unwrap();
    let undisturbed = steady.wait_finished("mini");

    let mut changing = Cluster::new();
    started(&mut changing, 2);
    changing.submit(&spec).unwrap();
    let alone = changing.stop_within("mini", domain, 0).published_steps(domain);
    assert_eq!(changing.resume("mini", 3).unwrap_err().code(), tonic::Code::InvalidArgument);
    changing.resume("mini", 2).unwrap();
    let together = changing.stop_within("mini", domain, alone).published_steps(domain);
    assert!(alone < together && together < 300, "{alone} {together}");
    changing.resume("mini", 1).unwrap();
    let record = changing.wait_finished("mini");
    let sizes: Vec<u32> = record.checkpoints[domain].iter().filter_map(|c| c.world_size).collect();
    assert!(sizes.starts_with(&[1]) && sizes.contains(&2) && sizes.ends_with(&[1]), "{sizes:?}");
    assert!(changing.audit(&record).is_clean());
    assert_eq!(changing.final_parts(&record, domain), steady.final_parts(&undisturbed, domain), "{}", events(&record));
}

#[test]
fn a_gang_that_loses_a_node_goes_on_without_it_and_grows_back_with_the_same_bits() {
    // More steps than are made: it is stopped when it has seen enough. A rank's share would be its micro-batch otherwise, and that is
    // part of the bits.
    let elastic = [
        "resources.determinism=elastic",
        "stage.general.micro_batch=2",
        "stage.domain.micro_batch=2",
        "stage.domain.steps=50000",
        "checkpoint.every_steps=150",
    ];
    let mut losing = Cluster::new();
    let spec = training(&losing, &[&elastic[..], &["resources.min_ranks=1"]].concat());
    let domain = &spec.stages[1].name;
    losing.start_coordinator_with(&["--shrink-after", "1", "--grow-after", "2"]);
    losing.start_agent("a", 1);
    losing.start_agent("b", 1);
    losing.submit(&spec).unwrap();
    losing.wait_until("mini", "steps of both", |r| r.published_steps(domain) >= 150);
    losing.kill_agent("b");
    let sizes = |record: &RunRecord| -> Vec<u32> { record.checkpoints[domain].iter().filter_map(|c| c.world_size).collect() };
    losing.wait_until("mini", "steps of one", |r| sizes(r).ends_with(&[1]));
    losing.start_agent("b", 1);
    let grown = losing.wait_until("mini", "steps of both again", |r| sizes(r).ends_with(&[2]) && sizes(r).contains(&1));
    assert_eq!(losing.end_agent("b", Signal::SIGTERM), Some(75));
    let together = grown.published_steps(domain);
    let alone = losing.wait_until("mini", "steps of one again", |r| sizes(r).ends_with(&[1]) && r.published_steps(domain) > together);
    let last = alone.published_steps(domain);
    let record = losing.stop_within("mini", domain, 0);
    let faults: Vec<bool> = record.jobs[&train_key(domain)].past.iter().map(|past| past.fault.is_some()).collect();
    assert_eq!(faults, [true, false, false, false], "lost, grew, preempted, stopped: {}", events(&record));
    assert!(losing.audit(&record).is_clean());

    let mut steady = Cluster::new();
    started(&mut steady, 1);
    steady.submit(&training(&steady, &[&elastic[..], &["resources.ranks=1"]].concat())).unwrap();
    let undisturbed = steady.stop_within("mini", domain, last - 1);
    assert_eq!(last % 150, 0, "no checkpoint of an undisturbed run: {}", events(&record));
    assert_eq!(losing.bits_until(&record, domain, last), steady.bits_until(&undisturbed, domain, last), "{}", events(&record));
}

#[test]
fn a_fast_run_goes_on_with_more_ranks_than_it_began_with() {
    // A share of 4 is less than the micro-batch that one rank had.
    let changes = ["resources.ranks=1", "stage.domain.micro_batch=8", "stage.domain.steps=300", "checkpoint.every_steps=50"];
    let mut cluster = Cluster::new();
    let spec = training(&cluster, &changes);
    let domain = &spec.stages[1].name;
    started(&mut cluster, 2);
    cluster.submit(&spec).unwrap();
    cluster.stop_within("mini", domain, 0);
    cluster.resume("mini", 2).unwrap();
    let record = cluster.wait_finished("mini");
    assert_eq!(record.checkpoints[domain].last().unwrap().world_size, Some(2));
    assert!(cluster.audit(&record).is_clean());
    assert!(record.events.iter().any(|e| e.message.contains("goes on with 2 ranks instead of 1")), "{}", events(&record));
}

#[test]
fn a_stage_whose_updates_are_skipped_too_often_goes_back_and_leaves_that_data_out() {
    // A guard that takes the ordinary for a spike.
    let nervous = "stage.general.guard={sigmas=2.3,least_rise=0.0,window=16,rewind_after=1}";
    // Nothing is learned, so that losses go up as often as down.
    let still = "stage.general.optimizer={lr=1e-7}";
    let mut cluster = Cluster::new();
    let spec = training(&cluster, &[nervous, still, "stage.general.steps=80", "checkpoint.every_steps=10", "checkpoint.keep_last=4"]);
    let general = &spec.stages[0].name;
    started(&mut cluster, 2);
    cluster.submit(&spec).unwrap();
    let record = cluster.wait_finished("mini");
    let rewinds = &record.rewinds[general];
    assert!(!rewinds.is_empty() && rewinds.iter().all(|r| !r.left_out.is_empty()), "{rewinds:?}");
    let stage = stage_report(&cluster, &record, general);
    assert!(stage.audit.is_clean() && stage.audit.seen == 80 * 8, "{:?}", stage.audit);
    assert_eq!(stage.rewinds.len(), rewinds.len());
    assert_eq!(record.skipped_steps(general), stage.skipped_steps);
    let told = record.events.iter().filter(|e| e.kind == EventKind::Rewind).count();
    assert_eq!(told, rewinds.len(), "{}", events(&record));
}

#[test]
fn a_person_sends_a_stage_back_and_has_data_left_out() {
    let mut cluster = Cluster::new();
    let spec = training(&cluster, &["stage.domain.steps=300", "checkpoint.every_steps=50", "checkpoint.keep_last=9"]);
    let domain = &spec.stages[1].name;
    started(&mut cluster, 2);
    cluster.submit(&spec).unwrap();
    let reached = cluster.stop_within("mini", domain, 50).published_steps(domain);
    let request = |to| v1::RewindStageRequest { run: "mini".into(), stage: "domain".into(), to, skip_from: 60, skip_to: 70, ranks: 0 };
    assert_eq!(cluster.rewind(request(49)).unwrap_err().code(), tonic::Code::FailedPrecondition);
    cluster.rewind(request(50)).unwrap();
    cluster.resume("mini", 0).unwrap();
    let record = cluster.wait_finished("mini");
    let rewind = &record.rewinds[domain][0];
    assert_eq!((rewind.to, rewind.left_out.clone()), (50, 60..70));
    assert_eq!(rewind.abandoned.last().map(|c| c.step), Some(reached));
    let stage = stage_report(&cluster, &record, domain);
    assert!(stage.audit.is_clean(), "{:?}", stage.audit);
    assert_eq!(stage.rewinds[0].left_out_sequences, 10 * 8);
}

#[test]
fn a_stage_is_forked_from_an_earlier_step_with_its_moments() {
    let losses = |from: &str| {
        let mut cluster = Cluster::new();
        let from = format!("stage.domain.from={from}");
        let spec = training(&cluster, &[&from, "checkpoint.keep_last=1"]);
        started(&mut cluster, 2);
        cluster.submit(&spec).unwrap();
        let record = cluster.wait_finished("mini");
        assert!(cluster.audit(&record).is_clean());
        let kept: Vec<u64> = record.checkpoints[&spec.stages[0].name].iter().filter(|c| !c.retired).map(|c| c.step).collect();
        (kept, stage_report(&cluster, &record, &spec.stages[1].name).losses.iter().map(|p| p.loss).collect::<Vec<_>>())
    };
    let (kept, weights_only) = losses("stage:general");
    assert_eq!(kept, [20]);
    let (kept, last) = losses("fork:general");
    assert_eq!(kept, [20]);
    let (kept, middle) = losses("fork:general@10");
    assert_eq!(kept, [10, 20], "what a stage is forked from is kept for it");
    assert_eq!(weights_only[0], last[0], "the same weights see the same first batch");
    assert_ne!(weights_only[1], last[1], "the moments came with them");
    assert!(middle[0] > last[0], "ten steps of training are worth something");
}
