//! Distributions of values for the metrics intake: the Agent's sketch, whose quantiles are off by less than 1 %.
//!
//! ```text
//! key    of v above 0: round to even(ln v / ln gamma) + 1338, from 1 to 32766, and 32767 for what is higher; of v below 0 the same
//!        with a minus; 0 for what is closer to 0 than 9.94e-10
//! value  of a key above 0: gamma to the power of (key - 1338)
//! bins   at most 4096; what is too much is added from the lowest key upward to the lowest bin that stays
//! ```
//! gamma is 1.015625. A bin holds any count here and is taken apart into bins of at most 65,535 when it is sent, the remainder first, as
//! the Agent's are at any time. So neither the order of values nor that of merging matters. Bins are a sorted vector of eight bytes each.
//! Source: reference agent 7.80, pkg/util/quantile; vectors of its output.

use crate::model::series::Sketch;
use crate::model::series::SketchBin;

/// Bins of one sketch.
pub const BINS_MAX: usize = 4096;

/// What a bin that is sent counts at most.
const BIN_COUNT_MAX: u32 = 65_535;

/// What a sketch counts at most: the intake's number has a sign.
const COUNT_MAX: u64 = i64::MAX as u64;

const GAMMA: f64 = 1.015625;

/// ln 1.015625.
const LN_GAMMA: f64 = 0.015_504_186_535_965_254;

const BIAS: i32 = 1338;

/// What is closer to zero is zero: gamma to the power of (1 - 1338).
const MAGNITUDE_MIN: f64 = 9.941_854_089_121_45e-10;

const KEY_MAX: i32 = 32_766;

/// What may be done for a value whose bin is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// A bin is made.
    Allowed,
    /// The nearest bin takes it: memory is short. The first bin is made all the same.
    Refused,
}

/// The key of a value.
#[inline]
pub fn key(value: f64) -> i16 {
    let magnitude = value.abs();
    if magnitude < MAGNITUDE_MIN {
        return 0;
    }
    // Cut as a float: of a cut of the integer that a float saturates to, optimised code for 32-bit ARM keeps only the lower bound.
    let key =
        (magnitude.ln() / LN_GAMMA).round_ties_even().clamp(f64::from(1 - BIAS), f64::from(KEY_MAX + 1 - BIAS)) as i32 + BIAS;
    (if value < 0.0 { -key } else { key }) as i16
}

/// The lower bound of a key's values.
pub fn value(key: i16) -> f64 {
    let magnitude = match i32::from(key).abs() {
        0 => 0.0,
        key if KEY_MAX < key => f64::INFINITY,
        key => GAMMA.powf(f64::from(key - BIAS)),
    };
    if key < 0 { -magnitude } else { magnitude }
}

/// Counts a value that stands for `1 / rate`; a rate outside of 0 to 1 is 1. The bin gets the whole part of it, the sum all. `false`, and
/// nothing is changed, if the sum or the mean would not be finite any more.
#[inline]
pub fn insert(sketch: &mut Sketch, value: f64, rate: f64, growth: Growth) -> bool {
    let weight = if 0.0 < rate && rate < 1.0 { 1.0 / rate } else { 1.0 };
    insert_many(sketch, value, key(value), weight, growth)
}

#[inline]
fn insert_many(sketch: &mut Sketch, value: f64, key: i16, weight: f64, growth: Growth) -> bool {
    let count = weight as u64;
    let (all, sum) = (sketch.count.saturating_add(count).min(COUNT_MAX), sketch.sum + value * weight);
    let avg = sketch.avg + (value - sketch.avg) * count as f64 / all as f64;
    if !sum.is_finite() || !avg.is_finite() {
        return false;
    }
    if sketch.count == 0 {
        (sketch.min, sketch.max) = (value, value);
    } else {
        sketch.min = sketch.min.min(value);
        sketch.max = sketch.max.max(value);
    }
    (sketch.count, sketch.sum, sketch.avg) = (all, sum, avg);
    add(&mut sketch.bins, SketchBin { key, count: u32::try_from(count).unwrap_or(u32::MAX) }, growth);
    true
}

/// Counts all that `other` has counted.
pub fn merge(sketch: &mut Sketch, other: &Sketch) {
    if other.count == 0 {
        return;
    }
    if sketch.count == 0 {
        sketch.clone_from(other);
        return;
    }
    sketch.min = sketch.min.min(other.min);
    sketch.max = sketch.max.max(other.max);
    sketch.count = sketch.count.saturating_add(other.count).min(COUNT_MAX);
    sketch.sum += other.sum;
    sketch.avg += (other.avg - sketch.avg) * other.count as f64 / sketch.count as f64;
    for bin in &other.bins {
        add(&mut sketch.bins, *bin, Growth::Allowed);
    }
}

/// Why a range of values cannot be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotARange;

/// Counts `count` values that lie evenly between two bounds, as buckets of other histograms say it.
pub fn insert_range(sketch: &mut Sketch, low: f64, high: f64, count: u64) -> Result<(), NotARange> {
    let (mut start, end) = (key(low), key(high));
    if end < start || low.is_nan() || high.is_nan() {
        return Err(NotARange);
    }
    let mut put = |key: i16, count: u64| {
        insert_many(sketch, value(key), key, count as f64, Growth::Allowed);
    };
    let (mut left, mut carried) = (count, 0.0);
    for next in start.saturating_add(1)..=end {
        if left == 0 {
            break;
        }
        let share = (value(next) - value(start)) / (high - low) * count as f64;
        // Shares below one are not carried: they would become many bins of nothing.
        if 1.0 < share {
            carried += share.fract();
        }
        let mut whole = share as u64;
        if 1.0 < carried {
            whole += 1;
            carried -= 1.0;
        }
        if 0 < whole {
            let whole = whole.min(left);
            put(start, whole);
            left -= whole;
            start = next;
        }
    }
    if 0 < left {
        put(start, left);
    }
    Ok(())
}

#[inline]
fn add(bins: &mut Vec<SketchBin>, bin: SketchBin, growth: Growth) {
    match bins.binary_search_by_key(&bin.key, |bin| bin.key) {
        Ok(at) => bins[at].count = bins[at].count.saturating_add(bin.count),
        Err(at) => add_new(bins, at, bin, growth),
    }
}

#[inline(never)]
fn add_new(bins: &mut Vec<SketchBin>, at: usize, bin: SketchBin, growth: Growth) {
    let is_full = growth == Growth::Refused || bins.len() == BINS_MAX;
    match (is_full, bins.is_empty()) {
        (false, _) | (_, true) => bins.insert(at, bin),
        (true, false) if growth == Growth::Refused => {
            let at = nearest(bins, at, bin.key);
            bins[at].count = bins[at].count.saturating_add(bin.count);
        }
        // The lowest of all goes: the new one, or the first, whose place makes room for the new one.
        (true, false) if at == 0 => bins[0].count = bins[0].count.saturating_add(bin.count),
        (true, false) => {
            let lowest = bins[0];
            bins.copy_within(1..at, 0);
            bins[at - 1] = bin;
            bins[0].count = bins[0].count.saturating_add(lowest.count);
        }
    }
}

/// Of the bins beside the place `at`, the one with the nearer key.
fn nearest(bins: &[SketchBin], at: usize, key: i16) -> usize {
    let distance = |at: usize| bins.get(at).map_or(u32::MAX, |bin| i32::from(bin.key).abs_diff(i32::from(key)));
    let below = at.saturating_sub(1);
    if distance(below) <= distance(at) { below } else { at }
}

/// The bins as they are sent, by ascending key.
pub fn bins_to_send(sketch: &Sketch) -> Vec<SketchBin> {
    let parts = |bin: &SketchBin| bin.count.div_ceil(BIN_COUNT_MAX) as usize;
    // Large counts may make more bins than are sent, so those from below are added up here too.
    let mut room = BINS_MAX;
    let fits = |bin: &&SketchBin| {
        let fits = parts(bin) <= room;
        room = room.saturating_sub(parts(bin));
        fits
    };
    let kept = sketch.bins.iter().rev().take_while(fits).count().max(1).min(sketch.bins.len());
    let (lower, kept) = sketch.bins.split_at(sketch.bins.len() - kept);
    let mut more = lower.iter().fold(0_u32, |sum, bin| sum.saturating_add(bin.count));
    let mut bins = Vec::with_capacity(kept.len());
    for bin in kept {
        let mut left = bin.count.saturating_add(std::mem::take(&mut more));
        let remainder = left % BIN_COUNT_MAX;
        if remainder != 0 {
            bins.push(SketchBin { key: bin.key, count: remainder });
            left -= remainder;
        }
        bins.extend((0..left / BIN_COUNT_MAX).take(BINS_MAX).map(|_| SketchBin { key: bin.key, count: BIN_COUNT_MAX }));
    }
    // Of one bin alone there may be more: a sample rate of nearly nothing makes one value billions.
    bins.drain(..bins.len().saturating_sub(BINS_MAX));
    bins
}

/// A value of which `part`, 0 to 1, of all values are lower, within the error of bins.
pub fn quantile(sketch: &Sketch, part: f64) -> f64 {
    let rank = (part * sketch.count.saturating_sub(1) as f64).round_ties_even();
    let mut seen = 0.0;
    for bin in &sketch.bins {
        seen += f64::from(bin.count);
        if rank < seen {
            return value(bin.key).clamp(sketch.min, sketch.max);
        }
    }
    sketch.max
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;
    use serde_json::Value;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../../fixtures/agent_sketch.json")).unwrap()
    }

    #[track_caller]
    fn put(sketch: &mut Sketch, value: f64, rate: f64, growth: Growth) {
        assert!(insert(sketch, value, rate, growth));
    }

    #[track_caller]
    fn close(found: f64, expected: f64, what: &str) {
        assert!((found - expected).abs() <= expected.abs() * 1e-12, "{what}: {found}, not {expected}");
    }

    #[test]
    fn keys_and_their_values_are_the_agents() {
        for case in vectors()["keys"].as_array().unwrap() {
            let of = |member: &str| case[member].as_f64().unwrap();
            assert_eq!(key(of("value")), of("key") as i16, "{case}");
            close(value(of("key") as i16), of("representative"), "value");
        }
        assert_eq!((key(f64::INFINITY), key(f64::NEG_INFINITY), key(-0.0), key(-1e300)), (32_767, -32_767, 0, -key(1e300)));
    }

    #[test]
    fn sketches_are_the_agents() {
        for case in vectors()["sketches"].as_array().unwrap() {
            let mut sketch = Sketch::default();
            for op in case["ops"].as_array().unwrap() {
                let number = |at: usize| op[at].as_f64().unwrap();
                match op[0].as_str().unwrap() {
                    "insert" => {
                        let values = op[1].as_array().unwrap();
                        values.iter().for_each(|value| put(&mut sketch, value.as_f64().unwrap(), 1.0, Growth::Allowed));
                    }
                    "insert_rate" => put(&mut sketch, number(1), number(2), Growth::Allowed),
                    "insert_n" => (0..number(2) as u64).for_each(|_| put(&mut sketch, number(1), 1.0, Growth::Allowed)),
                    "interpolate" => insert_range(&mut sketch, number(1), number(2), number(3) as u64).unwrap(),
                    other => panic!("{other}"),
                }
            }
            let name = case["name"].as_str().unwrap();
            let expect = &case["expect"];
            let list = |member: &str| -> Vec<i64> {
                expect[member].as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
            };
            let bins = bins_to_send(&sketch);
            assert_eq!(bins.iter().map(|bin| i64::from(bin.key)).collect::<Vec<_>>(), list("k"), "{name}");
            assert_eq!(bins.iter().map(|bin| i64::from(bin.count)).collect::<Vec<_>>(), list("n"), "{name}");
            assert_eq!(sketch.count, expect["cnt"].as_u64().unwrap(), "{name}");
            for (found, member) in [(sketch.min, "min"), (sketch.max, "max"), (sketch.avg, "avg"), (sketch.sum, "sum")] {
                close(found, expect[member].as_f64().unwrap(), &format!("{name} {member}"));
            }
        }
    }

    fn random_value(random: &mut Random) -> f64 {
        let magnitude = 10_f64.powi(random.below(60) as i32 - 20) * (1.0 + random.below(1000) as f64 / 100.0);
        if random.below(3) == 0 { -magnitude } else { magnitude }
    }

    #[test]
    fn merging_in_any_order_gives_the_same_bins() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..10 {
            let mut parts: Vec<Sketch> = (0..6)
                .map(|_| {
                    let mut sketch = Sketch::default();
                    (0..random.below(3000)).for_each(|_| put(&mut sketch, random_value(&mut random), 0.01, Growth::Allowed));
                    sketch
                })
                .collect();
            let merged = |parts: &[Sketch]| {
                let mut all = Sketch::default();
                parts.iter().for_each(|part| merge(&mut all, part));
                all
            };
            let first = merged(&parts);
            for _ in 0..5 {
                parts.swap(random.below(6) as usize, random.below(6) as usize);
                let other = merged(&parts);
                assert_eq!((first.count, &first.bins), (other.count, &other.bins), "seed {seed}");
                assert_eq!((first.min, first.max), (other.min, other.max), "seed {seed}");
                assert!((first.sum - other.sum).abs() <= first.max.abs().max(first.min.abs()) * 1e-9, "seed {seed}");
            }
        }
    }

    #[test]
    fn too_many_bins_are_added_up_from_below() {
        let keys = 1..=5000_i16;
        let mut expected = vec![SketchBin { key: 905, count: 905 }];
        expected.extend((906..=5000).map(|key| SketchBin { key, count: 1 }));
        let orders: [Vec<i16>; 2] = [keys.clone().collect(), keys.rev().collect()];
        for order in orders {
            let mut sketch = Sketch::default();
            order.iter().for_each(|key| put(&mut sketch, value(*key), 1.0, Growth::Allowed));
            assert_eq!(sketch.bins, expected);
            assert_eq!((sketch.count, bins_to_send(&sketch)), (5000, expected.clone()));
        }
        let bins = (1..=4096).map(|key| SketchBin { key, count: if key == 4096 { 200_000 } else { 1 } }).collect();
        let sent = bins_to_send(&Sketch { bins, ..Sketch::default() });
        assert_eq!((sent.len(), sent[0]), (4096, SketchBin { key: 4, count: 4 }));
        assert_eq!(sent.iter().map(|bin| u64::from(bin.count)).sum::<u64>(), 204_095);
    }

    #[test]
    fn a_value_that_stands_for_very_many_makes_no_more_bins_than_are_sent() {
        let mut sketch = Sketch::default();
        put(&mut sketch, 1.0, 1e-300, Growth::Allowed);
        put(&mut sketch, 1.0, 1e-300, Growth::Allowed);
        assert_eq!(sketch.count, i64::MAX as u64, "the intake's number has a sign");
        assert_eq!(bins_to_send(&sketch), vec![SketchBin { key: 1338, count: 65_535 }; BINS_MAX]);
    }

    #[test]
    fn without_memory_the_nearest_bin_counts() {
        let mut sketch = Sketch::default();
        for key in [100, 200, 90, 149, 151, 300] {
            let growth = if sketch.bins.len() < 2 { Growth::Allowed } else { Growth::Refused };
            put(&mut sketch, value(key), 1.0, growth);
        }
        assert_eq!(sketch.bins, [SketchBin { key: 100, count: 3 }, SketchBin { key: 200, count: 3 }]);
    }

    #[test]
    fn quantiles_are_close() {
        let mut sketch = Sketch::default();
        (1..=1000).for_each(|value| put(&mut sketch, f64::from(value), 1.0, Growth::Allowed));
        for (part, expected) in [(0.0, 1.0), (0.5, 500.0), (0.95, 950.0), (1.0, 1000.0)] {
            let found = quantile(&sketch, part);
            assert!((found - expected).abs() <= expected * 0.011, "{part}: {found}");
        }
        assert_eq!(quantile(&Sketch::default(), 0.5), 0.0);
    }

    #[test]
    fn a_range_upside_down_is_refused() {
        let mut sketch = Sketch::default();
        assert_eq!(insert_range(&mut sketch, 2.0, 1.0, 3), Err(NotARange));
        assert_eq!(insert_range(&mut sketch, f64::NAN, 1.0, 3), Err(NotARange));
        assert_eq!(insert_range(&mut sketch, 0.0, f64::MAX, 3), Ok(()));
        assert_eq!(sketch.count, 3);
    }
}
