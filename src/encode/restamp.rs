//! Moves the stamps in bodies of ours that were made while the machine's clock was wrong. All else stays byte for byte.
//!
//! ```text
//! traces    protobuf  5 payload  6 chunk  3 span  7 start;  15 event  1 time as eight bytes; nanoseconds
//! series    protobuf  1 series   4 point  2 timestamp, seconds
//! sketches  protobuf  1 sketch   7 dogsketch  1 timestamp, seconds
//! stats     msgpack   the value of each key Start, nanoseconds
//! logs      JSON      [{"timestamp": milliseconds}]    checks  [{"timestamp": seconds}]    event  {"date_happened": seconds}
//! ```
//! Bodies come from here, so what cannot be read is a fault of ours or of the medium's, and is left as it is.

use crate::encode::protobuf::Sink;

/// What kind of body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `AgentPayload`
    Traces,
    /// `MetricPayload`
    Series,
    /// `SketchPayload`
    Sketches,
    /// `StatsPayload`
    Stats,
    /// An array of entries.
    Logs,
    /// An array of results.
    Checks,
    /// One object.
    Event,
}

const SECOND: i64 = 1_000_000_000;
const MILLISECOND: i64 = 1_000_000;

/// The right time for a stamp, in nanoseconds since 1970.
type Time<'a> = &'a dyn Fn(i64) -> i64;

/// `plain` with its stamps moved as `time` says; `None` if it cannot be read.
pub fn restamp(form: Form, plain: &[u8], time: Time<'_>) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(plain.len() + plain.len() / 64);
    match form {
        Form::Traces => message(plain, &AGENT_PAYLOAD, time, &mut out)?,
        Form::Series => message(plain, &METRIC_PAYLOAD, time, &mut out)?,
        Form::Sketches => message(plain, &SKETCH_PAYLOAD, time, &mut out)?,
        Form::Stats => {
            let rest = msgpack(plain, NESTED_MAX, time, &mut out)?;
            return rest.is_empty().then_some(out);
        }
        Form::Logs => json(plain, 2, b"timestamp", MILLISECOND, time, &mut out),
        Form::Checks => json(plain, 2, b"timestamp", SECOND, time, &mut out),
        Form::Event => json(plain, 1, b"date_happened", SECOND, time, &mut out),
    }
    Some(out)
}

/// One field on the way to a stamp.
enum Way {
    /// A message with such fields.
    Message(&'static [(u64, Way)]),
    /// A stamp in such units, as a varint.
    Varint(i64),
    /// A stamp in nanoseconds, in eight bytes.
    Fixed,
}

static AGENT_PAYLOAD: [(u64, Way); 1] = [(5, Way::Message(&[(6, Way::Message(&[(3, Way::Message(&SPAN))]))]))];
static SPAN: [(u64, Way); 2] = [(7, Way::Varint(1)), (15, Way::Message(&[(1, Way::Fixed)]))];
static METRIC_PAYLOAD: [(u64, Way); 1] = [(1, Way::Message(&[(4, Way::Message(&[(2, Way::Varint(SECOND))]))]))];
static SKETCH_PAYLOAD: [(u64, Way); 1] = [(1, Way::Message(&[(7, Way::Message(&[(1, Way::Varint(SECOND))]))]))];

/// A stamp of `unit` nanoseconds, moved. One that stays keeps what its unit leaves out, and so does one that is moved.
fn moved(stamp: i64, unit: i64, time: Time<'_>) -> i64 {
    let Some(nanos) = stamp.checked_mul(unit) else { return stamp };
    let moved = time(nanos);
    if moved == nanos { stamp } else { moved.div_euclid(unit) }
}

fn message(mut rest: &[u8], fields: &'static [(u64, Way)], time: Time<'_>, out: &mut Vec<u8>) -> Option<()> {
    while !rest.is_empty() {
        let field = rest;
        let key = varint(&mut rest)?;
        let way = fields.iter().find(|(number, _)| *number == key >> 3).map(|(_, way)| way);
        match (key & 7, way) {
            (0, Some(Way::Varint(unit))) => {
                let stamp = varint(&mut rest)? as i64;
                out.varint(key);
                out.varint(moved(stamp, *unit, time) as u64);
                continue;
            }
            (0, _) => drop(varint(&mut rest)?),
            (1, Some(Way::Fixed)) => {
                let stamp = i64::from_le_bytes(*take(&mut rest, 8)?.as_array()?);
                out.varint(key);
                out.raw_eight(&moved(stamp, 1, time).to_le_bytes());
                continue;
            }
            (1, _) => drop(take(&mut rest, 8)?),
            (2, _) => {
                let len = varint(&mut rest)?;
                let inner = take(&mut rest, usize::try_from(len).ok()?)?;
                if let Some(Way::Message(fields)) = way {
                    let mut inside = Vec::with_capacity(inner.len() + 8);
                    message(inner, fields, time, &mut inside)?;
                    out.varint(key);
                    out.varint(inside.len() as u64);
                    out.extend_from_slice(&inside);
                    continue;
                }
            }
            (5, _) => drop(take(&mut rest, 4)?),
            _ => return None,
        }
        out.extend_from_slice(&field[..field.len() - rest.len()]);
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

/// Statistics are five levels deep.
const NESTED_MAX: u32 = 8;

/// Copies one value, and returns what stands behind it.
fn msgpack<'a>(mut rest: &'a [u8], nested: u32, time: Time<'_>, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let begin = rest;
    let marker = take(&mut rest, 1)?[0];
    let mut number =
        |bytes: usize| Some(take(&mut rest, bytes)?.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)));
    let (items, bytes) = match marker {
        0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => (0, 0),
        0x80..=0x8f => (2 * usize::from(marker & 0x0f), 0),
        0x90..=0x9f => (usize::from(marker & 0x0f), 0),
        0xa0..=0xbf => (0, usize::from(marker & 0x1f)),
        0xc4 | 0xd9 => (0, number(1)?),
        0xc5 | 0xda => (0, number(2)?),
        0xc6 | 0xdb => (0, number(4)?),
        0xca | 0xce | 0xd2 => (0, 4),
        0xcb | 0xcf | 0xd3 => (0, 8),
        0xcc | 0xd0 => (0, 1),
        0xcd | 0xd1 => (0, 2),
        0xdc => (number(2)?, 0),
        0xdd => (number(4)?, 0),
        0xde => (2 * number(2)?, 0),
        0xdf => (2 * number(4)?, 0),
        _ => return None,
    };
    take(&mut rest, bytes)?;
    out.extend_from_slice(&begin[..begin.len() - rest.len()]);
    let is_map = matches!(marker, 0x80..=0x8f | 0xde | 0xdf);
    let mut was_start = false;
    for item in 0..items {
        // The first bucket of 1970 begins at zero, which is shorter.
        if was_start && matches!(rest.first(), Some(0 | 0xcf)) {
            let stamp = match take(&mut rest, 1)? {
                [0] => 0,
                _ => i64::from_be_bytes(*take(&mut rest, 8)?.as_array()?),
            };
            out.push(0xcf);
            out.extend_from_slice(&moved(stamp, 1, time).to_be_bytes());
            was_start = false;
            continue;
        }
        was_start = is_map && item % 2 == 0 && rest.starts_with(b"\xa5Start");
        rest = msgpack(rest, nested.checked_sub(1)?, time, out)?;
    }
    Some(rest)
}

/// Copies a text, and moves the number behind each `"key":` that stands `depth` brackets deep.
fn json(text: &[u8], depth: u32, key: &[u8], unit: i64, time: Time<'_>, out: &mut Vec<u8>) {
    let (mut at, mut deep) = (0, 0_u32);
    while at < text.len() {
        let begin = at;
        match text[at] {
            b'"' => {
                at = string_end(text, at);
                let is_key =
                    deep == depth && text[begin + 1..].starts_with(key) && text[begin + 1 + key.len()..].starts_with(b"\":");
                if is_key {
                    let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    let number =
                        std::str::from_utf8(&text[at + 1..at + 1 + digits]).ok().and_then(|digits| digits.parse().ok());
                    if let Some(stamp) = number {
                        out.extend_from_slice(&text[begin..=at]);
                        out.extend_from_slice(moved(stamp, unit, time).to_string().as_bytes());
                        at += 1 + digits;
                        continue;
                    }
                }
            }
            byte => {
                match byte {
                    b'[' | b'{' => deep += 1,
                    b']' | b'}' => deep = deep.saturating_sub(1),
                    _ => (),
                }
                at += 1;
            }
        }
        out.extend_from_slice(&text[begin..at]);
    }
}

/// Behind the string that begins at `at`.
fn string_end(text: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < text.len() && text[end] != b'"' {
        end += if text[end] == b'\\' { 2 } else { 1 };
    }
    (end + 1).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stamps of 1970 belong into 2027.
    fn time(stamp: i64) -> i64 {
        if stamp < 1_000 * SECOND { stamp + 1_800_000_000 * SECOND } else { stamp }
    }

    #[track_caller]
    fn check(form: Form, plain: &[u8], expected: &[u8]) {
        assert_eq!(restamp(form, plain, &time).as_deref(), Some(expected));
        assert_eq!(restamp(form, expected, &time).as_deref(), Some(expected), "what is right stays");
    }

    #[test]
    fn entries_checks_and_events_get_the_right_time_and_texts_stay() {
        check(
            Form::Logs,
            br#"[{"message":{"message":"say \"timestamp\":5 \\","timestamp":5},"timestamp":5123,"x":"\"timestamp\":7"},{"timestamp":6}]"#,
            br#"[{"message":{"message":"say \"timestamp\":5 \\","timestamp":5},"timestamp":1800000005123,"x":"\"timestamp\":7"},{"timestamp":1800000000006}]"#,
        );
        check(
            Form::Checks,
            br#"[{"check":"c","timestamp":5,"status":0}]"#,
            br#"[{"check":"c","timestamp":1800000005,"status":0}]"#,
        );
        check(Form::Event, br#"{"title":"t","date_happened":9}"#, br#"{"title":"t","date_happened":1800000009}"#);
        for odd in [&br#"[{"timestamp":"#[..], br#"[{"timestamp"#, br#"[{"timestamp":null}]"#, br#"[{"a\"#, b"", br#"""#] {
            check(Form::Logs, odd, odd);
        }
    }

    #[test]
    fn points_and_sketches_get_the_right_time() {
        let series = |stamp: u64| {
            let (mut point, mut series, mut body) = (Vec::new(), Vec::new(), Vec::new());
            point.double(1, 7.5);
            point.uint(2, stamp);
            series.string(2, "page.views");
            series.bytes(4, point.len(), || &point);
            series.uint(5, 1);
            body.bytes(1, series.len(), || &series);
            body
        };
        check(Form::Series, &series(9), &series(1_800_000_009));
        let sketches = |stamp: u64| {
            let (mut points, mut sketch, mut body) = (Vec::new(), Vec::new(), Vec::new());
            points.uint(1, stamp);
            points.uint(2, 300);
            sketch.string(1, "size");
            sketch.bytes(7, points.len(), || &points);
            body.bytes(1, sketch.len(), || &sketch);
            body.extend_from_slice(b"\x12\x00");
            body
        };
        check(Form::Sketches, &sketches(9), &sketches(1_800_000_009));
    }

    #[test]
    fn spans_and_their_events_get_the_right_time() {
        let traces = |stamp: u64| {
            let (mut event, mut span, mut chunk, mut payload, mut body) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
            event.fixed64(1, stamp);
            span.string(1, "service");
            span.uint(4, u64::MAX);
            span.uint(7, stamp);
            span.uint(8, 1_000);
            span.bytes(15, event.len(), || &event);
            chunk.int(1, -1);
            chunk.bytes(3, span.len(), || &span);
            payload.bytes(6, chunk.len(), || &chunk);
            body.string(1, "host");
            body.bytes(5, payload.len(), || &payload);
            body.double(8, 10.0);
            body
        };
        let plain = traces(5_000_000_001);
        check(Form::Traces, &plain, &traces(1_800_000_005_000_000_001));
        for end in 0..plain.len() {
            let _ = restamp(Form::Traces, &plain[..end], &time); // no panic, whatever comes of it
        }
        assert_eq!(restamp(Form::Traces, &plain[..plain.len() - 1], &time), None);
    }

    #[test]
    fn a_bucket_that_begins_at_zero_is_moved() {
        let moved = restamp(Form::Stats, b"\x81\xa5Start\x00", &|stamp| stamp + 5).unwrap();
        assert_eq!(moved, b"\x81\xa5Start\xcf\0\0\0\0\0\0\0\x05");
    }

    #[test]
    fn buckets_of_statistics_get_the_right_time() {
        let stats = |stamp: u64| {
            let mut body = b"\x82\xa4Lang\xa2go\xa5Stats\x91\x83\xa5Start\xcf".to_vec();
            body.extend_from_slice(&stamp.to_be_bytes());
            body.extend_from_slice(b"\xa8Duration\xcf\x00\x00\x00\x02\x54\x0b\xe4\x00\xa7Service\xa5Start");
            body
        };
        let plain = stats(10_000_000_000);
        check(Form::Stats, &plain, &stats(1_800_000_010_000_000_000));
        (0..plain.len()).for_each(|end| assert_eq!(restamp(Form::Stats, &plain[..end], &time), None));
    }
}
