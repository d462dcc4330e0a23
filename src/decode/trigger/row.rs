//! What the table of triggers says of each: where its members are, how it is known, and what is made of it.

/// Where a trigger's members are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// In the event itself.
    Event,
    /// In the first of `Records`.
    First,
    /// In the first record of the first list in `records`, which are lists by topic and partition.
    Kafka,
    /// In the execution's context, wherever that is.
    Steps,
}

/// How a trace context is found in an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// In the headers of a request.
    Headers,
    /// In a message attribute, in the message itself, or in what AWS calls a trace header.
    Sqs,
    /// In a message attribute or in the message itself.
    Sns,
    /// In a member of `detail`.
    EventBridge,
    /// In a member of the record's data.
    Kinesis,
    /// In the headers of any record.
    Kafka,
    /// It follows from the execution's names.
    Steps,
    /// Not at all.
    Nowhere,
}

/// One trigger.
#[derive(Debug)]
pub struct Row {
    /// Value of `function_trigger.event_source`.
    pub source: &'static str,
    pub record: Record,
    pub when: &'static str,
    pub carried: Carried,
    /// Value of `function_trigger.event_source_arn`.
    pub arn: &'static str,
    pub tags: &'static str,
    pub span: Option<SpanRow>,
}

/// The span that is inferred.
#[derive(Debug)]
pub struct SpanRow {
    pub name: &'static str,
    pub kind: &'static str,
    pub resource: &'static str,
    /// What a service mapping may call it by: this very instance, and its kind.
    pub key: &'static str,
    pub generic_key: &'static str,
    /// As AWS calls it, and by its kind.
    pub service: &'static str,
    pub generic_service: &'static str,
    /// A time stamp, or a number of these nanoseconds.
    pub start: &'static str,
    pub start_unit: f64,
    /// Its sender does not wait, even if no header says so.
    pub is_async: bool,
}
