//! Being written.
pub struct Override;
pub fn parse() {}
