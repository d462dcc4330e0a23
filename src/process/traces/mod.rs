//! What the agent does to traces before it sends them on: the processing order of the reference agent, with the steps of its
//! own numbering in `prepare`. It owns the rules and refuses to know how spans came in and what they are sent as.
//!
//! ```text
//! 1 refuse impossible traces (decode)   4 priority, origin, decision maker   7 obfuscate, truncate, replace, top level
//! 2 normalise spans                     5 filters                            8 env, version, host, runtime id of the payload
//! 3 find the root                       6 tags of the configuration          9 statistics   10 sampling
//! ```
//! Memory: texts made here are at most 32 bytes a field, or made once for all that share the same text, so that a small request
//! that names one long text a million times does not grow by that. Source: reference agent 7.80, pkg/trace/agent.

use crate::model::trace::Chunk;
use crate::model::trace::PRIORITY_NONE;
use crate::model::trace::Slice;
use crate::model::trace::Tag;
use crate::model::trace::Text;
use crate::model::trace::TracePayload;

pub mod edit;
pub mod filters;
pub mod normalize;
pub mod obfuscate;
pub mod replace;
pub mod rewrite;
pub mod sampling;
pub mod tag_rules;
pub mod top_level;
pub mod truncate;
pub mod unicode;

/// What the configuration says about traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Tags that every span gets; a span's own tag of the same name gives way, as at the reference agent.
    pub global_tags: Vec<(String, String)>,
    /// Tags of the function, `k:v,k:v`, that a payload gets as a whole; empty outside Lambda.
    pub function_tags: String,
    /// Traces that do not go on.
    pub filters: filters::Filters,
    /// What is hidden.
    pub obfuscation: obfuscate::Settings,
    /// What is written anew, in this order.
    pub replace: Vec<replace::Rule>,
}

/// What is kept from one payload to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Of obfuscation.
    pub obfuscation: obfuscate::Memory,
}

/// Carries out the processing order on all chunks. Those that the filters hold back are gone afterwards; the answer is how many
/// spans they had.
pub fn prepare(payload: &mut TracePayload, settings: &Settings, memory: &mut Memory, now_unix_nanos: i64) -> u64 {
    let mut normalizer = normalize::Normalizer::new(now_unix_nanos);
    let mut parents = top_level::Parents::default();
    normalizer.payload(payload);
    let process = std::mem::take(&mut payload.tracer.process_tags);
    set_payload_tag(payload, "_dd.tags.process", &process);
    payload.tracer.process_tags = process;
    set_payload_tag(payload, "_dd.tags.function", &settings.function_tags);
    let globals = add_global_tags(payload, settings);
    replace::span_tags(payload, &settings.replace, normalizer.rewriter());
    let mut obfuscator = obfuscate::Obfuscator::new(&settings.obfuscation, &mut memory.obfuscation, payload);
    let mut verdicts = filters::Verdicts::default();
    let mut filtered = 0;
    for index in 0..payload.chunks.len() {
        let spans = payload.chunks[index].spans;
        for span in spans.range() {
            normalizer.span(payload, span);
        }
        parents.read(&payload.spans[spans.range()]);
        let root = spans.range().start + parents.root(&payload.spans[spans.range()]);
        payload.chunks[index].root = root as u32;
        set_chunk_attributes(payload, index, root);
        // The filters see the root before it gets the tags of the configuration.
        if !settings.filters.let_pass(payload, root, &mut verdicts) {
            filtered += spans.len() as u64;
            payload.chunks[index].spans = Slice::default();
            continue;
        }
        if let Some(origin) = globals.origin {
            payload.chunks[index].origin = origin;
        }
        for span in spans.range() {
            globals.remove_overwritten(payload, span);
            // Obfuscation may make texts longer than truncation lets through.
            obfuscator.span(edit::Edit { payload, span, rewriter: normalizer.rewriter() });
            truncate::span(payload, span, normalizer.rewriter());
            replace::span(payload, span, &settings.replace, normalizer.rewriter());
        }
        match payload.tracer.client_top_level {
            true => top_level::take_over(payload, spans),
            false => parents.mark(payload, spans),
        }
        fill_tracer_fields(payload, spans, root);
        // Steps 9 and 10 follow in the pipeline: statistics of all chunks that are left, see `process/stats`, then `sampling`.
    }
    if 0 < filtered {
        payload.chunks.retain(|chunk| !chunk.spans.is_empty());
    }
    filtered
}

/// What the tracer's header says of its process, and what is known of the function, go with the payload; what is empty does not.
fn set_payload_tag(payload: &mut TracePayload, key: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let value = payload.texts.make(value);
    let (range, TracePayload { tags, texts, .. }) = (payload.payload_tags, &mut *payload);
    match tags[range.range()].iter_mut().find(|tag| texts.is(tag.key, key)) {
        Some(tag) => tag.value = value,
        None => payload.payload_tags = with_tag(payload, range, key, value),
    }
}

/// Step 4. What a newer tracer says of the chunk stands, else the spans say it.
fn set_chunk_attributes(payload: &mut TracePayload, index: usize, root: usize) {
    let Chunk { spans, priority, origin, tags, .. } = payload.chunks[index];
    if priority == PRIORITY_NONE {
        let of_span = |span: usize| payload.metric(payload.spans[span].metrics, "_sampling_priority_v1");
        let found = of_span(root).or_else(|| spans.range().find_map(of_span));
        payload.chunks[index].priority = found.map_or(PRIORITY_NONE, |priority| priority as i32);
    }
    if origin.is_empty() {
        payload.chunks[index].origin = payload.tag(payload.spans[root].meta, "_dd.origin").unwrap_or_default();
    }
    if payload.tag(tags, "_dd.p.dm").is_none() {
        let maker = spans.range().find_map(|span| payload.tag(payload.spans[span].meta, "_dd.p.dm"));
        if let Some(value) = maker {
            payload.chunks[index].tags = with_tag(payload, tags, "_dd.p.dm", value);
        }
    }
}

/// Says who decided that the chunk is kept.
pub fn set_decision_maker(payload: &mut TracePayload, chunk: usize, maker: &str) {
    let (range, value) = (payload.chunks[chunk].tags, payload.texts.make(maker));
    let TracePayload { tags, texts, .. } = payload;
    match tags[range.range()].iter_mut().find(|tag| texts.is(tag.key, "_dd.p.dm")) {
        Some(tag) => tag.value = value,
        None => payload.chunks[chunk].tags = with_tag(payload, range, "_dd.p.dm", value),
    }
}

/// `tags` and one more, which needs a new place unless they are the last ones.
fn with_tag(payload: &mut TracePayload, tags: Slice, key: &str, value: Text) -> Slice {
    let start = payload.tags.len();
    let key = payload.texts.make(key);
    payload.tags.extend_from_within(tags.range());
    payload.tags.push(Tag { key, value });
    Slice::since(start, payload.tags.len())
}

/// Step 8: what the payload does not say of itself, its spans do, the root first. A host's name only the root.
fn fill_tracer_fields(payload: &mut TracePayload, spans: Slice, root: usize) {
    let found = |payload: &TracePayload, of: &str, key: &str| match of.is_empty() {
        false => None,
        true => {
            let of_span = |span: usize| payload.span_tag(&payload.spans[span], key).filter(|text| !text.is_empty());
            let text = of_span(root).or_else(|| spans.range().find_map(of_span))?;
            Some(payload.texts.str(text).to_owned())
        }
    };
    let env = found(payload, &payload.tracer.env, "env");
    let app_version = found(payload, &payload.tracer.app_version, "version");
    let runtime_id = found(payload, &payload.tracer.runtime_id, "runtime-id");
    let hostname = payload.span_tag(&payload.spans[root], "_dd.hostname").map(|text| payload.texts.str(text).to_owned());
    let tracer = &mut payload.tracer;
    set_if_some(&mut tracer.env, env);
    set_if_some(&mut tracer.app_version, app_version);
    set_if_some(&mut tracer.runtime_id, runtime_id);
    if tracer.hostname.is_empty() {
        set_if_some(&mut tracer.hostname, hostname);
    }
}

fn set_if_some(field: &mut String, value: Option<String>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// The tags of the configuration once they stand in a payload.
struct Globals {
    tags: Slice,
    /// The lengths of their names, one bit each, so that most tags of a span need no comparison.
    lengths: u64,
    origin: Option<Text>,
}

/// Step 6, the part that is the same for all spans. The tag `_dd.origin` is the chunk's origin and no tag.
fn add_global_tags(payload: &mut TracePayload, settings: &Settings) -> Globals {
    // Also the places for the decision makers, since pushing one by one would double a vector that a decoder sized with care.
    payload.tags.reserve_exact(settings.global_tags.len() + payload.chunks.len());
    let (start, mut lengths, mut origin) = (payload.tags.len(), 0, None);
    for (key, value) in settings.global_tags.iter().filter(|(key, _)| !key.is_empty()) {
        let value = payload.texts.make(value);
        if key == "_dd.origin" {
            origin = Some(value);
            continue;
        }
        let key = payload.texts.make(key);
        lengths |= 1 << (key.len() % 64);
        payload.tags.push(Tag { key, value });
    }
    payload.span_tags = Slice::since(start, payload.tags.len());
    Globals { tags: payload.span_tags, lengths, origin }
}

impl Globals {
    /// Step 6, the part for each span: it loses what the configuration says otherwise.
    fn remove_overwritten(&self, payload: &mut TracePayload, span: usize) {
        if self.tags.is_empty() {
            return;
        }
        let TracePayload { tags, texts, spans, .. } = payload;
        for index in spans[span].meta.range() {
            let key = tags[index].key;
            let may_be = self.lengths & 1 << (key.len() % 64) != 0;
            if may_be && tags[self.tags.range()].iter().any(|global| texts.same(global.key, key)) {
                tags[index].key = Text::EMPTY;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::Metric;
    use crate::model::trace::Span;

    const NOW: i64 = 1_700_000_000_000_000_000;

    /// Parent id, tags, metrics.
    type SpanCase<'a> = (u64, &'a [(&'a str, &'a str)], &'a [(&'a str, f64)]);

    /// One chunk of spans with these parents, tags and metrics; the first has id 1.
    fn payload(spans: &[SpanCase]) -> TracePayload {
        let mut payload = TracePayload::default();
        for (span_id, (parent_id, meta, metrics)) in (1..).zip(spans) {
            let (tags_start, metrics_start) = (payload.tags.len(), payload.metrics.len());
            for (key, value) in *meta {
                let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
                payload.tags.push(tag);
            }
            for (key, value) in *metrics {
                let key = payload.texts.make(key);
                payload.metrics.push(Metric { key, value: *value });
            }
            let meta = Slice::since(tags_start, payload.tags.len());
            let metrics = Slice::since(metrics_start, payload.metrics.len());
            payload.spans.push(Span { trace_id: 9, span_id, parent_id: *parent_id, meta, metrics, ..Span::default() });
        }
        payload.chunks.push(Chunk { spans: Slice::since(0, spans.len()), ..Chunk::default() });
        payload
    }

    fn settings(tags: &[(&str, &str)]) -> Settings {
        let global_tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings { global_tags, ..Settings::default() }
    }

    #[track_caller]
    fn check_priority(spans: &[SpanCase], expected: i32) {
        let mut payload = payload(spans);
        prepare(&mut payload, &Settings::default(), &mut Memory::default(), NOW);
        assert_eq!(payload.chunks[0].priority, expected);
    }

    #[test]
    fn the_header_names_the_process_in_the_payload() {
        for own in [None, Some("own")] {
            let mut payload = payload(&[(0, &[], &[])]);
            "a:b".clone_into(&mut payload.tracer.process_tags);
            if let Some(own) = own {
                let value = payload.texts.make(own);
                payload.payload_tags = with_tag(&mut payload, Slice::default(), "_dd.tags.process", value);
            }
            prepare(&mut payload, &Settings::default(), &mut Memory::default(), NOW);
            let found = payload.tag(payload.payload_tags, "_dd.tags.process").map(|text| payload.texts.str(text).to_owned());
            assert_eq!((found.as_deref(), payload.payload_tags.len()), (Some("a:b"), 1));
        }
    }

    #[test]
    fn the_root_says_the_priority_or_else_the_first_span_that_does() {
        const KEY: &str = "_sampling_priority_v1";
        check_priority(&[(0, &[], &[(KEY, 2.0)]), (1, &[], &[(KEY, 1.0)])], 2);
        check_priority(&[(2, &[], &[(KEY, -1.0)]), (0, &[], &[]), (1, &[], &[(KEY, 1.0)])], -1);
        check_priority(&[(0, &[], &[("other", 1.0)])], PRIORITY_NONE);
        check_priority(&[(0, &[], &[(KEY, 1e99)])], i32::MAX);
    }

    #[test]
    fn what_the_payload_says_itself_stands() {
        let mut payload =
            payload(&[(0, &[("_dd.origin", "lambda"), ("env", "a"), ("version", "1")], &[("_sampling_priority_v1", 1.0)])]);
        payload.chunks[0].priority = 0;
        payload.chunks[0].origin = payload.texts.make("synthetics");
        payload.tracer.env = "Own Env".to_owned();
        prepare(&mut payload, &Settings::default(), &mut Memory::default(), NOW);
        assert_eq!((payload.chunks[0].priority, payload.texts.str(payload.chunks[0].origin)), (0, "synthetics"));
        assert_eq!((payload.tracer.env.as_str(), payload.tracer.app_version.as_str()), ("own_env", "1"));
    }

    #[test]
    fn the_first_decision_maker_becomes_a_tag_of_the_chunk_and_stays() {
        let mut payload = payload(&[(0, &[], &[]), (1, &[("_dd.p.dm", "-4")], &[]), (1, &[("_dd.p.dm", "-1")], &[])]);
        payload.chunks[0].tags = Slice::since(1, 2);
        payload.tags[1].key = payload.texts.make("of the chunk");
        prepare(&mut payload, &Settings::default(), &mut Memory::default(), NOW);
        let value = |slice, key| payload.tag(slice, key).map(|text| payload.texts.str(text));
        assert_eq!(value(payload.chunks[0].tags, "_dd.p.dm"), Some("-4"));
        assert_eq!(value(payload.chunks[0].tags, "of the chunk"), Some("-1"));
        assert_eq!(value(payload.spans[1].meta, "_dd.p.dm"), Some("-4"));
    }

    #[test]
    fn tags_of_the_configuration_overwrite_and_the_origin_is_no_tag() {
        let mut payload = payload(&[(0, &[("team", "spans"), ("env", "prod"), ("meat", "x")], &[])]);
        prepare(
            &mut payload,
            &settings(&[("team", "configured"), ("_dd.origin", "edge"), ("", "x")]),
            &mut Memory::default(),
            NOW,
        );
        let span = payload.spans[0];
        let value = |key| payload.span_tag(&span, key).map(|text| payload.texts.str(text));
        assert_eq!(
            (value("team"), value("env"), value("meat"), value("_dd.origin")),
            (Some("configured"), Some("prod"), Some("x"), None)
        );
        assert_eq!(payload.tag(span.meta, "team"), None, "it is not there twice");
        assert_eq!(payload.texts.str(payload.chunks[0].origin), "edge");
    }

    #[test]
    fn the_payloads_fields_come_from_the_root_first_and_the_host_from_nowhere_else() {
        let child: &[(&str, &str)] = &[("env", "child"), ("version", "2"), ("runtime-id", "r"), ("_dd.hostname", "child")];
        let mut filled = payload(&[(2, child, &[]), (0, &[("env", "root"), ("version", "")], &[])]);
        prepare(&mut filled, &Settings::default(), &mut Memory::default(), NOW);
        let tracer = &filled.tracer;
        assert_eq!((tracer.env.as_str(), tracer.app_version.as_str(), tracer.runtime_id.as_str()), ("root", "2", "r"));
        assert_eq!(tracer.hostname, "");
        let mut filled = payload(&[(0, &[("_dd.hostname", "h")], &[])]);
        prepare(&mut filled, &settings(&[("env", "configured")]), &mut Memory::default(), NOW);
        assert_eq!((filled.tracer.hostname.as_str(), filled.tracer.env.as_str()), ("h", "configured"));
    }

    /// Three chunks of one span each, with tag `health` at the one in the middle.
    fn three_chunks() -> TracePayload {
        let mut payload = payload(&[(0, &[("a", "1")], &[]), (0, &[("health", "1"), ("env", "x")], &[]), (0, &[], &[])]);
        payload.chunks = (0..3).map(|at| Chunk { spans: Slice::since(at, at + 1), ..Chunk::default() }).collect();
        payload
    }

    #[test]
    fn chunks_that_are_filtered_are_gone_and_counted() {
        let reject = vec![filters::TagFilter::parse("health")];
        let filters = filters::Filters { reject, ..filters::Filters::default() };
        let settings = Settings { filters, ..settings(&[("health", "of the configuration")]) };
        let mut payload = three_chunks();
        assert_eq!(prepare(&mut payload, &settings, &mut Memory::default(), NOW), 1);
        let kept: Vec<u64> = payload.chunks.iter().map(|chunk| payload.spans[chunk.spans.range().start].span_id).collect();
        assert_eq!((kept, payload.tracer.env.as_str()), (vec![1, 3], ""), "nothing is taken from what is gone");
        let mut payload = three_chunks();
        assert_eq!(prepare(&mut payload, &Settings::default(), &mut Memory::default(), NOW), 0);
        assert_eq!(payload.chunks.len(), 3);
    }

    #[test]
    fn replace_rules_see_what_obfuscation_left_and_the_tags_of_the_configuration() {
        let rule = |name: &str, pattern: &str| replace::Rule {
            target: replace::Target::named(name),
            pattern: crate::process::pattern::Pattern::parse(pattern).unwrap(),
            replacement: "<$0>".to_owned(),
        };
        let replace = vec![rule("resource.name", "id = .*"), rule("team", "web"), rule("sql.query", "SELECT")];
        let settings = Settings { replace, ..settings(&[("team", "web")]) };
        let mut payload = payload(&[(0, &[("team", "own")], &[])]);
        payload.spans[0].kind = payload.texts.make("sql");
        payload.spans[0].resource = payload.texts.make("SELECT a FROM b WHERE id = 5");
        prepare(&mut payload, &settings, &mut Memory::default(), NOW);
        let span = payload.spans[0];
        let value = |key| payload.span_tag(&span, key).map(|text| payload.texts.str(text));
        assert_eq!(payload.texts.str(span.resource), "SELECT a FROM b WHERE <id = ?>");
        assert_eq!((value("team"), value("sql.query")), (Some("<web>"), Some("<SELECT> a FROM b WHERE id = ?")));
    }

    #[test]
    fn thirty_thousand_spans_are_no_quadratic_matter() {
        let spans: Vec<SpanCase> = (0..30_000).map(|parent| (parent, &[][..], &[][..])).collect();
        let mut payload = payload(&spans);
        prepare(&mut payload, &Settings::default(), &mut Memory::default(), NOW);
        assert!(payload.spans[0].top_level && payload.spans.iter().filter(|span| span.top_level).count() == 1);
        assert!(payload.texts.made_len() < 1000, "the fallback names are made once");
    }

    #[test]
    fn a_long_text_that_many_tags_share_is_made_once() {
        let mut payload = payload(&[(0, &[("env", "E ".repeat(90).as_str()); 1000], &[])]);
        let shared = payload.tags[0].value;
        payload.tags.iter_mut().for_each(|tag| tag.value = shared);
        let before = payload.texts.made_len();
        prepare(&mut payload, &Settings::default(), &mut Memory::default(), NOW);
        assert!(payload.texts.made_len() < before + 1000);
    }

    #[test]
    fn a_functions_tags_stand_on_each_span_and_on_the_payload() {
        let mut payload = payload(&[(0, &[("region", "mars"), ("own", "1")], &[]), (1, &[], &[])]);
        let function_tags = "functionname:f,region:eu".to_owned();
        let settings = Settings { function_tags, ..settings(&[("region", "eu"), ("_dd.origin", "lambda")]) };
        prepare(&mut payload, &settings, &mut Memory::default(), NOW);
        let text = |text: Text| payload.texts.str(text).to_owned();
        for span in &payload.spans {
            assert_eq!(payload.span_tag(span, "region").map(text).as_deref(), Some("eu"));
        }
        assert_eq!(text(payload.chunks[0].origin), "lambda");
        assert_eq!(
            payload.tag(payload.payload_tags, "_dd.tags.function").map(text).as_deref(),
            Some("functionname:f,region:eu")
        );
    }
}
