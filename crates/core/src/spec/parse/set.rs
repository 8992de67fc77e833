//! `--set a.b=c`: one value of the run file, replaced from the command line.
//!
//! The path addresses tables by key and list elements by `name` or by index from 0, exactly as problems print it; missing tables are
//! made. The value is TOML, or else taken as a string, so that `model.family=gpt2` needs no quotes.

use crate::spec::reader::{Node, Origin, Problem, Report, Value, quoted, suggest};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;

/// Deeper paths than this exist in no run file.
const MAX_DEPTH: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    path: Vec<String>,
    node: Node,
}

impl FromStr for Override {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let problem = |message: String| Problem { place: format!("--set {}", shown(text)), field: String::new(), message };
        let Some((path, value)) = text.split_once('=') else {
            return Err(problem("no \"=\" in it: write --set model.dim=512".to_owned()));
        };
        let segments = segments(path.trim()).map_err(problem)?;
        let origin = Origin::Set(Arc::from(path.trim()));
        let value = value.trim();
        let node = match Node::value(value, &origin) {
            Some(node) => node,
            None if value.starts_with(['[', '{', '"', '\'']) => {
                return Err(problem(format!("the value {} is not valid TOML: check its quotes and brackets", quoted(value))));
            }
            None => Node { value: Value::String(value.to_owned()), origin },
        };
        Ok(Self { path: segments, node })
    }
}

impl Override {
    /// An entry of a tier.
    pub(super) fn of_tier(path: &str, node: Node) -> Result<Self, String> {
        let origin = match node.origin {
            Origin::Line(line) => Origin::Tier(line),
            other => other,
        };
        Ok(Self { path: segments(path)?, node: Node { value: node.value, origin } })
    }

    /// Puts the value into the document, or reports why its place does not exist.
    pub(super) fn apply(&self, document: &mut Node, report: &Report) {
        if let Err(message) = put(document, &self.path, &self.node) {
            report.problem_at(self.node.origin.clone(), "", message);
        }
    }
}

fn put(at: &mut Node, path: &[String], node: &Node) -> Result<(), String> {
    let Some((segment, rest)) = path.split_first() else {
        *at = node.clone();
        return Ok(());
    };
    let described = at.describe();
    match &mut at.value {
        Value::Table(table) => {
            let empty = || Node { value: Value::Table(BTreeMap::new()), origin: node.origin.clone() };
            put(table.entry(segment.clone()).or_insert_with(empty), rest, node)
        }
        Value::List(items) => {
            let by_name = items.iter().position(|item| item.name() == Some(segment));
            let index = by_name.or_else(|| segment.parse().ok().filter(|index| *index < items.len()));
            match index.and_then(|index| items.get_mut(index)) {
                Some(item) => put(item, rest, node),
                None => Err(format!("no element {}; {}", quoted(segment), choices(items))),
            }
        }
        _ => Err(format!("{} is inside {described}, which has no parts: shorten the path", quoted(segment))),
    }
}

fn choices(items: &[Node]) -> String {
    match items.iter().filter_map(Node::name).collect::<Vec<_>>() {
        names if names.is_empty() => format!("this list has {} elements, counted from 0", items.len()),
        names => suggest("", names),
    }
}

/// Splits at dots; a segment in double quotes may contain dots.
fn segments(path: &str) -> Result<Vec<String>, String> {
    let mut segments = vec![String::new()];
    let mut in_quotes = false;
    for c in path.chars() {
        match (c, segments.last_mut()) {
            ('"', _) => in_quotes = !in_quotes,
            ('.', _) if !in_quotes => segments.push(String::new()),
            (c, Some(segment)) => segment.push(c),
            (_, None) => {}
        }
    }
    if in_quotes {
        return Err("a quote in the path is not closed".to_owned());
    }
    if path.chars().any(char::is_control) {
        return Err("a control character in the path: write it without".to_owned());
    }
    if segments.iter().any(String::is_empty) {
        return Err("the path has an empty part: write --set model.dim=512".to_owned());
    }
    if segments.len() > MAX_DEPTH {
        return Err(format!("the path has {} parts, no field lies deeper than {MAX_DEPTH}", segments.len()));
    }
    Ok(segments)
}

/// A malformed override as it was typed, on one line and no longer than a message can bear.
fn shown(text: &str) -> String {
    text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
