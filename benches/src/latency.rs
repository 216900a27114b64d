//! Pure: how long things took, by share.

/// Milliseconds, in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    pub(crate) fn of(mut ms: Vec<f64>) -> Latencies {
        ms.sort_by(f64::total_cmp);
        Latencies(ms)
    }

    /// Those of another run beside these.
    pub(crate) fn and(self, other: Latencies) -> Latencies {
        Latencies::of([self.0, other.0].concat())
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest of them that `share` of all do not exceed (nearest rank); not a number if there are none.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rank
    pub(crate) fn at(&self, share: f64) -> f64 {
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    pub(crate) fn max(&self) -> f64 {
        self.at(1.0)
    }

    /// `p50 | p99 | p99.9 | max`, as cells of a table.
    pub(crate) fn cells(&self) -> String {
        if self.0.is_empty() {
            return "– | – | – | –".to_owned();
        }
        format!("{:.1} | {:.1} | {:.1} | {:.1}", self.at(0.5), self.at(0.99), self.at(0.999), self.max())
    }
}

/// Bits of a duration that tell buckets of one power of two apart: a figure is right within one part in 128.
const DETAIL_BITS: u32 = 7;
const DETAIL: u64 = 1 << DETAIL_BITS;

/// Nanoseconds in buckets that grow with them: of constant size however many there are, for millions of deliveries.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; bucket(u64::MAX) + 1], count: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, ns: u64) {
        self.counts[bucket(ns)] += 1;
        self.count += 1;
    }

    /// Milliseconds that `share` of all do not exceed, rounded up to the end of their bucket; not a number if there are none.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rank
    pub(crate) fn ms_at(&self, share: f64) -> f64 {
        let rank = ((share * self.count as f64).ceil() as u64).max(1);
        let mut passed = 0;
        let found = self.counts.iter().position(|count| {
            passed += count;
            passed >= rank
        });
        found.map_or(f64::NAN, |index| last_of(index) as f64 / 1e6)
    }
}

/// Small durations have a bucket each, larger ones share [`DETAIL`] in each power of two.
#[allow(clippy::cast_possible_truncation)] // below 8,000
fn bucket(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(DETAIL_BITS + 1);
    (u64::from(shift) * DETAIL + (ns >> shift)) as usize
}

/// The longest duration of a bucket.
fn last_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / DETAIL).saturating_sub(1);
    let first = u128::from(bucket - shift * DETAIL) << shift;
    u64::try_from(first + (1 << shift) - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_figures_and_the_last_one_is_the_largest() {
        let latencies = Latencies::of((1..=1000).rev().map(f64::from).collect());
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(|share| latencies.at(share)), [500.0, 990.0, 999.0, 1000.0]);
        assert_eq!(Latencies::of(vec![7.0]).cells(), "7.0 | 7.0 | 7.0 | 7.0");
        assert!(Latencies::default().max().is_nan());
        assert_eq!(Latencies::default().cells(), "– | – | – | –");
    }

    #[test]
    fn a_bucket_follows_the_one_before_it_and_is_narrow() {
        for ns in (0..100_000).chain([1 << 40, (1 << 40) - 1, u64::MAX]) {
            let (index, last) = (bucket(ns), last_of(bucket(ns)));
            assert!(last >= ns && (last - ns) <= ns / DETAIL, "{ns} is in bucket {index}, which ends with {last}");
            assert_eq!(bucket(last), index);
            assert!(last == u64::MAX || bucket(last + 1) == index + 1, "{last}");
        }
    }

    #[test]
    fn a_histogram_agrees_with_the_sorted_figures() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|ms| histogram.add(ms * 1_000_000));
        for (share, ms) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = histogram.ms_at(share);
            assert!((ms..=ms * 1.008).contains(&found), "{share}: {found}");
        }
        assert!(Histogram::default().ms_at(0.5).is_nan());
    }
}
