//! What the points of one context in ten seconds come to.

use crate::model::metric::MetricKind;
use crate::model::series::Sketch;
use crate::process::metrics::histogram::Histogram;
use crate::process::metrics::sketch;
use crate::process::metrics::sketch::Growth;
use std::collections::HashSet;
use std::hash::BuildHasherDefault;

/// The first point decides what it is; a later one of another kind is taken as one of this kind, as in the Agent.
#[derive(Debug, Default)]
pub enum Slot {
    /// None came.
    #[default]
    Empty,
    /// The sum, each value divided by its sample rate.
    Count(f64),
    /// The last.
    Gauge(f64),
    /// Hashes of the different ones.
    Set(HashSet<u64, BuildHasherDefault<AsItIs>>),
    /// All.
    Histogram(Box<Histogram>),
    /// Their distribution.
    Sketch(Box<Sketch>),
}

/// Hashes of hashes.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsItIs(u64);

impl std::hash::Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Slot {
    /// An empty one for points of `kind`.
    pub fn new(kind: MetricKind) -> Slot {
        match kind {
            MetricKind::Count => Slot::Count(0.0),
            MetricKind::Gauge => Slot::Gauge(0.0),
            MetricKind::Set => Slot::Set(HashSet::default()),
            MetricKind::Histogram | MetricKind::Timing => Slot::Histogram(Box::default()),
            MetricKind::Distribution => Slot::Sketch(Box::default()),
        }
    }

    /// Takes a number, of which 1 in `1 / rate` was sent. The answer is by how many bytes it grew; nothing, and no change, if what it comes to
    /// would not be finite or there is no room for it.
    #[inline(always)]
    pub fn add(&mut self, value: f64, rate: f64, growth: Growth) -> Option<usize> {
        match self {
            Slot::Count(held) => {
                let sum = *held + if 0.0 < rate && rate < 1.0 { value / rate } else { value };
                *held = Some(sum).filter(|sum| sum.is_finite())?;
            }
            Slot::Gauge(last) => *last = Some(value).filter(|value| value.is_finite())?,
            Slot::Sketch(held) => {
                let before = held.bins.capacity();
                let fits = sketch::insert(held, value, rate, growth);
                return fits.then(|| (held.bins.capacity() - before) * 8);
            }
            other => return other.add_rare(value, rate, growth),
        }
        Some(0)
    }

    #[inline(never)]
    fn add_rare(&mut self, value: f64, rate: f64, growth: Growth) -> Option<usize> {
        match self {
            Slot::Histogram(held) => {
                let before = held.heap_bytes();
                let fits = held.add(value, rate, growth);
                fits.then(|| held.heap_bytes().saturating_sub(before))
            }
            _ if value.is_finite() => self.add_member(value.to_bits(), growth),
            _ => None,
        }
    }

    /// Takes the hash of a set's member; nothing is answered if there is no room for it or this is no set.
    pub fn add_member(&mut self, hash: u64, growth: Growth) -> Option<usize> {
        let Slot::Set(members) = self else { return None };
        let before = members.capacity();
        if growth == Growth::Refused && members.len() == before && !members.contains(&hash) {
            return None;
        }
        members.insert(hash);
        // A member and its byte of the table, at seven eighths full.
        Some((members.capacity() - before) * 10)
    }
}
