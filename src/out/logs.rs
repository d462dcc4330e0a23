//! Prints bodies of logs: one JSON object an entry, as it was encoded, with its signal before it.

use serde_json::Map;
use serde_json::Value;

/// Hands each entry of the JSON array `body` to `each`.
pub fn records(body: &[u8], each: &mut impl FnMut(Value)) -> Result<(), serde_json::Error> {
    let entries: Vec<Map<String, Value>> = serde_json::from_slice(body)?;
    for entry in entries {
        let mut record = Map::new();
        record.insert("signal".to_owned(), Value::from("logs"));
        record.extend(entry);
        each(Value::Object(record));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_a_record() {
        let mut lines = Vec::new();
        records(br#"[{"message":"a"},{"message":"b"}]"#, &mut |record| lines.push(record.to_string())).unwrap();
        assert_eq!(lines, [r#"{"signal":"logs","message":"a"}"#, r#"{"signal":"logs","message":"b"}"#]);
        assert!(records(b"[{]", &mut |_| ()).is_err());
    }
}
