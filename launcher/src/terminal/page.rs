//! What a command shows to people: lines of text and tables, in order. A page knows nothing of the terminal that it will be shown on.

use super::wrap::{Piece, wrap};
use super::{Style, Table, View, printable};

/// A line, in parts of different style. It may be wrapped where it is shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Line {
    parts: Vec<(Style, String)>,
    /// Columns by which its second and later lines are indented; none: as far as its text is.
    hang: Option<usize>,
}

impl Line {
    pub fn then(mut self, text: impl Into<String>) -> Self {
        self.parts.push((Style::Plain, text.into()));
        self
    }

    pub fn styled(mut self, text: impl Into<String>, style: Style) -> Self {
        self.parts.push((style, text.into()));
        self
    }

    pub fn hang(mut self, columns: usize) -> Self {
        self.hang = Some(columns);
        self
    }

    /// Without the line feed, unless it is wrapped.
    pub fn render(&self, view: View) -> String {
        let clean = |(style, text): &(Style, String)| (*style, printable(text).replace('\n', " "));
        let parts: Vec<(Style, String)> = self.parts.iter().map(clean).collect();
        let Some(width) = view.width else { return painted(parts, view.colour).trim_end().to_owned() };
        let pieces: Vec<Piece> = parts.iter().flat_map(|(style, text)| text.chars().map(|c| (c, *style))).collect();
        let lines = wrap(&pieces, width, self.hang.unwrap_or_else(|| indentation(&pieces)));
        lines.iter().map(|line| paint(line, view.colour)).collect::<Vec<_>>().join("\n")
    }
}

/// Of a list's item also the mark before its text.
fn indentation(pieces: &[Piece]) -> usize {
    let spaces = pieces.iter().take_while(|(c, _)| *c == ' ').count();
    let mark = matches!(pieces.get(spaces..spaces + 2), Some([('-', _), (' ', _)]));
    if mark { spaces + 2 } else { spaces }
}

/// Pieces as text, in as few changes of style as possible, without spaces at the end.
pub(super) fn paint(pieces: &[Piece], colour: bool) -> String {
    let end = pieces.iter().rposition(|(c, _)| *c != ' ').map_or(0, |at| at + 1);
    let pieces = pieces.get(..end).unwrap_or_default();
    let same = |chunk: &[Piece]| (chunk.first().map(|(_, style)| *style).unwrap_or_default(), chunk.iter().map(|(c, _)| *c).collect());
    painted(pieces.chunk_by(|a, b| a.1 == b.1).map(same), colour)
}

fn painted(parts: impl IntoIterator<Item = (Style, String)>, colour: bool) -> String {
    let mut text = String::new();
    parts.into_iter().for_each(|(style, part)| style.paint(&part, colour, &mut text));
    text
}

impl<T: Into<String>> From<T> for Line {
    fn from(text: T) -> Self {
        Self::default().then(text)
    }
}

#[derive(Debug)]
enum Block {
    Line(Line),
    Table(Table),
}

#[derive(Debug, Default)]
pub struct Page {
    blocks: Vec<Block>,
}

impl Page {
    pub fn new() -> Self {
        Self::default()
    }

    /// A text with line feeds is several lines.
    pub fn text(&mut self, text: impl AsRef<str>) -> &mut Self {
        let lines = text.as_ref().split('\n');
        self.blocks.extend(lines.map(|line| Block::Line(Line::from(line))));
        self
    }

    pub fn line(&mut self, line: impl Into<Line>) -> &mut Self {
        self.blocks.push(Block::Line(line.into()));
        self
    }

    pub fn blank(&mut self) -> &mut Self {
        self.line("")
    }

    /// Behind a blank line; an empty table is left out.
    pub fn section(&mut self, table: Table) -> &mut Self {
        if table.is_empty() {
            return self;
        }
        if !self.blocks.is_empty() {
            self.blank();
        }
        self.table(table)
    }

    pub fn table(&mut self, table: Table) -> &mut Self {
        self.blocks.push(Block::Table(table));
        self
    }

    pub fn extend(&mut self, other: Page) -> &mut Self {
        self.blocks.extend(other.blocks);
        self
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// With every text, of lines and of tables, replaced.
    pub fn map(mut self, text: impl Fn(&str) -> String) -> Self {
        for block in &mut self.blocks {
            match block {
                Block::Line(line) => line.parts.iter_mut().for_each(|(_, part)| *part = text(part)),
                Block::Table(table) => table.map(&text),
            }
        }
        self
    }

    /// Lines, each ending in a line feed.
    pub fn render(&self, view: View) -> String {
        let block = |block: &Block| match block {
            Block::Line(line) => line.render(view) + "\n",
            Block::Table(table) => table.render(view),
        };
        self.blocks.iter().map(block).collect()
    }
}

impl<T: AsRef<str>> From<T> for Page {
    /// A line feed at the end begins no further line.
    fn from(text: T) -> Self {
        let mut page = Self::new();
        page.text(text.as_ref().strip_suffix('\n').unwrap_or(text.as_ref()));
        page
    }
}

impl From<Line> for Page {
    fn from(line: Line) -> Self {
        let mut page = Self::new();
        page.line(line);
        page
    }
}
