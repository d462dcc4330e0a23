//! What is done to statistics that a tracer has computed before they are passed on, and to spans that the backend is to count.
//!
//! Times and counts stay as they came. A bucket without a start cannot be placed by anyone and goes, and so does a group whose resource
//! the user ignores. Services, names and resources get the form that those of spans have, the user's replace rules included, so that
//! the two meet and what is hidden in one is not told by the other. Source: reference agent 7.80, pkg/trace/agent.

use crate::model::stats::ClientStats;
use crate::model::stats::GroupedStats;
use crate::model::trace::Slice;
use crate::model::trace::Tag;
use crate::model::trace::TracePayload;
use crate::process::traces;
use crate::process::traces::normalize::NAME_BYTES_MAX;
use crate::process::traces::obfuscate;
use crate::process::traces::replace;
use crate::process::traces::tag_rules::TagPart;
use crate::process::traces::tag_rules::is_normal_name;
use crate::process::traces::tag_rules::is_normal_value;
use crate::process::traces::tag_rules::normal_name;
use crate::process::traces::tag_rules::normal_tag;
use crate::process::traces::truncate::RESOURCE_BYTES_MAX;

/// The tag that asks the backend to count a span itself.
const COMPUTE_STATS: &str = "_dd.compute_stats";

/// How many groups went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Their bucket had no start.
    pub unplaced: u64,
    /// The user ignores their resource.
    pub ignored: u64,
}

/// Fills in the environment, brings texts into their form, hides values in resources unless the tracer has done so, carries out replace
/// rules.
pub fn complete(client: &mut ClientStats, env: &str, settings: &traces::Settings, memory: &mut traces::Memory) -> Gone {
    client.env = normal_tag(&client.env, TagPart::Whole);
    if client.env.is_empty() {
        env.clone_into(&mut client.env);
    }
    let before = client.groups();
    client.buckets.retain(|bucket| bucket.start != 0);
    let placed = client.groups();
    let language = &client.language;
    for bucket in &mut client.buckets {
        bucket.groups.retain_mut(|group| {
            normalize(group, language);
            !settings.filters.ignores(&group.resource)
        });
        for group in &mut bucket.groups {
            if !client.is_obfuscated {
                obfuscate::resource(
                    &group.kind,
                    &group.db_kind,
                    &mut group.resource,
                    &settings.obfuscation,
                    &mut memory.obfuscation,
                );
            }
            replace::group(group, &settings.replace);
        }
    }
    Gone { unplaced: before - placed, ignored: placed - client.groups() }
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
    use crate::process::pattern::Pattern;

    fn bucket(start: u64, texts: &[[&str; 3]]) -> StatsBucket {
        let group = |[service, name, resource]: &[&str; 3]| GroupedStats {
            service: (*service).to_owned(),
            name: (*name).to_owned(),
            resource: (*resource).to_owned(),
            ..GroupedStats::default()
        };
        StatsBucket { start, groups: texts.iter().map(group).collect(), ..StatsBucket::default() }
    }

    fn completed(client: &mut ClientStats) -> Gone {
        complete(client, "prod", &traces::Settings::default(), &mut traces::Memory::default())
    }

    #[test]
    fn what_the_user_ignores_goes_and_what_he_replaces_is_replaced() {
        let mut settings = traces::Settings::default();
        settings.filters.ignore_resources = vec![Pattern::parse("^GET /health").unwrap()];
        settings.replace = [("resource.name", "token=[a-z]+", "token=?"), ("http.status_code", "^404$", "200")]
            .map(|(name, pattern, replacement)| replace::Rule {
                target: replace::Target::named(name),
                pattern: Pattern::parse(pattern).unwrap(),
                replacement: replacement.to_owned(),
            })
            .to_vec();
        let mut client = ClientStats { is_obfuscated: true, ..ClientStats::default() };
        client.buckets = vec![bucket(1, &[["a", "b", "GET /health?token=x"], ["a", "b", "GET /?token=secret"]])];
        client.buckets[0].groups[1].http_status = 404;
        let gone = complete(&mut client, "prod", &settings, &mut traces::Memory::default());
        assert_eq!(gone, Gone { unplaced: 0, ignored: 1 });
        let left: Vec<_> = client.buckets[0].groups.iter().map(|group| (group.resource.as_str(), group.http_status)).collect();
        assert_eq!(left, [("GET /?token=?", 200)]);
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
        assert_eq!(completed(&mut client), Gone::default());
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
        assert_eq!(completed(&mut client), Gone { unplaced: 3, ignored: 0 });
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
