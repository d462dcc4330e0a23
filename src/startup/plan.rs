//! From the configuration to the values that each part gets: parts never see the configuration, so they cannot acquire settings that
//! are not theirs.

use crate::config::AwsEnv;
use crate::config::BaseUrl;
use crate::config::Config;
use crate::deliver::BackoffLimits;
use crate::encode::logs as encode_logs;
use crate::encode::traces as encode_traces;
use crate::errors::StartError;
use crate::model::tags::Tags;
use crate::pipeline::logs;
use crate::pipeline::traces;
use crate::process::invocation;
use crate::process::invocation::RootSpans;
use crate::process::traces as trace_rules;
use crate::sources::http;
use crate::sources::trace_http::TraceLimits;
use crate::sys::host;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

/// Where the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A machine of its own.
    Edge,
    /// A Lambda sandbox.
    Lambda,
}

/// How `max_memory` is shared out: a half for what comes in, until it is encoded; a quarter for bodies that wait to leave; the rest
/// for what is being worked on, which is one body a signal and its compressor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Requests and decoded items.
    pub ingest: usize,
    /// Encoded bodies.
    pub spool: usize,
    /// One request, half of what comes in: the rest is room for what it decodes to.
    pub request: usize,
    /// One body before compression.
    pub body: usize,
}

/// The largest request the reference agent takes.
const REQUEST_BYTES_MAX: usize = 25 * 1024 * 1024;

impl Memory {
    /// The shares of `max_memory`.
    pub fn of(max_memory: usize) -> Memory {
        let ingest = max_memory / 2;
        Memory {
            ingest,
            spool: max_memory / 4,
            request: (ingest / 2).min(REQUEST_BYTES_MAX),
            body: (max_memory / 4).max(encode_logs_entry_max()),
        }
    }

    /// As the trace agent needs it.
    pub fn trace_limits(&self) -> TraceLimits {
        TraceLimits { request_bytes_max: self.request, memory_bytes: self.ingest }
    }
}

/// A body must hold at least one log entry of the longest kind.
fn encode_logs_entry_max() -> usize {
    2 * crate::process::logs::MESSAGE_BYTES_MAX
}

/// Host name of data: configured, else the system's; none in Lambda.
pub fn hostname(config: &Config, place: Place) -> String {
    match place {
        Place::Lambda => String::new(),
        Place::Edge => config.hostname.clone().or_else(|| host::name(Path::new("/"))).unwrap_or_default(),
    }
}

/// `env`, `version`, and the tags of the user.
fn common_tags(config: &Config) -> Tags {
    let mut tags = Tags::default();
    for (key, value) in [("env", &config.env), ("version", &config.version)] {
        if let Some(value) = value {
            tags.push(key, value);
        }
    }
    tags.extend(&config.tags);
    tags.extend(&config.extra_tags);
    tags
}

fn user_tags(config: &Config) -> Vec<(String, String)> {
    let mut tags = config.tags.clone();
    tags.extend(&config.extra_tags);
    tags.pairs().to_vec()
}

/// Environment of spans that name none.
pub fn default_env(config: &Config) -> &str {
    config.apm_env.as_deref().or(config.env.as_deref()).unwrap_or("none")
}

/// The traces pipeline.
pub fn traces(config: &Config, hostname: &str, memory: Memory) -> traces::Settings {
    traces::Settings {
        rules: trace_rules::Settings { global_tags: user_tags(config) },
        agent: encode_traces::Agent {
            hostname: hostname.to_owned(),
            env: default_env(config).to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            target_tps: 0.0,
            error_tps: 0.0,
        },
        body_bytes_max: memory.body,
        compression_level: config.compression_level,
    }
}

/// The logs pipeline. Inside Lambda two switches are about logs, and either of them turned on is enough; outside only one is.
pub fn logs(config: &Config, place: Place, hostname: &str, memory: Memory) -> logs::Settings {
    let enabled = match (place, config.logs_enabled, config.serverless_logs_enabled) {
        (_, None, None) => true,
        (Place::Edge, one, _) => one.unwrap_or(true),
        (Place::Lambda, one, other) => one.unwrap_or(false) || other.unwrap_or(false),
    };
    logs::Settings {
        enabled,
        common: encode_logs::Common {
            hostname: hostname.to_owned(),
            service: config.service.as_deref().map(str::to_ascii_lowercase),
            source: if place == Place::Lambda { "lambda" } else { "mote" },
            tags: common_tags(config).joined(),
            arn: String::new(),
        },
        batch_wait: config.logs_batch_wait,
        body_bytes_max: memory.body,
        compression_level: if config.logs_use_compression { config.compression_level } else { 0 },
        host_is_function: place == Place::Lambda,
        hold_orphans: place == Place::Lambda,
    }
}

/// The invocation state machine.
pub fn invocations(config: &Config, place: Place, aws: &AwsEnv) -> invocation::Settings {
    let mut tags = Tags::default();
    for (key, value) in [("env", &config.env), ("version", &config.version)] {
        if let Some(value) = value {
            tags.push(key, value);
        }
    }
    invocation::Settings {
        root_spans: if place == Place::Lambda { RootSpans::Announced } else { RootSpans::Always },
        service: config.service.clone(),
        function_name: aws.function_name.clone(),
        tags,
    }
}

/// Address of an intake: the setting's, else the site's.
pub fn intake(setting: Option<&BaseUrl>, site_host: &str, path: &str) -> String {
    let base = setting.cloned().unwrap_or_else(|| BaseUrl::of_host(site_host));
    format!("{}{path}", base.as_str())
}

/// Pauses after failures.
pub fn backoff(config: &Config) -> BackoffLimits {
    BackoffLimits { base: config.backoff_base, max: config.backoff_max.max(config.backoff_base) }
}

/// Limits of the trace agent's port.
pub fn trace_http(config: &Config, memory: Memory) -> http::Limits {
    http::Limits {
        body_bytes_max: memory.request,
        header_time: at_least_a_moment(config.receiver_timeout),
        body_time: at_least_a_moment(config.receiver_timeout),
        ..http::Limits::default()
    }
}

/// Limits of the communication server: fewer connections, since tiny_http cannot bound a header line by itself, and the same time
/// for idle ones as for a header, since it cannot tell them apart.
pub fn lambda_http(config: &Config) -> http::Limits {
    http::Limits {
        connections_max: 16,
        idle_time: at_least_a_moment(config.receiver_timeout),
        body_bytes_max: 6 * 1024 * 1024,
        header_time: at_least_a_moment(config.receiver_timeout),
        body_time: at_least_a_moment(config.receiver_timeout),
        ..http::Limits::default()
    }
}

/// A time-out of zero would be none at all for a socket.
fn at_least_a_moment(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(10))
}

/// The address that listeners bind to. Names are not looked up, as that could hang.
pub fn bind_address(text: &str) -> Result<IpAddr, StartError> {
    match text.trim() {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        other => other.trim_matches(['[', ']']).parse().map_err(|_| StartError::Address(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_leave_room_for_what_is_being_worked_on() {
        for max_memory in [8 << 20, 24 << 20, 32 << 20, 512 << 20] {
            let memory = Memory::of(max_memory);
            assert!(memory.ingest + memory.spool <= max_memory * 3 / 4);
            assert!(memory.request <= memory.ingest / 2);
        }
    }

    #[test]
    fn listeners_take_addresses_and_localhost() {
        assert!(bind_address("localhost").is_ok() && bind_address("::1").is_ok() && bind_address("[::]").is_ok());
        assert!(bind_address("example.com").is_err());
    }
}
