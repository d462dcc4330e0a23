//! Edits of one span at a time: its tags are a range of the payload's, so one more may need another place.

use crate::model::trace::Slice;
use crate::model::trace::Tag;
use crate::model::trace::Text;
use crate::model::trace::TracePayload;
use crate::process::traces::rewrite::Rewriter;
use crate::process::traces::rewrite::Rule;

/// The span that is worked on.
pub struct Edit<'e> {
    /// Where it lies.
    pub payload: &'e mut TracePayload,
    /// Which one it is.
    pub span: usize,
    /// What was made for others.
    pub rewriter: &'e mut Rewriter,
}

impl Edit<'_> {
    /// Gives the resource the text that `make` makes of it.
    pub fn rewrite_resource(&mut self, rule: Rule, make: impl FnOnce(&str, &mut String)) {
        let TracePayload { spans, texts, .. } = &mut *self.payload;
        let resource = &mut spans[self.span].resource;
        *resource = self.rewriter.rewrite_into(texts, *resource, rule, make);
    }

    /// Gives every tag called `key`, unless it is empty, the value that `make` makes of it.
    pub fn rewrite_tags(&mut self, key: &str, rule: Rule, mut make: impl FnMut(&str, &mut String)) {
        let TracePayload { spans, tags, texts, .. } = &mut *self.payload;
        for tag in &mut tags[spans[self.span].meta.range()] {
            if texts.is(tag.key, key) && !tag.value.is_empty() {
                tag.value = self.rewriter.rewrite_into(texts, tag.value, rule, &mut make);
            }
        }
    }

    /// Takes every tag called `key` away.
    pub fn remove_tags(&mut self, key: &str) {
        let TracePayload { spans, tags, texts, .. } = &mut *self.payload;
        for tag in tags[spans[self.span].meta.range()].iter_mut().filter(|tag| texts.is(tag.key, key)) {
            tag.key = Text::EMPTY;
        }
    }

    /// Gives the span a tag, in place of others of that name.
    pub fn set_tag(&mut self, tag: Tag) {
        let TracePayload { spans, tags, texts, .. } = &mut *self.payload;
        let mut is_set = false;
        for known in tags[spans[self.span].meta.range()].iter_mut().filter(|known| texts.same(known.key, tag.key)) {
            known.value = tag.value;
            is_set = true;
        }
        if !is_set {
            self.add_tag(tag);
        }
    }

    /// Gives the span a tag that it does not have: in the place of a removed one, at the end of the vector, or with all its
    /// others moved there. A tag that all spans carry stays as it is.
    pub fn add_tag(&mut self, tag: Tag) {
        let TracePayload { spans, tags, texts, span_tags, .. } = &mut *self.payload;
        if tags[span_tags.range()].iter().any(|known| texts.same(known.key, tag.key)) {
            return;
        }
        let meta = &mut spans[self.span].meta;
        if let Some(removed) = tags[meta.range()].iter_mut().find(|tag| tag.key.is_empty()) {
            *removed = tag;
            return;
        }
        let start = if meta.range().end == tags.len() { meta.range().start } else { tags.len() };
        if start == tags.len() {
            tags.extend_from_within(meta.range());
        }
        tags.push(tag);
        *meta = Slice::since(start, tags.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::Span;

    /// Spans with these tags each, and what all of them have.
    fn payload(spans: &[&[&str]], shared: &[&str]) -> TracePayload {
        let mut payload = TracePayload::default();
        let range = |payload: &mut TracePayload, keys: &[&str]| {
            let start = payload.tags.len();
            for key in keys {
                let tag = Tag { key: payload.texts.make(key), value: payload.texts.make("old") };
                payload.tags.push(tag);
            }
            Slice::since(start, payload.tags.len())
        };
        payload.span_tags = range(&mut payload, shared);
        for keys in spans {
            let meta = range(&mut payload, keys);
            payload.spans.push(Span { meta, ..Span::default() });
        }
        payload
    }

    #[track_caller]
    fn check(mut payload: TracePayload, span: usize, key: &str, expected: &str) {
        let tag = Tag { key: payload.texts.make(key), value: payload.texts.make("new") };
        Edit { payload: &mut payload, span, rewriter: &mut Rewriter::default() }.set_tag(tag);
        let TracePayload { texts, tags, spans, .. } = &payload;
        let shown = tags[spans[span].meta.range()].iter().map(|tag| format!("{}={}", texts.str(tag.key), texts.str(tag.value)));
        assert_eq!(shown.collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn a_tag_takes_the_place_of_others_of_its_name() {
        check(payload(&[&["a", "b", "a"], &["c"]], &[]), 0, "a", "a=new b=old a=new");
    }

    #[test]
    fn a_new_tag_finds_its_place() {
        check(payload(&[&["a", "", "b"], &["c"]], &[]), 0, "n", "a=old n=new b=old");
        check(payload(&[&["a", "b"], &["c"]], &[]), 0, "n", "a=old b=old n=new");
        check(payload(&[&["a", "b"], &["c"]], &[]), 1, "n", "c=old n=new");
        check(payload(&[&[], &["c"]], &[]), 0, "n", "n=new");
    }

    #[test]
    fn what_all_spans_carry_stays() {
        check(payload(&[&["a"]], &["n"]), 0, "n", "a=old");
    }

    #[test]
    fn a_removed_tag_has_no_name() {
        let mut payload = payload(&[&["a", "b", "a"]], &[]);
        Edit { payload: &mut payload, span: 0, rewriter: &mut Rewriter::default() }.remove_tags("a");
        assert_eq!(payload.tags.iter().filter(|tag| tag.key.is_empty()).count(), 2);
    }
}
