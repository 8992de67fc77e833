//! The elements that change how a text reads: superscript, subscript and MathML's.

use quick_xml::XmlVersion;
use quick_xml::events::BytesStart;

#[derive(Debug, Clone, PartialEq)]
pub(in crate::pubmed) enum Shape {
    /// Dissolves: italics, bold, anything unknown.
    Plain,
    Superscript,
    Subscript,
    /// A formula on a line of its own.
    Display,
    /// One argument made of several parts: `math`, `mrow`, `mstyle` and what is unknown within a formula.
    Row,
    /// A symbol, number or operator: `mi`, `mn`, `mo`.
    Token,
    /// Words in a formula; their white space counts.
    Words,
    Space,
    /// `line` is false for a binomial coefficient.
    Fraction {
        line: bool,
    },
    Root,
    /// A root with an index.
    NthRoot,
    Sup,
    Sub,
    SubSup,
    Under,
    Over,
    UnderOver,
    Fenced {
        open: String,
        close: String,
        separator: String,
    },
    Multiscripts,
    Prescripts,
    Table,
    TableRow,
    /// Not shown, or the same again in another notation.
    Hidden,
}

impl Shape {
    pub(in crate::pubmed) fn of(start: &BytesStart) -> Self {
        match start.local_name().as_ref() {
            "sup" => Self::Superscript,
            "sub" => Self::Subscript,
            "DispFormula" => Self::Display,
            "math" | "mrow" | "none" | "mtd" => Self::Row,
            "mi" | "mn" | "mo" => Self::Token,
            "mtext" | "ms" => Self::Words,
            "mspace" => Self::Space,
            "mfrac" => Self::Fraction { line: !attribute(start, "linethickness").is_some_and(|t| t.starts_with('0')) },
            "msqrt" => Self::Root,
            "mroot" => Self::NthRoot,
            "msup" => Self::Sup,
            "msub" => Self::Sub,
            "msubsup" => Self::SubSup,
            "munder" => Self::Under,
            "mover" => Self::Over,
            "munderover" => Self::UnderOver,
            "mfenced" => Self::fenced(start),
            "mmultiscripts" => Self::Multiscripts,
            "mprescripts" => Self::Prescripts,
            "mtable" => Self::Table,
            "mtr" | "mlabeledtr" => Self::TableRow,
            "annotation" | "annotation-xml" | "mphantom" => Self::Hidden,
            _ => Self::Plain,
        }
    }

    fn fenced(start: &BytesStart) -> Self {
        let or = |name, default: &str| attribute(start, name).unwrap_or_else(|| default.to_owned());
        // The first separator serves for all; MathML lets each gap have its own.
        let separator = or("separators", ",").trim().chars().take(1).collect();
        Self::Fenced { open: or("open", "("), close: or("close", ")"), separator }
    }

    pub(super) fn is_math(&self) -> bool {
        !matches!(self, Self::Plain | Self::Superscript | Self::Subscript | Self::Display)
    }
}

/// A damaged attribute counts as absent: it only chooses between brackets.
fn attribute(start: &BytesStart, name: &str) -> Option<String> {
    let found = start.attributes().flatten().find(|a| a.key.as_ref() == name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}
