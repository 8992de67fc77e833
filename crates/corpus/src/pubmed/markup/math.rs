//! MathML as one line: `a/b`, `x^2`, `x_i`, `√(a+b)`. Brackets are added wherever the line would else read as another formula.

use super::script::{Script, Writer, is_atom, is_bracketed};
use super::{Node, Shape};

/// Writes a row of a formula's parts.
pub(super) fn write(writer: &mut Writer, row: &[Node]) {
    for node in row {
        let (shape, parts) = match node {
            Node::Text(text) => {
                token(writer, text.trim());
                continue;
            }
            Node::Element(shape, parts) => (shape, parts.as_slice()),
        };
        match shape {
            Shape::Hidden | Shape::Prescripts => {}
            Shape::Space => writer.text(" "),
            Shape::Words => super::write(writer, parts),
            Shape::Token => token(writer, line(parts).trim()),
            Shape::Plain | Shape::Display | Shape::Row => write(writer, parts),
            Shape::Superscript => writer.script(Script::Superscript, &line(parts)),
            Shape::Subscript => writer.script(Script::Subscript, &line(parts)),
            Shape::Fraction { line } => fraction(writer, *line, &arguments(parts)),
            Shape::Root => writer.script(Script::Root, &line(parts)),
            Shape::NthRoot => nth_root(writer, &arguments(parts)),
            Shape::Sup => scripts(writer, &arguments(parts), &[Script::MathSup]),
            Shape::Sub => scripts(writer, &arguments(parts), &[Script::MathSub]),
            Shape::SubSup | Shape::UnderOver => scripts(writer, &arguments(parts), &[Script::MathSub, Script::MathSup]),
            Shape::Under => under(writer, &arguments(parts)),
            Shape::Over => over(writer, &arguments(parts)),
            Shape::Fenced { open, close, separator } => fenced(writer, open, close, separator, &arguments(parts)),
            Shape::Multiscripts => multiscripts(writer, &arguments(parts)),
            Shape::Table => token(writer, &format!("[{}]", lines(parts, "; "))),
            Shape::TableRow => writer.text(&lines(parts, ", ")),
        }
    }
}

fn line(parts: &[Node]) -> String {
    let mut writer = Writer::default();
    write(&mut writer, parts);
    writer.finish()
}

fn lines(parts: &[Node], between: &str) -> String {
    let each: Vec<String> = arguments(parts).into_iter().map(|part| line(std::slice::from_ref(part))).collect();
    each.join(between)
}

/// The parts without the white space between them.
fn arguments(parts: &[Node]) -> Vec<&Node> {
    parts.iter().filter(|part| !matches!(part, Node::Text(text) if text.trim().is_empty())).collect()
}

fn argument(parts: &[&Node], number: usize) -> String {
    parts.get(number).map_or_else(String::new, |part| line(std::slice::from_ref(*part)))
}

/// Two numbers, or two words, that are two tokens stay two.
fn token(writer: &mut Writer, text: &str) {
    let word = text.chars().count() > 1 && text.chars().all(char::is_alphabetic);
    if let (Some(last), Some(first), false) = (writer.last(), text.chars().next(), writer.holds_script()) {
        let numbers = last.is_ascii_digit() && first.is_ascii_digit();
        let words = last.is_alphabetic() && first.is_alphabetic() && (word || writer.word);
        if numbers || words {
            writer.text(" ");
        }
    }
    writer.text(text);
    writer.word = word;
}

fn fraction(writer: &mut Writer, bar: bool, parts: &[&Node]) {
    let (top, bottom) = (argument(parts, 0), argument(parts, 1));
    if bar {
        writer.script(Script::Fraction, &format!("{}/{}", enclosed(&top), enclosed(&bottom)));
    } else {
        token(writer, &format!("({top} choose {bottom})"));
    }
}

fn enclosed(text: &str) -> String {
    if is_atom(text) || is_bracketed(text) { text.to_owned() } else { format!("({text})") }
}

fn nth_root(writer: &mut Writer, parts: &[&Node]) {
    token(writer, &enclosed(&argument(parts, 0)));
    writer.script(Script::MathSup, &format!("1/{}", enclosed(&argument(parts, 1))));
}

/// A base and its scripts, in the order of the element's arguments.
fn scripts(writer: &mut Writer, parts: &[&Node], kinds: &[Script]) {
    base(writer, parts);
    for (number, kind) in (1..).zip(kinds) {
        writer.script(*kind, &argument(parts, number));
    }
}

/// A base of several parts is bracketed, so that the script is not the last one's alone.
fn base(writer: &mut Writer, parts: &[&Node]) {
    let text = argument(parts, 0);
    let composite = text.chars().count() > 1 && !is_atom(&text) && !is_bracketed(&text);
    token(writer, &if composite { format!("({text})") } else { text });
}

/// An accent becomes a combining character; anything else over a base is written as a superscript.
fn over(writer: &mut Writer, parts: &[&Node]) {
    let above = argument(parts, 1);
    let accent = match above.as_str() {
        "\u{af}" | "\u{203e}" | "\u{2d9}\u{305}" | "_" | "-" | "\u{2013}" | "\u{2014}" | "\u{2015}" | "\u{2212}" => '\u{304}',
        "^" | "\u{2c6}" | "\u{302}" => '\u{302}',
        "~" | "\u{2dc}" | "\u{223c}" => '\u{303}',
        "." | "\u{2d9}" => '\u{307}',
        "\u{a8}" => '\u{308}',
        "\u{2192}" | "\u{20d7}" => '\u{20d7}',
        _ => {
            base(writer, parts);
            writer.script(Script::MathSup, &above);
            return;
        }
    };
    base(writer, parts);
    writer.text(accent.encode_utf8(&mut [0; 4]));
}

/// A line under a base is a combining character too; anything else is its subscript.
fn under(writer: &mut Writer, parts: &[&Node]) {
    base(writer, parts);
    match argument(parts, 1).as_str() {
        "\u{af}" | "\u{203e}" | "_" | "\u{332}" | "\u{2015}" => writer.text("\u{332}"),
        below => writer.script(Script::MathSub, below),
    }
}

fn fenced(writer: &mut Writer, open: &str, close: &str, separator: &str, parts: &[&Node]) {
    let each: Vec<String> = (0..parts.len()).map(|number| argument(parts, number)).collect();
    token(writer, &format!("{open}{}{close}", each.join(separator)));
}

/// Scripts before the base, as of isotopes, come before it in the line.
fn multiscripts(writer: &mut Writer, parts: &[&Node]) {
    let split = parts.iter().position(|part| matches!(part, Node::Element(Shape::Prescripts, _))).unwrap_or(parts.len());
    let (behind, before) = parts.split_at(split);
    for pair in before.get(1..).unwrap_or_default().chunks(2) {
        match (argument(pair, 0).as_str(), argument(pair, 1).as_str()) {
            ("", "") => {}
            ("", sup) => token(writer, sup),
            (sub, "") => token(writer, &format!("_{}", enclosed(sub))),
            (sub, sup) => token(writer, &format!("_{}^{}", enclosed(sub), enclosed(sup))),
        }
    }
    base(writer, behind);
    for pair in behind.get(1..).unwrap_or_default().chunks(2) {
        writer.script(Script::MathSub, &argument(pair, 0));
        writer.script(Script::MathSup, &argument(pair, 1));
    }
}
