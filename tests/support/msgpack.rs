//! Just enough of a msgpack writer to make trace requests.

/// Spans of one trace as a v0.4 request: trace id, span ids from 1, the first being the parent of the others.
pub fn v04_trace(trace_id: u8, spans: u8) -> Vec<u8> {
    let mut body = vec![0x91, 0x90 | spans.min(15)];
    for span_id in 1..=spans.min(15) {
        body.push(0x86);
        text(&mut body, "service");
        text(&mut body, "shop");
        text(&mut body, "name");
        text(&mut body, "web.request");
        text(&mut body, "resource");
        text(&mut body, &format!("GET /{span_id}"));
        text(&mut body, "trace_id");
        body.push(trace_id & 0x7f);
        text(&mut body, "span_id");
        body.push(span_id);
        text(&mut body, "parent_id");
        body.push(u8::from(1 < span_id));
    }
    body
}

fn text(body: &mut Vec<u8>, text: &str) {
    assert!(text.len() < 32, "short texts only");
    body.push(0xa0 | text.len() as u8);
    body.extend_from_slice(text.as_bytes());
}

/// Traces of ten spans each as a v0.4 request of about `bytes`: spans of some 700 bytes with 16 tags and 5 metrics, all of them
/// different, and no id of `first_trace_id..` twice. Returns the request and how many spans it has.
pub fn v04_realistic(first_trace_id: u64, bytes: usize) -> (Vec<u8>, u64) {
    let mut random = mote::sys::random::Random::new(first_trace_id);
    let (mut traces, mut count) = (Vec::new(), 0_u32);
    while traces.len() < bytes {
        traces.push(0x9a);
        let trace_id = first_trace_id + u64::from(count);
        (1..=10).for_each(|span_id| realistic_span(&mut traces, &mut random, trace_id, span_id));
        count += 1;
    }
    let mut body = vec![0xdd];
    body.extend(count.to_be_bytes());
    body.append(&mut traces);
    (body, 10 * u64::from(count))
}

fn realistic_span(body: &mut Vec<u8>, random: &mut mote::sys::random::Random, trace_id: u64, span_id: u64) {
    body.push(0x8c);
    for (key, value) in [("service", "web-store"), ("name", "web.request"), ("resource", "GET /cart/items"), ("type", "web")] {
        text(body, key);
        text(body, value);
    }
    let start = 1_700_000_000_000_000_000 + random.below(1 << 30);
    let numbers = [("trace_id", trace_id), ("span_id", span_id), ("parent_id", span_id - 1), ("start", start)];
    for (key, value) in numbers.into_iter().chain([("duration", random.below(1 << 31)), ("error", 0)]) {
        text(body, key);
        body.push(0xcf);
        body.extend(value.to_be_bytes());
    }
    text(body, "meta");
    body.extend([0xde, 0, 16]);
    for index in 0..16 {
        text(body, &format!("some.tag.name-{index}"));
        text(body, &format!("{:016x}", random.bits()));
    }
    text(body, "metrics");
    body.push(0x85);
    for key in ["_sampling_priority_v1", "_dd.top_level", "process_id", "n", "limit"] {
        text(body, key);
        body.push(0xcb);
        body.extend(1_f64.to_be_bytes());
    }
}
