//! The state of a running agent, for people: `name=value` in lines, or JSON for their scripts. Times are in seconds, sizes in bytes.
//!
//! The text is made from the same tree as the JSON, so what is in one is in the other, and a new member costs one line here.

use crate::encode::json::Plain;
use crate::encode::json::object;
use crate::model::status::Books;
use crate::model::status::Breaker;
use crate::model::status::Endpoint;
use crate::model::status::Key;
use crate::model::status::Line;
use crate::model::status::Listener;
use crate::model::status::Row;
use crate::model::status::Spool;
use crate::model::status::Status;
use serde_json::Value;
use std::time::Duration;

/// One object on a line; what is not known is null.
pub fn as_json(status: &Status<'_>) -> String {
    format!("{}\n", tree(status))
}

/// A line a value, list item or object of values, indented by what they are part of; what is not known is left out.
pub fn as_text(status: &Status<'_>) -> String {
    let mut text = String::new();
    put_members(&mut text, 0, &tree(status));
    text
}

/// Members of the whole, each on a line of its own, and of those below it the lists.
fn put_members(text: &mut String, indent: usize, object: &Value) {
    for (name, value) in object.as_object().into_iter().flatten().filter(|(_, value)| indent == 0 || value.is_array()) {
        text.extend(std::iter::repeat_n(' ', indent));
        text.extend([name, ":"]);
        match value {
            Value::Array(items) => {
                text.push_str(if items.is_empty() { " none\n" } else { "\n" });
                for item in items {
                    text.extend(std::iter::repeat_n(' ', indent + 1));
                    put_values(text, item);
                    put_members(text, indent + 4, item);
                }
            }
            value => put_values(text, value),
        }
    }
}

/// A value, or those of an object, and the end of the line.
fn put_values(text: &mut String, value: &Value) {
    put_inline(text, "", value);
    text.push('\n');
}

fn put_inline(text: &mut String, name: &str, value: &Value) {
    match value {
        Value::Null | Value::Array(_) => (),
        Value::Object(members) => members.iter().for_each(|(name, value)| put_inline(text, name, value)),
        value => {
            text.extend([" ", name, if name.is_empty() { "" } else { "=" }]);
            // Whoever names a host or answers for an intake must not steer the terminal of whoever looks at it.
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            text.extend(shown.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }));
        }
    }
}

/// What is not known is null.
fn tree(status: &Status<'_>) -> Value {
    let (key, ending) = match &status.key {
        Key::NotNeeded => ("not_needed", None),
        Key::Pending => ("pending", None),
        Key::InUse(ending) => ("in_use", Some(ending.as_str())),
        Key::Refused(ending) => ("refused", Some(ending.as_str())),
        Key::Absent => ("absent", None),
    };
    let memory = &status.memory;
    let mut whole = object(&[
        ("version", status.version.into()),
        ("pid", u64::from(status.pid).into()),
        ("time", status.time.utc.as_str().into()),
        ("clock_offset", status.time.offset_ms.map(|ms| ms as f64 / 1000.0).into()),
        ("uptime", seconds(status.time.uptime).into()),
        ("hostname", status.hostname.into()),
        ("hostname_from", status.hostname_from.into()),
        ("panics", status.panics.into()),
    ]);
    whole["key"] = object(&[("state", key.into()), ("ends_in", ending.into())]);
    whole["memory"] = object(&[
        ("resident", memory.resident.into()),
        ("max", memory.max.into()),
        ("requests", memory.requests.into()),
        ("requests_max", memory.requests_max.into()),
    ]);
    whole["listeners"] = status.listeners.iter().map(listener).collect();
    whole["endpoints"] = status.endpoints.iter().map(endpoint).collect();
    whole["ledgers"] = status.books.iter().map(books).collect();
    whole["spools"] = status.spools.iter().map(spool).collect();
    whole["last_errors"] = status.lines.iter().map(line).collect();
    whole
}

fn endpoint(endpoint: &Endpoint<'_>) -> Value {
    let (state, next_try) = match endpoint.breaker {
        Breaker::Closed => ("closed", None),
        Breaker::Open(left) => ("open", Some(left)),
        Breaker::HalfOpen => ("half-open", None),
    };
    let error = endpoint.last_error.as_ref();
    object(&[
        ("name", endpoint.name.into()),
        ("address", endpoint.address.into()),
        ("breaker", state.into()),
        ("next_try_in", next_try.map(seconds).into()),
        ("failing_for", endpoint.failing_for.map(seconds).into()),
        ("delivered_ago", endpoint.delivered_ago.map(seconds).into()),
        ("last_error", error.map(|(_, error)| error.as_str()).into()),
        ("last_error_ago", error.map(|(ago, _)| seconds(*ago)).into()),
        ("bodies", endpoint.bodies.into()),
        ("bytes", endpoint.bytes.into()),
        ("bytes_max", endpoint.bytes_max.into()),
    ])
}

fn books(books: &Books<'_>) -> Value {
    let mut value = object(&[("of", books.of.into()), ("balanced", books.balanced.into()), ("lost", books.lost.into())]);
    value["signals"] = books.rows.iter().map(row).collect();
    value
}

fn row(row: &Row) -> Value {
    let mut value = object(&[
        ("signal", row.signal.into()),
        ("accepted", row.accepted.into()),
        ("restored", row.restored.into()),
        ("sent", row.sent.into()),
        ("memory", row.memory.into()),
        ("spool", row.spool.into()),
        ("missed", row.missed.into()),
    ]);
    value["dropped"] = counts(&row.dropped);
    value
}

fn spool(spool: &Spool<'_>) -> Value {
    object(&[
        ("folder", spool.folder.into()),
        ("bytes", spool.bytes.into()),
        ("bytes_max", spool.bytes_max.into()),
        ("bad_bytes", spool.bad_bytes.into()),
        ("in_trouble", spool.in_trouble.into()),
    ])
}

fn listener(listener: &Listener<'_>) -> Value {
    let mut value = object(&[("name", listener.name.into()), ("address", listener.address.into())]);
    value["refused"] = counts(&listener.refused);
    value
}

fn line(line: &Line) -> Value {
    object(&[("time", line.utc.as_str().into()), ("level", line.level.into()), ("text", line.text.as_str().into())])
}

fn counts(counts: &[(&str, u64)]) -> Value {
    let members: Vec<(&str, Plain<'_>)> = counts.iter().map(|(name, count)| (*name, (*count).into())).collect();
    object(&members)
}

fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::Memory;
    use crate::model::status::Time;
    use serde_json::json;

    fn example() -> Status<'static> {
        let row = Row { signal: "logs", accepted: 9, sent: 6, dropped: vec![("too_old", 2), ("fault", 1)], ..Row::default() };
        let endpoint = Endpoint {
            name: "logs",
            address: "https://i",
            breaker: Breaker::Open(Duration::from_millis(1_500)),
            last_error: Some((Duration::from_secs(2), "refused\x1b[2J".to_owned())),
            ..Endpoint::default()
        };
        Status {
            version: "1.2.3",
            pid: 7,
            time: Time {
                utc: "2026-01-02 03:04:05 UTC".to_owned(),
                offset_ms: Some(-1_500),
                uptime: Duration::from_secs(3_725),
            },
            hostname: "gw-1",
            hostname_from: "DD_HOSTNAME",
            key: Key::InUse("bcdef".to_owned()),
            endpoints: vec![endpoint, Endpoint { name: "stats", breaker: Breaker::HalfOpen, ..Endpoint::default() }],
            books: vec![Books { of: "", rows: vec![row], balanced: true, lost: 3 }],
            memory: Memory { resident: Some(3 << 20), max: 32 << 20, requests: 0, requests_max: 9 << 20 },
            listeners: vec![
                Listener { name: "traces", address: Some("127.0.0.1:8126"), refused: vec![("timeout", 4)] },
                Listener { name: "dogstatsd", ..Listener::default() },
            ],
            lines: vec![Line { utc: "2026-01-02 03:04:05 UTC".to_owned(), level: "WARN", text: "hm".to_owned() }],
            ..Status::default()
        }
    }

    #[test]
    fn people_get_lines_of_what_is_known_and_nothing_steers_their_terminal() {
        let expected = "version: 1.2.3\npid: 7\ntime: 2026-01-02 03:04:05 UTC\nclock_offset: -1.5\nuptime: 3725.0\n\
            hostname: gw-1\nhostname_from: DD_HOSTNAME\npanics: 0\nkey: state=in_use ends_in=bcdef\n\
            memory: resident=3145728 max=33554432 requests=0 requests_max=9437184\n\
            listeners:\n  name=traces address=127.0.0.1:8126 timeout=4\n  name=dogstatsd\n\
            endpoints:\n  name=logs address=https://i breaker=open next_try_in=1.5 last_error=refused\u{fffd}[2J last_error_ago=2.0 \
            bodies=0 bytes=0 bytes_max=0\n  name=stats address= breaker=half-open bodies=0 bytes=0 bytes_max=0\n\
            ledgers:\n  of= balanced=true lost=3\n    signals:\n      signal=logs accepted=9 restored=0 sent=6 memory=0 spool=0 \
            missed=0 too_old=2 fault=1\nspools: none\n\
            last_errors:\n  time=2026-01-02 03:04:05 UTC level=WARN text=hm\n";
        assert_eq!(as_text(&example()), expected);
    }

    #[test]
    fn what_is_not_known_is_null_and_states_are_words() {
        let value: Value =
            serde_json::from_str(&as_json(&Status { key: Key::Refused("bcdef".to_owned()), ..example() })).unwrap();
        assert_eq!(value["key"], json!({"state": "refused", "ends_in": "bcdef"}));
        let states: Vec<_> = [0, 1].iter().map(|at| &value["endpoints"][*at]["breaker"]).collect();
        assert_eq!(states, ["open", "half-open"]);
        assert_eq!((&value["endpoints"][0]["next_try_in"], &value["endpoints"][1]["last_error"]), (&json!(1.5), &Value::Null));
        assert_eq!(value["listeners"][1], json!({"name": "dogstatsd", "address": null, "refused": {}}));
        assert_eq!(value["ledgers"][0]["signals"][0]["dropped"], json!({"too_old": 2, "fault": 1}));
        assert_eq!(value["spools"], json!([]));
    }
}
