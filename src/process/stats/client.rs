//! What is done to statistics that a tracer has computed before they are passed on, and to spans that the backend is to count.
//!
//! Times and counts stay as they came. A bucket without a start cannot be placed by anyone and goes. Services, names and resources
//! get the form that those of spans have, so that the two meet. Source: reference agent 7.80, pkg/trace/agent.

use crate::model::stats::ClientStats;
use crate::model::stats::GroupedStats;
use crate::model::trace::Slice;
use crate::model::trace::Tag;
use crate::model::trace::TracePayload;
use crate::process::traces::normalize::NAME_BYTES_MAX;
use crate::process::traces::obfuscate;
use crate::process::traces::tag_rules::TagPart;
use crate::process::traces::tag_rules::is_normal_name;
use crate::process::traces::tag_rules::is_normal_value;
use crate::process::traces::tag_rules::normal_name;
use crate::process::traces::tag_rules::normal_tag;
use crate::process::traces::truncate::RESOURCE_BYTES_MAX;

/// The tag that asks the backend to count a span itself.
const COMPUTE_STATS: &str = "_dd.compute_stats";

/// Fills in the environment, brings texts into their form, hides values in resources unless the tracer has done so; returns how many
/// groups went with buckets without a start.
pub fn complete(client: &mut ClientStats, env: &str, settings: &obfuscate::Settings, memory: &mut obfuscate::Memory) -> u64 {
    client.env = normal_tag(&client.env, TagPart::Whole);
    if client.env.is_empty() {
        env.clone_into(&mut client.env);
    }
    let before = client.groups();
    client.buckets.retain(|bucket| bucket.start != 0);
    let language = &client.language;
    for group in client.buckets.iter_mut().flat_map(|bucket| &mut bucket.groups) {
        normalize(group, language);
        if !client.is_obfuscated {
            obfuscate::resource(&group.kind, &group.db_kind, &mut group.resource, settings, memory);
        }
    }
    before - client.groups()
}

fn normalize(group: &mut GroupedStats, language: &str) {
    cut(&mut group.service, NAME_BYTES_MAX);
    if !is_normal_value(group.service.as_bytes()) {
        group.service = normal_tag(&group.service, TagPart::Value);
    }
    if group.service.is_empty() {
        group.service = match language {
            "" => "unnamed-service".to_owned(),
            language => format!("unnamed-{language}-service"),
        };
    }
    cut(&mut group.name, NAME_BYTES_MAX);
    if !is_normal_name(group.name.as_bytes()) {
        group.name = normal_name(&group.name);
    }
    if group.name.is_empty() {
        "unnamed_operation".clone_into(&mut group.name);
    }
    if group.resource.is_empty() {
        group.resource.clone_from(&group.name);
    }
    cut(&mut group.resource, RESOURCE_BYTES_MAX);
}

fn cut(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

/// Nobody has counted these spans and nobody will on the way: asks the backend to, by a tag on each of them.
pub fn leave_to_backend(payload: &mut TracePayload) {
    let TracePayload { tags, texts, spans, .. } = payload;
    for span in spans.iter() {
        for tag in &mut tags[span.meta.range()] {
            if texts.is(tag.key, COMPUTE_STATS) {
                *tag = Tag::default();
            }
        }
    }
    let start = payload.tags.len();
    payload.tags.reserve_exact(payload.span_tags.len() + 1);
    payload.tags.extend_from_within(payload.span_tags.range());
    let tag = Tag { key: payload.texts.make(COMPUTE_STATS), value: payload.texts.make("1") };
    payload.tags.push(tag);
    payload.span_tags = Slice::since(start, payload.tags.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::stats::StatsBucket;
    use crate::model::trace::Span;

    fn bucket(start: u64, texts: &[[&str; 3]]) -> StatsBucket {
        let group = |[service, name, resource]: &[&str; 3]| GroupedStats {
            service: (*service).to_owned(),
            name: (*name).to_owned(),
            resource: (*resource).to_owned(),
            ..GroupedStats::default()
        };
        StatsBucket { start, groups: texts.iter().map(group).collect(), ..StatsBucket::default() }
    }

    fn completed(client: &mut ClientStats) -> u64 {
        complete(client, "prod", &obfuscate::Settings::default(), &mut obfuscate::Memory::default())
    }

    #[test]
    fn resources_lose_their_values_unless_the_tracer_has_done_that() {
        let check = |is_obfuscated, kind: &str, resource: &str| {
            let mut client = ClientStats { is_obfuscated, ..ClientStats::default() };
            client.buckets = vec![bucket(1, &[["a", "b", resource]])];
            kind.clone_into(&mut client.buckets[0].groups[0].kind);
            completed(&mut client);
            client.buckets[0].groups[0].resource.clone()
        };
        for kind in ["sql", "cassandra"] {
            assert_eq!(check(false, kind, "SELECT * FROM a WHERE b = 'secret'"), "SELECT * FROM a WHERE b = ?");
            assert_eq!(check(false, kind, "SELECT 'secret"), obfuscate::NON_PARSABLE);
            assert_eq!(check(true, kind, "SELECT 'x'"), "SELECT 'x'");
        }
        for kind in ["redis", "valkey"] {
            assert_eq!(check(false, kind, "set k secret"), "SET");
        }
        assert_eq!(check(false, "web", "GET /'x'"), "GET /'x'");
    }

    #[test]
    fn texts_get_the_form_of_those_of_spans() {
        let mut client = ClientStats { language: "go".to_owned(), ..ClientStats::default() };
        client.buckets = vec![bucket(1, &[["Web Store", "web request", ""], ["", "", "GET /"]])];
        assert_eq!(completed(&mut client), 0);
        let texts: Vec<_> =
            client.buckets[0].groups.iter().map(|group| [&group.service, &group.name, &group.resource]).collect();
        assert_eq!(texts[0], ["web_store", "web_request", "web_request"]);
        assert_eq!(texts[1], ["unnamed-go-service", "unnamed_operation", "GET /"]);
        assert_eq!(client.env, "prod");
    }

    #[test]
    fn only_a_bucket_without_a_start_goes() {
        let mut client = ClientStats { env: "Own".to_owned(), ..ClientStats::default() };
        client.buckets = vec![bucket(0, &[["a", "b", "c"]; 3]), bucket(7, &[["a", "b", "c"]])];
        assert_eq!(completed(&mut client), 3);
        assert_eq!((client.env.as_str(), client.buckets.len(), client.buckets[0].start), ("own", 1, 7));
    }

    #[test]
    fn every_span_asks_the_backend_once() {
        let mut payload = TracePayload::default();
        let tag = Tag { key: payload.texts.make(COMPUTE_STATS), value: payload.texts.make("0") };
        payload.tags = vec![tag, tag];
        payload.spans = vec![Span { meta: Slice::since(0, 1), ..Span::default() }, Span::default()];
        payload.span_tags = Slice::since(1, 2);
        payload.tags[1].key = payload.texts.make("team");
        leave_to_backend(&mut payload);
        assert_eq!(payload.tag(payload.spans[0].meta, COMPUTE_STATS), None);
        for span in &payload.spans {
            let value = |key| payload.span_tag(span, key).map(|text| payload.texts.str(text));
            assert_eq!((value(COMPUTE_STATS), value("team")), (Some("1"), Some("0")));
        }
    }
}
