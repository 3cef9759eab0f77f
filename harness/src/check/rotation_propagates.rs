//! `rotation.propagates`.

use anyhow::Result;
use async_trait::async_trait;

use super::{About, Check, Question, Spread};
use crate::evidence::{Sample, Summary, millis};
use crate::verdict::{Judgement, Sla};
use crate::way::Way;

/// Every rotation arrives within the SLA.
pub(super) struct Propagates;

/// Enough to see an interval at its worst phase now and then.
const ROTATIONS: usize = 10;

const ABOUT: About = About {
    id: "rotation.propagates",
    sentence: "Each of ten rotations reaches the running container within the SLA",
    answers: &[Question::Rotation, Question::Latency],
    spread: Spread::Rotating,
    needs: &[],
};

#[async_trait(?Send)]
impl Check for Propagates {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    async fn drive(&self, way: &mut Way) -> Result<Judgement> {
        let (app, seen) = way.hello().await?;
        if seen.is_none() {
            return Ok(Judgement::fail("the first value never arrived, so no rotation could"));
        }
        for _ in 0..ROTATIONS {
            let values = way.fresh_values()?;
            if way.rotate(app, &values).await?.seen.is_none() {
                break;
            }
        }
        Ok(judge(way.sla, ROTATIONS, &way.record.samples))
    }
}

fn judge(sla: Sla, wanted: usize, samples: &[Sample]) -> Judgement {
    let sla_ms = millis(sla.0);
    let mut faults = Vec::new();
    for sample in samples {
        match sample.observed_ms {
            None => faults.push(format!("version {} never arrived", sample.version)),
            Some(ms) if ms > sla_ms => faults.push(format!("version {} took {ms} ms", sample.version)),
            Some(_) => {}
        }
    }
    if samples.len() < wanted && faults.is_empty() {
        faults.push(format!("only {} of {wanted} rotations were made", samples.len()));
    }
    Judgement::from_faults(&faults, || {
        let summary = Summary::of(samples.iter().filter_map(|sample| sample.observed_ms));
        let figures =
            summary.map_or_else(String::new, |s| format!("median {:.1} ms, longest {:.1} ms", s.median_ms, s.max_ms));
        format!("{wanted} rotations arrived within {sla_ms} ms: {figures}")
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rstest::rstest;

    use super::*;
    use crate::verdict::Verdict;

    #[rstest]
    #[case::in_time(&[Some(5.0), Some(100.0)], Verdict::Pass)]
    #[case::to_the_millisecond(&[Some(100.0), Some(100.0)], Verdict::Pass)]
    #[case::one_late(&[Some(5.0), Some(100.001)], Verdict::Fail)]
    #[case::one_lost(&[Some(5.0), None], Verdict::Fail)]
    #[case::one_too_few(&[Some(5.0)], Verdict::Fail)]
    #[case::none(&[], Verdict::Fail)]
    fn every_sample_counts(#[case] observed: &[Option<f64>], #[case] verdict: Verdict) {
        let samples: Vec<_> = observed
            .iter()
            .zip(2..)
            .map(|(observed_ms, version)| Sample { version, acknowledged_ms: 1.0, observed_ms: *observed_ms })
            .collect();
        assert_eq!(judge(Sla(Duration::from_millis(100)), 2, &samples).verdict, verdict);
    }
}
