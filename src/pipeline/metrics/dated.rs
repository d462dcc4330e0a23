//! Points of distributions that have a time of their own: what the agent makes of invocations, of which it may learn after a freeze.
//!
//! They are gathered by name, tags and ten seconds, as the backend keeps them, and leave with the next flush. Sketches of one second
//! are added up by the backend, so it does no harm that several sandboxes, or two flushes, send the same.

use crate::model::invocation::Point;
use crate::model::series::Labels;
use crate::model::series::Sketch;
use crate::process::metrics::sketch;
use crate::process::metrics::sketch::Growth;
use crate::process::metrics::tags;
use std::time::Duration;

/// What is put before their names.
const PREFIX: &str = "aws.lambda.enhanced.";

/// Sketches that wait; more leave at once. One takes some hundred bytes.
const SKETCHES_MAX: usize = 1000;

/// How long they wait for a flush.
const WAIT: Duration = Duration::from_secs(10);

/// Seconds that are one to the backend.
const BUCKET_MS: i64 = 10_000;

/// Those that wait.
#[derive(Debug, Default)]
pub struct Dated {
    /// Tags of the function, `k:v`.
    pub tags: Vec<String>,
    waiting: Vec<(Point, Sketch)>,
    due: Option<Duration>,
}

impl Dated {
    /// Takes points at `uptime`; the answer is how many of them are no numbers to add up.
    pub fn add(&mut self, points: Vec<Point>, uptime: Duration) -> u64 {
        let mut refused = 0;
        for mut point in points {
            point.time_ms -= point.time_ms.rem_euclid(BUCKET_MS);
            let is_same =
                |other: &Point| other.name == point.name && other.time_ms == point.time_ms && other.tags == point.tags;
            let known = self.waiting.iter_mut().find(|(other, _)| is_same(other));
            let value = point.value;
            let taken = match known {
                Some((_, sketch)) => sketch::insert(sketch, value, 1.0, Growth::Allowed),
                None => {
                    let mut first = Sketch::default();
                    let taken = sketch::insert(&mut first, value, 1.0, Growth::Allowed);
                    if taken {
                        self.waiting.push((point, first));
                    }
                    taken
                }
            };
            refused += u64::from(!taken);
        }
        self.due = self.due.or(Some(uptime + WAIT));
        refused
    }

    /// Whether there are so many that they should leave at once.
    pub fn is_full(&self) -> bool {
        SKETCHES_MAX <= self.waiting.len()
    }

    /// When they leave without a flush.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Hands each sketch, with Unix seconds, to `outlet`.
    pub fn take(&mut self, outlet: &mut dyn FnMut(Labels<'_>, i64, &Sketch)) {
        self.due = None;
        for (point, sketch) in std::mem::take(&mut self.waiting) {
            let cleaned = tags::clean(point.tags.as_bytes(), &[], &self.tags);
            outlet(Labels { name: PREFIX, suffix: point.name, host: "", tags: &cleaned.joined }, point.time_ms / 1000, &sketch);
        }
    }
}
