//! Where the events of each trigger keep their trace context.

use crate::decode::json::Json;
use crate::decode::json::Object;
use crate::decode::propagation::Carrier;
use crate::decode::propagation::Styles;
use crate::decode::propagation::hex;
use crate::decode::trigger::Digest;
use crate::decode::trigger::base64_bytes;
use crate::decode::trigger::row::Carried;
use crate::decode::trigger::template::Filling;
use crate::model::tags::Tags;
use crate::model::trace_context::TraceContext;
use std::borrow::Cow;

/// How the object in a `_datadog` is read.
type Read<'a> = &'a dyn Fn(Json<'_>) -> Option<TraceContext>;

/// The context that `carried` leads to in this event.
pub fn context(carried: Carried, filling: &Filling<'_>, styles: &Styles, digest: Digest) -> Option<TraceContext> {
    let Filling { event, record, .. } = filling;
    // A step that sends a message has no headers, but the names of its execution.
    let read =
        |json: Json<'_>| of_steps(&Object::new(json), styles, digest).or_else(|| styles.extract(&Carrier::of_object(json)));
    match carried {
        Carried::Headers => {
            let single = event.at("headers").and_then(|headers| styles.extract(&Carrier::of_object(headers)));
            single.or_else(|| styles.extract(&Carrier::of_object(event.at("multiValueHeaders")?)))
        }
        Carried::Sqs => {
            let attribute =
                of_attribute(record, "messageAttributes._datadog", ["dataType", "stringValue", "binaryValue"], &read);
            attribute.or_else(|| of_body(&record.text("body")?, &read)).or_else(|| {
                let header = record.text("attributes.AWSTraceHeader")?;
                aws_trace_header(&header)
            })
        }
        Carried::Sns => of_sns(record, &read),
        Carried::EventBridge => read(event.at("detail._datadog")?),
        Carried::Kinesis => {
            let data = base64_bytes(&record.text("kinesis.data")?)?;
            read(Json::new(&data).get("_datadog")?)
        }
        Carried::Kafka => of_kafka(event, styles),
        Carried::Steps => of_steps(record, styles, digest),
        Carried::Nowhere => None,
    }
}

/// A message attribute whose type tells which of its other two members has the carrier: JSON as text, or in base64.
fn of_attribute(record: &Object<'_>, path: &str, [kind, text, binary]: [&str; 3], read: Read<'_>) -> Option<TraceContext> {
    let attribute = record.at(path)?;
    let kind = attribute.get(kind)?.text()?;
    // A type may go on with a name of the user's: `String.of.mine`.
    let json = if kind.starts_with("Binary") {
        base64_bytes(&attribute.get(binary)?.text()?)?
    } else {
        attribute.get(text)?.text()?.into_owned().into_bytes()
    };
    read(Json::new(&json))
}

/// A queue's message may be what a topic or a bus sent to the queue.
fn of_body(body: &str, read: Read<'_>) -> Option<TraceContext> {
    let body = Json::new(body.as_bytes());
    of_sns(&Object::of("Sns", body), read).or_else(|| read(body.at("detail._datadog")?))
}

fn of_sns(record: &Object<'_>, read: Read<'_>) -> Option<TraceContext> {
    let attribute = of_attribute(record, "Sns.MessageAttributes._datadog", ["Type", "Value", "Value"], read);
    attribute.or_else(|| {
        let message = record.text("Sns.Message")?;
        read(Json::new(message.as_bytes()).at("detail._datadog")?)
    })
}

/// `Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=<0 or 1>`. Where a tracer of Datadog's wrote it, the longest number begins with
/// eight zeros; otherwise the ids are X-Ray's own and lead nowhere.
fn aws_trace_header(header: &str) -> Option<TraceContext> {
    let member = |name: &str| header.split(';').find_map(|member| member.trim().strip_prefix(name)?.strip_prefix('='));
    let id = member("Root")?.rsplit('-').next()?;
    Some(TraceContext {
        trace_id: hex(id.strip_prefix("00000000")?, 16).filter(|id| *id != 0)?,
        parent_id: hex(member("Parent")?, 16).filter(|id| *id != 0)?,
        sampling_priority: Some(i32::from(member("Sampled") == Some("1"))),
        ..TraceContext::default()
    })
}

/// The first record whose headers tell a context. Headers are objects of a name and the bytes of a value; those, and the headers
/// themselves, are arrays or objects keyed by numbers.
fn of_kafka(event: &Object<'_>, styles: &Styles) -> Option<TraceContext> {
    let records = event.at("records")?.members().flat_map(|(_, list)| list.items());
    for headers in records.filter_map(|record| record.get("headers")) {
        let mut carrier = Carrier::default();
        for (name, bytes) in values(headers).flat_map(Json::members) {
            let bytes: Option<Vec<u8>> = values(bytes).map(|byte| byte.text()?.parse().ok()).collect();
            if let Some(text) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) {
                carrier.add(&name, Cow::Owned(text));
            }
        }
        if let Some(context) = styles.extract(&carrier) {
            return Some(context);
        }
    }
    None
}

fn values(json: Json<'_>) -> impl Iterator<Item = Json<'_>> {
    json.items().chain(json.members().map(|(_, value)| value))
}

/// A step's place in its execution is known by names, so its ids are digests of them; a parent's trace may come along.
fn of_steps(steps: &Object<'_>, styles: &Styles, digest: Digest) -> Option<TraceContext> {
    let (execution, state) = (steps.text("Execution.Id")?, steps.text("State.Name")?);
    let count = |path: &str| steps.text(path).unwrap_or(Cow::Borrowed("0"));
    let (retries, redrives) = (count("State.RetryCount"), count("Execution.RedriveCount"));
    let mut name = format!("{execution}#{state}#{}", steps.text("State.EnteredTime")?);
    if retries != "0" || redrives != "0" {
        name.extend(["#", &retries, "#", &redrives]);
    }
    let id = |digest: &str, at: usize| {
        digest.get(at..at + 16).and_then(|digits| hex(digits, 16)).map(|id| (id & (u64::MAX >> 1)).max(1))
    };
    let root = digest(steps.text("RootExecutionId").unwrap_or(execution).as_bytes());
    let mut context = TraceContext {
        trace_id: id(&root, 16)?,
        trace_id_high: Some(format!("{:016x}", id(&root, 0)?)),
        tags: Tags::default(),
        ..TraceContext::default()
    };
    if let (Some(trace), Some(pairs)) = (steps.text("x-datadog-trace-id"), steps.text("x-datadog-tags")) {
        let mut carrier = Carrier::default();
        carrier.add("x-datadog-trace-id", trace);
        carrier.add("x-datadog-tags", pairs);
        context = styles.extract(&carrier).unwrap_or(context);
    }
    context.parent_id = id(&digest(name.as_bytes()), 0)?;
    context.sampling_priority = Some(1);
    context.origin = Some("states".to_owned());
    Some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trace header's `trace parent priority`.
    #[track_caller]
    fn check(header: &str, expected: Option<(u64, u64, i32)>) {
        let context = aws_trace_header(header);
        assert_eq!(context.map(|c| (c.trace_id, c.parent_id, c.sampling_priority.unwrap())), expected, "{header}");
    }

    #[test]
    fn aws_trace_header_counts_only_where_a_tracer_wrote_it() {
        let planted = "Root=1-695735a5-00000000000000000000000b;Parent=000000000000000c;Sampled=";
        check(&format!("{planted}1"), Some((11, 12, 1)));
        check(&format!("{planted}0;Lineage=x"), Some((11, 12, 0)));
        check(&format!(" Sampled=1; {planted}"), Some((11, 12, 1)));
        check("Root=1-695735a5-00112233445566778899aabb;Parent=000000000000000c;Sampled=1", None);
        for short in
            ["", "Root", "Root=", "Root=1-2-3;Parent=4", "Root=1-695735a5-00000000000000000000000b", "Root=1-x-00000000ä"]
        {
            check(short, None);
        }
    }
}
