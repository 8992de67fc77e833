//! Text in columns of a terminal: how wide it is, cut in the middle, or in lines that break at words.

use super::Style;
use unicode_width::UnicodeWidthChar;

/// A character that is safe to print, with its style.
pub type Piece = (char, Style);

pub fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

pub fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The longest word of a text, in columns. A unit, as in "MFU %", belongs to its word.
pub fn longest_word(text: &str) -> usize {
    text.replace(" %", "_%").split(' ').map(width).max().unwrap_or(0)
}

/// "a-very-long-name" in 9 columns: "a-ve…name". Both ends of a name tell more than its beginning alone.
pub fn elide(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let (head, tail) = (most.saturating_sub(1).div_ceil(2), most.saturating_sub(1) / 2);
    let mut used = 0;
    let first: String = text.chars().take_while(|c| fits(*c, &mut used, head)).collect();
    used = 0;
    let last: Vec<char> = text.chars().rev().take_while(|c| fits(*c, &mut used, tail)).collect();
    if most == 0 { String::new() } else { first + "…" + &last.into_iter().rev().collect::<String>() }
}

fn fits(c: char, used: &mut usize, most: usize) -> bool {
    *used += columns(c);
    *used <= most
}

/// Lines of at most `most` columns, broken at spaces; the second and later ones begin with `hang` spaces. A word that no line holds is
/// broken behind a slash, or else where the line ends.
pub fn wrap(text: &[Piece], most: usize, hang: usize) -> Vec<Vec<Piece>> {
    let most = most.max(1);
    // Half of a line at least is left for words.
    let hang = hang.min(most / 2);
    let mut lines = vec![];
    let mut line: Vec<Piece> = vec![];
    let mut used = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let spaces = rest.iter().take_while(|(c, _)| *c == ' ').count();
        let word = rest.iter().skip(spaces).take_while(|(c, _)| *c != ' ').count();
        let (gap, behind) = rest.split_at(spaces);
        let (word, behind) = behind.split_at(word);
        let long: usize = word.iter().map(|(c, _)| columns(*c)).sum();
        let begun = line.iter().any(|(c, _)| *c != ' ');
        if begun && used + spaces + long > most {
            lines.push(std::mem::replace(&mut line, vec![(' ', Style::Plain); hang]));
            used = hang;
        } else {
            line.extend_from_slice(gap);
            used += spaces;
        }
        for piece in broken(word, most, used, hang) {
            if used + piece.iter().map(|(c, _)| columns(*c)).sum::<usize>() > most && line.iter().any(|(c, _)| *c != ' ') {
                lines.push(std::mem::replace(&mut line, vec![(' ', Style::Plain); hang]));
                used = hang;
            }
            used += piece.iter().map(|(c, _)| columns(*c)).sum::<usize>();
            line.extend_from_slice(piece);
        }
        rest = behind;
    }
    if line.iter().any(|(c, _)| *c != ' ') || lines.is_empty() {
        lines.push(line);
    }
    lines
}

/// A word whole, or in parts that fit: the first into what is left of its line, the others into lines of their own.
fn broken(word: &[Piece], most: usize, used: usize, hang: usize) -> Vec<&[Piece]> {
    let mut parts = vec![];
    let mut rest = word;
    let mut room = most.saturating_sub(used).max(1);
    while !rest.is_empty() {
        let mut taken = 0;
        let fitting = rest.iter().take_while(|(c, _)| fits(*c, &mut taken, room)).count();
        let mut cut = fitting;
        if fitting < rest.len() {
            let slash = rest.iter().take(fitting).rposition(|(c, _)| *c == '/').map_or(0, |at| at + 1);
            cut = if slash * 2 > fitting { slash } else { fitting };
        }
        let (part, behind) = rest.split_at(cut.max(1).min(rest.len()));
        parts.push(part);
        rest = behind;
        room = most.saturating_sub(hang).max(1);
    }
    parts
}
