//! Verdicts, grades and the two kinds of time limit.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How a cell ended. The order is the lattice: a verdict is only ever raised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nobody held the check.
    #[default]
    NotRun,
    /// A declared capability gap, with its source.
    NotSupported,
    /// The assertion holds.
    Pass,
    /// The candidate broke the assertion.
    Fail,
    /// The suite or its surroundings broke; never the candidate's failure.
    Error,
}

impl Verdict {
    /// Raises this verdict to `other` where that is higher; a verdict never falls.
    #[must_use]
    pub fn raise(self, other: Self) -> Self {
        self.max(other)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotRun => "not-run",
            Self::NotSupported => "not-supported",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Error => "error",
        })
    }
}

/// How strong the evidence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// A wire-compatible server of our own: shows that the suite works, never that a candidate passes.
    StandIn,
    /// The real server, started by the harness or by the operator.
    SelfHosted,
    /// The vendor's service, or staging.
    Live,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::StandIn => "stand-in",
            Self::SelfHosted => "self-hosted",
            Self::Live => "live",
        })
    }
}

/// The claim being judged: a rotation reaches the running container within this time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sla(pub Duration);

/// How long the suite looks before it gives up: longer than the SLA, so that a late arrival is measured, not guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Patience(pub Duration);

/// What a judgement says of a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// One sentence: why.
    pub reason: String,
}

impl Judgement {
    /// Nobody could hold the check, by `reason`.
    pub fn not_run(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotRun, reason: reason.into() }
    }

    /// The assertion holds, because of `reason`.
    pub fn pass(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Pass, reason: reason.into() }
    }

    /// The candidate broke the assertion, by `reason`.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, reason: reason.into() }
    }

    /// A declared gap, with its source.
    pub fn not_supported(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotSupported, reason: reason.into() }
    }

    /// The suite or its surroundings broke.
    pub fn error(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Error, reason: reason.into() }
    }

    /// Passes when nothing is wrong, else fails with everything that is.
    pub fn from_faults(faults: &[String], holds: impl FnOnce() -> String) -> Self {
        if faults.is_empty() { Self::pass(holds()) } else { Self::fail(faults.join("; ")) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_verdict() -> impl Strategy<Value = Verdict> {
        prop::sample::select(vec![Verdict::NotRun, Verdict::NotSupported, Verdict::Pass, Verdict::Fail, Verdict::Error])
    }

    proptest! {
        #[test]
        fn a_verdict_is_only_ever_raised(a in any_verdict(), b in any_verdict()) {
            prop_assert!(a.raise(b) >= a);
            prop_assert_eq!(a.raise(b), b.raise(a));
        }
    }

    #[test]
    fn the_lattice_is_in_the_agreed_order() {
        assert!(Verdict::NotRun < Verdict::NotSupported);
        assert!(Verdict::NotSupported < Verdict::Pass);
        assert!(Verdict::Pass < Verdict::Fail);
        assert!(Verdict::Fail < Verdict::Error);
    }
}
