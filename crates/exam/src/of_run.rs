//! A run file's exam as this crate describes it: one translation for whoever looks at the files before a run and whoever holds the exam.

use crate::spec::{ExamFormat, ExamSpec, Protocol};
use osler_core::spec;
use std::path::PathBuf;

impl ExamSpec {
    /// `files`: the exam's own, or the held-out documents of its corpus.
    pub fn of_run(asked: &spec::ExamSpec, files: Vec<PathBuf>) -> Self {
        let format = match asked.format {
            spec::ExamFormat::Medmcqa => ExamFormat::MedMcqa,
            spec::ExamFormat::Medqa => ExamFormat::MedQa,
            spec::ExamFormat::Pubmedqa => ExamFormat::PubMedQa,
            spec::ExamFormat::Mmlu => ExamFormat::Mmlu,
            spec::ExamFormat::HeldOut => ExamFormat::Perplexity,
        };
        let mut exam = Self::new(asked.name.as_str(), format, files);
        if format != ExamFormat::Perplexity {
            exam.protocol = match asked.protocol {
                spec::Protocol::Letter => Protocol::Letter,
                spec::Protocol::Cloze => Protocol::Cloze,
            };
        }
        exam.shots = asked.shots as usize;
        exam.shots_files = asked.shots_files.iter().map(PathBuf::from).collect();
        exam.limit = asked.limit.map(|n| n as usize);
        exam
    }
}
