//! Documents of ours as JSON: the one place where they are written.
//!
//! Writing one cannot fail: keys are strings, and the types hold nothing that JSON refuses. Should a type ever break that, its writer must
//! stop where it stands. An empty object under the name of a record's newest version would be durable, and read as if it were true.

use serde::Serialize;
use serde_json::Value;

/// # Panics
/// If the document's own `Serialize` fails.
#[expect(clippy::expect_used, reason = "see the head of this file")]
pub fn bytes(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect(WRITES)
}

/// As [`bytes`].
#[expect(clippy::expect_used, reason = "see the head of this file")]
pub fn text(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect(WRITES)
}

/// As [`bytes`], for people.
#[expect(clippy::expect_used, reason = "see the head of this file")]
pub fn pretty(document: &impl Serialize) -> String {
    serde_json::to_string_pretty(document).expect(WRITES)
}

/// As [`bytes`].
#[expect(clippy::expect_used, reason = "see the head of this file")]
pub fn value(document: &impl Serialize) -> Value {
    serde_json::to_value(document).expect(WRITES)
}

const WRITES: &str = "a document of ours is JSON";

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Serializer;
    use serde::ser::Error;

    struct Broken;

    impl Serialize for Broken {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("broken"))
        }
    }

    #[test]
    #[should_panic = "a document of ours is JSON"]
    fn what_cannot_be_written_stops_its_writer_and_never_becomes_an_empty_object() {
        bytes(&Broken);
    }
}
