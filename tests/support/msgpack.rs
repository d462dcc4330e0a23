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
