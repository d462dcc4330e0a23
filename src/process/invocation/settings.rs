//! What the invocation machine needs to know of the configuration and of the place it works in.

use crate::model::tags::Tags;
use crate::process::invocation::metrics;

/// Who makes the root span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootSpans {
    /// The agent, for each invocation: `mote.invocation`.
    #[default]
    Always,
    /// The agent, for those that a client library announced: `aws.lambda`. Other libraries make it themselves.
    Announced,
}

/// What the machine needs to know of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who makes the root span.
    pub root_spans: RootSpans,
    /// Services of AWS's own are called as AWS calls their instances, not by their kind.
    pub aws_services: bool,
    /// They are called as the function, unless the mapping below says otherwise.
    pub one_service: bool,
    /// Services in place of those, by the instance or its kind.
    pub service_mapping: Tags,
    /// Service of the root span; otherwise the function's name.
    pub service: Option<String>,
    /// Name of the function where events do not tell it.
    pub function_name: Option<String>,
    /// Further tags of the root span.
    pub tags: Tags,
    /// The sandbox, inside Lambda.
    pub sandbox: Option<Sandbox>,
    /// Metrics are made of invocations.
    pub metrics: Option<metrics::Settings>,
}

/// A Lambda sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// ARN of its function, without version, in lower case, if it is known by then; otherwise the first invocation tells it.
    pub arn: Option<String>,
    /// When its process started, nanoseconds since 1970.
    pub started_at: i64,
    /// It is restored from a snapshot, so its process started long ago.
    pub snap_start: bool,
    /// It belongs to managed instances, which are never told of invocations by `/next`.
    pub managed: bool,
}

impl Settings {
    /// Whether several invocations run at once and are told of by telemetry alone.
    pub(super) fn is_managed(&self) -> bool {
        self.sandbox.as_ref().is_some_and(|sandbox| sandbox.managed)
    }
}
