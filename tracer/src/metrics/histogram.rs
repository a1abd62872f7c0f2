//! Durations by size. The bounds leave every usual timeout of servers, proxies and load balancers together
//! with its lateness in one bucket, so that a spike names its timeout.

use crate::event::{time::Timestamp, values::ConnId};

/// An event that was counted: where to look further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exemplar {
    pub conn: ConnId,
    pub at: Timestamp,
    pub value: Value,
}

/// What it counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    One,
    Ms(u64),
}

/// Upper bounds of the ages.
pub static AGE_BOUNDS_MS: &[u64] = &[
    100, 500, 1_000, 4_500, 9_500, 14_500, 29_000, 32_000, 45_000, 59_000, 63_000, 88_000, 115_000,
    130_000, 290_000, 310_000, 340_000, 360_000, 590_000, 620_000, 890_000, 3_590_000, 3_700_000,
    7_200_000,
];

/// Upper bounds of the silence before an end.
pub static IDLE_BOUNDS_MS: &[u64] = &[
    1_000, 1_900, 2_300, 4_900, 5_500, 9_900, 10_500, 14_900, 16_000, 29_500, 31_000, 49_500,
    51_000, 59_500, 62_000, 74_500, 77_000, 89_000, 92_000, 119_000, 123_000, 179_000, 185_000,
    239_000, 245_000, 299_000, 310_000, 349_000, 355_000, 599_000, 615_000, 899_000, 930_000,
    3_599_000, 3_700_000,
];

#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    pub count: u64,
    pub latest: Option<Exemplar>,
}

#[derive(Clone, Debug)]
pub struct Histogram {
    bounds_ms: &'static [u64],
    /// One more than there are bounds.
    buckets: Box<[Bucket]>,
    pub sum_ms: u64,
}

impl Histogram {
    pub fn new(bounds_ms: &'static [u64]) -> Self {
        Histogram {
            bounds_ms,
            buckets: vec![Bucket::default(); bounds_ms.len() + 1].into(),
            sum_ms: 0,
        }
    }

    pub fn observe(&mut self, ms: u64, conn: Option<ConnId>, at: Timestamp) {
        let index = self.bounds_ms.partition_point(|bound| *bound < ms);
        let Some(bucket) = self.buckets.get_mut(index) else {
            return;
        };
        bucket.count += 1;
        if let Some(conn) = conn {
            let value = Value::Ms(ms);
            bucket.latest = Some(Exemplar { conn, at, value });
        }
        self.sum_ms += ms;
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count).sum()
    }

    /// Each with its upper bound; the last has none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, &Bucket)> {
        let bounds = self.bounds_ms.iter().copied().map(Some).chain([None]);
        bounds.zip(&*self.buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        hints::late_ms,
        sample,
        timeouts::{BUILT_IN, Clock},
    };

    fn bucket_of(bounds: &[u64], ms: u64) -> usize {
        bounds.partition_point(|bound| *bound < ms)
    }

    /// Jiffies may make a silence look this much shorter.
    const EARLY_MS: u64 = 20;

    #[test]
    fn a_timeout_and_its_lateness_are_in_one_bucket() {
        for (bounds, clocks) in [
            (IDLE_BOUNDS_MS, &[Clock::Waiting, Clock::Idle][..]),
            (AGE_BOUNDS_MS, &[Clock::Age, Clock::Request]),
        ] {
            assert!(bounds.is_sorted());
            let known = BUILT_IN.entries().iter();
            let known =
                known.filter(|timeout| clocks.iter().any(|clock| timeout.clocks.has(*clock)));
            let mut seen = 0;
            for value_ms in known.flat_map(|timeout| timeout.values_ms.iter().copied()) {
                let first = bucket_of(bounds, value_ms - EARLY_MS);
                let last = bucket_of(bounds, value_ms + late_ms(value_ms));
                assert_eq!(first, last, "{value_ms}");
                seen += 1;
            }
            assert!(seen > 5, "{seen}");
        }
    }

    #[test]
    fn the_timeouts_that_many_share_have_a_bucket_of_their_own() {
        for value_s in [
            2, 5, 10, 15, 30, 50, 60, 75, 90, 120, 180, 240, 300, 350, 600, 900, 3600,
        ] {
            let value_ms = value_s * 1_000;
            let bucket = bucket_of(IDLE_BOUNDS_MS, value_ms);
            let (low, high) = (IDLE_BOUNDS_MS[bucket - 1], IDLE_BOUNDS_MS[bucket]);
            assert!(low * 100 >= value_ms * 95, "{value_s}");
            assert!(high * 100 <= value_ms * 115, "{value_s}");
        }
    }

    #[test]
    fn an_upper_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::new(IDLE_BOUNDS_MS);
        let at = Timestamp(5);
        for ms in [0, 1_000, 1_001, 3_700_000, 3_700_001, u64::MAX >> 20] {
            histogram.observe(ms, Some(sample::conn(ms)), at);
        }
        histogram.observe(1, None, at);
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets[0].0, Some(1_000));
        assert_eq!(buckets[0].1.count, 3);
        let latest = buckets[0].1.latest.expect("an exemplar");
        assert_eq!(latest.conn, sample::conn(1_000), "of those with an id");
        assert_eq!(latest.value, Value::Ms(1_000));
        assert_eq!(buckets[1].1.count, 1);
        assert_eq!(buckets[IDLE_BOUNDS_MS.len() - 1].1.count, 1);
        assert_eq!(buckets[IDLE_BOUNDS_MS.len()].0, None);
        assert_eq!(buckets[IDLE_BOUNDS_MS.len()].1.count, 2);
        assert_eq!(histogram.count(), 7);
    }
}
