//! The record of a `function` or `extension` event: a text, or an object where the function logs in JSON.
//!
//! A text that is a JSON object tells its severity (`level`, else `status`), its request id (`requestId`, `AWSRequestId`) and may
//! bring tags: a member `ddtags` is lifted out of it, and so is one inside an object `message`, of which then only that object is
//! sent. Otherwise the text stays as it was logged, to the byte. Source: behaviour of Datadog's extensions.

use crate::decode::json_text;
use crate::model::log_line::LogLine;
use crate::model::log_line::LogStatus;
use serde_json::Map;
use serde_json::Value;

/// What runtimes print when memory runs out: Go, Node.js, Python (and, as parts of their words, Java and Ruby), .NET, and any that the
/// system kills. Source: behaviour of Datadog's extensions.
const OUT_OF_MEMORY: [&str; 5] = [
    "fatal error: runtime: out of memory",
    "JavaScript heap out of memory",
    "MemoryError",
    "OutOfMemoryException",
    "Runtime exited with error: signal: killed",
];

/// A line of the function's, which may say that its memory was not enough: that is an error, whatever level it was logged at.
pub fn function_line(record: &str, time_ms: i64) -> LogLine {
    let mut line = line(record, time_ms);
    let has = |words: &str| line.message.contains(words);
    // Hardly any line has one of these, so most are looked through twice and no more.
    if (has("emory") || has("signal: killed")) && OUT_OF_MEMORY.into_iter().any(has) {
        line.out_of_memory = true;
        line.status = LogStatus::Error;
    }
    line
}

/// What the platform says of a runtime that died: `RequestId: <id> Error: <text>`, as it is or as a member `fault`. Nothing but an error.
pub fn fault(record: &str, time_ms: i64) -> LogLine {
    let object: Option<Map<String, Value>> = serde_json::from_str(record).ok();
    let inner = object.as_ref().and_then(|object| object.get("fault")).map(Value::to_string);
    let mut line = function_line(inner.as_deref().unwrap_or(record), time_ms);
    line.status = LogStatus::Error;
    let id = line.message.strip_prefix("RequestId: ").and_then(|rest| rest.split_whitespace().next());
    line.request_id = line.request_id.or_else(|| id.map(str::to_owned));
    line
}

/// The line in `record`, which is any JSON value.
pub fn line(record: &str, time_ms: i64) -> LogLine {
    let text = if record.starts_with('"') { string(record) } else { record.to_owned() };
    let mut line = LogLine { time_ms, ..LogLine::default() };
    line.message = match serde_json::from_str::<Map<String, Value>>(&text) {
        Ok(object) => structured(object, text, &mut line),
        Err(_) => text,
    };
    trim_line_end(&mut line.message);
    line
}

/// Text that a logger cut inside a surrogate pair is legal for the logger and not for the JSON reader.
fn string(json: &str) -> String {
    let repaired = || serde_json::from_str(&json_text::without_lone_surrogates(json)?).ok();
    serde_json::from_str(json).ok().or_else(repaired).unwrap_or_else(|| json.to_owned())
}

fn structured(mut object: Map<String, Value>, text: String, line: &mut LogLine) -> String {
    let word = |name: &str| object.get(name).and_then(Value::as_str);
    line.status = word("level").or_else(|| word("status")).and_then(LogStatus::of_word).unwrap_or_default();
    line.request_id = word("requestId").or_else(|| word("AWSRequestId")).map(str::to_owned);
    if let Some(Value::String(tags)) = object.get("ddtags") {
        line.tags = Some(tags.clone());
        object.shift_remove("ddtags");
        return Value::Object(object).to_string();
    }
    if let Some(Value::Object(inner)) = object.get_mut("message")
        && let Some(Value::String(tags)) = inner.get("ddtags")
    {
        line.tags = Some(tags.clone());
        inner.shift_remove("ddtags");
        return Value::Object(std::mem::take(inner)).to_string();
    }
    text
}

fn trim_line_end(text: &mut String) {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(record: &str, message: &str, status: LogStatus, request_id: Option<&str>, tags: Option<&str>) {
        let expected = LogLine {
            message: message.to_owned(),
            time_ms: 7,
            status,
            request_id: request_id.map(str::to_owned),
            tags: tags.map(str::to_owned),
            out_of_memory: false,
        };
        assert_eq!(line(record, 7), expected);
    }

    #[test]
    fn a_plain_line_loses_one_line_end() {
        check(r#""plain\n""#, "plain", LogStatus::Info, None, None);
        check(r#""two\n\r\n""#, "two\n", LogStatus::Info, None, None);
        check("12", "12", LogStatus::Info, None, None);
    }

    #[test]
    fn a_structured_line_tells_severity_and_request() {
        check(
            r#"{"level":"WARN","requestId":"r-1","message":"m"}"#,
            r#"{"level":"WARN","requestId":"r-1","message":"m"}"#,
            LogStatus::Warn,
            Some("r-1"),
            None,
        );
        check(r#""{\"status\": \"fatal\"}""#, r#"{"status": "fatal"}"#, LogStatus::Critical, None, None);
    }

    #[test]
    fn each_runtime_says_in_its_own_words_that_memory_ran_out() {
        for words in [
            "fatal error: runtime: out of memory",
            "Exception in thread main java.lang.OutOfMemoryError: Java heap space",
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
            "RequestId: r Error: Runtime exited with error: signal: killed",
            "[ERROR] MemoryError",
            "failed to allocate memory (NoMemoryError)",
            "System.OutOfMemoryException: thrown",
        ] {
            let line = function_line(&format!("\"{words}\""), 0);
            assert!(line.out_of_memory && line.status == LogStatus::Error, "{words}");
        }
        for words in ["memory is fine", "the process was killed", "out of memory"] {
            assert!(!function_line(&format!("\"{words}\""), 0).out_of_memory, "{words}");
        }
    }

    #[test]
    fn a_fault_of_the_platforms_is_an_error_of_its_request() {
        let text = "RequestId: r-7 Error: Runtime exited with error: signal: killed\\nRuntime.ExitError\\n";
        for record in [format!("\"{text}\""), format!("{{\"fault\":\"{text}\"}}")] {
            let line = fault(&record, 7);
            assert_eq!((line.request_id.as_deref(), line.status, line.out_of_memory), (Some("r-7"), LogStatus::Error, true));
            assert_eq!(line.message, "RequestId: r-7 Error: Runtime exited with error: signal: killed\nRuntime.ExitError");
        }
        for record in ["7", "null", "{}", "{\"fault\":{}}", "\"RequestId: \""] {
            let line = fault(record, 7);
            assert_eq!((line.request_id, line.status, line.out_of_memory), (None, LogStatus::Error, false), "{record}");
        }
    }

    #[test]
    fn tags_are_lifted_and_the_order_of_members_stays() {
        check(r#"{"z":1,"ddtags":"a:b","c":2}"#, r#"{"z":1,"c":2}"#, LogStatus::Info, None, Some("a:b"));
        check(r#"{"level":"error","message":{"x":1,"ddtags":"a:b"}}"#, r#"{"x":1}"#, LogStatus::Error, None, Some("a:b"));
    }
}
