//! Pure: how long things took, by share.

/// Milliseconds, in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies(Vec<f64>);

impl Latencies {
    pub(crate) fn of(mut ms: Vec<f64>) -> Latencies {
        ms.sort_by(f64::total_cmp);
        Latencies(ms)
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
}
