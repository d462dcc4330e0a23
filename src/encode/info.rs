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
}

/// The JSON text. Statistics are not computed here yet, so tracers must not drop what they have counted: `client_drop_p0s` is
/// false, and the members that only serve statistics are left out.
pub fn info(info: &Info<'_>) -> String {
    let Info { endpoints, default_env, receiver_port, max_request_bytes, max_memory } = info;
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "git_commit": "",
        "endpoints": endpoints,
        "client_drop_p0s": false,
        "span_meta_structs": true,
        "long_running_spans": true,
        "span_events": true,
        "config": {
            "default_env": default_env,
            "receiver_port": receiver_port,
            "max_request_bytes": max_request_bytes,
            "max_memory": max_memory,
        },
    })
    .to_string()
}
