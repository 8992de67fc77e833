//! Where demonstrations come from and which ones a question gets.
//!
//! MMLU: the first of its dev file, the same for every question. The others: `random.Random(seed).sample` with one generator
//! whose state moves on question by question, so the draw depends on which questions are asked and in which order; equal to the
//! reference harness's where the shots file lists the same records in the same order. A question is never its own demonstration.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ExamError;
use crate::formats::{self, Item};
use crate::prompt;
use crate::python_random::PythonRandom;
use crate::source::{FileDigest, FileRole};
use crate::spec::{ExamFormat, ExamSpec};

pub(crate) enum Shots {
    None,
    /// Subject -> the text of its demonstrations.
    First(BTreeMap<String, String>),
    Drawn {
        pool: Vec<Item>,
        random: Box<PythonRandom>,
        draw: usize,
    },
}

impl Shots {
    /// `questions` are all questions of the exam, before any limit.
    pub fn read(spec: &ExamSpec, questions: &[Item]) -> Result<(Self, Vec<FileDigest>), ExamError> {
        if spec.shots == 0 {
            return Ok((Self::None, Vec::new()));
        }
        let loaded = formats::read(spec, &spec.shots_files, FileRole::Shots)?;
        let shots = match spec.format {
            ExamFormat::Mmlu => first(spec, questions, loaded.items)?,
            _ => drawn(spec, questions, loaded.items)?,
        };
        Ok((shots, loaded.digests))
    }

    /// The demonstrations' text for one question. Call it once per question, in the exam's order.
    pub fn before(&mut self, spec: &ExamSpec, item: &Item) -> Result<String, ExamError> {
        match self {
            Self::None => Ok(String::new()),
            Self::First(texts) => {
                let text = item.subject.as_ref().and_then(|subject| texts.get(subject));
                text.cloned().ok_or_else(|| spec.refuse("shots-files", "a question's subject has no demonstrations"))
            }
            Self::Drawn { pool, random, draw } => {
                let picks = random.sample(pool.len(), *draw).ok_or_else(|| too_few(spec, pool.len()))?;
                let others = picks.into_iter().filter_map(|i| pool.get(i)).filter(|shot| !same(shot, item));
                Ok(others.take(spec.shots).map(|shot| prompt::shot(spec.format, spec.protocol, shot)).collect())
            }
        }
    }
}

fn first(spec: &ExamSpec, questions: &[Item], pool: Vec<Item>) -> Result<Shots, ExamError> {
    let mut texts: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for item in &pool {
        let (count, text) = texts.entry(item.subject.clone().unwrap_or_default()).or_default();
        if *count < spec.shots {
            *count += 1;
            text.push_str(&prompt::shot(spec.format, spec.protocol, item));
        }
    }
    let asked: BTreeSet<&str> = questions.iter().filter_map(|q| q.subject.as_deref()).collect();
    for subject in asked {
        let found = texts.get(subject).map_or(0, |(count, _)| *count);
        if found < spec.shots {
            let message = format!("subject {subject:?} has {found} demonstrations, {} are needed; give {subject}_dev.csv", spec.shots);
            return Err(spec.refuse("shots-files", message));
        }
    }
    Ok(Shots::First(texts.into_iter().map(|(subject, (_, text))| (subject, text)).collect()))
}

fn drawn(spec: &ExamSpec, questions: &[Item], mut pool: Vec<Item>) -> Result<Shots, ExamError> {
    let asked: BTreeMap<&str, &Item> = questions.iter().map(|q| (q.id.as_str(), q)).collect();
    // PubMedQA's one file holds train and test items: those that are not asked are its train split.
    let is_asked = |shot: &Item| asked.get(shot.id.as_str()).is_some_and(|question| same(shot, question));
    if spec.format == ExamFormat::PubMedQa && !pool.iter().all(is_asked) {
        pool.retain(|item| !is_asked(item));
    }
    // Shots from the exam itself: one more is drawn, so that the question can be taken out.
    let overlap = pool.iter().any(is_asked);
    let draw = spec.shots + usize::from(overlap);
    if pool.len() < draw {
        return Err(too_few(spec, pool.len()));
    }
    Ok(Shots::Drawn { pool, random: Box::new(PythonRandom::new(spec.seed)), draw })
}

fn same(a: &Item, b: &Item) -> bool {
    a.question == b.question && a.options == b.options && a.passage == b.passage
}

fn too_few(spec: &ExamSpec, pool: usize) -> ExamError {
    spec.refuse("shots-files", format!("{pool} records are too few for {} shots", spec.shots))
}
