//! Metrics that samplers leave on spans, for people to see why a trace was kept and for how many it stands.

use crate::model::trace::Metric;
use crate::model::trace::Slice;
use crate::model::trace::Text;
use crate::model::trace::TracePayload;

/// A span with more metrics is not marked, since its metrics may have to be moved and would take their room twice.
const METRICS_MAX: usize = 64;

/// The names of marks as texts of one payload, each made once.
#[derive(Debug, Default)]
pub struct Marks {
    names: Vec<(&'static str, Text)>,
}

impl Marks {
    /// For `payload`, in which room is made for one mark on each root, as pushing one by one would double a vector that a decoder
    /// sized with care.
    pub fn new(payload: &mut TracePayload) -> Marks {
        let TracePayload { chunks, spans, metrics, .. } = payload;
        let moved = chunks.iter().map(|chunk| spans[chunk.root as usize].metrics.len().min(METRICS_MAX) + 1).sum();
        metrics.reserve_exact(moved);
        Marks::default()
    }

    /// Gives the span a metric: in the place of one of that name or of a removed one, at the end of the vector, or with all its
    /// others moved there.
    pub fn set(&mut self, payload: &mut TracePayload, span: usize, name: &'static str, value: f64) {
        let key = match self.names.iter().find(|(known, _)| *known == name) {
            Some((_, key)) => *key,
            None => {
                let key = payload.texts.make(name);
                self.names.push((name, key));
                key
            }
        };
        let TracePayload { spans, metrics, texts, .. } = payload;
        let range = &mut spans[span].metrics;
        let known = &mut metrics[range.range()];
        let same = known.iter().rposition(|metric| texts.same(metric.key, key));
        if let Some(place) = same.or_else(|| known.iter().position(|metric| metric.key.is_empty())) {
            known[place] = Metric { key, value };
            return;
        }
        if METRICS_MAX < range.len() {
            return;
        }
        let start = if range.range().end == metrics.len() { range.range().start } else { metrics.len() };
        if start == metrics.len() {
            metrics.extend_from_within(range.range());
        }
        metrics.push(Metric { key, value });
        *range = Slice::since(start, metrics.len());
    }
}
