//! The whole way: PubMed XML in, an examined and quantized model out, with real processes.

use crate::cluster::{Cluster, events, mini_spec, wait_for};
use osler_core::record::RunRecord;
use osler_core::spec::Variant;
use std::collections::BTreeMap;

/// Digests of everything that a run made of its corpus, by job and output.
fn corpus_objects(record: &RunRecord) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (key, job) in &record.jobs {
        if ["clean/", "merge/", "tokenizer", "pack/"].iter().any(|p| key.as_str().starts_with(p)) {
            for (name, object) in &job.status.result().unwrap().outputs {
                found.insert(format!("{key} {name}"), object.digest.to_string());
            }
        }
    }
    found
}

#[test]
fn a_run_goes_the_whole_way_and_its_report_adds_up() {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &[]);
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    assert!(cluster.submit(&spec).unwrap().created);
    let record = cluster.wait_finished("mini");
    let report = cluster.report(&record);

    assert!(report.audit.is_clean(), "{:?}", report.audit);
    assert_eq!(report.audit.expected, (20 + 30) * 8);
    for (stage, steps) in report.stages.iter().zip([20, 30]) {
        assert_eq!((stage.steps, stage.tokens), (steps, steps * 8 * 32));
        assert_eq!(stage.losses.iter().map(|p| p.step).collect::<Vec<_>>(), (0..steps).collect::<Vec<_>>());
        assert!(stage.losses.last().unwrap().loss < stage.losses[0].loss, "stage {} learned nothing", stage.name);
        assert_eq!(stage.exams.len(), 2 * 3, "two exams of three variants");
        for exam in &stage.exams {
            assert!(exam.n > 0);
            assert_eq!(exam.accuracy.is_some(), exam.task.as_str() == "seen");
            assert_eq!(exam.bits_per_byte.is_some(), exam.task.as_str() == "text");
            assert_eq!(exam.paired.is_some() || exam.perplexity_increase.is_some(), exam.variant != Variant::Full);
        }
        let time = stage.time.unwrap();
        let sum = time.phases.total() + time.lost_to_failures + time.stopped + time.idle;
        assert!((sum - time.wall).abs() < 1e-6 * time.wall.max(1.0), "the causes add up to {sum}, the wall time is {}", time.wall);
        assert!(time.phases.startup > 0.0 && time.phases.rendezvous > 0.0 && time.phases.load > 0.0, "{time:?}");
        assert!(time.tokens_per_second > 0.0 && time.tokens_per_second <= time.tokens_per_second_stepping, "{time:?}");
        let cost = stage.cost.as_ref().unwrap();
        let used = cost.utilisation.as_ref().unwrap_or_else(|| panic!("{:?}", cost.no_utilisation));
        // Small matrices are slow, and the peak was measured while all ranks computed: far from both bounds.
        assert!(used.mfu > 0.0 && used.mfu <= used.mfu_stepping && used.mfu_stepping < 1.5, "{used:?}");
        assert!(cost.energy.as_ref().is_some_and(|e| e.joules > 0.0) && cost.peak_memory.is_some_and(|bytes| bytes > 50 << 20), "{cost:?}");
    }
    assert_eq!(report.gates.len(), 2);
    assert_eq!(report.quantized.len(), 4);
    assert!(report.quantized.iter().all(|q| q.tensors > 0 && q.bytes_after < q.bytes_before));
    let domain = &report.corpora[&"domain".parse().unwrap()];
    assert!(domain.documents > 0 && !domain.removed.is_empty());

    let again = cluster.submit(&spec).unwrap();
    assert!(!again.created, "the same run file was run twice");
    let other = mini_spec(cluster.folder.path(), &["seed=4"]);
    assert_eq!(cluster.submit(&other).unwrap_err().code(), tonic::Code::AlreadyExists);
}

#[test]
fn the_corpus_is_the_same_bytes_whatever_the_number_of_workers_and_whichever_die() {
    let mut lonely = Cluster::new();
    let changes = ["after_stage.quantize=[]", "after_stage.gate=[]", "after_stage.exam=[]"];
    let spec = mini_spec(lonely.folder.path(), &changes);
    lonely.start_coordinator();
    lonely.start_agent("a", 2);
    lonely.submit(&spec).unwrap();
    let expected = corpus_objects(&lonely.wait_finished("mini"));
    assert!(!expected.is_empty());

    let mut crowd = Cluster::new();
    crowd.start_coordinator();
    for name in ["a", "b", "c"] {
        crowd.start_agent(name, 1);
    }
    crowd.submit(&spec).unwrap();
    // One dies with whatever it is doing, and stays dead; another one comes back.
    wait_for("something runs", || crowd.job_processes().first().copied());
    crowd.kill_agent("a");
    wait_for("something runs elsewhere", || crowd.job_processes().first().copied().map(Cluster::kill_process));
    crowd.kill_agent("b");
    crowd.start_agent("b", 1);
    let record = crowd.wait_finished("mini");
    assert_eq!(corpus_objects(&record), expected, "{}", events(&record));
}

#[test]
fn a_stopped_run_continues_where_it_was_and_ends_with_the_same_bits() {
    let mut cluster = Cluster::new();
    let spec = mini_spec(cluster.folder.path(), &["stage.domain.steps=400", "checkpoint.every_steps=90"]);
    let domain = &spec.stages[1].name;
    cluster.start_coordinator();
    cluster.start_agent("a", 2);
    cluster.submit(&spec).unwrap();
    cluster.wait_until("mini", "the second stage has a checkpoint", |r| r.published_steps(domain) > 0);
    cluster.stop("mini").unwrap();
    let stopped = cluster.wait_until("mini", "the run has stopped", |r| r.state.as_str() == "stopped");
    let step = stopped.published_steps(domain);
    assert!((91..400).contains(&step), "stopping should checkpoint where the ranks agreed, not at {step}\n{}", events(&stopped));
    cluster.resume("mini", 0).unwrap();
    let record = cluster.wait_finished("mini");
    assert!(cluster.audit(&record).is_clean());

    let mut straight = Cluster::new();
    straight.start_coordinator();
    straight.start_agent("a", 2);
    straight.submit(&spec).unwrap();
    let undisturbed = straight.wait_finished("mini");
    assert_eq!(cluster.final_parts(&record, domain), straight.final_parts(&undisturbed, domain));
}
