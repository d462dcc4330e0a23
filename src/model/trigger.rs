//! Who invoked a function, as far as its event tells.

use crate::model::tags::Tags;

/// What is known of the trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// Tags of the function's span: `function_trigger.*` and what HTTP or a queue tell.
    pub tags: Tags,
    /// Spans of the services that handed the event on, the last one first; each is the parent of the one before.
    pub spans: Vec<Inferred>,
    /// What the function was invoked for, if others may know it too.
    pub pointer: Option<Pointer>,
}

/// Something that was written by a span that nobody knows here, but that somebody may know by this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// `aws.s3.object` or `aws.dynamodb.item`.
    pub kind: &'static str,
    /// 32 hex digits.
    pub hash: String,
}

/// A span that nobody traced but the event tells of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inferred {
    /// Such as `aws.sqs`.
    pub name: &'static str,
    /// `web` or `http`.
    pub kind: &'static str,
    /// Queue, topic, route.
    pub resource: String,
    /// What a service mapping may call it by: this very instance, then its kind.
    pub keys: [String; 2],
    /// Its service: as AWS calls the instance, and by its kind.
    pub services: [String; 2],
    /// Nanoseconds since 1970, if the event tells.
    pub start: Option<i64>,
    /// Its sender did not wait for the function.
    pub is_async: bool,
    /// Its tags.
    pub tags: Tags,
}
