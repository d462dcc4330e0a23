//! Spans that the agent makes itself, before they have a payload to live in.

use crate::model::tags::Tags;
use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::Tag;
use crate::model::trace::TracePayload;

/// A span in plain texts.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub name: &'static str,
    pub service: String,
    pub resource: String,
    pub kind: &'static str,
    /// Ids, times and error; its texts and ranges are those above and below.
    pub span: Span,
    pub tags: Tags,
}

impl Draft {
    /// Appends it to the spans of `payload`.
    pub fn put(&self, payload: &mut TracePayload) {
        let start = payload.tags.len();
        for (key, value) in self.tags.pairs() {
            let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
            payload.tags.push(tag);
        }
        let span = Span {
            service: payload.texts.make(&self.service),
            name: payload.texts.make(self.name),
            resource: payload.texts.make(&self.resource),
            kind: payload.texts.make(self.kind),
            meta: Slice::since(start, payload.tags.len()),
            ..self.span
        };
        payload.spans.push(span);
    }
}
