//! Numbers that many threads count in at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::{Counted, Histogram};

/// Most combinations of labels that are told apart: plugins choose the codes of their errors themselves. What comes later
/// is counted under [`OTHER`].
const MOST_SERIES: usize = 500;
const OTHER: &str = "other";

/// Numbers by labels. The table is swapped when labels come for the first time, and only read after that.
pub(super) struct Family<const N: usize>(ArcSwap<HashMap<[String; N], Arc<AtomicU64>>>);

impl<const N: usize> Default for Family<N> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<const N: usize> Family<N> {
    pub(super) fn add(&self, labels: [&str; N], count: u64) {
        let labels = labels.map(str::to_owned);
        if let Some(number) = self.0.load().get(&labels) {
            number.fetch_add(count, Ordering::Relaxed);
            return;
        }
        let new = Arc::<AtomicU64>::default();
        let mut counting = Arc::clone(&new);
        self.0.rcu(|table| {
            let mut table = HashMap::clone(table);
            let full = table.len() >= MOST_SERIES && !table.contains_key(&labels);
            let key = if full { std::array::from_fn(|_| OTHER.to_owned()) } else { labels.clone() };
            counting = Arc::clone(table.entry(key).or_insert_with(|| Arc::clone(&new)));
            table
        });
        counting.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the numbers in the order of their labels.
    pub(super) fn counted(&self) -> Vec<Counted<N>> {
        let table = self.0.load();
        let mut counted: Vec<_> = table
            .iter()
            .map(|(labels, count)| Counted { labels: labels.clone(), count: count.load(Ordering::Relaxed) })
            .collect();
        counted.sort_by(|left, right| left.labels.cmp(&right.labels));
        counted
    }
}

/// How many times fell between which bounds.
pub(super) struct Distribution {
    bounds: &'static [f64],
    /// One for each bound, and one for what is longer than the last.
    counts: Box<[AtomicU64]>,
    sum_us: AtomicU64,
}

impl Distribution {
    /// `bounds` are in seconds and grow.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::default()).collect(),
            sum_us: AtomicU64::default(),
        }
    }

    pub(super) fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn histogram(&self) -> Histogram {
        let mut count = 0;
        let mut up_to = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let counts: Vec<u64> = self.counts.iter().map(&mut up_to).collect();
        let sum = Duration::from_micros(self.sum_us.load(Ordering::Relaxed)).as_secs_f64();
        Histogram { buckets: self.bounds.iter().copied().zip(counts).collect(), sum, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_threads_count_under_new_labels_and_lose_nothing() {
        let family = Family::<2>::default();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let family = &family;
                scope.spawn(move || {
                    for round in 0..1_000 {
                        family.add([["a", "b"][thread % 2], ["x", "y", "z"][round % 3]], 2);
                    }
                });
            }
        });
        let counted = family.counted();
        assert_eq!(counted.len(), 6);
        assert_eq!(counted[0].labels, ["a", "x"]);
        assert_eq!(counted.iter().map(|one| one.count).sum::<u64>(), 16_000);
    }

    #[test]
    fn labels_that_never_end_are_counted_together() {
        let family = Family::<1>::default();
        for code in 0..MOST_SERIES + 7 {
            family.add([&code.to_string()], 1);
        }
        let counted = family.counted();
        assert_eq!(counted.len(), MOST_SERIES + 1);
        assert_eq!(counted.iter().find(|one| one.labels == [OTHER]).unwrap().count, 7);
    }

    #[test]
    fn a_time_counts_in_every_bucket_that_is_not_shorter() {
        let distribution = Distribution::new(&[0.01, 0.1, 1.0]);
        for ms in [10, 11, 100, 5_000] {
            distribution.add(Duration::from_millis(ms));
        }
        let histogram = distribution.histogram();
        assert_eq!(histogram.buckets, [(0.01, 1), (0.1, 3), (1.0, 3)]);
        assert_eq!(histogram.count, 4);
        assert!((histogram.sum - 5.121).abs() < 1e-9);
    }
}
