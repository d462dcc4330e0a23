//! The state of a running agent as JSON, for scripts. Times are in seconds, sizes in bytes; what is not known is null.

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

/// One object.
pub fn status(status: &Status) -> String {
    let (key, ending) = match &status.key {
        Key::NotNeeded => ("not_needed", None),
        Key::Pending => ("pending", None),
        Key::InUse(ending) => ("in_use", Some(ending)),
        Key::Refused(ending) => ("refused", Some(ending)),
        Key::Absent => ("absent", None),
    };
    let memory = &status.memory;
    let whole = object([
        ("version", status.version.into()),
        ("pid", status.pid.into()),
        ("time", seconds(status.time.unix)),
        ("uptime", seconds(status.time.uptime)),
        ("hostname", text(&status.hostname)),
        ("hostname_from", text(&status.hostname_from)),
        ("key", object([("state", key.into()), ("ends_in", ending.map_or(Value::Null, |ending| text(ending)))])),
        ("endpoints", list(&status.endpoints, endpoint)),
        ("ledgers", list(&status.books, books)),
        ("spools", list(&status.spools, spool)),
        (
            "memory",
            object([
                ("resident", memory.resident.into()),
                ("max", memory.max.into()),
                ("requests", memory.requests.into()),
                ("requests_max", memory.requests_max.into()),
            ]),
        ),
        ("listeners", list(&status.listeners, listener)),
        ("panics", status.panics.into()),
        ("last_errors", list(&status.lines, line)),
    ]);
    format!("{whole}\n")
}

fn endpoint(endpoint: &Endpoint) -> Value {
    let (state, next_try) = match endpoint.breaker {
        Breaker::Closed => ("closed", None),
        Breaker::Open(left) => ("open", Some(left)),
        Breaker::HalfOpen => ("half-open", None),
    };
    let (error_ago, error) = endpoint.last_error.as_ref().map_or((None, Value::Null), |(ago, error)| (Some(*ago), text(error)));
    object([
        ("name", text(&endpoint.name)),
        ("address", text(&endpoint.address)),
        ("breaker", state.into()),
        ("next_try_in", maybe(next_try)),
        ("failing_for", maybe(endpoint.failing_for)),
        ("delivered_ago", maybe(endpoint.delivered_ago)),
        ("last_error", error),
        ("last_error_ago", maybe(error_ago)),
        ("bodies", endpoint.bodies.into()),
        ("bytes", endpoint.bytes.into()),
        ("bytes_max", endpoint.bytes_max.into()),
    ])
}

fn books(books: &Books) -> Value {
    object([
        ("of", text(&books.of)),
        ("balanced", books.balanced.into()),
        ("lost", books.lost.into()),
        ("signals", list(&books.rows, row)),
    ])
}

fn row(row: &Row) -> Value {
    object([
        ("signal", row.signal.into()),
        ("accepted", row.accepted.into()),
        ("restored", row.restored.into()),
        ("sent", row.sent.into()),
        ("memory", row.memory.into()),
        ("spool", row.spool.into()),
        ("missed", row.missed.into()),
        ("dropped", counts(&row.dropped)),
    ])
}

fn spool(spool: &Spool) -> Value {
    object([
        ("folder", text(&spool.folder)),
        ("bytes", spool.bytes.into()),
        ("bytes_max", spool.bytes_max.into()),
        ("bad_bytes", spool.bad_bytes.into()),
        ("in_trouble", spool.in_trouble.into()),
    ])
}

fn listener(listener: &Listener) -> Value {
    object([
        ("name", listener.name.into()),
        ("address", listener.address.as_ref().map_or(Value::Null, |address| text(address))),
        ("refused", counts(&listener.refused)),
    ])
}

fn line(line: &Line) -> Value {
    object([("time", seconds(line.unix)), ("level", line.level.into()), ("text", text(&line.text))])
}

fn counts(counts: &[(&str, u64)]) -> Value {
    Value::Object(counts.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect())
}

// Out of line, so that the members above are no more than a table.

#[inline(never)]
fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    collect(&mut members.into_iter())
}

#[inline(never)]
fn collect(members: &mut dyn Iterator<Item = (&str, Value)>) -> Value {
    Value::Object(members.map(|(name, value)| (name.to_owned(), value)).collect())
}

fn list<T>(items: &[T], one: fn(&T) -> Value) -> Value {
    Value::Array(items.iter().map(one).collect())
}

fn text(text: &str) -> Value {
    text.to_owned().into()
}

fn seconds(time: Duration) -> Value {
    (time.as_millis() as f64 / 1000.0).into()
}

fn maybe(time: Option<Duration>) -> Value {
    time.map_or(Value::Null, seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_known_is_null_and_states_are_words() {
        let endpoint = |breaker| Endpoint { name: "logs".to_owned(), breaker, ..Endpoint::default() };
        let open = Breaker::Open(Duration::from_millis(1_500));
        let all = Status {
            key: Key::Refused("bcdef".to_owned()),
            endpoints: vec![endpoint(open), endpoint(Breaker::HalfOpen), endpoint(Breaker::Closed)],
            listeners: vec![Listener { name: "traces", ..Listener::default() }],
            books: vec![Books { rows: vec![Row { dropped: vec![("fault", 3)], ..Row::default() }], ..Books::default() }],
            ..Status::default()
        };
        let value: Value = serde_json::from_str(&status(&all)).unwrap();
        assert_eq!(value["key"], json!({"state": "refused", "ends_in": "bcdef"}));
        let states: Vec<_> = [0, 1, 2].iter().map(|at| &value["endpoints"][*at]["breaker"]).collect();
        assert_eq!(states, ["open", "half-open", "closed"]);
        assert_eq!((&value["endpoints"][0]["next_try_in"], &value["endpoints"][0]["last_error"]), (&json!(1.5), &Value::Null));
        assert_eq!(value["listeners"], json!([{"name": "traces", "address": null, "refused": {}}]));
        assert_eq!(value["ledgers"][0]["signals"][0]["dropped"], json!({"fault": 3}));
        assert_eq!(value["spools"], json!([]));
    }
}
