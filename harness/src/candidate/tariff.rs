//! What a call costs, and how many are allowed: the documented figures of each vendor, beside what a trigger needs.

use serde::{Deserialize, Serialize};

use crate::cell::CandidateId;

/// A vendor's limits and prices for API calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Tariff {
    /// Calls that one container's identity may make in an hour, where that is documented.
    pub calls_per_hour: Option<f64>,
    /// US dollars for one call, where calls are charged for.
    pub usd_per_call: Option<f64>,
    /// The limit in words.
    pub limit: &'static str,
    /// Where that is written, and how sure it is.
    pub source: &'static str,
}

/// The tariff of a candidate.
pub const fn tariff(candidate: CandidateId) -> Tariff {
    match candidate {
        CandidateId::Vault => Tariff {
            calls_per_hour: None,
            usd_per_call: None,
            limit: "none but the operator's own quotas; every call is a line in the audit log",
            source: "openbao.org/docs/concepts/resource-quotas",
        },
        CandidateId::Doppler => Tariff {
            // The smallest plan's figure: a trigger that fits it fits them all.
            calls_per_hour: Some(120.0 * 60.0),
            usd_per_call: None,
            limit: "120, 240 or 480 reads a minute and token, by plan; no price per call",
            source: "docs.doppler.com/docs/platform-limits, figures by way of a second source: unverified",
        },
        CandidateId::Onepassword => Tariff {
            calls_per_hour: None,
            usd_per_call: None,
            limit: "none: a Connect server answers repeated requests from its own cache",
            source: "developer.1password.com/docs/connect",
        },
        CandidateId::Aws => Tariff {
            // An account's quota of DescribeSecret, which all its containers share.
            calls_per_hour: Some(40_000.0 * 3600.0),
            usd_per_call: Some(0.05 / 10_000.0),
            limit: "an account's DescribeSecret 40,000 and GetSecretValue 10,000 a second; 0.05 USD per 10,000 calls",
            source: "aws.amazon.com/about-aws/whats-new/2025/03, aws.amazon.com/secrets-manager/pricing",
        },
    }
}

/// The API calls that a trigger makes for one container.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// Per hour, while nothing rotates.
    pub per_hour: f64,
    /// For one rotation.
    pub per_rotation: u32,
}

impl Calls {
    /// The share of the allowed calls that the waiting alone takes, between 0 and 1 or more.
    pub fn share(self, tariff: Tariff) -> Option<f64> {
        tariff.calls_per_hour.map(|allowed| self.per_hour / allowed)
    }

    /// US dollars for a month of 730 hours of waiting.
    pub fn usd_per_month(self, tariff: Tariff) -> Option<f64> {
        tariff.usd_per_call.map(|price| self.per_hour * 730.0 * price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_poll_each_second_is_set_against_limit_and_price() {
        let calls = Calls { per_hour: 3600.0, per_rotation: 3 };
        assert_eq!(calls.share(tariff(CandidateId::Doppler)), Some(0.5));
        let month = calls.usd_per_month(tariff(CandidateId::Aws)).unwrap();
        assert!((month - 13.14).abs() < 0.01, "{month}");
        assert_eq!(calls.usd_per_month(tariff(CandidateId::Onepassword)), None);
    }
}
