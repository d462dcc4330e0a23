//! CPU of a span on its way, by step: `cargo bench`. 1,000 spans of about 440 bytes with 15 tags and 5 metrics in traces of ten; what
//! is printed for an iteration in microseconds is thus nanoseconds a span.

use divan::Bencher;
use divan::counter::ItemsCount;
use mote::decode::traces_v04;
use mote::encode::traces::{Agent, BODY_BYTES_MAX, PayloadWriter, TraceBody};
use mote::model::trace::{TracePayload, TracerInfo};
use mote::process::traces::{Memory, Settings, prepare};
use mote::sys::random::Random;

const TRACES: usize = 100;
const SPANS: usize = 10;
const ALLOWANCE: usize = 16 << 20;
const NOW: i64 = 1_800_000_000_000_000_000;

fn main() {
    divan::main();
}

#[divan::bench]
fn decode_v04(bencher: Bencher) {
    let request = request();
    bencher.counter(ItemsCount::new(TRACES * SPANS)).with_inputs(|| request.clone()).bench_values(decode);
}

#[divan::bench]
fn prepare_spans(bencher: Bencher) {
    let request = request();
    let settings = settings();
    bencher.counter(ItemsCount::new(TRACES * SPANS)).with_inputs(|| decode(request.clone())).bench_values(|mut payload| {
        prepare(&mut payload, &settings, &mut Memory::default(), NOW);
        payload
    });
}

/// Level 0 stores, which shows what writing without compression costs.
#[divan::bench(args = [0, 1, 6])]
fn encode_at_level(bencher: Bencher, level: u32) {
    let mut payload = decode(request());
    prepare(&mut payload, &settings(), &mut Memory::default(), NOW);
    bencher.counter(ItemsCount::new(TRACES * SPANS)).bench(|| encode(&payload, level));
}

#[divan::bench]
fn whole_path_at_level_1(bencher: Bencher) {
    let request = request();
    let settings = settings();
    bencher.counter(ItemsCount::new(TRACES * SPANS)).with_inputs(|| request.clone()).bench_values(|request| {
        let mut payload = decode(request);
        prepare(&mut payload, &settings, &mut Memory::default(), NOW);
        encode(&payload, 1)
    });
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

fn request() -> Vec<u8> {
    let mut random = Random::new(7);
    let fixed: Vec<String> = TAGS.iter().map(|(_, len, _)| words(&mut random, *len)).collect();
    let mut body = vec![0xdc];
    body.extend((TRACES as u16).to_be_bytes());
    for _ in 0..TRACES {
        body.push(0x90 | SPANS as u8);
        let (trace_id, mut parent_id) = (random.id(), 0);
        for _ in 0..SPANS {
            let span_id = random.id();
            body.push(0x8c);
            for (key, value) in [("service", "web-store"), ("name", "web.request"), ("resource", "GET /cart"), ("type", "web")]
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
                text(&mut body, key);
                text(&mut body, if *repeats { same } else { &fresh });
            }
            text(&mut body, "metrics");
            body.push(0x85);
            for key in ["_sampling_priority_v1", "_dd.top_level", "process_id", "n", "limit"] {
                text(&mut body, key);
                body.push(0xcb);
                body.extend(1_f64.to_be_bytes());
            }
        }
    }
    body
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
