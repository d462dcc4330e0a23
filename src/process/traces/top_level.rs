//! Finds a chunk's root and its top-level spans: those without a parent, with a parent in another chunk, or with one of another
//! service. The backend counts them, and so do the statistics. Time grows with n log n at most, so that a chunk of 30,000 spans
//! costs milliseconds. Source: reference agent 7.80, pkg/trace/traceutil.

use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::Text;
use crate::model::trace::TracePayload;

/// The spans of one chunk by their ids; used again for the next chunk.
#[derive(Debug, Default)]
pub struct Parents {
    /// Id and position in the chunk, sorted. A sorted vector cannot be attacked with colliding ids and is small.
    by_id: Vec<(u64, u32)>,
}

impl Parents {
    /// Takes the chunk whose spans these are.
    pub fn read(&mut self, spans: &[Span]) {
        self.by_id.clear();
        self.by_id.extend(spans.iter().zip(0..).map(|(span, position)| (span.span_id, position)));
        self.by_id.sort_unstable();
    }

    /// The position of the span with this id; the last one, should there be two.
    fn position(&self, span_id: u64) -> Option<usize> {
        let end = self.by_id.partition_point(|(id, _)| *id <= span_id);
        let (id, position) = *self.by_id.get(end.checked_sub(1)?)?;
        (id == span_id).then_some(position as usize)
    }

    /// The root's position in the chunk that was read: from the end, the first span without a parent; else from the beginning,
    /// the first whose parent is not there; else, in a circle, the last.
    pub fn root(&self, spans: &[Span]) -> usize {
        let without_parent = spans.iter().rposition(|span| span.parent_id == 0);
        let with_parent_elsewhere = || spans.iter().position(|span| self.position(span.parent_id).is_none());
        without_parent.or_else(with_parent_elsewhere).unwrap_or(spans.len().saturating_sub(1))
    }

    /// Marks the top-level spans of the chunk that was read.
    pub fn mark(&self, payload: &mut TracePayload, spans: Slice) {
        for index in spans.range() {
            let span = payload.spans[index];
            let parent = match span.parent_id {
                0 => None,
                id => self.position(id).map(|position| payload.spans[spans.range().start + position]),
            };
            if parent.is_none_or(|parent| !payload.texts.same(parent.service, span.service)) {
                set_top_level(payload, index);
            }
        }
    }
}

/// For tracers that mark top-level spans themselves, by metric `_dd.top_level`.
pub fn take_over(payload: &mut TracePayload, spans: Slice) {
    for index in spans.range() {
        if payload.metric(payload.spans[index].metrics, "_dd.top_level") == Some(1.0) {
            set_top_level(payload, index);
        }
    }
}

/// A metric `_top_level` of the tracer's goes, since the mark is written as one.
fn set_top_level(payload: &mut TracePayload, index: usize) {
    let TracePayload { spans, metrics, texts, .. } = payload;
    spans[index].top_level = true;
    for metric in &mut metrics[spans[index].metrics.range()] {
        if texts.is(metric.key, "_top_level") {
            metric.key = Text::EMPTY;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::Metric;
    use crate::sys::random::Random;

    /// A chunk of (span id, parent id, service).
    fn payload(spans: &[(u64, u64, &str)]) -> TracePayload {
        let mut payload = TracePayload::default();
        for (span_id, parent_id, service) in spans {
            let service = payload.texts.make(service);
            payload.spans.push(Span { trace_id: 1, span_id: *span_id, parent_id: *parent_id, service, ..Span::default() });
        }
        payload
    }

    #[track_caller]
    fn check(spans: &[(u64, u64, &str)], root: usize, top_level: &[usize]) {
        let mut payload = payload(spans);
        let mut parents = Parents::default();
        parents.read(&payload.spans);
        assert_eq!(parents.root(&payload.spans), root);
        parents.mark(&mut payload, Slice::since(0, spans.len()));
        let marked: Vec<usize> = (0..spans.len()).filter(|index| payload.spans[*index].top_level).collect();
        assert_eq!(marked, top_level);
    }

    #[test]
    fn the_root_is_the_last_span_without_a_parent() {
        check(&[(1, 0, "a"), (2, 1, "a"), (3, 0, "a"), (4, 3, "a")], 2, &[0, 2]);
    }

    #[test]
    fn without_one_it_is_the_first_whose_parent_is_elsewhere() {
        check(&[(2, 1, "a"), (1, 9, "a"), (3, 8, "a")], 1, &[1, 2]);
    }

    #[test]
    fn in_a_circle_it_is_the_last_span() {
        check(&[(1, 2, "a"), (2, 1, "a")], 1, &[]);
    }

    #[test]
    fn a_change_of_service_begins_a_level() {
        check(&[(1, 0, "web"), (2, 1, "web"), (3, 2, "db"), (4, 3, "db"), (5, 4, "web")], 0, &[0, 2, 4]);
    }

    #[test]
    fn of_two_spans_with_one_id_the_last_is_the_parent() {
        check(&[(1, 0, "a"), (1, 0, "b"), (2, 1, "b"), (3, 1, "a")], 1, &[0, 1, 3]);
    }

    #[test]
    fn a_tracers_own_marks_are_taken_over_and_written_once() {
        let mut payload = payload(&[(1, 0, "a"), (2, 0, "a")]);
        for (key, value) in [("_dd.top_level", 1.0), ("_top_level", 0.0)] {
            let key = payload.texts.make(key);
            payload.metrics.push(Metric { key, value });
        }
        payload.spans[0].metrics = Slice::since(0, 2);
        take_over(&mut payload, Slice::since(0, 2));
        assert!(payload.spans[0].top_level && !payload.spans[1].top_level);
        assert_eq!(payload.metric(payload.spans[0].metrics, "_top_level"), None);
    }

    #[test]
    fn chunks_of_any_shape_are_marked_as_by_searching_for_every_parent() {
        let seed = Random::from_system().bits();
        let mut random = Random::new(seed);
        for _ in 0..300 {
            let count = 1 + random.below(12);
            let mut span = || (1 + random.below(8), random.below(9), ["a", "b"][random.below(2) as usize]);
            let spans: Vec<(u64, u64, &str)> = (0..count).map(|_| span()).collect();
            let is_top = |(_, parent, service): &(u64, u64, &str)| {
                let parent = spans.iter().rfind(|span| *parent != 0 && span.0 == *parent);
                parent.is_none_or(|found| found.2 != *service)
            };
            let mut payload = payload(&spans);
            let mut parents = Parents::default();
            parents.read(&payload.spans);
            parents.mark(&mut payload, Slice::since(0, spans.len()));
            let marked: Vec<bool> = payload.spans.iter().map(|span| span.top_level).collect();
            assert_eq!(marked, spans.iter().map(is_top).collect::<Vec<bool>>(), "seed {seed}: {spans:?}");
        }
    }
}
