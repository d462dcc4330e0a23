//! Pointers from a function's span to the object or row that it was invoked for, by which the backend finds the span that wrote it. Both
//! sides know what was written and name it by a digest.
//!
//! ```text
//! aws.s3.object      bucket|key|etag without quotes
//! aws.dynamodb.item  table|key1|value1|key2|value2, by names in order, two empty ones for a table with one key
//! ```
//! The name is the first 32 hex digits of SHA-256. Source: Datadog's documentation of span pointers.

use crate::decode::json::Object;
use crate::decode::trigger::Digest;
use crate::decode::trigger::base64_bytes;
use crate::model::trigger::Pointer;

/// The pointer of a record of an S3 or DynamoDB event, if it is one and tells enough.
pub fn pointer(record: &Object<'_>, digest: Digest) -> Option<Pointer> {
    let (kind, parts) = match record.at("s3") {
        Some(_) => ("aws.s3.object", object(record)?),
        None => ("aws.dynamodb.item", item(record)?),
    };
    let mut hash = digest(&parts.join(&b'|'));
    hash.truncate(32);
    Some(Pointer { kind, hash })
}

fn object(record: &Object<'_>) -> Option<Vec<Vec<u8>>> {
    let text = |path: &str| record.text(path).map(|text| text.trim_matches('"').as_bytes().to_vec());
    Some(vec![text("s3.bucket.name")?, record.text("s3.object.key")?.into_owned().into_bytes(), text("s3.object.eTag")?])
}

fn item(record: &Object<'_>) -> Option<Vec<Vec<u8>>> {
    let table = record.text("eventSourceARN")?.split('/').nth(1)?.as_bytes().to_vec();
    let mut keys = Vec::new();
    for (name, value) in record.at("dynamodb.Keys")?.members().take(3) {
        let (kind, value) = value.members().next()?;
        let value = match (&*kind, value.text()?) {
            ("S" | "N", text) => text.into_owned().into_bytes(),
            ("B", text) => base64_bytes(&text)?,
            _ => return None,
        };
        keys.push([name.into_owned().into_bytes(), value]);
    }
    keys.sort();
    match keys.as_slice() {
        [one] => Some([&[table][..], one, &[Vec::new(), Vec::new()]].concat()),
        [one, other] => Some([&[table][..], one, other].concat()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::json::Json;
    use crate::sys::digest::sha256_hex;

    /// What is digested, or the digest.
    fn named(record: &str, digest: Digest) -> Option<String> {
        pointer(&Object::new(Json::new(record.as_bytes())), digest).map(|pointer| pointer.hash)
    }

    fn plain(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    fn table(keys: &str) -> String {
        format!(r#"{{"eventSourceARN":"arn:aws:dynamodb:r:1:table/some-table/stream/x","dynamodb":{{"Keys":{keys}}}}}"#)
    }

    #[test]
    fn names_are_those_that_datadog_computes() {
        let s3 = r#"{"s3":{"bucket":{"name":"some-bucket"},"object":{"key":"some-key.data","eTag":"\"ab12ef34\""}}}"#;
        assert_eq!(named(s3, sha256_hex).as_deref(), Some("e721375466d4116ab551213fdea08413"));
        let row = table(r#"{"some-key":{"S":"some-value"}}"#);
        assert_eq!(named(&row, sha256_hex).as_deref(), Some("7f1aee721472bcb48701d45c7c7f7821"));
    }

    #[test]
    fn keys_are_in_order_of_their_names() {
        assert_eq!(named(&table(r#"{"b":{"N":"7"},"a":{"B":"eHk="}}"#), plain).as_deref(), Some("some-table|a|xy|b|7"));
        assert_eq!(named(&table(r#"{"a":{"N":"7"}}"#), plain).as_deref(), Some("some-table|a|7||"));
    }

    #[test]
    fn what_does_not_tell_enough_has_no_pointer() {
        for keys in ["{}", "null", r#"{"a":{"BOOL":true}}"#, r#"{"a":{}}"#, r#"{"a":{"N":"1"},"b":{"N":"1"},"c":{"N":"1"}}"#] {
            assert_eq!(named(&table(keys), plain), None, "{keys}");
        }
        assert_eq!(named(r#"{"s3":{"bucket":{"name":"b"},"object":{"key":"k"}}}"#, plain), None);
        assert_eq!(named("{}", plain), None);
    }
}
