//! Memcached commands: a first line with key and numbers, then, for those that store, a line with the value. Source: reference
//! agent 7.80, pkg/obfuscate/memcached.go.

/// The command without the lines that hold values.
pub fn command(text: &str) -> &str {
    text.split("\r\n").next().unwrap_or_default().trim()
}
