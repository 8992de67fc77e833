//! What is wrong with a run file. A reading never stops at the first problem: everything goes into one [`Report`], and rules that
//! need several fields ask it whether those fields were [`sound`](Report::sound), so that one mistake is reported once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// One thing that is wrong, where, and the way out. Shown on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `run.toml:12`, `run.toml:12:5` for a syntax error, `run.toml` for the file as a whole, `--set model.dim` for an override.
    pub place: String,
    /// `stage.general.optimizer.lr`; empty when no field is to blame. Each segment can be used in `--set`.
    pub field: String,
    /// What was found, what is expected, what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => write!(f, "{}: {}", self.place, self.message),
            field => write!(f, "{}: {field}: {}", self.place, self.message),
        }
    }
}

impl std::error::Error for Problem {}

/// All problems of one run file, in file order; never empty when it is an error. Shown one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Where a value came from. Ordered as problems are listed: the file from top to bottom, then the overrides.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::spec) enum Origin {
    /// The file as a whole.
    File,
    /// A line, counted from 1.
    Line(usize),
    /// A line and a column in characters, both counted from 1.
    Character(usize, usize),
    /// A line of a tier's table, whose value replaced the file's own.
    Tier(usize),
    /// An override, by its path.
    Set(Arc<str>),
}

/// The problems found so far, and where each field came from.
///
/// Shared by reference among the sections of one reading, hence the cells; nothing here outlives or leaves that reading.
#[derive(Debug)]
pub(in crate::spec) struct Report {
    file: String,
    origins: RefCell<BTreeMap<String, Origin>>,
    found: RefCell<Vec<(Origin, Problem)>>,
    bad: RefCell<BTreeSet<String>>,
}

impl Report {
    pub fn new(file: &str) -> Self {
        Self { file: file.to_owned(), origins: RefCell::default(), found: RefCell::default(), bad: RefCell::default() }
    }

    /// Notes where a field came from, for problems that are found later.
    pub fn saw(&self, field: &str, origin: &Origin) {
        self.origins.borrow_mut().insert(field.to_owned(), origin.clone());
    }

    /// Whether the field was written anywhere.
    pub fn seen(&self, field: &str) -> bool {
        self.origins.borrow().contains_key(field)
    }

    /// Records a problem at the field's own place, or its nearest ancestor's. Dropped when an ancestor is a problem itself.
    pub fn problem(&self, field: &str, message: impl Into<String>) {
        if ancestors(field).any(|a| self.bad.borrow().contains(a)) {
            return;
        }
        let origins = self.origins.borrow();
        let origin = std::iter::once(field).chain(ancestors(field)).find_map(|path| origins.get(path));
        self.problem_at(origin.cloned().unwrap_or(Origin::File), field, message);
    }

    pub fn problem_at(&self, origin: Origin, field: &str, message: impl Into<String>) {
        let place = match &origin {
            Origin::File => self.file.clone(),
            Origin::Line(line) | Origin::Tier(line) => format!("{}:{line}", self.file),
            Origin::Character(line, column) => format!("{}:{line}:{column}", self.file),
            Origin::Set(path) => format!("--set {path}"),
        };
        self.mark_bad(field);
        self.found.borrow_mut().push((origin, Problem { place, field: field.to_owned(), message: message.into() }));
    }

    /// Makes rules about this field (or, with a name such as `corpus.*`, about completeness) wait until it is repaired.
    pub fn mark_bad(&self, field: &str) {
        self.bad.borrow_mut().insert(field.to_owned());
    }

    /// Whether neither this field nor anything that it lies in has a problem.
    pub fn sound(&self, field: &str) -> bool {
        let bad = self.bad.borrow();
        !std::iter::once(field).chain(ancestors(field)).any(|path| bad.contains(path))
    }

    pub fn all_sound(&self, fields: &[&str]) -> bool {
        fields.iter().all(|field| self.sound(field))
    }

    /// The problems, or the value when there are none.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let mut found = self.found.into_inner();
        match value {
            Some(value) if found.is_empty() => Ok(value),
            _ => {
                found.sort_by(|a, b| a.0.cmp(&b.0));
                Err(Problems(found.into_iter().map(|(_, problem)| problem).collect()))
            }
        }
    }
}

/// `a.b.c` lies in `a.b` and `a`. A name may contain dots, so some of these are no fields; those are simply never found.
fn ancestors(field: &str) -> impl Iterator<Item = &str> {
    field.rmatch_indices('.').filter_map(|(at, _)| field.get(..at))
}
