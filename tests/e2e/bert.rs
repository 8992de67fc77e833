//! A bert goes the whole way with real processes: WordPiece, framed windows, masked words, an exported folder.

use crate::cluster::{Cluster, mini_spec, wait_for};
use osler_core::job::JobKind;
use osler_core::record::RunRecord;
use osler_core::spec::RunSpec;
use std::collections::BTreeMap;

fn bert_spec(cluster: &Cluster, changes: &[&str]) -> RunSpec {
    let bert = ["model.family=bert", "model.kv_heads=2", "tokenizer.train={kind=\"wordpiece\", vocab_size=600}", "after_stage={}"];
    mini_spec(cluster.folder.path(), &[&bert[..], changes].concat())
}

fn exports(record: &RunRecord) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, job) in &record.jobs {
        if matches!(job.planned.kind, JobKind::Export { .. }) {
            let outputs = &job.status.result().unwrap().outputs;
            found.extend(outputs.iter().map(|(name, object)| (format!("{key} {name}"), object.digest.to_string())));
        }
    }
    found
}

#[test]
fn a_bert_learns_and_neither_a_death_nor_a_stop_changes_a_bit_of_it() {
    let mut calm = Cluster::new();
    let spec = bert_spec(&calm, &["stage.domain.steps=400", "checkpoint.every_steps=40"]);
    let domain = &spec.stages[1].name;
    calm.start_coordinator();
    calm.start_agent("a", 2);
    calm.submit(&spec).unwrap();
    let undisturbed = calm.wait_finished("mini");
    let report = calm.report(&undisturbed);
    assert!(report.audit.is_clean(), "{:?}", report.audit);
    let losses: Vec<f64> = report.stages[1].losses.iter().map(|point| point.loss).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    assert!(mean(&losses[380..]) < mean(&losses[..20]) - 0.5, "it learned nothing: {losses:?}");

    let mut stormy = Cluster::new();
    stormy.start_coordinator();
    stormy.start_agent("a", 1);
    stormy.start_agent("b", 1);
    stormy.submit(&spec).unwrap();
    stormy.wait_until("mini", "the second stage has a checkpoint", |r| r.published_steps(domain) > 0);
    wait_for("a rank to kill", || stormy.job_processes().first().copied().map(Cluster::kill_process));
    let stopped = stormy.stop_within("mini", domain, 40);
    assert!(stopped.published_steps(domain) < 400, "it was over before it stopped");
    stormy.resume("mini", 0).unwrap();
    let record = stormy.wait_finished("mini");
    assert!(record.jobs.values().any(|job| job.past.len() > 1), "nothing was disturbed");
    assert_eq!(stormy.outcome(&record), calm.outcome(&undisturbed));
    let exported = exports(&record);
    assert!(exported.keys().any(|name| name.ends_with("model.safetensors")), "{exported:?}");
    assert_eq!(exported, exports(&undisturbed));
}

/// In elastic mode nothing but the masks and the order could differ.
#[test]
fn a_berts_words_are_masked_alike_on_one_rank_and_on_two() {
    let with = |ranks: &str| {
        let mut cluster = Cluster::new();
        let spec = bert_spec(&cluster, &["resources.determinism=elastic", "stage.general.micro_batch=2", ranks]);
        cluster.start_coordinator();
        cluster.start_agent("a", 2);
        cluster.submit(&spec).unwrap();
        let record = cluster.wait_finished("mini");
        (cluster.ledger(&record), exports(&record))
    };
    let (one, two) = (with("resources.ranks=1"), with("resources.ranks=2"));
    assert_eq!(one.0.len(), 50);
    assert_eq!(one, two);
}
