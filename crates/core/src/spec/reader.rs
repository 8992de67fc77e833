//! Takes typed values out of a TOML tree, one [`Section`] a table, and records everything that does not fit.
//!
//! A `take` never fails: the reader goes on with a stand-in and the [`Report`] knows which fields not to trust. [`Section::finish`]
//! refuses the keys that nobody asked for.

mod node;
mod problem;
mod read;

pub(super) use node::{Node, Value, quoted};
pub(super) use problem::{Origin, Report};
pub use problem::{Problem, Problems};
pub(super) use read::{OneOrMany, Read, Tokens, Word};

use std::collections::{BTreeMap, BTreeSet};

/// One table of the file, being emptied.
pub(super) struct Section<'r> {
    report: &'r Report,
    path: String,
    origin: Origin,
    left: BTreeMap<String, Node>,
    asked: Vec<&'static str>,
}

impl<'r> Section<'r> {
    /// Anything but a table is a problem, and reads as an empty one.
    pub fn new(node: Node, path: String, report: &'r Report) -> Self {
        let origin = node.origin.clone();
        report.saw(&path, &origin);
        let left = match node.value {
            Value::Table(table) => table,
            _ => {
                report.problem(&path, format!("found {}, expected a table of settings", node.describe()));
                BTreeMap::new()
            }
        };
        Self { report, path, origin, left, asked: vec![] }
    }

    pub fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.left.contains_key(key)
    }

    /// The value, if it is there and of the right kind.
    pub fn take<T: Read>(&mut self, key: &'static str) -> Option<T> {
        let (node, path) = self.take_node(key)?;
        T::read(node, &path, self.report)
    }

    pub fn or<T: Read>(&mut self, key: &'static str, default: T) -> T {
        self.take(key).unwrap_or(default)
    }

    /// A value that must be there; its absence is a problem.
    pub fn require<T: Read>(&mut self, key: &'static str, example: &str) -> Option<T> {
        self.missing(key, &format!("add {}, for example {example}", T::expected()));
        self.take(key)
    }

    /// A value that must be there; otherwise a problem, and the stand-in.
    pub fn need<T: Read>(&mut self, key: &'static str, stand_in: T, example: &str) -> T {
        self.require(key, example).unwrap_or(stand_in)
    }

    /// A value that has no meaning here.
    pub fn refuse(&mut self, key: &'static str, why: &str) {
        if self.take_node(key).is_some() {
            self.problem(key, format!("{why}: remove it"));
        }
    }

    pub fn section(&mut self, key: &'static str) -> Option<Section<'r>> {
        let (node, path) = self.take_node(key)?;
        Some(Section::new(node, path, self.report))
    }

    /// A table that must be there; otherwise a problem, and an empty one (whose own missing keys go unmentioned).
    pub fn need_section(&mut self, key: &'static str, example: &str) -> Section<'r> {
        self.missing(key, &format!("add a table, for example {example}"));
        self.section(key).unwrap_or_else(|| self.empty(key))
    }

    /// A table whose absence means its defaults.
    pub fn section_or_default(&mut self, key: &'static str) -> Section<'r> {
        self.section(key).unwrap_or_else(|| self.empty(key))
    }

    /// The elements of an array, at most `most`, each with its path. `named` elements are addressed by their `name` while that is unique.
    pub fn items(&mut self, key: &'static str, most: usize, named: bool) -> Vec<(String, Node)> {
        let Some((node, path)) = self.take_node(key) else { return vec![] };
        let described = node.describe();
        let Value::List(mut items) = node.value else {
            self.report.problem(&path, format!("found {described}, expected a list: write one [[{path}]] table for each"));
            return vec![];
        };
        if items.len() > most {
            self.report.problem(&path, format!("found {} of them, at most {most} are possible", items.len()));
            items.truncate(most);
        }
        let mut used = BTreeSet::new();
        let item = |(i, node): (usize, Node)| {
            let name = node.name().filter(|name| named && used.insert(name.to_string()));
            (name.map_or_else(|| join(&path, &i.to_string()), |name| join(&path, name)), node)
        };
        items.into_iter().enumerate().map(item).collect()
    }

    /// Exactly one of two keys. When the file has one and an override brings the other, the override replaces it.
    pub fn one_of(&mut self, keys: [&'static str; 2], example: &str) -> Option<&'static str> {
        let [a, b] = keys;
        self.asked.extend(keys);
        match (self.left.get(a), self.left.get(b)) {
            (Some(_), None) => Some(a),
            (None, Some(_)) => Some(b),
            (None, None) => {
                self.problem(a, format!("neither {a} nor {b} is given: add one of them, for example {example}"));
                None
            }
            (Some(x), Some(y)) => {
                // What a tier or --set says replaces what was there before it.
                let rank = |node: &Node| match node.origin {
                    Origin::Set(_) => 2,
                    Origin::Tier(_) => 1,
                    _ => 0,
                };
                let (keep, drop) = match rank(x).cmp(&rank(y)) {
                    std::cmp::Ordering::Greater => (Some(a), vec![b]),
                    std::cmp::Ordering::Less => (Some(b), vec![a]),
                    std::cmp::Ordering::Equal => (None, vec![a, b]),
                };
                if keep.is_none() {
                    let origin = x.origin.clone();
                    self.report.problem_at(origin, &self.path_of(a), format!("both {a} and {b} are given: remove one of them"));
                }
                for key in drop {
                    self.left.remove(key);
                }
                keep
            }
        }
    }

    /// All entries of a table whose keys are names, with their paths.
    pub fn entries(&mut self) -> Vec<(String, String, Node)> {
        let left = std::mem::take(&mut self.left);
        left.into_iter().map(|(key, node)| (self.path_of(&key), key, node)).collect()
    }

    pub fn problem(&self, key: &str, message: impl Into<String>) {
        self.report.problem(&self.path_of(key), message);
    }

    /// Refuses what is left.
    pub fn finish(self) {
        for (key, node) in &self.left {
            let path = self.path_of(key);
            self.report.saw(&path, &node.origin);
            self.report.problem(&path, format!("unknown key; {}", suggest(key, self.asked.iter().copied())));
        }
    }

    fn take_node(&mut self, key: &'static str) -> Option<(Node, String)> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let node = self.left.remove(key)?;
        let path = self.path_of(key);
        self.report.saw(&path, &node.origin);
        Some((node, path))
    }

    fn missing(&self, key: &str, way_out: &str) {
        if !self.has(key) {
            self.problem(key, format!("missing: {way_out}"));
        }
    }

    fn empty(&self, key: &str) -> Section<'r> {
        Section { report: self.report, path: self.path_of(key), origin: self.origin.clone(), left: BTreeMap::new(), asked: vec![] }
    }
}

impl Node {
    /// The `name` of a table, when it has one.
    pub fn name(&self) -> Option<&str> {
        let Value::Table(table) = &self.value else { return None };
        match table.get("name").map(|node| &node.value) {
            Some(Value::String(name)) => Some(name),
            _ => None,
        }
    }
}

/// `a.b` for a key that needs no quotes, `a."b c"` otherwise.
pub(super) fn join(path: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.len() <= 80 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let key = if bare || key == "*" { key.to_owned() } else { quoted(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// "did you mean \"dim\"?", or what there is to choose from.
pub(super) fn suggest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: BTreeSet<&str> = known.into_iter().collect();
    // Swapped and missing letters count by the second measure; a name cut short ("vocab") by the first, which must be nearly sure.
    let measures = |word: &str| (strsim::jaro_winkler(given, word), strsim::normalized_damerau_levenshtein(given, word));
    let likeness = |word: &str| measures(word).0.max(measures(word).1);
    let near = |word: &&str| given.len() <= 80 && (measures(word).0 > 0.85 || measures(word).1 > 0.6);
    match known.iter().copied().filter(near).max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(word) => format!("did you mean {word:?}?"),
        None if known.is_empty() => "nothing is known here".to_owned(),
        None => format!("known here: {}", known.into_iter().collect::<Vec<_>>().join(", ")),
    }
}
