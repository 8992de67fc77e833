//! The one place from which `osler` prints. What it shows is a [`Page`] for people or a document for programs; both leave through
//! [`Terminal`], which knows how wide each stream is and whether it takes colour.
//!
//! Text from outside (names, paths, messages, log lines) is cleaned here, at the edge, whoever built the page.

mod arguments;
mod page;
mod style;
mod table;
#[cfg(test)]
mod tests;
mod wrap;

pub use arguments::{Colour, Format, Settings};
pub use osler_core::output::printable;
pub use page::{Line, Page};
pub use style::{Style, state};
pub use table::{Cell, Column, Table, name, number, prose};
pub use wrap::{elide, width};

use crate::failure::{Failure, Outcome};
use osler_core::json;
use osler_core::output::{document, error_document, harmless};
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Write};

/// How wide a stream is, in columns (none: no limit), and whether it takes colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub width: Option<usize>,
    pub colour: bool,
}

impl View {
    /// A pipe's or a file's.
    pub const PLAIN: Self = Self { width: None, colour: false };

    pub fn columns(width: usize) -> Self {
        Self { width: Some(width), colour: false }
    }
}

/// Standard output for the answer, standard error for everything else.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    pub format: Format,
    pub out: View,
    pub err: View,
}

impl Terminal {
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// The answer of a command: a document for programs, else a page for people.
    pub fn answer(&self, schema: &str, body: &impl Serialize, page: impl FnOnce() -> Page) -> Outcome {
        if self.is_json() { self.json(schema, body) } else { self.page(&page()) }
    }

    /// One document.
    pub fn json(&self, schema: &str, body: &impl Serialize) -> Outcome {
        write_out(&(harmless(&serde_json::to_string_pretty(&document(schema, body))?) + "\n"))
    }

    /// One of many documents, on a line.
    pub fn json_line(&self, schema: &str, body: &impl Serialize) -> Outcome {
        write_out(&(harmless(&serde_json::to_string(&document(schema, body))?) + "\n"))
    }

    pub fn page(&self, page: &Page) -> Outcome {
        write_out(&page.render(self.out))
    }

    /// What is no text for people but a file's content, such as a web page or a script. A terminal gets it cleaned.
    pub fn raw(&self, text: &str) -> Outcome {
        if io::stdout().is_terminal() { write_out(&printable(text)) } else { write_out(text) }
    }

    /// A line that is not the answer itself: `{"schema": "osler/v1 note", "note": "..."}` for programs.
    pub fn note(&self, text: impl Into<Page>) {
        let page = text.into();
        if self.is_json() {
            let note = serde_json::json!({ "note": page.render(View::PLAIN).trim_end() });
            write_err(&json_text(&document("note", &note)));
        } else {
            write_err(&page.render(self.err));
        }
    }

    /// Asks whoever sits at the terminal; only a yes is one.
    pub fn agrees(&self, question: &str) -> Outcome<bool> {
        write_err(&format!("{question} [y/N] "));
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }

    /// How a command ended that did not succeed.
    pub fn fail(&self, failure: &Failure) {
        if self.is_json() {
            let error = error_document(failure.kind().as_str(), failure.message(), failure.hint_text(), failure.code());
            write_err(&json_text(&error));
        } else {
            write_err(&failure.page().render(self.err));
        }
    }
}

fn json_text(document: &impl Serialize) -> String {
    harmless(&json::text(document)) + "\n"
}

/// A reader that went away (`| head`) has seen enough: that is no failure.
fn write_out(text: &str) -> Outcome {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    match written {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

fn write_err(text: &str) {
    let _closed_terminal = io::stderr().lock().write_all(text.as_bytes());
}
