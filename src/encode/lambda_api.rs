//! Requests to the Lambda Extensions and Telemetry APIs.

use serde_json::json;

/// The body of a registration.
pub fn register(managed_instances: bool) -> String {
    let events: &[&str] = if managed_instances { &["SHUTDOWN"] } else { &["INVOKE", "SHUTDOWN"] };
    json!({ "events": events }).to_string()
}

/// The body of a telemetry subscription to `http://sandbox.localdomain:port/lambda/logs`. The smallest buffers: an event that waits
/// in the platform's buffer while the sandbox freezes is late by a whole idle time.
pub fn subscribe(managed_instances: bool, types: &[&str], port: u16) -> String {
    json!({
        "schemaVersion": if managed_instances { "2025-01-29" } else { "2022-12-13" },
        "types": types,
        "destination": { "protocol": "HTTP", "URI": format!("http://sandbox.localdomain:{port}/lambda/logs") },
        "buffering": { "maxItems": 1000, "maxBytes": 262_144, "timeoutMs": 25 },
    })
    .to_string()
}
