//! The graph of the quickstart: complete, without cycles, and in the promised order.

use super::*;
use crate::spec::parse;

fn quickstart() -> RunSpec {
    parse(include_str!("../../../../configs/quickstart.toml"), "quickstart.toml", &[]).unwrap()
}

#[test]
fn every_job_can_be_reached_in_order() {
    let jobs = plan(&quickstart());
    let mut done = BTreeSet::new();
    while done.len() < jobs.len() {
        let ready: Vec<_> =
            jobs.iter().filter(|(key, job)| !done.contains(*key) && job.needs.is_subset(&done)).map(|(k, _)| k.clone()).collect();
        assert!(!ready.is_empty(), "these can never start: {:?}", jobs.keys().filter(|k| !done.contains(*k)).collect::<Vec<_>>());
        done.extend(ready);
    }
}

#[test]
fn a_stage_waits_for_the_one_before_and_its_exams_do_not_hold_it_up() {
    let spec = quickstart();
    let jobs = plan(&spec);
    let [first, second] = [0, 1].map(|i| spec.stages[i].name.clone());
    let second = &jobs[&train_key(&second)];
    assert!(second.needs.contains(&train_key(&first)));
    assert!(!second.needs.iter().any(|k| k.as_str().starts_with("exam/") || k.as_str().starts_with("quantize/")));
    assert_eq!(second.ranks, spec.resources.ranks);
}

#[test]
fn each_variant_takes_each_exam_and_compressed_ones_are_compared_with_the_full_model() {
    let spec = quickstart();
    let jobs = plan(&spec);
    for stage in &spec.stages {
        for exam in spec.exams.iter().filter(|e| e.stages.is_empty() || e.stages.contains(&stage.name)) {
            for variant in variants(&spec, &stage.name) {
                let job = &jobs[&exam_key(&stage.name, variant, &exam.name)];
                let compared = job.needs.contains(&exam_key(&stage.name, Variant::Full, &exam.name));
                assert_eq!(compared, variant != Variant::Full, "{}", job.kind.key());
            }
        }
    }
}

#[test]
fn one_clean_job_for_each_source_file() {
    let mut spec = quickstart();
    let (name, corpus) = spec.corpora.iter_mut().next().unwrap();
    let name = name.clone();
    corpus.files = vec!["a".into(), "b".into(), "c".into()];
    let jobs = plan(&spec);
    let merge = &jobs[&JobKind::Merge { corpus: name.clone() }.key()];
    assert_eq!(merge.needs.len(), 3);
    assert_eq!(jobs[&JobKind::Clean { corpus: name, source: 2 }.key()].needs.len(), 0);
}
