//! Distributions of durations for APM statistics: a DDSketch, whose quantiles are off by less than 1 %.
//!
//! A value above 0 belongs to the bin `floor(ln v / ln gamma + offset)` with gamma 1.015625 and offset 1338.5, so a nanosecond to bin
//! 1338 and 292 years to 4155. Zero has a count of its own. At most 2048 bins apart from each other are kept: what lies lower goes to
//! the lowest of them, which for durations from 1 ms to years never happens. Bins are a sorted vector, since most resources are called
//! with durations of a few dozen keys: 8 bytes a key in use. The order in which values come, or sketches are merged, does not
//! matter. The parameters travel with the sketch. Source: libdatadog, libdd-ddsketch; vectors of its output.

use crate::model::stats::Bin;
use crate::model::stats::Sketch;

/// The number of bins from the lowest to the highest.
pub const BINS_MAX: usize = 2048;

/// ln 1.015625.
const LN_GAMMA: f64 = 0.015_504_186_535_965_254;

/// What may be done for a value whose bin is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// A bin is made.
    Allowed,
    /// The nearest bin takes it: memory is short. The first bin is made all the same.
    Refused,
}

/// Counts one value.
#[inline]
pub fn insert(sketch: &mut Sketch, value: u64, growth: Growth) {
    match value {
        0 => sketch.zeros = sketch.zeros.saturating_add(1),
        value => add(sketch, Bin { key: key(value as f64), count: 1 }, growth),
    }
}

/// Counts all that `other` has counted.
pub fn merge(sketch: &mut Sketch, other: &Sketch) {
    sketch.zeros = sketch.zeros.saturating_add(other.zeros);
    for bin in &other.bins {
        add(sketch, *bin, Growth::Allowed);
    }
}

/// The key of a value of at least 1.
#[inline]
fn key(value: f64) -> i16 {
    (value.ln() / LN_GAMMA + Sketch::INDEX_OFFSET).floor() as i16
}

#[inline]
fn add(sketch: &mut Sketch, bin: Bin, growth: Growth) {
    let bins = &mut sketch.bins;
    let lowest = bins.last().map_or(bin.key, |last| last.key.saturating_sub(BINS_MAX as i16 - 1));
    let key = bin.key.max(lowest);
    let found = bins.binary_search_by_key(&key, |bin| bin.key);
    match (found, growth) {
        (Ok(at), _) => bins[at].count = bins[at].count.saturating_add(bin.count),
        (Err(at), Growth::Refused) if !bins.is_empty() => {
            let at = nearest(bins, at, key);
            bins[at].count = bins[at].count.saturating_add(bin.count);
        }
        (Err(at), _) => {
            let is_highest = at == bins.len();
            bins.insert(at, Bin { key, count: bin.count });
            if is_highest {
                collapse(bins);
            }
        }
    }
}

/// Of the bins beside the place `at`, the one with the nearer key.
fn nearest(bins: &[Bin], at: usize, key: i16) -> usize {
    match (at.checked_sub(1), bins.get(at)) {
        (Some(below), Some(above)) if above.key - key < key - bins[below].key => at,
        (Some(below), _) => below,
        (None, _) => at,
    }
}

/// Adds what lies too far below the highest bin to the lowest that may stay.
fn collapse(bins: &mut Vec<Bin>) {
    let Some(lowest) = bins.last().map(|last| last.key.saturating_sub(BINS_MAX as i16 - 1)) else { return };
    let below = bins.partition_point(|bin| bin.key < lowest);
    if below == 0 {
        return;
    }
    let count = bins[..below].iter().fold(0_u32, |sum, bin| sum.saturating_add(bin.count));
    bins.drain(..below);
    match bins.first_mut() {
        Some(first) if first.key == lowest => first.count = first.count.saturating_add(count),
        _ => bins.insert(0, Bin { key: lowest, count }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    fn sketch(values: &[u64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| insert(&mut sketch, *value, Growth::Allowed));
        sketch
    }

    fn count(sketch: &Sketch) -> u64 {
        sketch.bins.iter().map(|bin| u64::from(bin.count)).sum::<u64>() + u64::from(sketch.zeros)
    }

    #[track_caller]
    fn check(values: &[u64], keys: &[i16], zeros: u32) {
        let sketch = sketch(values);
        assert_eq!((sketch.bins.iter().map(|bin| bin.key).collect::<Vec<i16>>(), sketch.zeros), (keys.to_vec(), zeros));
    }

    #[test]
    fn the_logarithm_is_that_of_gamma() {
        assert_eq!(Sketch::GAMMA.ln(), LN_GAMMA);
    }

    #[test]
    fn values_have_the_keys_of_the_vectors() {
        check(&[1, 2, 3], &[1338, 1383, 1409], 0);
        check(&[150_000_000, 151_000_000], &[2552, 2553], 0);
        check(&[20_000_000, 0, 1000], &[1784, 2422], 1);
        check(&[i64::MAX as u64], &[4155], 0);
    }

    #[test]
    fn what_lies_too_low_goes_to_the_lowest_bin() {
        check(&[1, i64::MAX as u64, 2, 1 << 62], &[4155 - 2047, 4110, 4155], 0);
        let sketch = sketch(&[1, 2, 3, i64::MAX as u64]);
        assert_eq!(sketch.bins[0], Bin { key: 4155 - 2047, count: 3 });
    }

    #[test]
    fn without_room_the_nearest_bin_takes_a_value() {
        let mut sketch = Sketch::default();
        for value in [1_000_000, 2_000_000, 1_010_000, 1_990_000, 5_000_000, 1] {
            let growth = if value == 2_000_000 { Growth::Allowed } else { Growth::Refused };
            insert(&mut sketch, value, growth);
        }
        assert_eq!(sketch.bins.iter().map(|bin| bin.count).collect::<Vec<u32>>(), [3, 3]);
    }

    #[test]
    fn neither_the_order_of_values_nor_that_of_merges_matters() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..200 {
            let values: Vec<u64> = (0..random.below(100)).map(|_| random.bits() >> 1 >> random.below(64)).collect();
            let mut shuffled = values.clone();
            for at in (1..shuffled.len()).rev() {
                shuffled.swap(at, random.below(at as u64 + 1) as usize);
            }
            let expected = sketch(&values);
            assert_eq!(sketch(&shuffled), expected);
            let (left, right) = shuffled.split_at(shuffled.len() / 3);
            let (mut one, mut other) = (sketch(left), sketch(right));
            merge(&mut one, &sketch(right));
            merge(&mut other, &sketch(left));
            assert_eq!((&one, &other), (&expected, &expected));
            assert_eq!(count(&one), values.len() as u64);
        }
    }
}
