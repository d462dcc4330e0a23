//! Spans that a tracer sends twice, as it does when its sandbox froze before the agent's answer had come.
//!
//! A table of the latest ids, with one place for each value of a hash; a span that finds the place taken takes it over. So a repetition may
//! be overlooked, and nothing new is taken for one.

use crate::model::trace::TracePayload;

/// Of 16 bytes. The largest requests have some 20,000 spans, and most a few.
const PLACES: usize = 8_192;

/// Marks of a span that is sent several times on purpose, while it lasts and at its end.
const PARTS: [&str; 2] = ["_dd.partial_version", "_dd.was_long_running"];

/// The table. Its memory is taken with the first span, and touched where there is something in it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Two numbers a place.
    ids: Vec<u64>,
}

impl Seen {
    /// Whether this span has come before.
    pub fn again(&mut self, payload: &TracePayload, span: usize) -> bool {
        let span = &payload.spans[span];
        let (trace_id, span_id) = (span.trace_id, span.span_id);
        if trace_id == 0 || span_id == 0 || PARTS.iter().any(|mark| payload.metric(span.metrics, mark).is_some()) {
            return false;
        }
        if self.ids.is_empty() {
            self.ids = vec![0; 2 * PLACES];
        }
        let hash = (trace_id.rotate_left(32) ^ span_id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = 2 * (hash >> 51) as usize;
        let place = &mut self.ids[at..at + 2];
        let is_known = *place == [trace_id, span_id];
        place.copy_from_slice(&[trace_id, span_id]);
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::Metric;
    use crate::model::trace::Slice;
    use crate::model::trace::Span;

    fn payload(metric: Option<&str>, ids: impl Iterator<Item = (u64, u64)>) -> TracePayload {
        let mut payload = TracePayload::default();
        for (trace_id, span_id) in ids {
            let start = payload.metrics.len();
            if let Some(name) = metric {
                let key = payload.texts.make(name);
                payload.metrics.push(Metric { key, value: 1.0 });
            }
            let metrics = Slice::since(start, payload.metrics.len());
            payload.spans.push(Span { trace_id, span_id, metrics, ..Span::default() });
        }
        payload
    }

    /// How many of the payload's spans were seen before.
    fn again(seen: &mut Seen, payload: &TracePayload) -> usize {
        (0..payload.spans.len()).filter(|span| seen.again(payload, *span)).count()
    }

    #[test]
    fn a_span_is_known_again_by_both_of_its_ids() {
        let mut seen = Seen::default();
        let first = payload(None, [(1, 2), (2, 1), (1, 3)].into_iter());
        assert_eq!([again(&mut seen, &first), again(&mut seen, &first)], [0, 3]);
        assert_eq!(again(&mut seen, &payload(None, [(3, 1), (1, 4), (0, 2), (0, 2), (1, 0), (1, 0)].into_iter())), 0);
        let others = payload(None, (1..1_000_000).map(|n| (n, n + 7)));
        assert_eq!(again(&mut seen, &others), 0, "nothing new is taken for known");
        assert_eq!(seen.ids.len(), 2 * PLACES);
    }

    #[test]
    fn of_a_request_that_comes_again_nearly_all_is_known() {
        let mut seen = Seen::default();
        let request = payload(None, (0..1_000_u64).map(|n| (0x6553_f100_0000_0001, n.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)));
        assert_eq!(again(&mut seen, &request), 0);
        assert!(850 < again(&mut seen, &request));
    }

    #[test]
    fn parts_of_a_long_span_are_no_repetitions() {
        for mark in PARTS {
            let mut seen = Seen::default();
            let part = payload(Some(mark), [(1, 2)].into_iter());
            assert_eq!([again(&mut seen, &part), again(&mut seen, &part)], [0, 0]);
        }
    }
}
