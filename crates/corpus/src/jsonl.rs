//! JSON lines: one object a line, of which only the fields that hold text and id are read.
//!
//! A line that is no document is an [`Error::Line`]; the reader can go on behind it, because the next line is told by its break alone.

use crate::document::Document;
use crate::error::{Error, Result};
use crate::input::BOM;
use crate::plain::{Lines, text_document};
use osler_core::spec::{BadLines, CorpusSpec};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// What an id may take: it is written into every log.
const MAX_ID: usize = 1024;
/// Names of a line's fields that an error shows.
const SHOWN: usize = 8;

/// Documents in the order of their lines. Blank lines are passed over. The id is that of the id field (a string or a whole number), or else
/// the line's number.
pub struct JsonlReader {
    lines: Lines,
    /// The fields of the text, then that of the id.
    fields: Vec<String>,
    /// A file that promises ids has one in each line.
    needs_id: bool,
    /// Whether to go on behind a bad line.
    skips: bool,
    done: bool,
}

impl JsonlReader {
    pub fn open(path: &Path, corpus: &CorpusSpec) -> Result<Self> {
        let id = corpus.id_field.clone().unwrap_or_else(|| "id".to_owned());
        let fields = corpus.text_field.0.iter().cloned().chain([id]).collect();
        let skips = corpus.bad_lines != BadLines::Fail;
        Ok(Self { lines: Lines::unchecked(path)?, fields, needs_id: corpus.id_field.is_some(), skips, done: false })
    }

    fn advance(&mut self) -> Result<Option<Document>> {
        while self.lines.advance()? {
            let line = self.lines.line.strip_prefix(BOM).unwrap_or(&self.lines.line);
            if !line.trim_ascii().is_empty() {
                return self.document(line).map(Some).map_err(|problem| self.lines.error(problem));
            }
        }
        Ok(None)
    }

    fn document(&self, line: &[u8]) -> Result<Document, String> {
        if let Err(e) = std::str::from_utf8(line) {
            let byte = line.get(e.valid_up_to()).copied().unwrap_or_default();
            return Err(format!(
                "byte 0x{byte:02x} is not valid UTF-8 here (byte {} of the line); convert the file to UTF-8",
                e.valid_up_to()
            ));
        }
        let mut picked = self.pick(line)?;
        let id = picked.values.pop().flatten();
        let text = self.text(picked.values, &picked.names)?;
        let id_field = self.fields.last().map(String::as_str).unwrap_or_default();
        let id = match id {
            None if self.needs_id => {
                return Err(format!(
                    "no field {id_field:?}; set id_field to the one that holds the id (fields here: {})",
                    picked.names.join(", ")
                ));
            }
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(id.trim().to_owned()).filter(|id| !id.is_empty()),
            Some(Value::Number(id)) if id.is_u64() || id.is_i64() => Some(id.to_string()),
            Some(_) => {
                return Err(format!(
                    "the field {id_field:?} is neither a string nor a whole number; set id_field to the one that holds the id"
                ));
            }
        };
        match id {
            Some(id) if id.len() > MAX_ID => {
                Err(format!("the id in {id_field:?} is longer than {MAX_ID} bytes; set id_field to the one that holds the id"))
            }
            Some(id) => Ok(text_document(id, text)),
            None => Ok(Document { made_id: true, ..text_document(format!("line-{}", self.lines.number), text) }),
        }
    }

    fn pick(&self, line: &[u8]) -> Result<Picked, String> {
        let mut picked = Picked { values: vec![None; self.fields.len()], twice: None, names: vec![], object: false };
        let mut reader = serde_json::Deserializer::from_slice(line);
        let read = Pick { fields: &self.fields, path: "", out: &mut picked }.deserialize(&mut reader).and_then(|()| reader.end());
        read.map_err(|e| {
            // The parser knows one line only: its number would mislead.
            let problem = e.to_string();
            let problem = problem.split(" at line ").next().unwrap_or_default();
            format!("not JSON: {problem} at column {}", e.column())
        })?;
        if !picked.object {
            let list = if line.trim_ascii_start().starts_with(b"[") { "; jq -c '.[]' makes lines of a list" } else { "" };
            return Err(format!("not a JSON object; each line must be one{list}"));
        }
        if let Some(field) = picked.twice.and_then(|at| self.fields.get(at)) {
            return Err(format!("the field {field:?} is given twice"));
        }
        Ok(picked)
    }

    /// The text's fields, joined by a blank line; none if all that are there are null.
    fn text(&self, values: Vec<Option<Value>>, names: &[String]) -> Result<Option<String>, String> {
        if values.iter().all(Option::is_none) {
            let wanted: Vec<String> = self.fields.iter().take(values.len()).map(|field| format!("{field:?}")).collect();
            let names = names.join(", ");
            return Err(format!("no field {}; set text_field to the one that holds the text (fields here: {names})", wanted.join(" or ")));
        }
        let (mut parts, mut null) = (vec![], true);
        for (field, value) in self.fields.iter().zip(values) {
            match value {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => {
                    null = false;
                    if !text.trim().is_empty() {
                        parts.push(text.trim().to_owned());
                    }
                }
                Some(_) => return Err(format!("the field {field:?} is not a string; set text_field to the one that holds the text")),
            }
        }
        Ok((!null).then(|| parts.join("\n\n")))
    }
}

impl Iterator for JsonlReader {
    type Item = Result<Document>;

    /// Ends after the first error, unless bad lines are passed over: then only an error of the whole file ends it.
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.advance().transpose();
        self.done = match &next {
            None => true,
            Some(Ok(_)) => false,
            Some(Err(e)) => !(self.skips && matches!(e, Error::Line { .. })),
        };
        next
    }
}

/// What was found of the wanted fields.
struct Picked {
    values: Vec<Option<Value>>,
    /// A wanted field that is there more than once: which one was meant cannot be known.
    twice: Option<usize>,
    /// The first names at the top, for errors.
    names: Vec<String>,
    object: bool,
}

/// Reads the object at `path` ("" is the line's own), passing over everything that no wanted field is in.
struct Pick<'a> {
    fields: &'a [String],
    path: &'a str,
    out: &'a mut Picked,
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.out.object = true;
        while let Some(key) = map.next_key::<String>()? {
            if self.path.is_empty() && self.out.names.len() < SHOWN {
                self.out.names.push(format!("{:?}", key.chars().take(60).collect::<String>()));
            }
            let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
            let inside = |field: &String| field.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.'));
            if let Some(at) = self.fields.iter().position(|field| *field == path) {
                let value = map.next_value()?;
                if let Some(place) = self.out.values.get_mut(at)
                    && place.replace(value).is_some()
                {
                    self.out.twice = Some(at);
                }
            } else if self.fields.iter().any(inside) {
                map.next_value_seed(Pick { fields: self.fields, path: &path, out: &mut *self.out })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osler_core::spec::{CorpusFormat, TextFields};
    use std::io::Write as _;

    fn corpus() -> CorpusSpec {
        CorpusSpec::new(CorpusFormat::Jsonl, vec![])
    }

    fn fields(text: &[&str], id: Option<&str>) -> CorpusSpec {
        let text_field = TextFields(text.iter().map(|field| (*field).to_owned()).collect());
        CorpusSpec { text_field, id_field: id.map(str::to_owned), ..corpus() }
    }

    fn read(bytes: &[u8], corpus: &CorpusSpec) -> Vec<Result<Document>> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        JsonlReader::open(file.path(), corpus).unwrap().collect()
    }

    #[track_caller]
    fn check(lines: &str, corpus: &CorpusSpec, expected: &[(&str, Option<&str>)]) {
        let found: Vec<_> = read(lines.as_bytes(), corpus).into_iter().map(Result::unwrap).collect();
        let found: Vec<_> = found.iter().map(|d| (d.id.as_str(), d.text.as_deref())).collect();
        assert_eq!(found, expected, "{lines}");
    }

    #[test]
    fn json_lines_keep_their_ids_and_blank_lines_are_passed_over() {
        check(
            "\u{feff}{\"id\":\"a\",\"text\":\"one\"}\r\n\n  \n{\"text\":\"zwei\u{e4}\",\"id\":7}\n{\"text\":\" three \"}",
            &corpus(),
            &[("a", Some("one")), ("7", Some("zwei\u{e4}")), ("line-5", Some("three"))],
        );
        // As files with a mark leave it when they are joined.
        check("{\"text\":\"one\"}\n\u{feff}{\"text\":\"two\"}\n", &corpus(), &[("line-1", Some("one")), ("line-2", Some("two"))]);
    }

    #[test]
    fn a_document_may_have_no_text_and_no_id() {
        let lines = r#"{"id":"b","text":null}
{"id":"","text":"x"}
{"id":null,"text":""}"#;
        check(lines, &corpus(), &[("b", None), ("line-2", Some("x")), ("line-3", Some(""))]);
    }

    #[test]
    fn several_and_nested_fields_are_joined_and_what_is_missing_is_left_out() {
        let lines = r#"{"title":"T","meta":{"text":" M ","pmid":12},"other":{"a":[1,{"title":"no"}]}}
{"title":null,"meta":{"pmid":"x","text":"only"}}
{"meta.text":"literal","meta":{"pmid":3}}
{"title":" ","meta":{"pmid":4}}
{"title":null,"meta":{"pmid":5}}"#;
        check(
            lines,
            &fields(&["title", "meta.text"], Some("meta.pmid")),
            &[("12", Some("T\n\nM")), ("x", Some("only")), ("3", Some("literal")), ("4", Some("")), ("5", None)],
        );
    }

    #[test]
    fn a_broken_line_is_named_with_the_way_out() {
        for (line, words) in [
            ("{\"body\":\"x\"}", "no field \"text\"; set text_field to the one that holds the text (fields here: \"body\")"),
            ("{\"text\":3}", "is not a string"),
            ("[1]", "not a JSON object; each line must be one; jq"),
            ("3", "not a JSON object; each line must be one"),
            ("{\"text\":\"x\"", "not JSON: EOF while parsing an object at column"),
            ("{\"text\":\"x\"} {}", "not JSON: trailing characters at column 14"),
            ("{\"text\":\"\\ud800\"}", "not JSON: "),
            ("{\"text\":\"x\",\"id\":{}}", "neither a string nor a whole number; set id_field"),
            ("{\"text\":\"x\",\"text\":\"y\"}", "the field \"text\" is given twice"),
            ("{\"text\":\"x\",\"id\":1,\"id\":1}", "the field \"id\" is given twice"),
        ] {
            let found = read(format!("{{\"text\":\"fine\"}}\n{line}\n{{\"text\":\"fine\"}}\n").as_bytes(), &corpus());
            assert_eq!(found.len(), 2, "nothing follows an error");
            let message = found[1].as_ref().unwrap_err().to_string();
            assert!(message.contains("line 2 (byte 16") && message.contains(words), "{message}");
        }
        let long = format!("{{\"text\":\"x\",\"id\":\"{}\"}}", "9".repeat(2000));
        assert!(read(long.as_bytes(), &corpus())[0].as_ref().unwrap_err().to_string().contains("longer than 1024 bytes"));
        let message = read(b"{\"text\":\"x\"}", &fields(&["text"], Some("pmid")))[0].as_ref().unwrap_err().to_string();
        assert!(message.contains("no field \"pmid\"; set id_field"), "a file that was promised to have ids: {message}");
    }

    #[test]
    fn bad_lines_can_be_passed_over() {
        let mut bytes = b"{\"text\":\"one\"}\n{\"text\":\n{\"text\":\"caf\xe9\"}\n{\"text\":\"".to_vec();
        bytes.extend(vec![b'x'; 64 << 20]);
        bytes.extend(b"\"}\n{\"text\":\"last\"}\n");
        let skipping = CorpusSpec { bad_lines: BadLines::Skip { at_most: 10 }, ..corpus() };
        let found = read(&bytes, &skipping);
        let words = ["", "not JSON", "byte 0xe9 is not valid UTF-8", "longer than 64 MiB", ""];
        assert_eq!(found.len(), words.len());
        for (number, (found, words)) in (1..).zip(found.iter().zip(words)) {
            match found {
                Ok(document) => assert!(words.is_empty() && document.id == format!("line-{number}"), "{document:?}"),
                Err(e) => assert!(e.to_string().contains(&format!("line {number} (byte")) && e.to_string().contains(words), "{e}"),
            }
        }
    }
}
