//! Tables without frames that fit where they are shown.
//!
//! Each column has a rank: what a reader misses least has the highest. A table that is too wide first breaks titles and prose at words,
//! then leaves out columns from the highest rank down and says which, and last cuts names in the middle. Columns of rank 0 always stay.

use super::page::paint;
use super::wrap::{Piece, elide, longest_word, width, wrap};
use super::{Line, Style, View, printable};

/// Between two columns.
const GAP: usize = 2;
/// Prose that has less room is left out rather than set in a narrow column.
const LEAST_PROSE: usize = 20;
/// A name that is longer is cut before other columns are left out.
const LEAST_NAME: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Number,
    Prose,
}

#[derive(Debug, Clone)]
pub struct Column {
    title: String,
    rank: u8,
    kind: Kind,
}

/// Names, states, times: short texts that are not broken.
pub fn name(title: &str, rank: u8) -> Column {
    Column { title: title.to_uppercase(), rank, kind: Kind::Name }
}

/// Aligned to the right.
pub fn number(title: &str, rank: u8) -> Column {
    Column { title: title.to_uppercase(), rank, kind: Kind::Number }
}

/// Free text, which is broken at words where there is too little room.
pub fn prose(title: &str, rank: u8) -> Column {
    Column { title: title.to_uppercase(), rank, kind: Kind::Prose }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub fn new(text: impl Into<String>, style: Style) -> Self {
        Self { text: text.into(), style }
    }

    /// A state in its colour.
    pub fn state(word: impl Into<String>) -> Self {
        let text = word.into();
        let style = super::state(&text);
        Self { text, style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Style::Plain)
    }
}

#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: vec![] }
    }

    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) -> &mut Self {
        self.cells(cells)
    }

    /// A row of a table whose columns are known only when it is made.
    pub fn cells(&mut self, cells: impl IntoIterator<Item = Cell>) -> &mut Self {
        // Cleaned here as well, so that widths are those of what is shown.
        let clean = |cell: Cell| Cell { text: printable(&cell.text).replace('\n', " "), ..cell };
        self.rows.push(cells.into_iter().map(clean).collect());
        self
    }

    pub(super) fn map(&mut self, text: impl Fn(&str) -> String) {
        self.rows.iter_mut().flatten().for_each(|cell| cell.text = text(&cell.text));
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Lines, each ending in a line feed.
    pub fn render(&self, view: View) -> String {
        let layout = self.layout(view.width);
        let titles = self.columns.iter().map(|column| Cell::new(column.title.clone(), Style::Strong)).collect::<Vec<_>>();
        let mut text = self.lines(&titles, &layout, view, true);
        for row in &self.rows {
            text.push_str(&self.lines(row, &layout, view, false));
        }
        let hidden: Vec<String> =
            self.columns.iter().enumerate().filter(|(i, _)| !layout.shows(*i)).map(|(_, column)| column.title.to_lowercase()).collect();
        if !hidden.is_empty() {
            let note = format!("left out: {} (see them in a wider terminal or with -o json)", hidden.join(", "));
            text.push_str(&(Line::default().styled(note, Style::Faint).hang(2).render(view) + "\n"));
        }
        text
    }

    fn layout(&self, most: Option<usize>) -> Layout {
        let cells = |i: usize| self.rows.iter().filter_map(|row| row.get(i)).map(|cell| width(&cell.text)).max().unwrap_or(0);
        let natural: Vec<usize> = self.columns.iter().enumerate().map(|(i, column)| cells(i).max(width(&column.title))).collect();
        let mut layout = Layout { widths: natural.iter().copied().map(Some).collect() };
        let Some(most) = most.filter(|most| layout.total() > *most) else { return layout };
        let least = |(i, column): (usize, &Column)| {
            let cells = match column.kind {
                Kind::Prose => cells(i).min(LEAST_PROSE),
                Kind::Name => cells(i).min(LEAST_NAME),
                Kind::Number => cells(i),
            };
            cells.max(longest_word(&column.title))
        };
        layout.widths = self.columns.iter().enumerate().map(|column| Some(least(column))).collect();
        let mut by_rank: Vec<(usize, &Column)> = self.columns.iter().enumerate().filter(|(_, column)| column.rank > 0).collect();
        by_rank.sort_by_key(|(i, column)| (column.rank, *i));
        for (i, _) in by_rank.iter().rev() {
            if layout.total() > most {
                layout.set(*i, None);
            }
        }
        // A wide column that was left out may have made room for a narrow one that went before it.
        for (i, column) in by_rank {
            let width = least((i, column));
            if !layout.shows(i) && layout.total() + GAP + width <= most {
                layout.set(i, Some(width));
            }
        }
        while layout.total() > most && layout.narrow_the_widest() {}
        // What is left goes to names first, then to prose, then to titles.
        for kind in [Kind::Name, Kind::Prose, Kind::Number] {
            layout.widen(
                most,
                |i| if self.columns.get(i).is_some_and(|column| column.kind == kind) { natural.get(i).copied() } else { None },
            );
        }
        layout
    }

    /// A row, in as many lines as its highest cell; titles stand at the bottom.
    fn lines(&self, cells: &[Cell], layout: &Layout, view: View, titles: bool) -> String {
        let mut set: Vec<(Kind, usize, Vec<Vec<Piece>>)> = vec![];
        for ((column, width), cell) in self.columns.iter().zip(&layout.widths).zip(cells) {
            let Some(width) = *width else { continue };
            let whole = if titles || column.kind == Kind::Prose { cell.text.clone() } else { elide(&cell.text, width) };
            let pieces: Vec<Piece> = whole.chars().map(|c| (c, cell.style)).collect();
            set.push((column.kind, width, wrap(&pieces, width, 0)));
        }
        let height = set.iter().map(|(_, _, lines)| lines.len()).max().unwrap_or(0);
        let mut text = String::new();
        for y in 0..height {
            let mut line: Vec<Piece> = vec![];
            for (kind, width, lines) in &set {
                let above = if titles { height - lines.len() } else { 0 };
                let piece = y.checked_sub(above).and_then(|y| lines.get(y)).map_or(&[][..], Vec::as_slice);
                let used: usize = piece.iter().map(|(c, _)| super::wrap::columns(*c)).sum();
                let blank = |n: usize| std::iter::repeat_n((' ', Style::Plain), n);
                let before = if *kind == Kind::Number { width.saturating_sub(used) } else { 0 };
                line.extend(blank(before));
                line.extend_from_slice(piece);
                line.extend(blank(width.saturating_sub(used + before) + GAP));
            }
            text.push_str(&(paint(&line, view.colour) + "\n"));
        }
        text
    }
}

/// Widths of the columns that are shown.
struct Layout {
    widths: Vec<Option<usize>>,
}

impl Layout {
    fn shows(&self, i: usize) -> bool {
        self.widths.get(i).is_some_and(Option::is_some)
    }

    fn set(&mut self, i: usize, to: Option<usize>) {
        if let Some(width) = self.widths.get_mut(i) {
            *width = to;
        }
    }

    fn total(&self) -> usize {
        let shown = self.widths.iter().flatten();
        shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
    }

    /// False if all are as narrow as they can be.
    fn narrow_the_widest(&mut self) -> bool {
        match self.widths.iter_mut().flatten().max_by_key(|width| **width) {
            Some(width) if *width > 1 => {
                *width -= 1;
                true
            }
            _ => false,
        }
    }

    /// Gives room to columns that want it, evenly.
    fn widen(&mut self, most: usize, wanted: impl Fn(usize) -> Option<usize>) {
        while self.total() < most {
            let narrow =
                |(i, width): (usize, &Option<usize>)| Some((i, (*width)?)).filter(|(i, width)| wanted(*i).is_some_and(|w| w > *width));
            match self.widths.iter().enumerate().filter_map(narrow).min_by_key(|(_, width)| *width) {
                Some((i, width)) => self.set(i, Some(width + 1)),
                None => return,
            }
        }
    }
}
