//! What programs and people read of what the binaries print: the frame of JSON documents, and text that is safe for a terminal.
//!
//! docs/output.md describes the documents. Fields may be added to a schema; one that changes its meaning or goes away needs a new
//! version.

use serde::Serialize;

/// Version of all documents that are printed, not of what is stored.
pub const VERSION: &str = "osler/v1";

/// A document with the name of its schema in front: `{"schema": "osler/v1 status", ...}`.
#[derive(Debug, Clone, Serialize)]
pub struct Document<T> {
    schema: String,
    #[serde(flatten)]
    body: T,
}

/// `body` must be a struct or a map: its fields stand beside the schema's name.
pub fn document<T: Serialize>(schema: &str, body: T) -> Document<T> {
    Document { schema: format!("{VERSION} {schema}"), body }
}

/// Why a command did not succeed, for programs.
#[derive(Debug, Clone, Serialize)]
pub struct ErrorBody<'a> {
    error: ErrorLine<'a>,
}

#[derive(Debug, Clone, Serialize)]
struct ErrorLine<'a> {
    kind: &'a str,
    message: &'a str,
    /// What to do about it, if there is one thing to do.
    hint: Option<&'a str>,
    exit_code: i32,
}

pub fn error_document<'a>(kind: &'a str, message: &'a str, hint: Option<&'a str>, exit_code: i32) -> Document<ErrorBody<'a>> {
    document("error", ErrorBody { error: ErrorLine { kind, message, hint, exit_code } })
}

/// Text from anywhere, fit for a terminal or a log: what steers a terminal, or shows text in another order or not at all, becomes a
/// replacement character. A tab becomes a space; line feeds stay.
pub fn printable(text: &str) -> String {
    let safe = |c: char| match c {
        '\n' => c,
        '\t' => ' ',
        c if c.is_control() || misleads(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(safe).collect()
}

/// The first line of a text from outside, [`printable`] and of at most `limit` characters: as much of it as an error may repeat.
pub fn one_line(text: &str, limit: usize) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default().trim_end();
    let mut characters = line.chars();
    let start: String = characters.by_ref().take(limit).collect();
    let cut = if characters.next().is_some() { "…" } else { "" };
    format!("{}{cut}", printable(&start))
}

/// JSON that is fit for a terminal and says the same: what [`printable`] would replace is written as an escape.
pub fn harmless(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        // Line feeds stand between values only: serde_json escapes those inside of strings.
        if c != '\n' && (c.is_control() || misleads(c)) {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| safe.push_str(&format!("\\u{unit:04x}")));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Marks of direction, separators of lines and paragraphs, invisible characters and tags. Joiners stay: scripts and emoji need them.
fn misleads(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_one_short_line() {
        assert_eq!(one_line("\n a\u{1b}[2J\nb", 80), "a\u{fffd}[2J");
        assert_eq!(one_line(&"x".repeat(9), 8), "xxxxxxxx…");
        assert_eq!(one_line("", 8), "");
    }

    #[test]
    fn nothing_that_steers_or_misleads_is_printed() {
        for (given, shown) in [
            ("a\u{1b}[31mb\u{1b}]0;title\u{7}", "a\u{fffd}[31mb\u{fffd}]0;title\u{fffd}"),
            ("\u{9b}31m \u{90}q\u{9c}", "\u{fffd}31m \u{fffd}q\u{fffd}"),
            ("abc\rxyz\u{8}\u{7f}", "abc\u{fffd}xyz\u{fffd}\u{fffd}"),
            ("invoice\u{202e}gpj.exe", "invoice\u{fffd}gpj.exe"),
            ("a\u{2066}b\u{2069}\u{200f}\u{feff}\u{2028}\u{e0041}", "a\u{fffd}b\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
            ("tab\tline\nnext", "tab line\nnext"),
            ("Größe 中文 \u{1f469}\u{200d}\u{1f52c} می\u{200c}خواهم", "Größe 中文 \u{1f469}\u{200d}\u{1f52c} می\u{200c}خواهم"),
        ] {
            assert_eq!(printable(given), shown);
        }
        let printed = (0..=u32::from(char::MAX)).filter_map(char::from_u32).map(|c| printable(&c.to_string())).collect::<String>();
        assert!(printed.chars().all(|c| c == '\n' || !c.is_control()));
    }

    #[test]
    fn a_document_holds_the_text_and_steers_nothing() {
        let text = "a\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\u{e0041}\u{2028}\n\t\u{1f469}\u{200d}\u{1f52c}\u{fffd}";
        let shown = harmless(&serde_json::to_string_pretty(&document("note", std::collections::BTreeMap::from([("note", text)]))).unwrap());
        assert!(shown.chars().all(|c| c == '\n' || !(c.is_control() || misleads(c))), "{shown:?}");
        let back: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(back["note"], text);
    }

    #[test]
    fn a_document_begins_with_its_schema() {
        let text = serde_json::to_string(&error_document("usage", "no such run", Some("osler ps"), 64)).unwrap();
        assert_eq!(
            text,
            r#"{"schema":"osler/v1 error","error":{"kind":"usage","message":"no such run","hint":"osler ps","exit_code":64}}"#
        );
    }
}
