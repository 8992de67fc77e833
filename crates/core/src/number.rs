//! Numbers in JSON that may be none: JSON has no NaN and no infinity, so those are written as words.

use serde::{Deserialize, Deserializer, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Word(String),
}

pub fn serialize<S: Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { s.serialize_f64(*value) } else { s.collect_str(value) }
}

pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    match Written::deserialize(d)? {
        Written::Number(value) => Ok(value),
        Written::Word(word) => word.parse().map_err(|_| serde::de::Error::custom(format!("{word:?} is no number"))),
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    struct One(#[serde(with = "super")] f64);

    #[test]
    fn every_number_comes_back_as_it_was() {
        for value in [0.1 + 0.2, -0.0, 3.0, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let text = serde_json::to_string(&One(value)).unwrap();
            let One(read) = serde_json::from_str(&text).unwrap();
            assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()), "{value} as {text}");
        }
        assert!(serde_json::from_str::<One>("\"many\"").is_err());
    }
}
