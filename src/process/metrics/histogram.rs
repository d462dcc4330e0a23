//! Histograms that are summed up here: every value of ten seconds, and what is sent of them.
//!
//! A value's weight is one divided by its sample rate. Sorted by value, the median is the first value whose cumulated weight exceeds
//! (weight - 1) / 2, and percentile p the first whose exceeds (p weight - 1) / 100. Source: reference agent 7.80,
//! pkg/metrics/histogram.go. What it has not: beyond a number of values, or when memory is short, values are kept as a sketch; then the
//! median and percentiles are off by less than 1 %, and all else is as exact as before.

use crate::model::series::Sketch;
use crate::process::metrics::sketch;
use crate::process::metrics::sketch::Growth;

/// Which values are sent, by the Agent's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aggregates {
    /// In the order in which they are sent.
    pub names: Vec<Aggregate>,
    /// Whole percents, ascending.
    pub percentiles: Vec<u8>,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregate {
    /// The highest value.
    Max,
    /// The lowest.
    Min,
    /// The one in the middle.
    Median,
    /// The mean.
    Avg,
    /// All together.
    Sum,
    /// How many.
    Count,
}

/// Words and their meanings.
const NAMES: [(&str, Aggregate); 6] = [
    ("max", Aggregate::Max),
    ("min", Aggregate::Min),
    ("median", Aggregate::Median),
    ("avg", Aggregate::Avg),
    ("sum", Aggregate::Sum),
    ("count", Aggregate::Count),
];

impl Aggregates {
    /// From the words of `histogram_aggregates` and the numbers of `histogram_percentiles`; also those that are none.
    pub fn parse(names: &[String], percentiles: &[String]) -> (Aggregates, Vec<String>) {
        let mut refused = Vec::new();
        let mut aggregates = Aggregates::default();
        for word in names {
            match NAMES.iter().find(|(name, _)| name == word) {
                Some((_, aggregate)) => aggregates.names.push(*aggregate),
                None => refused.push(word.clone()),
            }
        }
        for word in percentiles {
            match word.parse::<f64>() {
                // Half a percent more, since 0.29 times 100 is less than 29.
                Ok(part) if (0.0..=1.0).contains(&part) => aggregates.percentiles.push((part * 100.0 + 0.5) as u8),
                _ => refused.push(word.clone()),
            }
        }
        aggregates.percentiles.sort_unstable();
        (aggregates, refused)
    }
}

/// Values kept one by one; 128 KiB of them.
const SAMPLES_MAX: usize = 8192;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    value: f64,
    weight: f64,
}

/// The values of one context in ten seconds, at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    weight: f64,
    sum: f64,
    min: f64,
    max: f64,
    samples: Vec<Sample>,
    /// Holds all values once they are too many.
    sketch: Option<Box<Sketch>>,
}

impl Default for Histogram {
    fn default() -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Histogram { weight: 0.0, sum: 0.0, min, max, samples: Vec::new(), sketch: None }
    }
}

impl Histogram {
    /// Takes a value that stands for `1 / rate`; a rate outside of 0 to 1 is 1. `false`, and nothing is changed, if a sum would not be
    /// finite any more.
    pub fn add(&mut self, value: f64, rate: f64, growth: Growth) -> bool {
        let weight = if 0.0 < rate && rate < 1.0 { 1.0 / rate } else { 1.0 };
        let (all, sum) = (self.weight + weight, self.sum + value * weight);
        if !all.is_finite() || !sum.is_finite() {
            return false;
        }
        (self.weight, self.sum) = (all, sum);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let is_full = self.samples.len() == self.samples.capacity() && growth == Growth::Refused && !self.samples.is_empty();
        if self.sketch.is_none() && (is_full || self.samples.len() == SAMPLES_MAX) {
            let mut held = Box::new(Sketch::default());
            for sample in std::mem::take(&mut self.samples) {
                // Bins take less memory than the values did.
                sketch::insert(&mut held, sample.value, 1.0 / sample.weight, Growth::Allowed);
            }
            self.sketch = Some(held);
        }
        match &mut self.sketch {
            // Only its bins are used, so no more than the place of a value is lost if its own mean cannot hold it.
            Some(held) => {
                sketch::insert(held, value, rate, growth);
            }
            None => self.samples.push(Sample { value, weight }),
        }
        true
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let bins = self.sketch.as_ref().map_or(0, |held| size_of::<Sketch>() + held.bins.capacity() * 8);
        bins + self.samples.capacity() * size_of::<Sample>()
    }

    /// Hands every part that is sent to `each`: the end of its name, its value, and whether it is a count.
    pub fn parts(&mut self, aggregates: &Aggregates, each: &mut dyn FnMut(&str, f64, bool)) {
        self.samples.sort_unstable_by(|one, other| one.value.total_cmp(&other.value));
        for aggregate in &aggregates.names {
            let value = match aggregate {
                Aggregate::Max => self.max,
                Aggregate::Min => self.min,
                Aggregate::Median => self.first_beyond((self.weight - 1.0) / 2.0),
                Aggregate::Avg => self.sum / self.weight,
                Aggregate::Sum => self.sum,
                Aggregate::Count => self.weight,
            };
            let name = NAMES.iter().find(|(_, known)| known == aggregate).map_or("", |(name, _)| name);
            each(&format!(".{name}"), value, *aggregate == Aggregate::Count);
        }
        for percentile in &aggregates.percentiles {
            let value = self.first_beyond((f64::from(*percentile) * self.weight - 1.0) / 100.0);
            each(&format!(".{percentile}percentile"), value, false);
        }
    }

    /// The first value with which the cumulated weight exceeds `weight`.
    fn first_beyond(&self, weight: f64) -> f64 {
        if let Some(held) = &self.sketch {
            return sketch::quantile(held, weight / (self.weight - 1.0).max(1.0));
        }
        let mut cumulated = 0.0;
        let exceeds = |sample: &&Sample| {
            cumulated += sample.weight;
            weight < cumulated
        };
        self.samples.iter().find(exceeds).map_or(self.max, |sample| sample.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn parts(histogram: &mut Histogram) -> Vec<(String, f64)> {
        let (all, refused) =
            Aggregates::parse(&words(&["max", "min", "median", "avg", "sum", "count"]), &words(&["0.95", "0.29", "1"]));
        assert!(refused.is_empty());
        let mut found = Vec::new();
        histogram.parts(&all, &mut |name, value, _| found.push((name.to_owned(), value)));
        found
    }

    #[track_caller]
    fn check(values: &[(f64, f64)], expected: [f64; 9]) {
        let mut histogram = Histogram::default();
        values.iter().for_each(|(value, rate)| assert!(histogram.add(*value, *rate, Growth::Allowed)));
        let names = [".max", ".min", ".median", ".avg", ".sum", ".count", ".29percentile", ".95percentile", ".100percentile"];
        let expected: Vec<(String, f64)> = names.iter().map(|name| (*name).to_owned()).zip(expected).collect();
        assert_eq!(parts(&mut histogram), expected);
    }

    #[test]
    fn parts_are_those_of_the_agent() {
        check(&[(7.0, 1.0)], [7.0, 7.0, 7.0, 7.0, 7.0, 1.0, 7.0, 7.0, 7.0]);
        let four = [(40.0, 1.0), (10.0, 1.0), (30.0, 0.0), (20.0, 7.0)];
        check(&four, [40.0, 10.0, 20.0, 25.0, 100.0, 4.0, 20.0, 40.0, 40.0]);
        check(&[(10.0, 0.5), (20.0, 1.0)], [20.0, 10.0, 10.0, 40.0 / 3.0, 40.0, 3.0, 10.0, 20.0, 20.0]);
        let hundred: Vec<(f64, f64)> = (1..=100).rev().map(|value| (f64::from(value), 1.0)).collect();
        check(&hundred, [100.0, 1.0, 50.0, 50.5, 5050.0, 100.0, 29.0, 95.0, 100.0]);
    }

    #[test]
    fn too_many_values_become_a_sketch() {
        for growth_at in [0, 100, SAMPLES_MAX] {
            let mut histogram = Histogram::default();
            for value in 0..20_000 {
                let growth = if value < growth_at || growth_at == 0 { Growth::Allowed } else { Growth::Refused };
                histogram.add((value % 1000) as f64 + 1.0, 1.0, growth);
            }
            assert!(histogram.heap_bytes() < 100_000);
            let found: Vec<f64> = parts(&mut histogram).into_iter().map(|(_, value)| value).collect();
            assert_eq!([found[0], found[1], found[3], found[4], found[5]], [1000.0, 1.0, 500.5, 10_010_000.0, 20_000.0]);
            if growth_at == 0 {
                assert!((found[2] - 500.0).abs() < 6.0 && (found[7] - 950.0).abs() < 10.0, "{found:?}");
            }
        }
    }

    #[test]
    fn words_that_are_none_are_named() {
        let (aggregates, refused) = Aggregates::parse(&words(&["max", "mode"]), &words(&["0.5", "2", "x"]));
        assert_eq!(aggregates, Aggregates { names: vec![Aggregate::Max], percentiles: vec![50] });
        assert_eq!(refused, ["mode", "2", "x"]);
    }
}
