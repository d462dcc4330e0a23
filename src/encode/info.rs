//! The trace agent's self-description on `/info`, from which tracers choose what to send. Only what is really served is listed.

use serde_json::json;

/// What depends on the configuration.
#[derive(Clone, Debug)]
pub struct Info<'a> {
    /// Paths in the spelling that tracers compare with.
    pub endpoints: &'a [&'a str],
    /// Environment of spans that name none.
    pub default_env: &'a str,
    /// Port of the trace agent.
    pub receiver_port: u16,
    /// Larger requests are refused.
    pub max_request_bytes: usize,
    /// Memory for all data on their way.
    pub max_memory: usize,
    /// Tracers that compute statistics may drop what they have counted and nobody wants: nothing here needs to see all spans.
    pub client_drop_p0s: bool,
    /// Tags by which statistics are grouped.
    pub peer_tags: &'a [String],
    /// Kinds of spans that are counted.
    pub span_kinds: &'a [&'a str],
    /// Headers that pass through the proxy of the event platform.
    pub evp_headers: &'a [&'a str],
}

/// The JSON text. Without `obfuscation_version`, tracers leave the obfuscation of their statistics to the agent.
pub fn info(info: &Info<'_>) -> String {
    let Info {
        endpoints,
        default_env,
        receiver_port,
        max_request_bytes,
        max_memory,
        client_drop_p0s,
        peer_tags,
        span_kinds,
        evp_headers,
    } = info;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": "",
        "endpoints": endpoints,
        "client_drop_p0s": client_drop_p0s,
        "span_meta_structs": true,
        "long_running_spans": true,
        "span_events": true,
        "evp_proxy_allowed_headers": evp_headers,
        "config": {
            "default_env": default_env,
            "receiver_port": receiver_port,
            "max_request_bytes": max_request_bytes,
            "max_memory": max_memory,
        },
        "peer_tags": peer_tags,
        "span_kinds_stats_computed": span_kinds,
    })
    .to_string()
}
