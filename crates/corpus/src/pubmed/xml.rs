//! A pull parser for the few shapes that PubMed's XML has: step through elements, take a text, skip a subtree. Nothing outside the
//! file is ever fetched: a DOCTYPE is passed over, its internal subset and entity declarations are refused.

use super::markup::{Markup, Shape};
use super::tag::Tag;
use crate::error::{Error, Result};
use crate::input::Input;
use crate::normal::readable;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

const MAX_DEPTH: usize = 256;
const MAX_TEXT: usize = crate::input::MAX_ITEM;
/// The most text that one record may hold, all fields together.
const MAX_RECORD: usize = 64 << 20;

pub(super) enum Step {
    Start(Tag),
    End,
    Eof,
}

/// What [`Xml::step`] does with content on its way.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    /// Elements matter, text between them is ignored, attributes of the tags that need them are kept.
    Elements,
    /// Text and the elements around it are kept in `markup`.
    Text,
    Nothing,
}

/// The attributes of the element that was started last, where its tag has any that matter.
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) version: Option<String>,
    pub(super) label: Option<String>,
    pub(super) category: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) language: Option<String>,
}

pub(super) struct Xml {
    reader: Reader<Input>,
    buf: Vec<u8>,
    /// Where quick-xml began to count.
    base: u64,
    depth: usize,
    /// Where the element that was started last begins.
    started: u64,
    markup: Markup,
    record_bytes: usize,
    pub(super) attributes: Attributes,
}

impl Xml {
    pub(super) fn new(input: Input) -> Self {
        let base = input.offset();
        let mut reader = Reader::from_reader(input);
        reader.config_mut().expand_empty_elements = true;
        Self {
            reader,
            buf: Vec::with_capacity(64 << 10),
            base,
            depth: 0,
            started: base,
            markup: Markup::default(),
            record_bytes: 0,
            attributes: Attributes::default(),
        }
    }

    /// Offset just behind the last event.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.reader.buffer_position()
    }

    /// Offset of the `<` of the element that was started last.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    pub(super) fn error(&self, offset: u64, problem: impl Into<String>) -> Error {
        self.reader.get_ref().malformed(offset, problem)
    }

    pub(super) fn begin_record(&mut self) {
        self.record_bytes = 0;
    }

    /// The next element that starts or ends. At the end of the file every element must be closed.
    pub(super) fn step(&mut self) -> Result<Step> {
        self.advance(Content::Elements)
    }

    /// Passes over what is left of the element that was started last, its end included.
    pub(super) fn skip(&mut self) -> Result<()> {
        self.until_end(Content::Nothing)
    }

    /// The text of the element that was started last on one line, markup inside it dissolved or written out, see [`super::markup`].
    pub(super) fn text(&mut self) -> Result<String> {
        self.until_end(Content::Text)?;
        let text = self.markup.finish();
        self.record_bytes += text.len() + 64;
        if self.record_bytes > MAX_RECORD {
            return Err(self.error(self.offset(), format!("one record holds more than {} MiB of text", MAX_RECORD >> 20)));
        }
        Ok(text)
    }

    /// The same, with an empty text as none.
    pub(super) fn some_text(&mut self) -> Result<Option<String>> {
        Ok(Some(self.text()?).filter(|t| !t.is_empty()))
    }

    fn until_end(&mut self, content: Content) -> Result<()> {
        let outside = self.depth.saturating_sub(1);
        loop {
            match self.advance(content)? {
                Step::Start(_) => {}
                Step::End if self.depth == outside => return Ok(()),
                Step::End => {}
                Step::Eof => return Err(self.error(self.offset(), "the file ends inside an element")),
            }
        }
    }

    fn advance(&mut self, content: Content) -> Result<Step> {
        loop {
            self.buf.clear();
            self.reader.get_mut().begin_item();
            let at = self.base + self.reader.buffer_position();
            let event = match self.reader.read_event_into(&mut self.buf) {
                Ok(event) => event,
                Err(e) => return Err(fault(&mut self.reader, self.base, at, &e)),
            };
            let problem = match event {
                Event::Start(start) => {
                    self.depth += 1;
                    self.started = at;
                    if self.depth > MAX_DEPTH {
                        format!("elements are nested more than {MAX_DEPTH} deep")
                    } else {
                        match content {
                            Content::Nothing => return Ok(Step::Start(Tag::Other)),
                            Content::Text => match open(&mut self.markup, &start) {
                                Ok(()) => return Ok(Step::Start(Tag::Other)),
                                Err(problem) => problem,
                            },
                            Content::Elements => {
                                let tag = Tag::of(start.name().as_ref());
                                match self.attributes.take(tag, &start) {
                                    Ok(()) => return Ok(Step::Start(tag)),
                                    Err(problem) => problem,
                                }
                            }
                        }
                    }
                }
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    if content == Content::Text {
                        self.markup.close();
                    }
                    return Ok(Step::End);
                }
                Event::Text(text) => match place(&mut self.markup, content, self.depth, &text) {
                    Ok(()) => continue,
                    Err(problem) => problem,
                },
                Event::CData(text) => match place(&mut self.markup, content, self.depth, &text) {
                    Ok(()) => continue,
                    Err(problem) => problem,
                },
                Event::GeneralRef(reference) => match resolve(&reference) {
                    Ok(c) => match place(&mut self.markup, content, self.depth, c.encode_utf8(&mut [0; 4])) {
                        Ok(()) => continue,
                        Err(problem) => problem,
                    },
                    Err(problem) => problem,
                },
                Event::Decl(decl) => match check_encoding(&decl) {
                    Ok(()) => continue,
                    Err(problem) => problem,
                },
                Event::DocType(doctype) if doctype.contains('[') || doctype.contains("<!") => {
                    "the DOCTYPE declares entities or elements of its own; that is refused, because such declarations can expand without bound".into()
                }
                Event::DocType(_) if self.depth > 0 => "a DOCTYPE inside the document".into(),
                Event::DocType(_) | Event::Comment(_) | Event::PI(_) | Event::Empty(_) => continue,
                Event::Eof if self.depth > 0 => format!("the file ends inside an element, {} levels deep; it is cut off", self.depth),
                Event::Eof => return Ok(Step::Eof),
            };
            return Err(self.reader.get_ref().malformed(at, problem));
        }
    }
}

impl Attributes {
    fn take(&mut self, tag: Tag, start: &BytesStart) -> Result<(), String> {
        if !tag.has_attributes() {
            return Ok(());
        }
        *self = Self::default();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|e| e.to_string())?;
            let field = match attribute.key.as_ref() {
                "Version" => &mut self.version,
                "Label" => &mut self.label,
                "NlmCategory" => &mut self.category,
                "Type" | "RefType" => &mut self.kind,
                "Language" => &mut self.language,
                _ => continue,
            };
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
            *field = Some(crate::normal::collapse(&readable(&value))).filter(|v| !v.is_empty());
        }
        Ok(())
    }
}

/// Puts a piece of text where `content` wants it. Not a method, because the event that holds the piece borrows the parser's buffer.
fn place(markup: &mut Markup, content: Content, depth: usize, piece: &str) -> Result<(), String> {
    if depth == 0 {
        let blank = piece.chars().all(char::is_whitespace);
        return if blank { Ok(()) } else { Err("text outside the root element; this is not a PubMed file, or it is cut off".into()) };
    }
    if let Some(control) = piece.bytes().find(|b| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r')) {
        return Err(format!("the control character 0x{control:02x} is not allowed in XML"));
    }
    if content == Content::Text {
        markup.text(&readable(piece));
        check_length(markup)?;
    }
    Ok(())
}

/// The same for an element inside a text.
fn open(markup: &mut Markup, start: &BytesStart) -> Result<(), String> {
    markup.open(Shape::of(start));
    check_length(markup)
}

/// A piece is bounded by the input, so what is over is at most one piece.
fn check_length(markup: &Markup) -> Result<(), String> {
    if markup.bytes() > MAX_TEXT { Err(format!("a text is longer than {} MiB", MAX_TEXT >> 20)) } else { Ok(()) }
}

fn resolve(reference: &BytesRef) -> Result<char, String> {
    let name: &str = reference;
    match name {
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "amp" => return Ok('&'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => {}
    }
    let shown: String = name.chars().take(40).collect();
    match reference.resolve_char_ref() {
        Ok(Some(c)) if c >= ' ' || matches!(c, '\t' | '\n' | '\r') => Ok(c),
        Ok(Some(_)) | Err(_) => Err(format!("&{shown}; is not a character that XML allows")),
        Ok(None) => {
            Err(format!("unknown entity &{shown};: only lt, gt, amp, quot, apos and character numbers are known, and no DTD is read"))
        }
    }
}

fn check_encoding(decl: &BytesDecl) -> Result<(), String> {
    let Some(encoding) = decl.encoding() else { return Ok(()) };
    let encoding = encoding.map_err(|e| e.to_string())?;
    if ["utf-8", "utf8", "us-ascii"].iter().any(|known| encoding.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(format!("the file declares the encoding {:?}; convert it to UTF-8", encoding.chars().take(40).collect::<String>()))
}

/// quick-xml's error with our place and, where it came from reading, the true cause.
fn fault(reader: &mut Reader<Input>, base: u64, at: u64, error: &quick_xml::Error) -> Error {
    use quick_xml::Error as E;
    match error {
        E::Io(e) => reader.get_mut().explain(e),
        E::IllFormed(_) => reader.get_ref().malformed(base + reader.error_position(), error.to_string()),
        E::Syntax(_) => {
            let problem = format!("{error}; the file is cut off or damaged");
            reader.get_ref().malformed(base + reader.error_position(), problem)
        }
        _ => reader.get_ref().malformed(at, error.to_string()),
    }
}
