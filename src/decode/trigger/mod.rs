//! Who invoked a function, read from the event that it gets: tags, spans that nobody traced, and the trace that it belongs to. The
//! table says what each trigger looks like; whatever an event is, what can be read of it is, and the rest is left out.

mod carried;
mod pointers;
mod row;
mod table;
mod template;

use crate::decode::json::Json;
use crate::decode::json::Object;
use crate::decode::propagation::Styles;
use crate::decode::time::rfc3339_millis;
use crate::decode::trigger::row::Carried;
use crate::decode::trigger::row::Record;
use crate::decode::trigger::row::Row;
use crate::decode::trigger::row::SpanRow;
use crate::decode::trigger::template::Filling;
use crate::model::tags::Tags;
use crate::model::trace_context::TraceContext;
use crate::model::trigger::Inferred;
use crate::model::trigger::Trigger;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// SHA-256 of bytes, as 64 hex digits.
pub type Digest = fn(&[u8]) -> String;

/// What is known without the event.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Spans are inferred.
    pub infer_spans: bool,
    /// What goes in and comes out is to be seen on the function's span, down to this depth.
    pub capture_depth: Option<u32>,
    /// The most that may wait so for the end of invocations, in bytes.
    pub captured_bytes_max: usize,
    /// How contexts are written.
    pub styles: Styles,
    /// Where the function is.
    pub region: String,
    /// Its name.
    pub function: String,
    /// For ids and names that are digests.
    pub digest: Digest,
}

/// What an event tells of its trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// `None` for events that nobody knows.
    pub trigger: Option<Trigger>,
    /// The trace that it continues.
    pub context: Option<TraceContext>,
}

/// Reads `event`.
pub fn read(event: &Object<'_>, settings: &Settings) -> Read {
    let found = table::ROWS.iter().find_map(|row| {
        let record = record(row.record, event)?;
        matches(row.when, &record).then_some((row, record))
    });
    let Some((row, record)) = found else { return Read::default() };
    let filling = Filling { event, record: &record, region: &settings.region, function: &settings.function };
    let mut tags = Tags::of(&[("function_trigger.event_source", row.source)]);
    let arn = Some(("function_trigger.event_source_arn", row.arn)).filter(|(_, arn)| !arn.is_empty());
    for (key, template) in arn.into_iter().chain(lines(row, '<')) {
        if let Some(value) = filling.fill(template) {
            tags.push(key, &value);
        }
    }
    let mut spans = Vec::new();
    if let Some(span) = row.span.as_ref().filter(|_| settings.infer_spans) {
        let is_event = |header: &str| header.eq_ignore_ascii_case("Event");
        let is_async = span.is_async || filling.header("x-amz-invocation-type").is_some_and(|header| is_event(&header));
        spans.push(inferred(row, span, &filling, is_async));
        if matches!(row.carried, Carried::Sqs | Carried::Sns) {
            spans.extend(wrapped(&record, &filling));
        }
    }
    let context = carried::context(row.carried, &filling, &settings.styles, settings.digest);
    let pointer = (row.record == Record::First).then(|| pointers::pointer(&record, settings.digest)).flatten();
    Read { trigger: Some(Trigger { tags, spans, pointer }), context }
}

/// Where the members of such a trigger are, if there is such a place.
fn record<'a>(record: Record, event: &Object<'a>) -> Option<Object<'a>> {
    match record {
        Record::Event => Some(event.clone()),
        Record::First => event.at("Records.0").map(Object::new),
        Record::Kafka => event.at("records")?.members().next()?.1.items().next().map(Object::new),
        Record::Steps => {
            let places = [None, Some("_datadog"), Some("Payload"), Some("Payload._datadog")];
            let found =
                places.into_iter().map(|place| place.map_or(Some(event.clone()), |place| event.at(place).map(Object::new)));
            found.flatten().find(|object| object.at("Execution.Id").is_some())
        }
    }
}

/// Whether all tests of a table's row hold.
fn matches(when: &str, record: &Object<'_>) -> bool {
    when.split(' ').all(|test| {
        let sign = test.find(['=', '~', '!']);
        let (path, wanted) = sign.map_or((test, ""), |at| (&test[..at], &test[at + 1..]));
        let Some(value) = record.at(path) else { return false };
        let text = value.text().unwrap_or_default();
        match sign.map(|at| test.as_bytes()[at]) {
            Some(b'=') => text == wanted,
            Some(b'~') => text.contains(wanted),
            Some(_) => !text.contains(wanted),
            None => true,
        }
    })
}

/// Names and templates of the tags for one of the spans.
fn lines(row: &Row, place: char) -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = row.tags.lines().filter(move |line| line.starts_with(['=', place]));
    lines.filter_map(|line| line.get(2..)?.split_once(' '))
}

fn inferred(row: &Row, span: &SpanRow, filling: &Filling<'_>, is_async: bool) -> Inferred {
    let mut tags = Tags::of(&[("operation_name", span.name)]);
    for (key, template) in lines(row, '>') {
        if let Some(value) = filling.fill(template) {
            tags.push(key, &value);
        }
    }
    let fill = |template: &str| filling.fill(template).unwrap_or_default();
    let millis = filling.fill(span.start).and_then(|text| match text.parse::<f64>() {
        Ok(number) => Some((number * span.start_unit / 1e6).round() as i64),
        Err(_) => rfc3339_millis(&text),
    });
    let start = millis.and_then(|millis| millis.checked_mul(1_000_000));
    Inferred {
        name: span.name,
        kind: span.kind,
        resource: filling.fill(span.resource).unwrap_or_else(|| span.name.to_owned()),
        keys: [fill(span.key), span.generic_key.to_owned()],
        services: [fill(span.service), fill(span.generic_service)],
        start: start.filter(|start| 0 < *start),
        is_async,
        tags,
    }
}

/// A topic's message in a queue, or a bus's event in a queue or a topic: who sent it before.
fn wrapped(record: &Object<'_>, outer: &Filling<'_>) -> Option<Inferred> {
    let inner = record.text("body").or_else(|| record.text("Sns.Message"))?;
    let json = Json::new(inner.as_bytes());
    let (name, object) = match json.get("TopicArn") {
        Some(_) if record.at("body").is_some() => ("aws.sns", Object::of("Sns", json)),
        _ => ("aws.eventbridge", Object::new(json)),
    };
    let row =
        table::ROWS.iter().find(|row| row.span.as_ref().is_some_and(|span| span.name == name) && matches(row.when, &object))?;
    let filling = Filling { event: &object, record: &object, ..*outer };
    Some(inferred(row, row.span.as_ref()?, &filling, true))
}

/// Base64 with or without padding at its end.
fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests;
