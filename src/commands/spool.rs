//! `mote spool`: what waits in the spool's folder. Reads, and changes nothing, so it may run beside the agent.

use crate::spool::list::RecordLine;
use crate::spool::list::SegmentLine;
use crate::spool::record::Damage;
use std::fmt::Write;
use std::time::Duration;

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people: a line a segment and record.
    Text,
    /// A JSON object a segment and line.
    Json,
}

/// Describes segments; `unix` is the time now. Nothing of a body is shown, and of its headers neither.
pub fn describe(segments: &[SegmentLine], foreign: u64, form: Form, unix: Duration) -> String {
    let mut text = String::new();
    for segment in segments {
        match form {
            Form::Text => describe_segment(&mut text, segment, unix),
            Form::Json => json_segment(&mut text, segment, unix),
        }
    }
    if form == Form::Text {
        let waiting = || segments.iter().flat_map(|segment| &segment.records).filter(|record| !record.is_settled);
        let (bodies, records) = (waiting().count(), waiting().map(|record| record.head.records).sum::<u64>());
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let bad: u64 = segments.iter().filter_map(|segment| segment.tail).map(|tail| tail.bytes).sum();
        put(&mut text, format_args!("{} segments of {bytes} bytes, {bodies} bodies of {records} records wait", segments.len()));
        put(&mut text, format_args!(", {bad} bytes are bad, {foreign} other files\n"));
    }
    text
}

fn put(text: &mut String, piece: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(piece); // a String takes any text
}

fn describe_segment(text: &mut String, segment: &SegmentLine, unix: Duration) {
    put(text, format_args!("{} {} bytes", segment.file, segment.bytes));
    if segment.is_newer {
        put(text, format_args!(", of a later version"));
    }
    if let Some(tail) = segment.tail {
        put(text, format_args!(", the last {} are {}", tail.bytes, damage(tail.damage)));
    }
    put(text, format_args!("\n"));
    for record in &segment.records {
        let RecordLine { offset, bytes, is_settled, head } = record;
        let (kind, signal, records, attempts) = (record.kind(), record.signal(), head.records, head.attempts);
        put(text, format_args!("  {offset:>8} {kind}: {records} {signal}, {bytes} bytes, {attempts} attempts, "));
        match age_s(record, unix) {
            Some(age) => put(text, format_args!("{} old", readable(age))),
            None => put(text, format_args!("of unknown age")),
        }
        put(text, format_args!("{}\n", if *is_settled { ", settled" } else { "" }));
    }
}

/// By hand: no value needs an escape.
fn json_segment(text: &mut String, segment: &SegmentLine, unix: Duration) {
    put(text, format_args!("{{\"segment\":\"{}\",\"bytes\":{}", segment.file, segment.bytes));
    put(text, format_args!(",\"newer\":{}", segment.is_newer));
    if let Some(tail) = segment.tail {
        put(text, format_args!(",\"bad_bytes\":{},\"bad\":\"{}\"", tail.bytes, damage(tail.damage)));
    }
    put(text, format_args!(",\"records\":["));
    for (index, record) in segment.records.iter().enumerate() {
        let RecordLine { offset, bytes, is_settled, head } = record;
        let comma = if index == 0 { "" } else { "," };
        put(text, format_args!("{comma}{{\"offset\":{offset},\"bytes\":{bytes},\"kind\":\"{}\"", record.kind()));
        put(text, format_args!(",\"endpoint\":{},\"signal\":\"{}\"", head.endpoint, record.signal()));
        put(text, format_args!(",\"records\":{},\"attempts\":{}", head.records, head.attempts));
        if let Some(age) = age_s(record, unix) {
            put(text, format_args!(",\"age_s\":{age}"));
        }
        put(text, format_args!(",\"settled\":{is_settled}}}"));
    }
    put(text, format_args!("]}}\n"));
}

fn damage(damage: Damage) -> &'static str {
    match damage {
        Damage::Cut => "cut off",
        Damage::Changed => "damaged",
    }
}

fn age_s(record: &RecordLine, unix: Duration) -> Option<u64> {
    record.head.created_s().map(|created| unix.as_secs().saturating_sub(u64::from(created)))
}

fn readable(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::record::Head;
    use crate::spool::segment::Tail;

    fn segments() -> Vec<SegmentLine> {
        let head = Head {
            kind: 1,
            signal: 0,
            clock_trusted: true,
            created_ms: 1_800_000_000_000,
            attempts: 2,
            records: 3,
            ..Head::default()
        };
        let waiting = RecordLine { offset: 16, bytes: 84, is_settled: false, head: head.clone() };
        let settled = RecordLine { offset: 100, bytes: 50, is_settled: true, head: Head { clock_trusted: false, ..head } };
        vec![SegmentLine {
            file: "spool-00000001.seg".to_owned(),
            bytes: 160,
            records: vec![waiting, settled],
            tail: Some(Tail { damage: Damage::Cut, bytes: 10 }),
            is_newer: false,
        }]
    }

    const NOW: Duration = Duration::from_secs(1_800_000_125);

    #[test]
    fn people_read_ages_sizes_and_what_is_bad() {
        let expected = "spool-00000001.seg 160 bytes, the last 10 are cut off\n\
            \x20       16 traces: 3 traces, 84 bytes, 2 attempts, 2m5s old\n\
            \x20      100 traces: 3 traces, 50 bytes, 2 attempts, of unknown age, settled\n\
            1 segments of 160 bytes, 1 bodies of 3 records wait, 10 bytes are bad, 1 other files\n";
        assert_eq!(describe(&segments(), 1, Form::Text, NOW), expected);
    }

    #[test]
    fn programs_read_an_object_a_segment() {
        let text = describe(&segments(), 0, Form::Json, NOW);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((value["bad_bytes"].as_u64(), value["bad"].as_str()), (Some(10), Some("cut off")));
        assert_eq!((value["records"][0]["age_s"].as_u64(), value["records"][1]["age_s"].as_u64()), (Some(125), None));
        assert_eq!(value["records"][1]["settled"], true);
    }

    #[test]
    fn ages_are_told_in_two_units() {
        assert_eq!([59, 61, 3_660, 90_000].map(readable), ["59s", "1m1s", "1h1m", "1d1h"]);
    }
}
