//! Which lines of a log are new when it is read again after a disconnect.

use jiff::{Timestamp, Unit};

/// How far a log was read. The API server can be asked for lines since a whole second only, so what was read already comes
/// again and is passed over: by its time, and lines of the same time by their count.
#[derive(Debug, Default)]
pub(super) struct Resume {
    last: Option<Timestamp>,
    at_last: usize,
    again: Option<usize>,
}

impl Resume {
    /// Since when to ask: no later than the last line.
    pub(super) fn since(&self) -> Option<Timestamp> {
        let floor = jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor);
        self.last.and_then(|last| last.round(floor).ok())
    }

    /// From here on lines come again.
    pub(super) fn reconnected(&mut self) {
        self.again = self.last.is_some().then_some(0);
    }

    /// Takes the next line's time, and says whether the line is new.
    pub(super) fn is_new(&mut self, at: Timestamp) -> bool {
        if let (Some(again), Some(last)) = (&mut self.again, self.last) {
            if at < last {
                return false;
            }
            if at == last && *again < self.at_last {
                *again += 1;
                return false;
            }
            self.again = None;
        }
        if self.last == Some(at) {
            self.at_last += 1;
        } else {
            (self.last, self.at_last) = (Some(at), 1);
        }
        true
    }
}

/// The time at the front of a line, and the rest of it.
pub(super) fn stamped(line: &str) -> Option<(Timestamp, &str)> {
    let (stamp, text) = line.split_once(' ').unwrap_or((line, ""));
    Some((stamp.parse().ok()?, text))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(tenths: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + tenths * 100).unwrap()
    }

    /// What a reader takes of a log that is cut off at these places: the API server sends all lines since the second asked for.
    fn read(log: &[i64], cuts: &[usize]) -> Vec<usize> {
        let (mut resume, mut taken) = (Resume::default(), Vec::new());
        for cut in cuts.iter().chain([&log.len()]) {
            let since = resume.since();
            resume.reconnected();
            for (index, time) in log.iter().enumerate().take(*cut) {
                if since.is_none_or(|since| at(*time) >= since) && resume.is_new(at(*time)) {
                    taken.push(index);
                }
            }
        }
        taken
    }

    #[test]
    fn lines_of_the_same_time_are_told_apart_by_their_count() {
        assert_eq!(read(&[1, 1, 1, 2], &[2, 3]), [0, 1, 2, 3]);
    }

    #[test]
    fn the_time_asked_for_is_a_whole_second_and_never_too_late() {
        let mut resume = Resume::default();
        assert!(resume.is_new(at(19)));
        assert_eq!(resume.since(), Some(at(10)));
    }

    #[test]
    fn a_clock_that_was_set_back_loses_no_line_of_a_connection_that_lasts() {
        let mut resume = Resume::default();
        assert!([5, 3, 4].into_iter().all(|time| resume.is_new(at(time))));
    }

    #[test]
    fn a_stamped_line_comes_apart() {
        let (stamp, text) = stamped("2026-11-24T02:00:00.123456789Z {\"a\": 1}").unwrap();
        assert_eq!(stamp.subsec_nanosecond(), 123_456_789);
        assert_eq!(text, "{\"a\": 1}");
        assert_eq!(stamped("2026-11-24T02:00:00Z").map(|(_, text)| text), Some(""));
        assert!(stamped("no time").is_none());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_comes_twice(
            steps in prop::collection::vec(0_i64..8, 1..40),
            mut cuts in prop::collection::vec(0_usize..40, 0..6),
        ) {
            let log: Vec<_> = steps.iter().scan(0, |time, step| { *time += step; Some(*time) }).collect();
            cuts.iter_mut().for_each(|cut| *cut = (*cut).min(log.len()));
            cuts.sort_unstable();
            prop_assert_eq!(read(&log, &cuts), (0..log.len()).collect::<Vec<_>>());
        }
    }
}
