//! Points of the machine, which need no aggregation: they wait for others to share a body with, since each body is a request.

use crate::model::host::Gauge;
use crate::model::series::Labels;
use crate::model::series::Series;
use crate::model::series::SeriesKind;
use crate::pipeline::metrics::bodies::Bodies;
use crate::process::metrics::Outgoing;
use crate::process::metrics::tags;
use crate::sys::memory::Permit;
use std::time::Duration;

/// How long they wait: as long as a bucket of other points lasts.
const WAIT: Duration = Duration::from_secs(10);

/// Those that wait.
#[derive(Debug, Default)]
pub struct Gauges {
    waiting: Vec<(Vec<Gauge>, i64, Permit)>,
    due: Option<Duration>,
}

impl Gauges {
    /// Takes points with their time in Unix seconds, at `uptime`.
    pub fn add(&mut self, gauges: Vec<Gauge>, unix_s: i64, permit: Permit, uptime: Duration) {
        self.waiting.push((gauges, unix_s, permit));
        self.due = self.due.or(Some(uptime + WAIT));
    }

    /// When they leave alone.
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Puts them into bodies, each with the host and the tags of the user.
    pub fn take(&mut self, host: &str, global_tags: &[String], bodies: &mut Bodies) {
        self.due = None;
        for (gauges, unix_s, _permit) in std::mem::take(&mut self.waiting) {
            let (mut raw, mut cleaned) = (None, String::new());
            for Gauge { name, value, tags } in &gauges {
                // All points of a device come one behind the other.
                if raw != Some(tags) {
                    raw = Some(tags);
                    cleaned = tags::clean(tags.as_bytes(), &[], global_tags).joined;
                }
                let labels = Labels { name, suffix: "", host, tags: &cleaned };
                let points = [(unix_s, *value)];
                bodies.add(Outgoing::Series(Series { labels, kind: SeriesKind::Gauge, interval: 0, points: &points }), 1);
            }
        }
    }
}
