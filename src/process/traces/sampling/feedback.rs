//! Rates that follow the traffic: how much of each signature is to be kept so that all of them together come to a target.
//!
//! Traces are counted in six buckets of 5 s. With each new bucket the target is shared out evenly; what a quiet signature leaves
//! goes to the busy ones. A signature's rate is its share of the busiest of its buckets, and it rises by a fifth at most each time,
//! so that a pause does not let a burst through. A signature without traffic is forgotten after half a minute.
//!
//! Memory: at most `rows_max` rows of some 80 bytes and a name. When half of them are taken, new signatures fold into the other half.
//! Source: reference agent 7.80, pkg/trace/sampler/coresampler.go.

use std::collections::HashMap;
use std::time::Duration;

/// The time that one bucket counts.
pub const BUCKET: Duration = Duration::from_secs(5);

const BUCKETS: usize = 6;

/// By which factor a rate rises at most from one bucket to the next.
const RISE_MAX: f64 = 1.2;

/// No honest trace stands for more others.
const WEIGHT_MAX: f32 = 1e6;

type Counts = [f32; BUCKETS];

/// What is known of a signature.
#[derive(Debug, Default)]
pub struct Row {
    seen: Counts,
    /// None was computed yet.
    rate: Option<f64>,
    /// Service and environment, if anybody wants to know.
    pub name: Option<Box<(String, String)>>,
}

/// Counts and rates.
#[derive(Debug)]
pub struct Feedback {
    target_tps: f64,
    rows_max: usize,
    rows: HashMap<u64, Row>,
    all: Counts,
    bucket: u64,
    lowest: f64,
}

impl Feedback {
    /// Aims at `target_tps` traces a second in all and remembers `rows_max` signatures.
    pub fn new(target_tps: f64, rows_max: usize) -> Feedback {
        Feedback { target_tps, rows_max, rows: HashMap::new(), all: Counts::default(), bucket: 0, lowest: 1.0 }
    }

    /// The signature under which a trace is counted: its own, if there is room for it.
    pub fn fold(&self, signature: u64) -> u64 {
        let half = self.rows_max / 2;
        if self.rows.len() < half || self.rows.contains_key(&signature) { signature } else { signature % half as u64 }
    }

    /// Counts a trace that stands for `weight` of them; the answer is its row, and whether rates were computed anew before.
    pub fn count(&mut self, signature: u64, weight: f32, uptime: Duration) -> (&mut Row, bool) {
        let bucket = uptime.as_secs() / BUCKET.as_secs();
        let is_new = self.bucket != bucket;
        if is_new {
            self.turn_to(bucket);
        }
        let place = (bucket % BUCKETS as u64) as usize;
        let weight = weight.min(WEIGHT_MAX);
        self.all[place] += weight;
        let row = self.rows.entry(signature).or_default();
        row.seen[place] += weight;
        (row, is_new)
    }

    fn turn_to(&mut self, bucket: u64) {
        let previous = std::mem::replace(&mut self.bucket, bucket);
        turn(&mut self.all, previous, bucket);
        let mut seen: Vec<f64> = Vec::with_capacity(self.rows.len());
        // Without traffic and without a rate to recover from, there is nothing to remember.
        self.rows.retain(|_, row| {
            let busiest = busiest_before(&row.seen, previous, bucket);
            seen.push(busiest);
            0.0 < busiest || row.rate.is_some_and(|rate| 0.0 < rate && rate * RISE_MAX < 1.0)
        });
        let share = share(self.target_tps, &mut seen);
        self.lowest = 1.0;
        for row in self.rows.values_mut() {
            let busiest = busiest_before(&row.seen, previous, bucket);
            turn(&mut row.seen, previous, bucket);
            let fair = if share < busiest { share / busiest } else { 1.0 };
            let rate = match row.rate {
                Some(before) if 0.0 < before => fair.min(before * RISE_MAX),
                _ => fair,
            };
            row.rate = Some(rate);
            self.lowest = self.lowest.min(rate);
        }
    }

    /// How much of a signature is to be kept, from 0 to 1.
    pub fn rate(&self, signature: u64) -> f64 {
        self.rows.get(&signature).and_then(|row| row.rate).unwrap_or_else(|| self.default_rate())
    }

    /// The same for a signature that is not known: as for all traffic together, or as for the busiest.
    pub fn default_rate(&self) -> f64 {
        let seen = self.all.iter().fold(0.0, |busiest: f32, count| busiest.max(*count));
        let tps = f64::from(seen) / BUCKET.as_secs_f64();
        let fair = if self.target_tps < tps { self.target_tps / tps } else { 1.0 };
        if self.target_tps <= 0.0 { 0.0 } else { fair.min(self.lowest) }
    }

    /// The rows that have a name and a rate.
    pub fn named(&self) -> impl Iterator<Item = (&(String, String), f64)> {
        self.rows.values().filter_map(|row| Some((row.name.as_deref()?, row.rate?)))
    }

    /// How many signatures are remembered.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.rows.len()
    }
}

/// Traces a second in the busiest bucket, the one that `bucket` takes the place of included.
fn busiest_before(counts: &Counts, previous: u64, bucket: u64) -> f64 {
    let still = |number: u64| if bucket <= number { counts[(number % BUCKETS as u64) as usize] } else { 0.0 };
    let busiest = (previous + 1..=previous + BUCKETS as u64).map(still).fold(0.0, f32::max);
    f64::from(busiest) / BUCKET.as_secs_f64()
}

/// Empties what is too old, and the place that `bucket` takes.
fn turn(counts: &mut Counts, previous: u64, bucket: u64) {
    for number in previous + 1..=bucket.min(previous + BUCKETS as u64) {
        counts[(number % BUCKETS as u64) as usize] = 0.0;
    }
}

/// The traces a second that each signature may have, if those that are quieter leave the rest to the others.
fn share(target_tps: f64, seen: &mut [f64]) -> f64 {
    seen.sort_unstable_by(f64::total_cmp);
    let mut left = target_tps;
    for (index, tps) in seen.iter().enumerate() {
        let share = left / (seen.len() - index) as f64;
        if share <= *tps || index + 1 == seen.len() {
            return share;
        }
        left -= tps;
    }
    target_tps
}
