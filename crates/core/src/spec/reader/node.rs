//! The tree of a TOML document in which every value remembers its origin, and how a value is described to its author.

use super::problem::{Origin, Report};
use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};

/// A run file larger than this is refused before it is parsed.
pub(in crate::spec) const MAX_TEXT: usize = 1 << 20;

#[derive(Debug, Clone, PartialEq)]
pub(in crate::spec) struct Node {
    pub value: Value,
    pub origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::spec) enum Value {
    String(String),
    /// Saturates: numbers beyond 128 bits are out of every field's range anyway.
    Integer(i128),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    /// Parses a document; `None` after syntax errors, which are all in the report.
    pub fn document(text: &str, report: &Report) -> Option<Self> {
        if text.len() > MAX_TEXT {
            let message = format!("{} bytes are more than a run file may have ({MAX_TEXT}); is this the right file?", text.len());
            report.problem_at(Origin::File, "", message);
            return None;
        }
        let lines = Lines::of(text);
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut last_line = 0;
        for error in &errors {
            let (line, column) = lines.line_and_column(text, error.span().map_or(text.len(), |span| span.start));
            // One mistake often confuses the rest of its line.
            if line != last_line {
                report.problem_at(Origin::Character(line, column), "", format!("not valid TOML: {}", one_line(error.message())));
            }
            last_line = line;
        }
        errors
            .is_empty()
            .then(|| Self { value: Value::Table(convert_table(table.get_ref(), &|at| Origin::Line(lines.line(at)))), origin: Origin::File })
    }

    /// Parses one TOML value, as on the right of `=`.
    pub fn value(text: &str, origin: &Origin) -> Option<Self> {
        let value = DeValue::parse(text).ok()?;
        Some(Self { value: convert(value.get_ref(), &|_| origin.clone()), origin: origin.clone() })
    }

    /// "the string \"abc\"": what was found, short enough for a message.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::String(text) => format!("the string {}", quoted(text)),
            Value::Integer(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number:?}"),
            Value::Boolean(truth) => format!("{truth}"),
            Value::Datetime(date) => format!("the date {date}"),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

fn convert_table(table: &DeTable<'_>, origin_of: &dyn Fn(usize) -> Origin) -> BTreeMap<String, Node> {
    let entry = |(key, value): (&toml::Spanned<toml::de::DeString<'_>>, &toml::Spanned<DeValue<'_>>)| {
        let node = Node { value: convert(value.get_ref(), origin_of), origin: origin_of(key.span().start) };
        (key.get_ref().to_string(), node)
    };
    table.iter().map(entry).collect()
}

fn convert(value: &DeValue<'_>, origin_of: &dyn Fn(usize) -> Origin) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            let saturated = if number.as_str().starts_with('-') { i128::MIN } else { i128::MAX };
            Value::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(saturated))
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(date) => Value::Datetime(date.to_string()),
        DeValue::Array(items) => Value::List(
            items.iter().map(|item| Node { value: convert(item.get_ref(), origin_of), origin: origin_of(item.span().start) }).collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table, origin_of)),
    }
}

/// Quotes and shortens text from outside, so that a message stays one readable line.
pub(in crate::spec) fn quoted(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        None => format!("{text:?}"),
        Some((at, _)) => format!("{:?}…", text.get(..at).unwrap_or_default()),
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Where each line starts.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|&start| start <= at)
    }

    fn line_and_column(&self, text: &str, at: usize) -> (usize, usize) {
        let line = self.line(at);
        let start = self.0.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = text.as_bytes().get(start..at.min(text.len())).unwrap_or_default();
        // Characters, not bytes: continuation bytes of UTF-8 do not count.
        (line, before.iter().filter(|byte| (*byte & 0xC0) != 0x80).count() + 1)
    }
}
