//! Contracts: the same calls on a stand-in and on a target, and endpoint by endpoint what differs.
//!
//! A stand-in is written from documents. The day that somebody has an account, this shows where the documents, or we, were
//! wrong: statuses, members and types are compared, values never.

mod aws;
mod doppler;
mod onepassword;
mod shape;
mod wire;

use anyhow::{Context, Result};
use serde::Serialize;

pub use self::shape::Shape;
use self::wire::Wire;
use crate::cell::CandidateId;
use crate::random;
use crate::run::Owner;
use crate::target::Targets;

/// The candidates that have a contract. OpenBao needs none: the real server is what the suite runs against.
pub const CANDIDATES: [CandidateId; 3] = [CandidateId::Doppler, CandidateId::Onepassword, CandidateId::Aws];

/// What everything is named after that a contract makes on a target.
pub const SCOPE: &str = "conformance-contract-";

/// One call and its answer, without a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// Method and path, parameters left out.
    pub endpoint: String,
    /// What the call tried.
    pub case: &'static str,
    /// The status that the documents lead to expect.
    pub expected: u16,
    /// The status of the answer.
    pub status: u16,
    /// The name of its error, where the vendor has names for them.
    pub error: Option<String>,
    /// The shape of its body.
    pub body: Shape,
    /// Which of the headers that a driver needs were there.
    pub headers: Vec<&'static str>,
}

/// What is not as expected at one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The endpoint.
    pub endpoint: String,
    /// What the call tried.
    pub case: &'static str,
    /// What differs, a line each.
    pub lines: Vec<String>,
}

/// A contract that was gone through.
#[derive(Debug, Serialize)]
pub struct Contract {
    /// Whose.
    pub candidate: CandidateId,
    /// Every exchange with the target, or with the stand-in where there is no target.
    pub exchanges: Vec<Exchange>,
    /// What differs from the stand-in; without a target, from the documented statuses.
    pub differences: Vec<Difference>,
    /// Why it could not be gone through to its end.
    pub broken: Option<String>,
}

/// Goes through a candidate's contract with a stand-in, and with the target where `targets` name one.
///
/// # Errors
/// The stand-in does not start or breaks off, somebody interrupts, or a credential cannot be found.
pub async fn hold(candidate: CandidateId, targets: &Targets, owner: Owner) -> Result<Contract> {
    let (standin, ended) = exchanges(candidate, &Targets::default(), owner).await?;
    ended.context("failed to go through the contract with the stand-in")?;
    if !targets.named().contains(&candidate) {
        let differences = statuses(&standin);
        return Ok(Contract { candidate, exchanges: standin, differences, broken: None });
    }
    let (exchanges, ended) = exchanges(candidate, targets, owner).await?;
    let differences = compare(&standin, &exchanges);
    Ok(Contract { candidate, exchanges, differences, broken: ended.err().map(|error| format!("{error:#}")) })
}

/// All exchanges, and how it ended: what came before a call that could not be made is kept.
async fn exchanges(candidate: CandidateId, targets: &Targets, owner: Owner) -> Result<(Vec<Exchange>, Result<()>)> {
    let scope = format!("{SCOPE}{}", random::hex(4)?);
    let mut wire = Wire::default();
    let ended = match candidate {
        CandidateId::Doppler => doppler::script(&mut wire, targets, &scope, owner).await,
        CandidateId::Onepassword => onepassword::script(&mut wire, targets, &scope, owner).await,
        CandidateId::Aws => aws::script(&mut wire, targets, &scope, owner).await,
        CandidateId::Vault => {
            anyhow::bail!("failed to find the contract: OpenBao itself is what the suite runs against")
        }
    };
    Ok((wire.exchanges, ended))
}

/// Where an answer's status is not the documented one.
fn statuses(exchanges: &[Exchange]) -> Vec<Difference> {
    let other = exchanges.iter().filter(|exchange| exchange.status != exchange.expected);
    let differences = other.map(|exchange| Difference {
        endpoint: exchange.endpoint.clone(),
        case: exchange.case,
        lines: vec![format!("status: expected {}, found {}", exchange.expected, exchange.status)],
    });
    differences.collect()
}

/// Where the second answers are not like the first.
fn compare(standin: &[Exchange], target: &[Exchange]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for one in standin {
        let mut lines = Vec::new();
        match target.iter().find(|other| other.endpoint == one.endpoint && other.case == one.case) {
            None => lines.push("not tried: the contract ended before".to_owned()),
            Some(other) => {
                if one.status != other.status {
                    lines.push(format!("status: expected {}, found {}", one.status, other.status));
                }
                if one.error != other.error {
                    let name = |error: &Option<String>| error.clone().unwrap_or_else(|| "none".to_owned());
                    lines.push(format!("error: expected {}, found {}", name(&one.error), name(&other.error)));
                }
                for header in one.headers.iter().filter(|header| !other.headers.contains(header)) {
                    lines.push(format!("header {header}: missing"));
                }
                Shape::differences(&one.body, &other.body, "body", &mut lines);
            }
        }
        if !lines.is_empty() {
            differences.push(Difference { endpoint: one.endpoint.clone(), case: one.case, lines });
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    fn exchange(status: u16, body: &Value, headers: &[&'static str]) -> Exchange {
        Exchange {
            endpoint: "GET /v3/me".into(),
            case: "asks",
            expected: 200,
            status,
            error: body["code"].as_str().map(str::to_owned),
            body: Shape::of(body),
            headers: headers.to_vec(),
        }
    }

    #[rstest]
    #[case::alike(&[exchange(200, &json!({ "a": "y" }), &["etag"])], &[])]
    #[case::status(&[exchange(403, &json!({ "a": "y" }), &["etag"])], &["status: expected 200, found 403"])]
    #[case::header(&[exchange(200, &json!({ "a": "y" }), &[])], &["header etag: missing"])]
    #[case::body(&[exchange(200, &json!({}), &["etag"])], &["body.a: missing, expected a string"])]
    #[case::error(&[exchange(200, &json!({ "a": "y", "code": "Other" }), &["etag"])], &["error: expected none, found Other", "body.code: not expected, found a string"])]
    #[case::not_tried(&[], &["not tried: the contract ended before"])]
    fn every_difference_is_told(#[case] target: &[Exchange], #[case] expected: &[&str]) {
        let standin = [exchange(200, &json!({ "a": "x" }), &["etag"])];
        let lines: Vec<_> = compare(&standin, target).into_iter().flat_map(|difference| difference.lines).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_stand_in_is_held_to_the_documented_statuses() {
        let told = statuses(&[exchange(200, &json!({}), &[]), exchange(404, &json!({}), &[])]);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].lines, ["status: expected 200, found 404"]);
    }
}
