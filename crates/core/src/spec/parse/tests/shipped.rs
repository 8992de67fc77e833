//! The run files that the repository ships are run files.

use super::read;
use crate::spec::*;

#[test]
fn the_shipped_run_files_are_valid() {
    let quickstart = read(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/quickstart.toml")), &[]);
    assert_eq!(quickstart.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(), ["general", "domain"]);
    assert_eq!(quickstart.resources.ranks, 2);
    assert!(quickstart.gates.iter().any(|gate| gate.min_accuracy == Some(90.0)));
    let sample = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/pubmed-sample.toml"));
    let spec = read(sample, &["corpus.pubmed.files=[\"/data/a.xml.gz\"]", "after_stage.exam.medqa.files=/data/test.jsonl"]);
    assert_eq!(spec.exams[1].files, ["/data/test.jsonl"]);
    let size = crate::estimate::estimate(&spec, crate::estimate::planned_vocab(&spec).unwrap(), &Default::default()).parameters.total;
    assert!((8_000_000..13_000_000).contains(&size), "{size} parameters are not about ten million");
    for format in [ExamFormat::Medmcqa, ExamFormat::Medqa, ExamFormat::Pubmedqa, ExamFormat::Mmlu, ExamFormat::HeldOut] {
        assert!(spec.exams.iter().any(|exam| exam.format == format), "{format:?} is not examined");
    }
}
