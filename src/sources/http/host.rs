//! Whether a `Host` header names this machine. A page from elsewhere can make a browser send requests to loopback under a name of its
//! own, which it has made to point there (DNS rebinding); to the browser they are then of the page's own site, and what is answered
//! can be read. Such a name has a dot in it and is registered by someone.
//!
//! Taken are addresses, which nobody can make point elsewhere; names without a dot and those below `localhost` and `localdomain`,
//! which nobody can register; and no name at all, as from clients that are no browsers.

use std::net::IpAddr;

/// Whether `host`, with or without a port, may be meant for a port that only this machine can reach.
pub(super) fn is_of_this_machine(host: &str) -> bool {
    let host = host.trim();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name).trim_end_matches('.'),
    };
    let last = name.rsplit_once('.').map(|(_, last)| last.to_ascii_lowercase());
    let is_unregistered = last.is_none_or(|last| matches!(last.as_str(), "localhost" | "localdomain"));
    is_unregistered || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nobody_can_register_are_of_this_machine() {
        for host in [
            "",
            "localhost",
            "localhost:8126",
            "LOCALHOST.",
            "127.0.0.1:8126",
            "[::1]:8126",
            "agent",
            "a.localhost",
            "sandbox.localdomain:8124",
        ] {
            assert!(is_of_this_machine(host), "{host}");
        }
    }

    #[test]
    fn names_that_someone_has_registered_are_not() {
        for host in
            ["example.com", "rebind.example.com:8126", "127.0.0.1.example.com", "localhost.example.com:1", "localhost.com."]
        {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }
}
