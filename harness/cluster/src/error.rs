//! What the user can mend: each with its place, its problem and a remedy.

/// Something that a cluster needs and this machine or the caller did not give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}\n  remedy: {remedy}")]
pub struct Unusable {
    /// File, program, flag or user.
    pub place: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl Unusable {
    pub(crate) fn new(place: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into(), remedy: remedy.into() }
    }
}
