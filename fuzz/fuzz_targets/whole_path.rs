//! A request from decoding to the bodies of spans and statistics, which are read back. The first byte of an input chooses the
//! version and the settings.

#![no_main]

use flate2::read::GzDecoder;
use libfuzzer_sys::fuzz_target;
use mote::decode::traces::Decoder;
use mote::encode::stats::{self as encode_stats, Computed, Limits};
use mote::encode::traces::{Agent, PayloadWriter, TraceBody};
use mote::process::pattern::Pattern;
use mote::process::stats::{self, Concentrator, Moment, Which};
use mote::process::traces::replace::{Rule, Target};
use mote::process::traces::{Memory, Settings, obfuscate, prepare};
use std::io::Read;
use std::sync::LazyLock;
use std::time::Duration;

const DECODERS: [Decoder; 8] = [
    Decoder::V04,
    Decoder::V05,
    Decoder::V07,
    Decoder::V10,
    Decoder::Json,
    Decoder::FlatJson,
    Decoder::JsonOrV04,
    Decoder::V04,
];

const NOW: i64 = 1_800_000_000_000_000_000;

/// So small that payloads are split.
const BODY_BYTES_MAX: u64 = 600;

/// Nothing but defaults, and everything that can be hidden or rewritten.
static SETTINGS: LazyLock<[Settings; 2]> = LazyLock::new(|| {
    let rule = |name: &str, pattern: &str| Rule {
        target: Target::named(name),
        pattern: Pattern::parse(pattern).expect("a pattern"),
        replacement: "<$0>".to_owned(),
    };
    let strict = Settings {
        global_tags: vec![("region".into(), "eu".into()), ("env".into(), "test".into())],
        replace: vec![rule("*", "[0-9]+"), rule("resource.name", "o")],
        obfuscation: obfuscate::Settings { remove_stack_traces: true, ..Default::default() },
        ..Settings::default()
    };
    [Settings::default(), strict]
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, request)) = mote_fuzz::with_choice(data) else { return };
    let allowance = mote_fuzz::allowance(request);
    let Ok(mut payload) = mote_fuzz::decode(DECODERS[usize::from(choice & 7)], request, allowance) else { return };
    payload.tracer.client_top_level = choice & 16 == 16;
    let settings = &SETTINGS[usize::from(choice >> 3 & 1)];
    assert_eq!(prepare(&mut payload, settings, &mut Memory::default(), NOW), 0, "there are no filters");
    let spans = payload.chunks.iter().map(|chunk| chunk.spans.len() as u64).sum::<u64>();
    check_stats(&payload, choice & 32 == 32);
    let mut writer = PayloadWriter::new(&payload, 1 << 20);
    let (mut read, mut written) = (0, 0);
    while !writer.is_done() {
        let mut body = TraceBody::new(&Agent::default(), BODY_BYTES_MAX, 1);
        body.add(&mut writer);
        let encoded = body.finish();
        written += encoded.spans;
        mote::out::traces::records(&plain(&encoded.bytes), &mut |_| read += 1).expect("what was encoded can be read");
    }
    assert_eq!((read, written + writer.too_large_spans()), (written, spans));
});

fn check_stats(payload: &mote::model::trace::TracePayload, by_span_kind: bool) {
    let peer_tags = stats::PEER_TAGS.map(str::to_owned).to_vec();
    let settings = stats::Settings { env: "none".into(), peer_tags, by_span_kind, bytes_max: 1 << 16, seed: 7 };
    let mut concentrator = Concentrator::new(settings);
    let at = Moment { unix_nanos: NOW, uptime: Duration::from_secs(1) };
    concentrator.add(payload, at);
    let clients = concentrator.flush(Which::All, at);
    let groups = clients.iter().map(|client| client.groups()).sum::<u64>();
    let mut read = 0;
    for body in encode_stats::encode(&clients, &encode_stats::Agent::default(), Computed::Here, Limits::default()) {
        mote::out::stats::records(&plain(&body.bytes), &mut |_| read += 1).expect("what was encoded can be read");
    }
    assert_eq!(read, groups);
}

fn plain(body: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(body).read_to_end(&mut plain).expect("a gzip stream");
    plain
}
