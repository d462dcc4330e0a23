//! What decoding allocates, whatever the bytes are: never more than a small multiple of the request, and it never panics. The
//! allocator of this program counts, so it has one test only.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use mote::decode::DecodeError;
use mote::decode::client_stats;
use mote::decode::traces::Decoder;
use mote::model::trace::TracerInfo;
use mote::sys::random::Random;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// A request may decode to this many times its size, as at the trace port, and to so much at least: vectors start with 16 places.
const FACTOR: usize = 8;
const ALLOWANCE_MIN: usize = 12 << 10;

/// While a vector moves to where it has room, it stands in memory twice: once with all its places and once with half of them.
const MOVING: usize = 2;

/// Beside what grows with the request: buffers of the JSON reader, texts of errors, the test runner's own lines.
const FIXED_BYTES: usize = 16 << 10;

/// Emulated machines are ten times slower.
const ROUNDS: u64 = if cfg!(target_arch = "arm") { 150 } else { 1500 };

/// A format: its name, its reader, which says whether it could read, and good requests.
struct Format {
    name: &'static str,
    read: fn(Vec<u8>, usize) -> Result<(), DecodeError>,
    good: Vec<Vec<u8>>,
}

fn trace_format(name: &'static str, read: fn(Vec<u8>, usize) -> Result<(), DecodeError>, files: &[&str]) -> Format {
    let fixture = |file: &&str| std::fs::read(format!("{}/fixtures/decode/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    Format { name, read, good: files.iter().map(fixture).collect() }
}

fn read_as(decoder: Decoder, request: Vec<u8>, allowance: usize) -> Result<(), DecodeError> {
    decoder.decode(request, TracerInfo::default(), allowance).map(drop)
}

const JSON: &str = r#"[[{"service":"a","name":"b","resource":"c\u00e9\n","trace_id":18446744073709551615,"span_id":2,"parent_id":1,
    "start":1700000000000000000,"duration":5,"error":1,"meta":{"k":"v","empty":""},"metrics":{"n":1.5},"meta_struct":{"s":"AAEC"},
    "span_links":[{"trace_id":1,"span_id":2,"attributes":{"a":"b"}}],
    "span_events":[{"time_unix_nano":3,"name":"e","attributes":{"l":{"type":4,"array_value":{"values":[{"type":2,"int_value":7}]}}}}]}]]"#;

fn formats() -> Vec<Format> {
    let v04 = ["traces_v04/two_spans.bin", "traces_v04/quirks.bin"];
    let (json, flat) = (JSON.as_bytes().to_vec(), JSON.as_bytes()[1..JSON.len() - 1].to_vec());
    vec![
        trace_format("v0.4", |request, allowance| read_as(Decoder::V04, request, allowance), &v04),
        trace_format("v0.5", |request, allowance| read_as(Decoder::V05, request, allowance), &["traces_v05/two_spans.bin"]),
        trace_format("v0.7", |request, allowance| read_as(Decoder::V07, request, allowance), &["traces_v07/two_spans.bin"]),
        trace_format("v1.0", |request, allowance| read_as(Decoder::V10, request, allowance), &["traces_v10/two_spans.bin"]),
        trace_format("JSON or v0.4", |request, allowance| read_as(Decoder::JsonOrV04, request, allowance), &v04),
        trace_format(
            "statistics",
            |request, allowance| client_stats::decode(&request, TracerInfo::default(), allowance).map(drop),
            &["client_stats/two_groups.bin"],
        ),
        Format { name: "JSON", read: |request, allowance| read_as(Decoder::Json, request, allowance), good: vec![json] },
        Format {
            name: "flat JSON",
            read: |request, allowance| read_as(Decoder::FlatJson, request, allowance),
            good: vec![flat],
        },
    ]
}

/// Reads `request` with the allowance that its length gives it; says whether it could be read.
#[track_caller]
fn check(format: &Format, request: &[u8], what: &str) -> bool {
    let (allowance, copy) = ((FACTOR * request.len()).max(ALLOWANCE_MIN), request.to_vec());
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let could = (format.read)(copy, allowance).is_ok();
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    let most = MOVING * allowance + FIXED_BYTES;
    assert!(peak <= most, "{}, {what}: {peak} bytes for a request of {}", format.name, request.len());
    could
}

/// One to four places changed: bits, bytes, and the first bytes of headers that claim much.
fn damaged(random: &mut Random, good: &[u8]) -> Vec<u8> {
    const CLAIMS: [u8; 10] = [0xdd, 0xdf, 0xdc, 0xde, 0xdb, 0xc6, 0xda, 0xc9, b'[', b'{'];
    let mut bytes = good.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(4) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.bits() as u8,
            2 => bytes[at] = CLAIMS[random.below(CLAIMS.len() as u64) as usize],
            _ => drop(bytes.splice(at..at, std::iter::repeat_n(random.bits() as u8, random.below(200) as usize))),
        }
    }
    bytes
}

/// A good beginning, then the smallest elements there are, for which a decoder pays most.
fn dense(random: &mut Random, good: &[u8]) -> Vec<u8> {
    const SMALL: [&[u8]; 8] = [b"\x80", b"\x90", b"\xa0", b"\x01", b"\xc0", b"\xa1a", b"{},", b"[],"];
    let mut bytes = good[..random.below(good.len() as u64) as usize].to_vec();
    let count = 2 + random.below(30_000);
    bytes.push(0xdd - (random.below(2) as u8)); // array of 32 or 16 bits
    bytes.extend((count as u32).to_be_bytes());
    let small = SMALL[random.below(SMALL.len() as u64) as usize];
    (0..count).for_each(|_| bytes.extend_from_slice(small));
    bytes
}

#[test]
fn decoding_allocates_a_small_multiple_of_any_request_and_never_panics() {
    let seed = Random::from_system().bits();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    for format in formats() {
        for good in &format.good {
            assert!(check(&format, good, "good"), "{}", format.name);
            (0..good.len()).for_each(|end| assert!(!check(&format, &good[..end], "cut"), "{} cut at {end}", format.name));
            for _ in 0..ROUNDS {
                check(&format, &damaged(&mut random, good), "damaged");
            }
            for _ in 0..ROUNDS / 15 {
                check(&format, &dense(&mut random, good), "dense");
            }
        }
        for _ in 0..ROUNDS {
            let len = random.below(300) as usize;
            let noise: Vec<u8> = (0..len).map(|_| random.bits() as u8).collect();
            check(&format, &noise, "noise");
        }
    }
}
