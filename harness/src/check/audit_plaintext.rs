//! `audit.no-plaintext`.

use anyhow::Result;
use async_trait::async_trait;
use secrecy::ExposeSecret;

use super::{About, Check, Question, Spread};
use crate::candidate::Capability;
use crate::candidate::PROBED_NAME;
use crate::cell::DeliveryId;
use crate::redact::leaks;
use crate::verdict::Judgement;
use crate::way::{HOME, Way, probed_names};

/// The log itself is no leak. A log that is by design a history of values, open to those alone who may read them anyway, is a
/// declared gap and no leak: the candidate then never passes, and does not fail for what its vendor documents.
pub(super) struct NoPlaintext;

const ABOUT: About = About {
    id: "audit.no-plaintext",
    sentence: "No value stands in the audit log, in any encoding, after it was written, rotated and read",
    answers: &[Question::Audit],
    spread: Spread::Only(DeliveryId::Reload),
    needs: &[Capability::AuditWrites, Capability::AuditConceals],
};

#[async_trait(?Send)]
impl Check for NoPlaintext {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let first = way.fresh_values()?;
        way.provision(&first).await?;
        let app = way.deploy(&probed_names()).await?;
        way.observe(app, &first).await?;
        let rotated = way.fresh_values()?;
        let rotation = way.rotate(app, &rotated).await?;
        // The log must be shown to be the one that recorded all this before its silence means anything.
        let trace = way.trace(&rotation.written, &rotated[PROBED_NAME]).await?;
        let recorded = way.audit_until(|entries| entries.iter().any(|entry| trace.is_left_by(entry))).await?;
        let recorded = recorded.iter().any(|entry| trace.is_left_by(entry));
        let log = way.audit_raw().await?;
        let values = [&first, &rotated].map(|values| values[PROBED_NAME].expose_secret().to_owned());
        let found = values.iter().filter(|value| leaks(value, &log)).count();
        way.record.notes.push(format!("searched {} bytes of the audit log of {HOME}", log.len()));
        Ok(judge(rotation.seen.is_some() && recorded, log.len(), found))
    }
}

fn judge(recorded: bool, searched: usize, found: usize) -> Judgement {
    let mut faults = Vec::new();
    if !recorded || searched == 0 {
        faults.push("the log does not show what was done, so its silence proves nothing".to_owned());
    }
    if found > 0 {
        faults.push(format!("{found} values stand in the log in plain text or in an encoding of it"));
    }
    Judgement::from_faults(&faults, || format!("{searched} bytes of log hold no value"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case(true, 100, 0, Verdict::Pass)]
    #[case(true, 100, 1, Verdict::Fail)]
    #[case(false, 100, 0, Verdict::Fail)]
    #[case(true, 0, 0, Verdict::Fail)]
    fn silence_counts_only_in_the_right_log(
        #[case] recorded: bool,
        #[case] searched: usize,
        #[case] found: usize,
        #[case] verdict: Verdict,
    ) {
        assert_eq!(judge(recorded, searched, found).verdict, verdict);
    }
}
