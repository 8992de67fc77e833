//! Superscripts and subscripts in a line of text.
//!
//! How a script is written depends on the characters before and behind it, so the [`Writer`] holds each back until it has seen what follows.

use crate::normal::push_collapsed;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Script {
    Superscript,
    Subscript,
    /// In MathML, where letters side by side are a product, so that fewer scripts are joined.
    MathSup,
    MathSub,
    /// `a/b`, in brackets where a neighbour would be drawn into it.
    Fraction,
    /// What stands under a root.
    Root,
}

impl Script {
    fn is_sup(self) -> bool {
        matches!(self, Self::Superscript | Self::MathSup)
    }

    fn is_sub(self) -> bool {
        matches!(self, Self::Subscript | Self::MathSub)
    }
}

#[derive(Default)]
pub(super) struct Writer {
    out: String,
    space: bool,
    held: Option<(Script, String)>,
    /// White space came behind a lone minus, whose number may follow: `L<sup>-</sup> <sup>1</sup>`.
    gap: bool,
    /// Nothing came since a superscript was written.
    after_sup: bool,
    /// The last thing written was a token of several letters.
    pub(super) word: bool,
}

impl Writer {
    pub(super) fn text(&mut self, text: &str) {
        let Some(first) = text.chars().next() else { return };
        let minus = matches!(&self.held, Some((Script::Superscript, content)) if is_minus(content));
        if minus && text.chars().all(char::is_whitespace) {
            self.gap = true;
            return;
        }
        self.settle(Some(if self.gap { ' ' } else { first }));
        push_collapsed(&mut self.out, &mut self.space, text);
        (self.after_sup, self.word) = (false, false);
    }

    /// Scripts of one kind that touch are one: `Ca<sup>2</sup><sup>+</sup>`.
    pub(super) fn script(&mut self, kind: Script, content: &str) {
        let Some(first) = content.chars().next() else { return };
        let joins = |gap: bool| !gap || first.is_ascii_digit();
        match &mut self.held {
            Some((held, before)) if *held == kind && (kind.is_sup() || kind.is_sub()) && joins(self.gap) => {
                before.push_str(content);
                self.gap = false;
            }
            held => {
                let next = match held {
                    _ if self.gap => ' ',
                    Some((held, _)) if held.is_sub() && kind.is_sup() => '^',
                    Some((held, _)) if held.is_sup() && kind.is_sub() => '_',
                    _ => first,
                };
                self.settle(Some(next));
                self.held = Some((kind, content.to_owned()));
            }
        }
    }

    /// The last character that was written or is held back; none behind white space.
    pub(super) fn last(&self) -> Option<char> {
        match &self.held {
            Some((_, content)) if !self.gap => content.chars().next_back(),
            Some(_) => None,
            None if self.space => None,
            None => self.out.chars().next_back(),
        }
    }

    pub(super) fn holds_script(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn finish(mut self) -> String {
        self.settle(None);
        self.out
    }

    /// Writes what is held back, now that the character behind it is known.
    fn settle(&mut self, next: Option<char>) {
        let gap = std::mem::take(&mut self.gap);
        if let Some((kind, content)) = self.held.take() {
            let before = if self.space { None } else { self.out.chars().next_back() };
            let piece = match kind {
                Script::Superscript => superscript(before, &content, next),
                Script::MathSup => math_sup(&content, next),
                Script::Subscript => subscript(before, &content, next, self.after_sup),
                Script::MathSub => math_sub(before, &content, next, self.after_sup),
                Script::Fraction if touches(before, next) => format!("({content})"),
                Script::Fraction => content,
                Script::Root if is_atom(&content) && !next.is_some_and(char::is_alphanumeric) => format!("\u{221a}{content}"),
                Script::Root => format!("\u{221a}({content})"),
            };
            push_collapsed(&mut self.out, &mut self.space, &piece);
            self.after_sup = kind.is_sup();
        }
        self.space |= gap;
    }
}

/// `before` is the character that the script touches, `next` the one behind it.
fn superscript(before: Option<char>, content: &str, next: Option<char>) -> String {
    let (core, punctuation) = split_punctuation(content);
    let next = punctuation.chars().next().or(next);
    let core = close_sign(core);
    let joined = format!("{core}{punctuation}");
    let (letter, digit) = (before.is_some_and(char::is_alphabetic), before.is_some_and(|c| c.is_ascii_digit()));
    let bracket = before.is_some_and(|c| matches!(c, ')' | ']' | '}'));
    let runs_on = |c: char| c.is_alphanumeric() || ends_in_minus(&core) && is_sign(c);
    let apart = !next.is_some_and(runs_on);

    if matches!(core.as_str(), "TM" | "tm") {
        return format!("\u{2122}{punctuation}");
    }
    // An o that was raised to look like a degree sign, and Spanish's ordinal sign.
    if matches!(core.as_str(), "o" | "\u{ba}") && digit {
        return format!("\u{b0}{punctuation}");
    }
    let ordinal = matches!(core.as_str(), "st" | "nd" | "rd" | "th") && (digit || before.is_none());
    let mark = core.chars().all(is_mark);
    let sign = is_signs(&core) && (bracket || before.is_some_and(|c| c.is_alphanumeric() || is_sign(c))) && apart;
    let charge = is_charge(&core) && letter && apart;
    // What stands before its element: 13C, [18F]FDG, 99mTc, δ15N.
    let leads = before.is_none_or(|c| matches!(c, '(' | '[' | '{' | '/' | '-' | '\u{2013}' | '+' | '\u{b7}' | '\u{3b4}' | '\u{394}'));
    let isotope = leads && is_isotope(&core) && next.is_some_and(char::is_alphabetic);
    if ordinal || mark || sign || charge || isotope {
        return joined;
    }
    format!("{}{punctuation}", caret(&core, next))
}

fn math_sup(content: &str, next: Option<char>) -> String {
    if content.chars().all(is_mark) { content.to_owned() } else { caret(content, next) }
}

/// `^` and the exponent, in brackets unless it is one number or word that ends where it ends.
fn caret(core: &str, next: Option<char>) -> String {
    let unsigned = core.strip_prefix(is_sign).unwrap_or(core);
    let charge = is_charge(core) || is_signs(core);
    let simple = is_atom(unsigned) || charge;
    let ends_in_digit = core.ends_with(|c: char| c.is_ascii_digit());
    // A word or digit that goes on behind it; a unit behind a number (`10^9CFU`) is plain enough.
    let runs_on = next.is_some_and(|c| c.is_alphanumeric() && !(ends_in_digit && c.is_alphabetic()));
    let minus = ends_in_minus(core) && next.is_some_and(is_sign);
    if simple && !runs_on && !minus { format!("^{core}") } else { format!("^{}", enclosed(core)) }
}

fn subscript(before: Option<char>, content: &str, next: Option<char>, after_sup: bool) -> String {
    let (core, punctuation) = split_punctuation(content);
    let next = punctuation.chars().next().or(next);
    if !core.chars().any(char::is_alphanumeric) {
        return content.to_owned();
    }
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let clash = digit(before) && digit(core.chars().next()) || digit(core.chars().next_back()) && digit(next);
    let one = core.starts_with(char::is_alphanumeric)
        && core
            .chars()
            .all(|c| c.is_alphanumeric() || is_sign(c) || matches!(c, '.' | '/' | ':' | '%' | '\'' | '\u{2032}' | '\u{b7}' | '\u{221e}'));
    let core = if one && !clash && !after_sup { core.to_owned() } else { underscore(core, next) };
    format!("{core}{punctuation}")
}

/// Digits at a letter are joined (`T1`); letters are not, where `xi` is a product.
fn math_sub(before: Option<char>, content: &str, next: Option<char>, after_sup: bool) -> String {
    let digits = content.bytes().all(|b| b.is_ascii_digit());
    let joined = digits && before.is_some_and(char::is_alphabetic) && !next.is_some_and(|c| c.is_ascii_digit()) && !after_sup;
    if joined { content.to_owned() } else { underscore(content, next) }
}

fn underscore(core: &str, next: Option<char>) -> String {
    if is_atom(core) && !next.is_some_and(char::is_alphanumeric) { format!("_{core}") } else { format!("_{}", enclosed(core)) }
}

/// A comma or full stop that ended up within the script: `mg<sup>-1.</sup>`.
fn split_punctuation(content: &str) -> (&str, &str) {
    let core = content.trim_end_matches(['.', ',', ';', ':']);
    if core.is_empty() { (content, "") } else { content.split_at(core.len()) }
}

/// `- 1` is `-1`.
fn close_sign(core: &str) -> String {
    let number = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    match core.split_once(' ') {
        Some((sign, rest)) if sign.chars().all(is_sign) && number(rest) => format!("{sign}{rest}"),
        _ => core.to_owned(),
    }
}

pub(super) fn is_sign(c: char) -> bool {
    matches!(c, '+' | '-' | '\u{2212}' | '\u{2013}' | '\u{2010}' | '\u{2011}')
}

/// `®`, `†`, `•`, and letters in circles, which Unicode counts as letters.
fn is_mark(c: char) -> bool {
    !(c.is_alphanumeric() || is_sign(c)) || ('\u{24b6}'..='\u{24e9}').contains(&c)
}

fn is_minus(content: &str) -> bool {
    let mut chars = content.chars();
    chars.next().is_some_and(|c| is_sign(c) && c != '+') && chars.next().is_none()
}

fn ends_in_minus(core: &str) -> bool {
    core.ends_with(|c| is_sign(c) && c != '+')
}

/// `+`, `-/-`, a radical's `•-`: signs and nothing else.
fn is_signs(core: &str) -> bool {
    let dot = |c| matches!(c, '/' | '(' | ')' | '\u{2022}' | '\u{b7}' | '\u{2219}' | '\u{25cf}' | '\u{2d9}' | '\u{22c5}');
    core.contains(is_sign) && core.chars().all(|c| is_sign(c) || dot(c))
}

/// `2+`, `3-`.
fn is_charge(core: &str) -> bool {
    let number = core.trim_end_matches(is_sign);
    number.len() < core.len() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
}

/// `13`, `99m`, `239+240`.
fn is_isotope(core: &str) -> bool {
    let number = core.strip_suffix('m').unwrap_or(core);
    number.starts_with(|c: char| c.is_ascii_digit()) && number.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b',' | b'/'))
}

/// In brackets, unless it is.
fn enclosed(text: &str) -> String {
    if is_bracketed(text) { text.to_owned() } else { format!("({text})") }
}

/// Whether one pair of brackets holds everything.
pub(super) fn is_bracketed(text: &str) -> bool {
    let mut depth = 0;
    let closes = text.char_indices().find_map(|(at, c)| {
        depth += match c {
            '(' | '[' => 1,
            ')' | ']' => -1,
            _ => 0,
        };
        (depth == 0).then_some(at + c.len_utf8())
    });
    text.starts_with(['(', '[']) && closes == Some(text.len())
}

/// One number or word.
pub(super) fn is_atom(text: &str) -> bool {
    let ends = text.starts_with(char::is_alphanumeric) && text.ends_with(char::is_alphanumeric);
    ends && text.chars().all(|c| c.is_alphanumeric() || c == '.')
}

/// Whether a fraction would draw a neighbour into it.
fn touches(before: Option<char>, next: Option<char>) -> bool {
    before.is_some_and(|c| c.is_alphanumeric() || matches!(c, ')' | ']' | '/'))
        || next.is_some_and(|c| c.is_alphanumeric() || matches!(c, '(' | '[' | '\u{221a}' | '^' | '/'))
}
