//! How each type of value is read from a node: kinds and widths here, meaning and bounds in `check`.

use super::node::{Node, Value, quoted};
use super::{Report, join, suggest};
use crate::ids::{CorpusName, ExamName, LabelKey, LabelValue, RunName, StageName, TeamName};

/// A type that a field can have.
pub(in crate::spec) trait Read: Sized {
    /// "a whole number": for messages.
    fn expected() -> String;

    /// The value, or `None` after reporting why not.
    fn read(node: Node, path: &str, report: &Report) -> Option<Self>;
}

/// A closed set of words.
pub(in crate::spec) trait Word: Copy + 'static {
    const ALL: &'static [(&'static str, Self)];
}

/// A string, or a list of strings.
pub(in crate::spec) struct OneOrMany(pub Vec<String>);

/// A number of tokens: an integer, or a string such as "300B".
#[derive(Debug, PartialEq)]
pub(in crate::spec) struct Tokens(pub u64);

fn wrong<T: Read>(node: &Node, path: &str, report: &Report) -> Option<T> {
    report.problem(path, format!("found {}, expected {}", node.describe(), T::expected()));
    None
}

impl<T: Word> Read for T {
    fn expected() -> String {
        let words: Vec<_> = T::ALL.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("one of {}", words.join(", "))
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        let Value::String(text) = &node.value else { return wrong(&node, path, report) };
        let found = T::ALL.iter().find(|(word, _)| word == text);
        if found.is_none() {
            report.problem(path, format!("found {}; {}", node.describe(), suggest(text, T::ALL.iter().map(|(word, _)| *word))));
        }
        found.map(|(_, value)| *value)
    }
}

impl Read for String {
    fn expected() -> String {
        "a string in quotes".to_owned()
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        match node.value {
            Value::String(text) => Some(text),
            _ => wrong(&node, path, report),
        }
    }
}

impl Read for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        match node.value {
            Value::Boolean(truth) => Some(truth),
            _ => wrong(&node, path, report),
        }
    }
}

impl Read for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        match node.value {
            Value::Float(number) => Some(number),
            Value::Integer(number) => Some(number as f64),
            _ => wrong(&node, path, report),
        }
    }
}

macro_rules! whole {
    ($type:ty) => {
        impl Read for $type {
            fn expected() -> String {
                "a whole number".to_owned()
            }

            fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
                let Value::Integer(number) = node.value else { return wrong(&node, path, report) };
                let fits = Self::try_from(number).ok();
                if fits.is_none() {
                    report.problem(path, format!("found {}, expected a whole number from {} to {}", node.describe(), Self::MIN, Self::MAX));
                }
                fits
            }
        }
    };
}
whole!(i32);
whole!(u32);
whole!(u64);

macro_rules! name {
    ($type:ty) => {
        impl Read for $type {
            fn expected() -> String {
                "a name".to_owned()
            }

            fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
                let Value::String(text) = &node.value else { return wrong(&node, path, report) };
                Self::new(text.as_str()).map_err(|error| report.problem(path, error.to_string())).ok()
            }
        }
    };
}
name!(RunName);
name!(StageName);
name!(CorpusName);
name!(ExamName);
name!(TeamName);
name!(LabelKey);
name!(LabelValue);

impl<T: Read> Read for Vec<T> {
    fn expected() -> String {
        format!("a list, each {}", T::expected())
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        let Value::List(nodes) = node.value else { return wrong(&node, path, report) };
        let count = nodes.len();
        let item = |(i, node): (usize, Node)| {
            let path = join(path, &i.to_string());
            report.saw(&path, &node.origin);
            T::read(node, &path, report)
        };
        let items: Vec<T> = nodes.into_iter().enumerate().filter_map(item).collect();
        let whole = items.len() == count;
        if !whole {
            report.mark_bad(path);
        }
        whole.then_some(items)
    }
}

impl Read for OneOrMany {
    fn expected() -> String {
        "a string or a list of strings".to_owned()
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        match node.value {
            Value::String(text) => Some(Self(vec![text])),
            Value::List(_) => Vec::read(node, path, report).map(Self),
            _ => wrong(&node, path, report),
        }
    }
}

impl Read for Tokens {
    fn expected() -> String {
        "a whole number of tokens, or a string such as \"300B\" (K, M, B or T)".to_owned()
    }

    fn read(node: Node, path: &str, report: &Report) -> Option<Self> {
        match &node.value {
            Value::Integer(_) => u64::read(node, path, report).map(Self),
            Value::String(text) => {
                let tokens = tokens_in(text);
                if tokens.is_none() {
                    report.problem(path, format!("found the string {}, expected {}", quoted(text), Self::expected()));
                }
                tokens.map(Self)
            }
            _ => wrong(&node, path, report),
        }
    }
}

/// "1.5M" is 1,500,000, exactly: no detour over floating point. `None` for anything that is not a whole number of tokens.
fn tokens_in(text: &str) -> Option<u64> {
    let (number, zeros) = match text.char_indices().last()? {
        (at, 'K' | 'k') => (text.get(..at)?, 3),
        (at, 'M' | 'm') => (text.get(..at)?, 6),
        (at, 'B' | 'b') => (text.get(..at)?, 9),
        (at, 'T' | 't') => (text.get(..at)?, 12),
        _ => (text, 0),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let part = if part.is_empty() { return None } else { part.trim_end_matches('0') };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let whole = whole.replace('_', "");
    if whole.is_empty() || !digits(&whole) || !digits(part) || part.len() > zeros {
        return None;
    }
    let padded = format!("{whole}{part}{}", "0".repeat(zeros - part.len()));
    padded.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::tokens_in;

    #[test]
    fn token_counts_are_read_exactly() {
        let table = [
            ("0", Some(0)),
            ("1_000", Some(1000)),
            ("300B", Some(300_000_000_000)),
            ("1.5M", Some(1_500_000)),
            ("2.50k", Some(2500)),
            ("4.0", Some(4)),
            ("9007199254740993", Some(9_007_199_254_740_993)),
            ("1.5", None),
            ("1.2345K", None),
            ("", None),
            ("B", None),
            (".5M", None),
            ("1.M", None),
            ("-1", None),
            ("1e9", None),
            ("5 M", None),
            ("٣", None),
            ("99999999999T", None),
        ];
        for (text, expected) in table {
            assert_eq!(tokens_in(text), expected, "{text:?}");
        }
    }
}
