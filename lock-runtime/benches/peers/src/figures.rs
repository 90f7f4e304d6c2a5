//! Percentiles and spreads.

use std::time::Duration;

/// The value below which `percent` of the sorted values lie. Zero, if there are none.
#[must_use]
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(rank).copied().unwrap_or_default()
}

/// The middle of many values, and how far apart the middle half of them lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// A quarter of the values is below this.
    pub low: f64,
    /// Half of them is below this.
    pub median: f64,
    /// Three quarters are below this.
    pub high: f64,
}

impl Spread {
    /// Of these values, in any order. All NaN, if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let quarter = |n: usize| values.get(values.len() * n / 4).copied().unwrap_or(f64::NAN);
        Self { low: quarter(1), median: quarter(2), high: quarter(3) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 50), Duration::from_millis(51));
        assert_eq!(percentile(&values, 99), Duration::from_millis(100));
        assert_eq!(percentile(&values[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
    }

    #[test]
    fn the_spread_leaves_out_what_is_extreme() {
        let spread = Spread::of([1000.0, 1.0, 3.0, 2.0, 0.0]);
        assert_eq!(spread, Spread { low: 1.0, median: 2.0, high: 3.0 });
    }
}
