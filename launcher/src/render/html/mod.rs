//! The report for a browser: one file, no scripts, nothing fetched, every text escaped, readable in light and dark.

mod bars;
mod loss;
mod markup;
mod page;
mod scale;
#[cfg(test)]
mod tests;

use osler_core::report::Report;

/// The whole document.
pub fn render(report: &Report) -> String {
    page::page(report)
}
