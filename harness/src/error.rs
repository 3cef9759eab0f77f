//! The kinds of error that are not the suite's: what the user can mend, and what the surroundings do not have.

/// Input that cannot be used: where it stands, what is wrong with it, and what to do. Ends a command with exit code 2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}\n  remedy: {remedy}")]
pub struct BadInput {
    /// File and field, flag, or variable.
    pub place: String,
    /// What is wrong; never a secret.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

impl BadInput {
    /// Bad input at `place`.
    pub fn new(place: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { place: place.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

/// Something that a delivery takes is not there, and nobody promised that it would be: the cell is `not-run`, with this as
/// its reason. It has to be told before anything is tried, since what was tried has another verdict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Absent(pub String);
