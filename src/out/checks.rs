//! Prints bodies of service checks and of events: one JSON object each, as it was encoded, with its signal before it.

use serde_json::Map;
use serde_json::Value;

/// Hands each result in the JSON array `body` to `each`.
pub fn records(body: &[u8], each: &mut dyn FnMut(Value)) -> Result<(), serde_json::Error> {
    let checks: Vec<Map<String, Value>> = serde_json::from_slice(body)?;
    checks.into_iter().for_each(|check| each(named("checks", check)));
    Ok(())
}

/// Hands the event that `body` is to `each`.
pub fn event(body: &[u8], each: &mut dyn FnMut(Value)) -> Result<(), serde_json::Error> {
    each(named("events", serde_json::from_slice(body)?));
    Ok(())
}

fn named(signal: &str, members: Map<String, Value>) -> Value {
    let mut record = Map::new();
    record.insert("signal".to_owned(), Value::from(signal));
    record.extend(members);
    Value::Object(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_and_event_is_a_record() {
        let mut lines = Vec::new();
        records(br#"[{"check":"a"},{"check":"b"}]"#, &mut |record| lines.push(record.to_string())).unwrap();
        event(br#"{"title":"t"}"#, &mut |record| lines.push(record.to_string())).unwrap();
        let expected =
            [r#"{"signal":"checks","check":"a"}"#, r#"{"signal":"checks","check":"b"}"#, r#"{"signal":"events","title":"t"}"#];
        assert_eq!(lines, expected);
        assert!(records(b"[{]", &mut |_| ()).is_err() && event(b"[]", &mut |_| ()).is_err());
    }
}
