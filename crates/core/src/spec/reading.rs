//! How the lines of a JSON lines corpus are read: which fields hold the text, and what becomes of a line that cannot be read.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The fields that hold a document's text, in the order in which they are joined. None where the format has no fields.
///
/// As JSON, one field is a string and several are a list, so that specs with one field keep their digests.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextFields(pub Vec<String>);

impl From<&str> for TextFields {
    fn from(field: &str) -> Self {
        Self(vec![field.to_owned()])
    }
}

impl Serialize for TextFields {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => s.serialize_str(""),
            [field] => s.serialize_str(field),
            fields => fields.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for TextFields {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMany {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match OneOrMany::deserialize(d)? {
            OneOrMany::One(field) if field.is_empty() => vec![],
            OneOrMany::One(field) => vec![field],
            OneOrMany::Many(fields) => fields,
        }))
    }
}

/// What becomes of a line that is no document: not JSON, not UTF-8, or without the field that holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "on", deny_unknown_fields)]
pub enum BadLines {
    /// The run fails and names the line.
    #[default]
    Fail,
    /// It is left out and logged; the run fails when a corpus has more than so many.
    Skip { at_most: u64 },
}

impl BadLines {
    /// How many a run bears when the file does not say.
    pub const AT_MOST: u64 = 1000;

    /// The spec's JSON leaves the default out, so that it keeps its digest.
    pub(super) fn fails(&self) -> bool {
        *self == Self::Fail
    }

    /// How many lines a corpus may lose.
    pub fn at_most(self) -> u64 {
        match self {
            Self::Fail => 0,
            Self::Skip { at_most } => at_most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_field_is_written_as_a_string_and_several_as_a_list() {
        for (fields, json) in [(&[][..], r#""""#), (&["text"], r#""text""#), (&["title", "meta.text"], r#"["title","meta.text"]"#)] {
            let fields = TextFields(fields.iter().map(|field| (*field).to_owned()).collect());
            assert_eq!(serde_json::to_string(&fields).unwrap(), json);
            assert_eq!(serde_json::from_str::<TextFields>(json).unwrap(), fields);
        }
    }
}
