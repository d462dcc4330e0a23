//! CPU of a span on its way, by step: `cargo bench`. 1,000 spans of about 440 bytes with 15 tags and 5 metrics in traces of ten; what
//! is printed for an iteration in microseconds is thus nanoseconds a span. The mixed ones are half web spans, and else SQL and Redis,
//! with what obfuscation has to look at. Bytes a span for each level of compression are printed before.

use divan::Bencher;
use divan::counter::ItemsCount;
use mote::decode::{traces_v04, traces_v05};
use mote::encode::traces::{Agent, BODY_BYTES_MAX, PayloadWriter, TraceBody};
use mote::model::trace::{TracePayload, TracerInfo};
use mote::process::stats::{self, Concentrator, Moment};
use mote::process::traces::{Memory, Settings, prepare};
use mote::sys::random::Random;
use std::time::Duration;

const TRACES: usize = 100;
const SPANS: usize = 10;
const ALLOWANCE: usize = 16 << 20;
const NOW: i64 = 1_800_000_000_000_000_000;
const LEVELS: [u32; 4] = [0, 1, 3, 6];

#[allow(clippy::print_stdout, reason = "a figure that no timer gives")]
fn main() {
    for (name, request) in [("web", request(Kind::Web)), ("mixed", request(Kind::Mixed))] {
        let payload = prepared(request.clone());
        let sizes: Vec<String> = LEVELS
            .iter()
            .map(|level| format!("{} at level {level}", encode(&payload, *level).len() / (TRACES * SPANS)))
            .collect();
        println!("bytes a span, {name}: {} in the request, {}", request.len() / (TRACES * SPANS), sizes.join(", "));
    }
    divan::main();
}

#[divan::bench]
fn decode_v04(bencher: Bencher) {
    let request = request(Kind::Web);
    bencher.counter(ItemsCount::new(TRACES * SPANS)).with_inputs(|| request.clone()).bench_values(decode);
}

#[divan::bench]
fn decode_v05(bencher: Bencher) {
    let request = request_v05();
    bencher.counter(ItemsCount::new(TRACES * SPANS)).with_inputs(|| request.clone()).bench_values(decode_05);
}

#[divan::bench(args = [Kind::Web, Kind::Mixed])]
fn prepare_spans(bencher: Bencher, kind: Kind) {
    let request = request(kind);
    let settings = settings();
    bencher.counter(ItemsCount::new(TRACES * SPANS)).with_inputs(|| decode(request.clone())).bench_values(|mut payload| {
        prepare(&mut payload, &settings, &mut Memory::default(), NOW);
        payload
    });
}

#[divan::bench(args = [Kind::Web, Kind::Mixed])]
fn count_for_statistics(bencher: Bencher, kind: Kind) {
    let payload = prepared(request(kind));
    let mut concentrator = concentrator();
    bencher.counter(ItemsCount::new(TRACES * SPANS)).bench_local(|| concentrator.add(&payload, MOMENT));
}

/// Level 0 stores, which shows what writing without compression costs.
#[divan::bench(args = LEVELS)]
fn encode_at_level(bencher: Bencher, level: u32) {
    let payload = prepared(request(Kind::Mixed));
    bencher.counter(ItemsCount::new(TRACES * SPANS)).bench(|| encode(&payload, level));
}

/// From the request's bytes to a body of level 1, obfuscation on.
#[divan::bench(args = [Path::Web, Path::WebCounted, Path::MixedCounted, Path::V05, Path::V05Counted])]
fn whole_path(bencher: Bencher, path: Path) {
    let request = match path {
        Path::Web | Path::WebCounted => request(Kind::Web),
        Path::MixedCounted => request(Kind::Mixed),
        Path::V05 | Path::V05Counted => request_v05(),
    };
    let decode = if matches!(path, Path::V05 | Path::V05Counted) { decode_05 } else { decode };
    let mut concentrator = (!matches!(path, Path::Web | Path::V05)).then(concentrator);
    let (settings, mut memory) = (settings(), Memory::default());
    bencher.counter(ItemsCount::new(TRACES * SPANS)).with_inputs(|| request.clone()).bench_local_values(|request| {
        let mut payload = decode(request);
        prepare(&mut payload, &settings, &mut memory, NOW);
        if let Some(concentrator) = &mut concentrator {
            concentrator.add(&payload, MOMENT);
        }
        encode(&payload, 1)
    });
}

/// What the spans are.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Web,
    Mixed,
}

/// Which way is measured; `Counted` with statistics.
#[derive(Clone, Copy, Debug)]
enum Path {
    Web,
    WebCounted,
    MixedCounted,
    V05,
    V05Counted,
}

const MOMENT: Moment = Moment { unix_nanos: NOW, uptime: Duration::from_secs(1) };

/// As the agent is set by default.
fn concentrator() -> Concentrator {
    let peer_tags = stats::PEER_TAGS.map(str::to_owned).to_vec();
    Concentrator::new(stats::Settings { env: "none".into(), peer_tags, by_span_kind: true, bytes_max: 2 << 20, seed: 7 })
}

fn prepared(request: Vec<u8>) -> TracePayload {
    let mut payload = decode(request);
    prepare(&mut payload, &settings(), &mut Memory::default(), NOW);
    payload
}

fn decode_05(request: Vec<u8>) -> TracePayload {
    traces_v05::decode(request, TracerInfo::default(), ALLOWANCE).expect("a good request")
}

fn settings() -> Settings {
    Settings { global_tags: vec![("region".into(), "eu".into())], ..Settings::default() }
}

fn decode(request: Vec<u8>) -> TracePayload {
    traces_v04::decode(request, TracerInfo::default(), ALLOWANCE).expect("a good request")
}

fn encode(payload: &TracePayload, level: u32) -> Vec<u8> {
    let agent = Agent { hostname: "gw-1".into(), env: "none".into(), version: "0.1.0".into(), ..Agent::default() };
    let mut body = TraceBody::new(&agent, BODY_BYTES_MAX, level);
    let added = body.add(&mut PayloadWriter::new(payload, BODY_BYTES_MAX));
    assert!(!added.is_full, "one body holds them all");
    body.finish().bytes
}

/// Texts of the lengths that real tags have; some repeat from span to span and some do not, since compression sees the difference.
const TAGS: [(&str, usize, bool); 15] = [
    ("env", 4, true),
    ("version", 5, true),
    ("language", 6, true),
    ("runtime-id", 36, true),
    ("component", 7, true),
    ("span.kind", 6, true),
    ("http.method", 3, true),
    ("http.url", 24, false),
    ("http.status_code", 3, true),
    ("http.route", 9, true),
    ("out.host", 10, true),
    ("peer.service", 8, true),
    ("_dd.p.dm", 2, true),
    ("user.id", 8, false),
    ("team", 6, true),
];

/// Tags that obfuscation looks at, by the type of the span that has them; each span of a mixed request gets one in place of its URL.
const HIDDEN: [(&str, &str, &str, &str); 4] = [
    ("sql", "SELECT c.id, c.total FROM cart c WHERE c.user = 'u-4711' AND c.total > 42.5 LIMIT 10", "db.type", "postgres"),
    ("web", "GET /cart", "http.url", "https://shop.example/cart/4711/items?user=u-17&token=f00d"),
    ("redis", "GET", "redis.raw_command", "SET session:4711 c2Vzc2lvbi1kYXRh EX 3600"),
    ("web", "GET /cart", "http.url", "https://shop.example/cart/4711/items?user=u-17&token=f00d"),
];

fn request(kind: Kind) -> Vec<u8> {
    let mut random = Random::new(7);
    let fixed: Vec<String> = TAGS.iter().map(|(key, len, _)| fixed_value(&mut random, key, *len)).collect();
    let mut body = vec![0xdc];
    body.extend((TRACES as u16).to_be_bytes());
    for _ in 0..TRACES {
        body.push(0x90 | SPANS as u8);
        let (trace_id, mut parent_id) = (random.id(), 0);
        for index in 0..SPANS {
            let hidden = matches!(kind, Kind::Mixed).then_some(HIDDEN[index % HIDDEN.len()]);
            let (span_type, resource) = hidden.map_or(("web", "GET /cart"), |(span_type, resource, ..)| (span_type, resource));
            let span_id = random.id();
            body.push(0x8c);
            for (key, value) in [("service", "web-store"), ("name", "web.request"), ("resource", resource), ("type", span_type)]
            {
                text(&mut body, key);
                text(&mut body, value);
            }
            let start = 1_700_000_000_000_000_000 + random.below(1_000_000_000);
            let numbers = [("trace_id", trace_id), ("span_id", span_id), ("parent_id", parent_id), ("start", start)];
            for (key, value) in numbers.into_iter().chain([("duration", random.below(1 << 31)), ("error", 0)]) {
                text(&mut body, key);
                number(&mut body, value);
            }
            parent_id = span_id;
            text(&mut body, "meta");
            body.push(0x80 | TAGS.len() as u8);
            for ((key, len, repeats), same) in TAGS.iter().zip(&fixed) {
                let fresh = words(&mut random, *len);
                let (key, value) = match hidden {
                    Some((.., hidden_key, hidden_value)) if *key == "http.url" => (hidden_key, hidden_value),
                    _ => (*key, if *repeats { same.as_str() } else { &fresh }),
                };
                text(&mut body, key);
                text(&mut body, value);
            }
            text(&mut body, "metrics");
            body.push(0x85);
            for key in METRICS {
                text(&mut body, key);
                body.push(0xcb);
                body.extend(1_f64.to_be_bytes());
            }
        }
    }
    body
}

const METRICS: [&str; 5] = ["_sampling_priority_v1", "_dd.top_level", "process_id", "n", "limit"];

/// The web spans in v0.5: every text once in a table, spans as rows of numbers.
fn request_v05() -> Vec<u8> {
    let mut random = Random::new(7);
    let (mut table, mut rows) = (vec![String::new()], Vec::new());
    let mut index = |value: String| {
        table.push(value);
        table.len() as u16 - 1
    };
    let place = |rows: &mut Vec<u8>, index: u16| {
        rows.push(0xcd);
        rows.extend(index.to_be_bytes());
    };
    let [service, name, resource, kind] = ["web-store", "web.request", "GET /cart", "web"].map(|word| index(word.to_owned()));
    let keys: Vec<u16> = TAGS.iter().map(|(key, ..)| index((*key).to_owned())).collect();
    let metrics = METRICS.map(|key| index(key.to_owned()));
    let fixed: Vec<u16> = TAGS.iter().map(|(key, len, _)| index(fixed_value(&mut random, key, *len))).collect();
    rows.push(0xdc);
    rows.extend((TRACES as u16).to_be_bytes());
    for _ in 0..TRACES {
        rows.push(0x90 | SPANS as u8);
        let (trace_id, mut parent_id) = (random.id(), 0);
        for _ in 0..SPANS {
            let span_id = random.id();
            rows.push(0x9c);
            [service, name, resource].into_iter().for_each(|text| place(&mut rows, text));
            let start = 1_700_000_000_000_000_000 + random.below(1_000_000_000);
            [trace_id, span_id, parent_id, start, random.below(1 << 31), 0].into_iter().for_each(|n| number(&mut rows, n));
            parent_id = span_id;
            rows.push(0x80 | TAGS.len() as u8);
            for (((_, len, repeats), same), key) in TAGS.iter().zip(&fixed).zip(&keys) {
                place(&mut rows, *key);
                let value = if *repeats { *same } else { index(words(&mut random, *len)) };
                place(&mut rows, value);
            }
            rows.push(0x85);
            for key in metrics {
                place(&mut rows, key);
                rows.push(0xcb);
                rows.extend(1_f64.to_be_bytes());
            }
            place(&mut rows, kind);
        }
    }
    let mut body = vec![0x92, 0xdc];
    body.extend((table.len() as u16).to_be_bytes());
    table.iter().for_each(|word| text(&mut body, word));
    body.append(&mut rows);
    body
}

/// Every span is a client's, so that statistics count all of them, with their peers.
fn fixed_value(random: &mut Random, key: &str, len: usize) -> String {
    if key == "span.kind" { "client".to_owned() } else { words(random, len) }
}

fn words(random: &mut Random, len: usize) -> String {
    (0..len).map(|_| char::from(b"abcdefghijklmnopqrstuvwxyz0123456789-/."[random.below(39) as usize])).collect()
}

fn text(body: &mut Vec<u8>, text: &str) {
    match text.len() {
        short @ 0..32 => body.push(0xa0 | short as u8),
        long => body.extend([0xd9, long as u8]),
    }
    body.extend(text.as_bytes());
}

fn number(body: &mut Vec<u8>, value: u64) {
    body.push(0xcf);
    body.extend(value.to_be_bytes());
}
