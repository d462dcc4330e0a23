use super::*;
use crate::model::trace::Metric;
use crate::model::trace::Slice;
use crate::model::trace::Tag;
use crate::model::trace::TracerInfo;
use crate::sys::random::Random;

const NOW: i64 = 1_700_000_000_000_000_000;

fn at(seconds: i64) -> Moment {
    Moment { unix_nanos: NOW + seconds * 1_000_000_000, uptime: Duration::from_secs(1000_i64.saturating_add(seconds) as u64) }
}

fn settings() -> Settings {
    let peer_tags = PEER_TAGS.iter().map(|tag| (*tag).to_owned()).collect();
    Settings { env: "none".to_owned(), peer_tags, by_span_kind: true, bytes_max: 1 << 20, seed: 7 }
}

/// A top-level span that ends `end` seconds after [`NOW`].
#[derive(Clone, Copy)]
struct Case<'a> {
    resource: &'a str,
    end: f64,
    duration: i64,
    error: i32,
    parent_id: u64,
    meta: &'a [(&'a str, &'a str)],
    metrics: &'a [(&'a str, f64)],
}

const CASE: Case =
    Case { resource: "r", end: 0.5, duration: 1000, error: 0, parent_id: 0, meta: &[], metrics: &[("_dd.top_level", 1.0)] };

fn payload(cases: &[Case]) -> TracePayload {
    let mut payload =
        TracePayload { tracer: TracerInfo { language: "go".to_owned(), ..TracerInfo::default() }, ..TracePayload::default() };
    for case in cases {
        let (tags, metrics) = (payload.tags.len(), payload.metrics.len());
        for (key, value) in case.meta {
            let tag = Tag { key: payload.texts.make(key), value: payload.texts.make(value) };
            payload.tags.push(tag);
        }
        for (key, value) in case.metrics {
            let key = payload.texts.make(key);
            payload.metrics.push(Metric { key, value: *value });
        }
        payload.spans.push(Span {
            service: payload.texts.make("s"),
            name: payload.texts.make("n"),
            resource: payload.texts.make(case.resource),
            start: NOW + (case.end * 1e9) as i64 - case.duration,
            duration: case.duration,
            error: case.error,
            parent_id: case.parent_id,
            meta: Slice::since(tags, payload.tags.len()),
            metrics: Slice::since(metrics, payload.metrics.len()),
            ..Span::default()
        });
    }
    payload.chunks.push(Chunk { spans: Slice::since(0, cases.len()), ..Chunk::default() });
    payload
}

fn concentrator(cases: &[Case]) -> Concentrator {
    let mut concentrator = Concentrator::new(settings());
    concentrator.add(&payload(cases), at(1));
    concentrator
}

/// The only group of these spans.
#[track_caller]
fn group(cases: &[Case]) -> GroupedStats {
    let clients = concentrator(cases).flush(Which::All, at(1));
    assert_eq!(clients.iter().map(ClientStats::groups).sum::<u64>(), 1);
    clients[0].buckets[0].groups[0].clone()
}

/// Starts of buckets in seconds from [`NOW`], and hits in each.
fn hits(clients: &[ClientStats]) -> Vec<(i64, u64)> {
    let buckets = clients.iter().flat_map(|client| &client.buckets);
    buckets
        .map(|bucket| {
            let start = (bucket.start as i64 - NOW) / 1_000_000_000;
            (start, bucket.groups.iter().map(|group| group.hits).sum())
        })
        .collect()
}

#[test]
fn spans_count_that_begin_a_level_are_measured_or_talk_to_others() {
    let counted = |meta: &[(&str, &str)], metrics: &[(&str, f64)]| {
        !concentrator(&[Case { meta, metrics, ..CASE }]).flush(Which::All, at(1)).is_empty()
    };
    assert!(counted(&[], &[("_dd.top_level", 1.0)]));
    assert!(counted(&[], &[("_dd.measured", 1.0)]));
    assert!(["server", "CLIENT", "Producer", "consumer"].into_iter().all(|kind| counted(&[("span.kind", kind)], &[])));
    assert!(!counted(&[("span.kind", "internal")], &[]));
    assert!(!counted(&[], &[("_dd.measured", 0.0)]));
    assert!(!counted(&[("span.kind", "server")], &[("_dd.top_level", 1.0), ("_dd.partial_version", 3.0)]));
    assert!(counted(&[], &[("_dd.top_level", 1.0), ("_dd.partial_version", -1.0)]));
    let mut by_level = Concentrator::new(Settings { by_span_kind: false, ..settings() });
    by_level.add(&payload(&[Case { meta: &[("span.kind", "server")], metrics: &[], ..CASE }]), at(1));
    assert!(by_level.flush(Which::All, at(1)).is_empty());
}

#[test]
fn the_end_of_a_span_selects_its_bucket() {
    let mut concentrator = concentrator(&[
        Case { end: 0.15, duration: 150_000_000, ..CASE },
        Case { end: 10.01, duration: 20_000_000, ..CASE },
        Case { end: 10.0, duration: 1_000_000_000, ..CASE },
    ]);
    assert_eq!(hits(&concentrator.flush(Which::All, at(1))), [(0, 1), (10, 2)]);
}

#[test]
fn a_span_from_long_ago_counts_in_the_last_bucket_but_one() {
    let mut concentrator = Concentrator::new(settings());
    concentrator.add(&payload(&[Case { end: -300.0, ..CASE }, Case { end: -5.0, ..CASE }, Case { end: 1.0, ..CASE }]), at(2));
    assert_eq!(hits(&concentrator.flush(Which::All, at(2))), [(-10, 2), (0, 1)]);
}

#[test]
fn two_buckets_stay_open() {
    let mut concentrator = Concentrator::new(settings());
    assert_eq!(concentrator.due(), None);
    concentrator.add(&payload(&[CASE]), at(1));
    assert_eq!(concentrator.due(), Some(Duration::from_secs(1011)));
    assert!(concentrator.flush(Which::Closed, at(11)).is_empty());
    concentrator.add(&payload(&[Case { end: 11.5, ..CASE }]), at(12));
    assert!(concentrator.flush(Which::Closed, at(19)).is_empty());
    assert_eq!(hits(&concentrator.flush(Which::Closed, at(20))), [(0, 1)]);
    assert_eq!(concentrator.due(), Some(Duration::from_secs(1030)));
    assert_eq!(hits(&concentrator.flush(Which::Closed, at(30))), [(10, 1)]);
    assert_eq!((concentrator.due(), concentrator.bytes()), (None, 0));
}

#[test]
fn clocks_that_jump_keep_no_bucket_open_for_ever() {
    let mut concentrator = concentrator(&[Case { end: 1e6, ..CASE }]);
    assert!(concentrator.flush(Which::Closed, at(21)).is_empty());
    assert_eq!(hits(&concentrator.flush(Which::Closed, at(31))), [(1_000_000, 1)]);
    let future: Vec<Case> = (0..40).map(|bucket| Case { end: f64::from(bucket * 100), ..CASE }).collect();
    let mut concentrator = Concentrator::new(settings());
    concentrator.add(&payload(&future), at(1));
    let found = hits(&concentrator.flush(Which::All, at(1)));
    assert_eq!((found.len(), found.iter().map(|(_, hits)| hits).sum::<u64>()), (16, 40));
}

#[test]
fn counts_are_those_of_the_spans_and_errors_have_their_own_sketch() {
    let found = group(&[
        CASE,
        Case { error: 1, duration: 3000, ..CASE },
        Case { duration: 0, meta: &[], metrics: &[("_dd.measured", 1.0)], ..CASE },
    ]);
    assert_eq!((found.hits, found.errors, found.top_level_hits, found.duration), (3, 1, 2, 4000));
    let (Summary::Sketch(ok), Summary::Sketch(error)) = (&found.ok, &found.error) else { panic!("counted here") };
    assert_eq!((ok.bins.len(), ok.zeros, error.bins.len(), error.zeros), (1, 1, 1, 0));
}

#[test]
fn a_sampled_span_stands_for_those_that_were_not_sent() {
    let weighted = |metrics: &[(&str, f64)]| {
        let root = Case { metrics, ..CASE };
        group(&[root, Case { error: 1, ..CASE }]).hits
    };
    assert_eq!(weighted(&[("_dd.top_level", 1.0), ("_sample_rate", 0.25)]), 8);
    assert_eq!(weighted(&[("_dd.top_level", 1.0), ("_sample_rate", 0.5), ("_dd1.sr.rapre", 0.5)]), 8);
    assert_eq!(weighted(&[("_dd.top_level", 1.0), ("_sample_rate", 0.0)]), 2);
    assert_eq!(weighted(&[("_dd.top_level", 1.0), ("_sample_rate", 1.5), ("_dd1.sr.rapre", -1.0)]), 2);
    // 4 / 3 of each of two spans: rounded once, at the end.
    assert_eq!(weighted(&[("_dd.top_level", 1.0), ("_sample_rate", 0.75)]), 3);
}

#[test]
fn every_attribute_is_part_of_the_key() {
    let meta = &[
        ("span.kind", "server"),
        ("http.status_code", "404"),
        ("grpc.code", "StatusCode.UNAVAILABLE"),
        ("http.method", "GET"),
        ("http.route", "/a/{b}"),
        ("_dd.svc_src", "redis"),
        ("_dd.base_service", "other"),
    ];
    let found = group(&[Case { meta, parent_id: 3, ..CASE }]);
    let texts = [&found.service, &found.name, &found.resource, &found.span_kind, &found.http_method, &found.http_endpoint];
    assert_eq!(texts.map(String::as_str), ["s", "n", "r", "server", "GET", "/a/{b}"]);
    assert_eq!((found.http_status, found.grpc_status.as_str(), found.service_source.as_str()), (404, "14", "redis"));
    assert_eq!((found.is_trace_root, found.is_synthetics, found.peer_tags.len()), (2, false, 0));
    let metrics = &[("http.status_code", 500.0), ("rpc.grpc.status.code", 2.0), ("_dd.measured", 1.0)];
    let found =
        group(&[Case { meta: &[("http.endpoint", "/e"), ("http.route", "/r"), ("http.status_code", "200")], metrics, ..CASE }]);
    assert_eq!((found.http_status, found.grpc_status.as_str(), found.http_endpoint.as_str()), (500, "2", "/e"));
    assert_eq!(found.is_trace_root, 1);
    let mut synthetic = payload(&[CASE]);
    synthetic.chunks[0].origin = synthetic.texts.make("synthetics-browser");
    let mut concentrator = Concentrator::new(settings());
    concentrator.add(&synthetic, at(1));
    assert!(concentrator.flush(Which::All, at(1))[0].buckets[0].groups[0].is_synthetics);
}

#[test]
fn peer_tags_are_those_of_spans_that_talk_to_peers() {
    let of = |kind: &str| {
        let meta =
            &[("span.kind", kind), ("out.host", "10.0.0.7:80"), ("db.type", "pg"), ("db.name", ""), ("_dd.base_service", "b")];
        group(&[Case { meta, ..CASE }]).peer_tags
    };
    let all = ["_dd.base_service:b", "db.type:pg", "out.host:blocked-ip-address:80"];
    assert_eq!([of("client"), of("PRODUCER"), of("consumer")], [all, all, all]);
    assert_eq!([of("internal"), of("")], [["_dd.base_service:b"], ["_dd.base_service:b"]]);
    assert_eq!([of("server"), of("strange")], [[""; 0], [""; 0]]);
    assert!(group(&[Case { meta: &[("_dd.base_service", "s")], ..CASE }]).peer_tags.is_empty(), "the span's own service");
    let mut without = Concentrator::new(Settings { peer_tags: Vec::new(), ..settings() });
    without.add(&payload(&[Case { meta: &[("span.kind", "client"), ("out.host", "db")], ..CASE }]), at(1));
    assert!(without.flush(Which::All, at(1))[0].buckets[0].groups[0].peer_tags.is_empty());
}

#[test]
fn tags_that_all_spans_have_count_as_their_own() {
    let mut payload = payload(&[Case { meta: &[("span.kind", "client")], ..CASE }]);
    let tag = Tag { key: payload.texts.make("peer.service"), value: payload.texts.make("db") };
    payload.tags.push(tag);
    payload.span_tags = Slice::since(payload.tags.len() - 1, payload.tags.len());
    let mut concentrator = Concentrator::new(settings());
    concentrator.add(&payload, at(1));
    assert_eq!(concentrator.flush(Which::All, at(1))[0].buckets[0].groups[0].peer_tags, ["peer.service:db"]);
}

#[test]
fn clients_are_told_apart_by_what_their_payloads_say() {
    let mut concentrator = Concentrator::new(settings());
    for (env, version, process_tags) in [("", "1", ""), ("prod", "1", ""), ("prod", "2", "a:b"), ("none", "1", "")] {
        let mut payload = payload(&[CASE, Case { end: 11.0, meta: &[("_dd.git.commit.sha", "c0ffee")], ..CASE }]);
        (payload.tracer.env, payload.tracer.app_version) = (env.to_owned(), version.to_owned());
        payload.tracer.process_tags = process_tags.to_owned();
        payload.chunks[0].root = 1;
        concentrator.add(&payload, at(1));
    }
    let clients = concentrator.flush(Which::All, at(1));
    let found: Vec<_> =
        clients.iter().map(|client| (client.env.as_str(), client.version.as_str(), client.buckets.len())).collect();
    assert_eq!(found, [("none", "1", 2), ("prod", "1", 2), ("prod", "2", 2)]);
    assert_eq!(clients[0].buckets[0].groups[0].hits, 2);
    assert_eq!(
        (clients[0].language.as_str(), clients[0].git_commit_sha.as_str(), clients[0].process_tags_hash),
        ("go", "c0ffee", 0)
    );
    assert_ne!(clients[2].process_tags_hash, 0);
}

#[test]
fn process_tags_come_from_the_header_or_from_the_payload() {
    let of = |header: &str| {
        let mut payload = payload(&[CASE]);
        let tag = Tag { key: payload.texts.make("_dd.tags.process"), value: payload.texts.make("of:payload") };
        payload.payload_tags = Slice::since(payload.tags.len(), payload.tags.len() + 1);
        payload.tags.push(tag);
        header.clone_into(&mut payload.tracer.process_tags);
        let mut concentrator = Concentrator::new(settings());
        concentrator.add(&payload, at(1));
        concentrator.flush(Which::All, at(1))[0].process_tags.clone()
    };
    assert_eq!([of(""), of("of:header")], ["of:payload", "of:header"]);
}

#[test]
fn tracers_that_count_are_not_counted_again() {
    let mut payload = payload(&[CASE]);
    payload.tracer.client_stats = true;
    let mut concentrator = Concentrator::new(settings());
    concentrator.add(&payload, at(1));
    assert_eq!((concentrator.flush(Which::All, at(1)).len(), concentrator.due()), (0, None));
}

#[test]
fn beyond_the_limit_resources_are_put_together_and_the_rest_is_told() {
    let names: Vec<String> = (0..3000).map(|at| format!("GET /{at}")).collect();
    let meta = &[("span.kind", "client"), ("out.host", "db"), ("http.status_code", "200")];
    let cases: Vec<Case> = names.iter().map(|resource| Case { resource, meta, ..CASE }).collect();
    let bytes_max = 100_000;
    let mut concentrator = Concentrator::new(Settings { bytes_max, ..settings() });
    let payload = payload(&cases);
    concentrator.add(&payload, at(1));
    concentrator.add(&payload, at(1));
    assert!(concentrator.bytes() <= bytes_max + bytes_max / 8 + 200);
    let lost = concentrator.take_lost();
    let clients = concentrator.flush(Which::All, at(1));
    let groups = &clients[0].buckets[0].groups;
    let other = groups.iter().find(|group| group.resource == OTHER).unwrap();
    assert_eq!((other.hits, lost.uncounted), (lost.folded, 0));
    assert_eq!(
        (other.service.as_str(), other.span_kind.as_str(), other.http_status, other.peer_tags.len()),
        ("s", "client", 0, 0)
    );
    assert_eq!(groups.iter().map(|group| group.hits).sum::<u64>(), 6000, "nothing is lost");
    assert_eq!((concentrator.bytes(), concentrator.take_lost()), (0, Lost::default()));
}

#[test]
fn services_without_number_are_not_counted_in_the_end_and_memory_stays_bounded() {
    let mut payload = payload(&vec![CASE; 5000]);
    for span in 0..payload.spans.len() {
        payload.spans[span].service = payload.texts.make(&format!("service{span}"));
        payload.spans[span].duration = 1 << (span % 60);
        payload.spans[span].start = NOW + 1_000_000_000 - payload.spans[span].duration;
    }
    let bytes_max = 100_000;
    let mut concentrator = Concentrator::new(Settings { bytes_max, ..settings() });
    for _ in 0..20 {
        concentrator.add(&payload, at(1));
        payload.spans.iter_mut().for_each(|span| span.duration = span.duration.rotate_left(1) & i64::MAX >> 3);
    }
    assert!(concentrator.bytes() <= bytes_max + bytes_max / 8 + 20_000, "{}", concentrator.bytes());
    let lost = concentrator.take_lost();
    let counted: u64 = hits(&concentrator.flush(Which::All, at(1))).iter().map(|(_, hits)| hits).sum();
    assert_eq!(counted + lost.uncounted, 100_000);
    assert!(0 < lost.uncounted && 0 < counted);
}

#[test]
fn every_span_is_counted_once_whenever_buckets_are_handed_out() {
    let seed = Random::from_system().bits();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for _ in 0..100 {
        let mut concentrator = Concentrator::new(settings());
        let (mut seconds, mut spans, mut errors, mut handed_out) = (0_i64, 0_u64, 0_u64, Vec::new());
        for _ in 0..random.below(60) {
            seconds += random.below(5) as i64;
            match random.below(6) {
                0 => handed_out.extend(concentrator.flush(Which::All, at(seconds))),
                1 => handed_out.extend(concentrator.flush(Which::Closed, at(seconds))),
                _ => {
                    let mut case = || Case {
                        resource: ["a", "b", "c"][random.below(3) as usize],
                        end: seconds as f64 - random.below(40) as f64 + random.below(3) as f64,
                        error: random.below(2) as i32,
                        duration: random.below(1 << 40) as i64,
                        ..CASE
                    };
                    let cases: Vec<Case> = (0..5).map(|_| case()).collect();
                    spans += cases.len() as u64;
                    errors += cases.iter().map(|case| case.error as u64).sum::<u64>();
                    concentrator.add(&payload(&cases), at(seconds));
                }
            }
        }
        handed_out.extend(concentrator.flush(Which::All, at(seconds)));
        let groups: Vec<&GroupedStats> =
            handed_out.iter().flat_map(|client| &client.buckets).flat_map(|bucket| &bucket.groups).collect();
        assert_eq!(groups.iter().map(|group| group.hits).sum::<u64>(), spans);
        assert_eq!(groups.iter().map(|group| group.errors).sum::<u64>(), errors);
        let in_sketch = |summary: &Summary| match summary {
            Summary::Sketch(sketch) => {
                sketch.bins.iter().map(|bin| u64::from(bin.count)).sum::<u64>() + u64::from(sketch.zeros)
            }
            Summary::Encoded(_) => 0,
        };
        assert!(groups.iter().all(|group| in_sketch(&group.error) == group.errors));
        assert!(groups.iter().all(|group| in_sketch(&group.ok) == group.hits - group.errors));
        assert_eq!((concentrator.bytes(), concentrator.take_lost()), (0, Lost::default()));
    }
}

#[test]
fn what_a_forced_flush_sent_is_not_sent_again_and_later_spans_open_the_bucket_anew() {
    let mut concentrator = concentrator(&[CASE, CASE]);
    assert_eq!(hits(&concentrator.flush(Which::All, at(2))), [(0, 2)]);
    assert!(concentrator.flush(Which::All, at(2)).is_empty());
    concentrator.add(&payload(&[CASE]), at(3));
    assert_eq!(hits(&concentrator.flush(Which::Closed, at(20))), [(0, 1)]);
}
