//! HTML from text that came from anywhere. Text enters through [`escape`] only; [`Html`] is what has been through it.

use osler_core::output::printable;
use std::fmt::{self, Display, Write};

/// Markup that is safe to put into the page.
#[derive(Debug, Clone, Default)]
pub struct Html(String);

impl Html {
    /// From our own markup, which `format_args!` may fill with other [`Html`], numbers, and [`escape`]d text.
    pub fn of(markup: fmt::Arguments<'_>) -> Self {
        Self(markup.to_string())
    }

    pub fn push(&mut self, markup: fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _infallible = self.0.write_fmt(markup);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromIterator<Html> for Html {
    fn from_iter<I: IntoIterator<Item = Html>>(parts: I) -> Self {
        Self(parts.into_iter().map(|part| part.0).collect())
    }
}

/// Text for an element or a quoted attribute. What steers or misleads, such as control characters, which no document may hold, becomes
/// replacement characters.
pub fn escape(text: impl Display) -> Html {
    let text = printable(&text.to_string());
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if matches!(u32::from(c), 0xfffe | 0xffff) => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    Html(safe)
}

/// A table; a column whose title starts with `>` holds numbers.
pub struct Table {
    titles: Vec<&'static str>,
    rows: Html,
}

impl Table {
    pub fn new(titles: &[&'static str]) -> Self {
        Self { titles: titles.to_vec(), rows: Html::default() }
    }

    pub fn row<const N: usize>(&mut self, cells: [Html; N]) {
        self.rows.push(format_args!("<tr>"));
        for (i, (title, cell)) in self.titles.iter().zip(cells).enumerate() {
            match (i, title.starts_with('>')) {
                (0, _) => self.rows.push(format_args!("<th scope=\"row\">{cell}</th>")),
                (_, true) => self.rows.push(format_args!("<td class=\"n\">{cell}</td>")),
                (_, false) => self.rows.push(format_args!("<td>{cell}</td>")),
            }
        }
        self.rows.push(format_args!("</tr>\n"));
    }

    /// Nothing for a table without rows.
    pub fn html(self, caption: &str) -> Html {
        if self.rows.is_empty() {
            return Html::default();
        }
        let head: Html = self
            .titles
            .iter()
            .map(|title| match title.strip_prefix('>') {
                Some(title) => Html::of(format_args!("<th scope=\"col\" class=\"n\">{}</th>", escape(title))),
                None => Html::of(format_args!("<th scope=\"col\">{}</th>", escape(title))),
            })
            .collect();
        let rows = self.rows;
        // The frame scrolls, not the page.
        Html::of(format_args!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n",
            escape(caption)
        ))
    }
}
