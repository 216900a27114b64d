//! Pure: what was published and what subscribers saw of it, and what is to be made of that. Times are milliseconds since the
//! traffic began.

use std::collections::BTreeMap;

/// What became of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Publications that were acknowledged.
    pub acknowledged: u64,
    /// Publications that were refused, so that nobody knows whether they were delivered, with the reasons.
    pub refused: BTreeMap<String, u64>,
    /// Publications whose connection ended before the answer came, so that nobody knows either.
    pub cut_off: u64,
    /// Deliveries to subscribers.
    pub delivered: u64,
    /// Acknowledged publications that a subscriber did not get, and was not told so.
    pub lost: u64,
    /// The first and the last number of them, by the channel and the subscriber, in the order of their beginning.
    pub lost_where: BTreeMap<(String, usize), (u64, u64)>,
    /// Those of them that went to channels without history, where nobody is ever told: when each was published, and where.
    pub lost_plain: Vec<(u64, String)>,
    /// Acknowledged publications that a subscriber did not get, and was told after they were published that it lost something.
    pub lost_and_told: u64,
    /// Publications that a subscriber got twice.
    pub doubled: u64,
    /// Publications that came behind a later one.
    pub out_of_order: u64,
    /// Subscriptions that ended or began anew without having recovered everything.
    pub told: u64,
    /// The longest time from one delivery to the next in a channel, as a subscriber saw it: how long the flow stood still.
    pub longest_pause_ms: u64,
}

impl Outcome {
    /// Of those lost, the ones in channels with history: there nothing may be missing without a word.
    #[must_use]
    pub fn lost_kept(&self) -> u64 {
        self.lost - self.lost_plain.len() as u64
    }
}

/// How it flows, channel by channel.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// The longest that a subscriber waited for the next delivery, the wait under way included.
    pub pauses_ms: BTreeMap<String, u64>,
    /// The fewest publications that came to a subscriber since then.
    pub fewest: BTreeMap<String, u64>,
    /// How many subscribers were told that they lost something; channels where nobody was are left out.
    pub told: BTreeMap<String, u64>,
    /// The longest that a publication waited for its answer, whatever that was.
    pub slowest_answer_ms: u64,
    /// Publications that were refused, or cut off.
    pub refused: u64,
    /// When the last publication was answered, in milliseconds since the traffic began: whether it is the publisher who stands.
    pub answered_ms: BTreeMap<String, u64>,
}

/// What was answered to publishers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// By channel: the numbers in order, each with the time when it was sent.
    pub(super) acknowledged: BTreeMap<String, Vec<(u64, u64)>>,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) cut_off: u64,
    pub(super) slowest_answer_ms: u64,
    /// The last one, by channel.
    pub(super) answered_ms: BTreeMap<String, u64>,
}

/// What one subscriber's connection saw, by channel.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) channels: BTreeMap<String, SeenChannel>,
}

#[derive(Debug, Default)]
pub(super) struct SeenChannel {
    /// Numbers, with the time when each came.
    pub(super) deliveries: Vec<(u64, u64)>,
    /// Before which of them something may be missing, as the subscriber was told, and when.
    pub(super) gaps: Vec<(usize, u64)>,
    /// Where the stream was left, for recovery. The epoch is empty where there is no history.
    pub(super) place: (u64, String),
}

impl SeenChannel {
    /// The longest wait for a delivery that came after `since_ms`, or is still to come.
    fn pause_ms(&self, since_ms: u64, until_ms: Option<u64>) -> u64 {
        let times = self.deliveries.iter().map(|(_, at_ms)| *at_ms).chain(until_ms);
        let pairs = times.clone().zip(times.skip(1)).filter(|(_, later)| *later > since_ms);
        pairs.map(|(earlier, later)| later.saturating_sub(earlier)).max().unwrap_or(0)
    }
}

pub(super) fn flow<'a>(ledger: &Ledger, all: impl Iterator<Item = &'a Seen>, since_ms: u64, now_ms: u64) -> Flow {
    let mut flow = Flow {
        slowest_answer_ms: ledger.slowest_answer_ms,
        refused: ledger.refused.values().sum::<u64>() + ledger.cut_off,
        answered_ms: ledger.answered_ms.clone(),
        ..Flow::default()
    };
    for (channel, seen) in all.flat_map(|seen| &seen.channels) {
        let pause_ms = flow.pauses_ms.entry(channel.clone()).or_default();
        *pause_ms = seen.pause_ms(since_ms, Some(now_ms)).max(*pause_ms);
        let came = seen.deliveries.iter().rev().take_while(|(_, at_ms)| *at_ms > since_ms).count() as u64;
        let fewest = flow.fewest.entry(channel.clone()).or_insert(came);
        *fewest = came.min(*fewest);
        if !seen.gaps.is_empty() {
            *flow.told.entry(channel.clone()).or_default() += 1;
        }
    }
    flow
}

pub(super) fn outcome<'a>(ledger: &Ledger, all: impl Iterator<Item = &'a Seen>) -> Outcome {
    let mut outcome = Outcome {
        acknowledged: ledger.acknowledged.values().map(|numbers| numbers.len() as u64).sum(),
        refused: ledger.refused.clone(),
        cut_off: ledger.cut_off,
        ..Outcome::default()
    };
    let all = all.enumerate().flat_map(|(at, seen)| seen.channels.iter().map(move |(channel, seen)| (at, channel, seen)));
    for (subscriber, channel, seen) in all {
        let numbers: Vec<u64> = seen.deliveries.iter().map(|(number, _)| *number).collect();
        outcome.told += seen.gaps.len() as u64;
        outcome.longest_pause_ms = outcome.longest_pause_ms.max(seen.pause_ms(0, None));
        outcome.delivered += numbers.len() as u64;
        outcome.out_of_order += numbers.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        sorted.dedup();
        outcome.doubled += (numbers.len() - sorted.len()) as u64;
        let acknowledged = ledger.acknowledged.get(channel).map(Vec::as_slice).unwrap_or_default();
        for (number, sent_ms) in acknowledged.iter().filter(|(number, _)| sorted.binary_search(number).is_err()) {
            // A gap stands where the next number that was seen comes after it, and speaks of what was sent before it.
            let at = numbers.iter().position(|seen| seen > number).unwrap_or(numbers.len());
            if seen.gaps.iter().any(|(index, told_ms)| *index == at && sent_ms <= told_ms) {
                outcome.lost_and_told += 1;
                continue;
            }
            outcome.lost += 1;
            outcome.lost_where.entry((channel.clone(), subscriber)).or_insert((*number, *number)).1 = *number;
            if seen.place.1.is_empty() {
                outcome.lost_plain.push((*sent_ms, channel.clone()));
            }
        }
    }
    outcome.lost_plain.sort_unstable();
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(acknowledged: &[(u64, u64)], seen: SeenChannel) -> Outcome {
        let ledger = Ledger { acknowledged: [("c".to_owned(), acknowledged.to_vec())].into(), ..Ledger::default() };
        outcome(&ledger, [Seen { channels: [("c".to_owned(), seen)].into() }].iter())
    }

    fn kept(numbers: &[u64], gaps: &[(usize, u64)]) -> SeenChannel {
        let deliveries = numbers.iter().map(|number| (*number, number * 10)).collect();
        SeenChannel { deliveries, gaps: gaps.to_vec(), place: (0, "e".to_owned()) }
    }

    #[test]
    fn what_is_missing_where_the_subscriber_was_told_is_told_and_what_is_missing_elsewhere_or_was_sent_later_is_lost() {
        let sent = [1, 2, 3, 4, 5, 6].map(|number| (number, number * 10));
        let told = judge(&sent, kept(&[1, 2, 5, 6], &[(2, 45)]));
        assert_eq!((told.lost, told.lost_and_told, told.told), (0, 2, 1));
        let elsewhere = judge(&sent, kept(&[1, 2, 5, 6], &[(1, 45)]));
        assert_eq!((elsewhere.lost, elsewhere.lost_where), (2, [(("c".to_owned(), 0), (3, 4))].into()), "told of another place");
        let later = judge(&sent, kept(&[1, 2, 5, 6], &[(2, 35)]));
        assert_eq!((later.lost, later.lost_and_told), (1, 1), "the fourth was sent after all was said to be well again");
        assert_eq!(judge(&sent, kept(&[1, 2, 3, 4, 5], &[])).lost_kept(), 1, "the last one counts too");
    }

    #[test]
    fn what_is_doubled_or_late_is_counted_and_channels_without_history_are_told_apart() {
        let outcome = judge(&[(1, 10), (2, 20), (3, 30), (4, 40)], SeenChannel { place: (0, String::new()), ..kept(&[1, 3, 2, 2], &[]) });
        assert_eq!((outcome.doubled, outcome.out_of_order, outcome.lost, outcome.lost_kept()), (1, 1, 1, 0));
        assert_eq!(outcome.lost_plain, [(40, "c".to_owned())]);
    }

    #[test]
    fn a_pause_lasts_until_the_next_delivery_or_until_now() {
        let all = [Seen { channels: [("c".to_owned(), kept(&[1, 2, 9, 10], &[]))].into() }];
        let pause = |since_ms, now_ms| flow(&Ledger::default(), all.iter(), since_ms, now_ms).pauses_ms["c"];
        assert_eq!([pause(0, 100), pause(90, 100), pause(90, 300)], [70, 10, 200]);
    }

    #[test]
    fn a_channel_flows_as_its_slowest_subscriber_sees_it() {
        let one = |numbers: &[u64]| Seen { channels: [("c".to_owned(), kept(numbers, &[]))].into() };
        let all = [one(&[1, 2, 3, 4]), one(&[1, 2])];
        let fewest = |since_ms| flow(&Ledger::default(), all.iter(), since_ms, 100).fewest["c"];
        assert_eq!([fewest(0), fewest(10), fewest(20)], [2, 1, 0]);
    }
}
