//! `conformance contract`.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{EXIT_ERROR, EXIT_FAILED, EXIT_PASSED};
use crate::cell::CandidateId;
use crate::contract::{CANDIDATES, Contract, hold};
use crate::error::BadInput;
use crate::preflight::preflight;
use crate::run::Owner;
use crate::target::Targets;

#[derive(clap::Args)]
#[command(
    after_help = "Every call is made on a stand-in first. With a target it is made there too, and what differs is \
                        printed: statuses, members and types, never a value. Everything made on the target begins with \
                        `conformance-contract-` and is removed at the end, also after Ctrl-C; what a killed one left: \
                        cargo conformance reap contract --target FILE.\n\n\
                        Exit codes: 0 nothing differs; 1 something does; 2 bad input; 3 the contract could not be gone through."
)]
pub(super) struct Args {
    /// Compare with the services that this file names; without it the stand-ins are held to the documented statuses
    #[arg(long, value_name = "FILE")]
    target: Option<PathBuf>,
    /// Only this candidate (repeatable)
    #[arg(long = "candidate", value_name = "NAME")]
    candidates: Vec<CandidateId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn contract(args: &Args) -> Result<u8> {
    let targets = match &args.target {
        None => Targets::default(),
        Some(file) => {
            let targets = Targets::read(file)?;
            preflight(file, &targets).await?;
            targets
        }
    };
    let named = targets.named();
    let wanted = |candidate: &CandidateId| {
        (args.candidates.is_empty() || args.candidates.contains(candidate))
            && (args.target.is_none() || named.contains(candidate))
    };
    let candidates: Vec<_> = CANDIDATES.into_iter().filter(wanted).collect();
    if candidates.is_empty() {
        return Err(BadInput::new(
            "the selection",
            "no candidate with a contract is left",
            "choose among doppler, onepassword and aws, and give the target file a section for it; `vault` needs no \
             contract: the suite runs against OpenBao itself",
        )
        .into());
    }
    let mut contracts = Vec::new();
    for candidate in candidates {
        anstream::eprintln!("{candidate}: going through the contract");
        let contract = hold(candidate, &targets, Owner::of(std::process::id())).await;
        contracts.push(contract.with_context(|| format!("failed to go through the contract of {candidate}"))?);
    }
    if args.json {
        anstream::println!("{}", serde_json::to_string_pretty(&contracts)?);
    } else {
        for contract in &contracts {
            anstream::print!("{}", in_words(contract, named.contains(&contract.candidate)));
        }
    }
    let broken = contracts.iter().any(|contract| contract.broken.is_some());
    let differs = contracts.iter().any(|contract| !contract.differences.is_empty());
    Ok(match (broken, differs) {
        (true, _) => EXIT_ERROR,
        (_, true) => EXIT_FAILED,
        _ => EXIT_PASSED,
    })
}

/// The contract, endpoint by endpoint.
fn in_words(contract: &Contract, on_target: bool) -> String {
    let Contract { candidate, exchanges, differences, broken } = contract;
    let (compared, with) = match on_target {
        true => ("target", "the stand-in"),
        false => ("stand-in", "the documented statuses"),
    };
    let mut words = String::new();
    for exchange in exchanges {
        let differs = differences.iter().find(|d| d.endpoint == exchange.endpoint && d.case == exchange.case);
        let mark = if differs.is_some() { "differs" } else { "alike" };
        words += &format!("{mark:<8} {}: {} ({})\n", exchange.endpoint, exchange.case, exchange.status);
        for line in differs.iter().flat_map(|differs| &differs.lines) {
            words += &format!("           {line}\n");
        }
    }
    let untried =
        differences.iter().filter(|d| !exchanges.iter().any(|e| e.endpoint == d.endpoint && e.case == d.case));
    for difference in untried {
        words += &format!("differs  {}: {}: {}\n", difference.endpoint, difference.case, difference.lines.join("; "));
    }
    if let Some(broken) = broken {
        words += &format!("error    {broken}\n");
    }
    let (all, other) = (exchanges.len(), differences.len());
    words + &format!("{candidate}: {all} exchanges with the {compared}, {other} not like {with}\n")
}
