//! What an exam is, as a run file writes it: the files, their format, the protocol, how many questions and shots.
//! `check` refuses what can be refused without opening a file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::ExamError;

/// More demonstrations than any published protocol uses; a larger number is a typing error.
pub const MAX_SHOTS: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExamFormat {
    #[serde(rename = "medmcqa")]
    MedMcqa,
    #[serde(rename = "medqa")]
    MedQa,
    #[serde(rename = "pubmedqa")]
    PubMedQa,
    Mmlu,
    Perplexity,
}

/// How a choice is put to the model and which choice counts as its answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// lm-evaluation-harness: the options are listed, the continuation is the letter, the largest log-likelihood wins.
    #[default]
    Letter,
    /// The options are not shown, the continuation is the option's text, the largest log-likelihood per character wins.
    /// A small model that has not learned what letters are for can still show what it knows.
    Cloze,
    /// Held-out text in rolling windows. The only protocol of `perplexity`, and only of it.
    Rolling,
}

/// Which questions a `limit` keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LimitMode {
    /// Question `floor(i * available / limit)` for i in 0..limit: an even stride. The default, because PubMedQA's official test
    /// file is sorted by label: its first hundred answers are all "yes".
    #[default]
    Stride,
    /// The first `limit` questions, as lm-evaluation-harness's `--limit` takes them.
    Head,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ExamSpec {
    /// The task's name in reports and file names: letters, digits, `.`, `_` and `-`.
    pub name: String,
    pub format: ExamFormat,
    /// PubMedQA: the records and, optionally, the `{pmid: label}` list that selects the test items. Others: one or more files.
    pub files: Vec<PathBuf>,
    #[serde(default)]
    pub protocol: Protocol,
    /// Demonstrations before each question. MMLU takes the first of its dev file; the others are drawn with `seed`.
    #[serde(default)]
    pub shots: usize,
    /// Where the demonstrations come from, in the format of `files`. Unused while `shots` is 0.
    #[serde(default)]
    pub shots_files: Vec<PathBuf>,
    /// At most so many questions; for MMLU per subject, as each of its subjects is a task of its own.
    #[serde(default)]
    pub limit: Option<usize>,
    #[serde(default)]
    pub limit_mode: LimitMode,
    /// Seed of the demonstrations' draw; 1234 is lm-evaluation-harness's.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// What the first option's `cop` is in MedMCQA files, 0 or 1. Only needed where the file itself does not show it.
    #[serde(default)]
    pub cop_base: Option<u8>,
}

fn default_seed() -> u64 {
    1234
}

impl ExamSpec {
    /// A 0-shot letter exam (rolling for perplexity) over all questions of `files`.
    pub fn new(name: impl Into<String>, format: ExamFormat, files: Vec<PathBuf>) -> Self {
        let protocol = if format == ExamFormat::Perplexity { Protocol::Rolling } else { Protocol::Letter };
        Self {
            name: name.into(),
            format,
            files,
            protocol,
            shots: 0,
            shots_files: Vec::new(),
            limit: None,
            limit_mode: LimitMode::Stride,
            seed: default_seed(),
            cop_base: None,
        }
    }

    /// The protocol that will be used: perplexity exams need not name theirs.
    pub fn effective_protocol(&self) -> Protocol {
        if self.format == ExamFormat::Perplexity { Protocol::Rolling } else { self.protocol }
    }

    /// Refuses contradictions that need no file to be seen.
    pub fn check(&self) -> Result<(), ExamError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(plain) {
            return Err(self.refuse("name", "use 1 to 64 letters, digits, `.`, `_` or `-`: it becomes part of file names"));
        }
        if self.files.is_empty() {
            return Err(self.refuse("files", "name at least one file"));
        }
        if self.limit == Some(0) {
            return Err(self.refuse("limit", "0 would leave no question; leave it out for all questions"));
        }
        if self.shots > MAX_SHOTS {
            return Err(self.refuse("shots", format!("{} is more than the largest allowed, {MAX_SHOTS}", self.shots)));
        }
        if self.shots > 0 && self.shots_files.is_empty() {
            return Err(self.refuse("shots-files", "shots need files to come from (MMLU: its dev files; others: a train file)"));
        }
        if let Some(base) = self.cop_base {
            if self.format != ExamFormat::MedMcqa {
                return Err(self.refuse("cop-base", "only MedMCQA files have a `cop`"));
            }
            if base > 1 {
                return Err(self.refuse("cop-base", format!("{base} is neither 0 (Hugging Face) nor 1 (the official files)")));
            }
        }
        match (self.format, self.protocol) {
            (ExamFormat::Perplexity, Protocol::Cloze) => {
                Err(self.refuse("protocol", "perplexity is scored in rolling windows; leave the protocol out"))
            }
            (ExamFormat::Perplexity, _) if self.shots > 0 => Err(self.refuse("shots", "perplexity has no demonstrations; set it to 0")),
            (ExamFormat::Perplexity, _) => Ok(()),
            (_, Protocol::Rolling) => Err(self.refuse("protocol", "rolling is for perplexity; use letter or cloze")),
            _ => Ok(()),
        }
    }

    pub(crate) fn refuse(&self, field: &'static str, message: impl Into<String>) -> ExamError {
        ExamError::Spec { exam: self.name.clone(), field, message: message.into() }
    }
}

/// Which of `available` positions a limit keeps, ascending.
pub(crate) fn select(available: usize, limit: Option<usize>, mode: LimitMode) -> Vec<usize> {
    match limit {
        Some(limit) if limit < available => match mode {
            LimitMode::Head => (0..limit).collect(),
            LimitMode::Stride => (0..limit).map(|i| (i as u128 * available as u128 / limit as u128) as usize).collect(),
        },
        _ => (0..available).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stride_is_even_and_a_head_is_the_head() {
        let table: [(usize, Option<usize>, LimitMode, &[usize]); 6] = [
            (10, Some(5), LimitMode::Stride, &[0, 2, 4, 6, 8]),
            (10, Some(3), LimitMode::Stride, &[0, 3, 6]),
            (10, Some(3), LimitMode::Head, &[0, 1, 2]),
            (3, Some(3), LimitMode::Stride, &[0, 1, 2]),
            (3, Some(9), LimitMode::Head, &[0, 1, 2]),
            (2, None, LimitMode::Stride, &[0, 1]),
        ];
        for (available, limit, mode, expected) in table {
            assert_eq!(select(available, limit, mode), expected, "{available} {limit:?} {mode:?}");
        }
    }

    #[test]
    fn contradictions_are_refused_by_field() {
        let good = ExamSpec::new("medmcqa", ExamFormat::MedMcqa, vec!["dev.json".into()]);
        assert!(good.check().is_ok());
        let text = ExamSpec::new("heldout", ExamFormat::Perplexity, vec!["a.txt".into()]);
        assert!(text.check().is_ok());
        assert!(ExamSpec { protocol: Protocol::Letter, ..text.clone() }.check().is_ok(), "the default protocol may stand");
        let table = [
            ("name", ExamSpec { name: "a/b".into(), ..good.clone() }),
            ("name", ExamSpec { name: String::new(), ..good.clone() }),
            ("files", ExamSpec { files: vec![], ..good.clone() }),
            ("limit", ExamSpec { limit: Some(0), ..good.clone() }),
            ("shots-files", ExamSpec { shots: 5, ..good.clone() }),
            ("shots", ExamSpec { shots: 101, ..good.clone() }),
            ("cop-base", ExamSpec { cop_base: Some(2), ..good.clone() }),
            ("cop-base", ExamSpec { cop_base: Some(0), ..text.clone() }),
            ("protocol", ExamSpec { protocol: Protocol::Rolling, ..good.clone() }),
            ("protocol", ExamSpec { protocol: Protocol::Cloze, ..text.clone() }),
            ("shots", ExamSpec { shots: 1, shots_files: vec!["x".into()], ..text.clone() }),
        ];
        for (field, spec) in table {
            match spec.check() {
                Err(ExamError::Spec { field: found, .. }) => assert_eq!(found, field),
                other => panic!("{field}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_run_file_form_is_kebab_case_and_strict() {
        let spec: ExamSpec = toml::from_str(
            "name = 'pubmedqa'\nformat = 'pubmedqa'\nfiles = ['ori_pqal.json']\nlimit = 100\nlimit-mode = 'head'\nprotocol = 'cloze'",
        )
        .unwrap();
        assert_eq!((spec.format, spec.limit_mode, spec.seed), (ExamFormat::PubMedQa, LimitMode::Head, 1234));
        let error = toml::from_str::<ExamSpec>("name='x'\nformat='mmlu'\nfiles=['a']\nshot=5").unwrap_err().to_string();
        assert!(error.contains("unknown field `shot`"), "{error}");
    }
}
