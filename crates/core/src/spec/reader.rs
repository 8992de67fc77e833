//! Being written.
/// One thing that is wrong with a run file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem { pub place: String, pub message: String }
pub type Problems = Vec<Problem>;
