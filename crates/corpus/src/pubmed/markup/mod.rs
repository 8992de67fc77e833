//! From a title's or an abstract's markup to one line of text that keeps its meaning.
//!
//! Italics and the like dissolve. A superscript that is a power, a label or a mark is written with `^` (`10^6`, `m^2`, `Cu^(II)Cl`); one that
//! plain text always joins is joined (`Ca2+`, `CD4+`, `13C`, `1st`). A subscript is joined (`H2O`, `Vmax`), unless digits would run into
//! digits (`6_1`). [`script`] has both rules, [`math`] those of MathML. What is written so never depends on anything outside of the text.

mod math;
mod script;
mod shape;
#[cfg(test)]
mod tests;

use crate::normal::collapse;
use script::{Script, Writer};
pub(super) use shape::Shape;

/// What an element costs, beside its text, against the bound on one text.
const NODE_BYTES: usize = 64;

pub(super) enum Node {
    Text(String),
    Element(Shape, Vec<Node>),
}

/// The content of one field while it is read. Elements are opened and closed in step with the parser.
#[derive(Default)]
pub(super) struct Markup {
    open: Vec<(Shape, Vec<Node>)>,
    top: Vec<Node>,
    bytes: usize,
}

impl Markup {
    /// Bytes of text, and what the elements around it count for.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn text(&mut self, piece: &str) {
        self.bytes += piece.len();
        push_text(self.current(), piece);
    }

    pub(super) fn open(&mut self, shape: Shape) {
        self.bytes += NODE_BYTES;
        // In a formula an element that nobody knows is still one argument of the element around it.
        let within_math = self.open.last().is_some_and(|(outer, _)| outer.is_math());
        let shape = if within_math && matches!(shape, Shape::Plain) { Shape::Row } else { shape };
        self.open.push((shape, vec![]));
    }

    /// The end of the element that was opened last. The end of the field itself is none of ours.
    pub(super) fn close(&mut self) {
        let Some((shape, children)) = self.open.pop() else { return };
        let parent = self.current();
        if !matches!(shape, Shape::Plain) {
            parent.push(Node::Element(shape, children));
            return;
        }
        for child in children {
            match child {
                Node::Text(text) => push_text(parent, &text),
                element => parent.push(element),
            }
        }
    }

    /// The text, white space collapsed; nothing is left here.
    pub(super) fn finish(&mut self) -> String {
        let Self { top, .. } = std::mem::take(self);
        match top.as_slice() {
            [] => String::new(),
            [Node::Text(text)] => collapse(text),
            nodes => render(nodes),
        }
    }

    fn current(&mut self) -> &mut Vec<Node> {
        match self.open.last_mut() {
            Some((_, children)) => children,
            None => &mut self.top,
        }
    }
}

fn push_text(nodes: &mut Vec<Node>, piece: &str) {
    match nodes.last_mut() {
        Some(Node::Text(text)) => text.push_str(piece),
        _ => nodes.push(Node::Text(piece.to_owned())),
    }
}

fn render(nodes: &[Node]) -> String {
    let mut writer = Writer::default();
    write(&mut writer, nodes);
    writer.finish()
}

fn write(writer: &mut Writer, nodes: &[Node]) {
    for node in nodes {
        match node {
            Node::Text(text) => writer.text(text),
            Node::Element(Shape::Superscript, inner) => script(writer, Script::Superscript, inner),
            Node::Element(Shape::Subscript, inner) => script(writer, Script::Subscript, inner),
            Node::Element(Shape::Display, inner) => {
                writer.text(" ");
                write(writer, inner);
                writer.text(" ");
            }
            Node::Element(..) => math::write(writer, std::slice::from_ref(node)),
        }
    }
}

/// White space at the edges of a script belongs around it: `m<sup>2 </sup>and`.
fn script(writer: &mut Writer, kind: Script, inner: &[Node]) {
    let blank = |c: Option<char>| c.is_some_and(char::is_whitespace);
    let first = inner.first().and_then(|node| if let Node::Text(text) = node { text.chars().next() } else { None });
    let last = inner.last().and_then(|node| if let Node::Text(text) = node { text.chars().next_back() } else { None });
    if blank(first) {
        writer.text(" ");
    }
    writer.script(kind, &render(inner));
    if blank(last) {
        writer.text(" ");
    }
}
