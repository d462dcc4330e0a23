//! Whether a request names this machine, or a page of another one.
//!
//! `Host`, or the address in the request line where there is one: a page from elsewhere can make a browser send requests to loopback
//! under a name of its own, which it has made to point there (DNS rebinding); to the browser they are then of the page's own site, and
//! what is answered can be read. Such a name has a dot in it and is registered by someone.
//!
//! Taken are addresses, which nobody can make point elsewhere; names without a dot and those below `localhost` and `localdomain`,
//! which nobody can register; and no name at all, as from clients that are no browsers.
//!
//! `Origin`: browsers send `Sec-Fetch-Site` only to addresses that they trust, which those of a local network are not, and older ones
//! nowhere. All of them name the page's origin with what a page can post.

use std::net::{IpAddr, Ipv6Addr};

/// Whether `host`, with or without a port, may be meant for a port that only this machine can reach.
pub(super) fn is_of_this_machine(host: &str) -> bool {
    let Some(name) = name(host) else { return false };
    let last = name.rsplit_once('.').map(|(_, last)| last);
    let is_unregistered = |last: &str| last.eq_ignore_ascii_case("localhost") || last.eq_ignore_ascii_case("localdomain");
    last.is_none_or(is_unregistered) || name.parse::<IpAddr>().is_ok()
}

/// Whether a page of `origin` is of another machine than this one and the one that `host` names. A page without an origin to be named,
/// `null`, is.
pub(super) fn is_elsewhere(origin: &str, host: &str) -> bool {
    let Some(page) = origin.split_once("://").and_then(|(_, authority)| name(authority)) else { return true };
    let is_here = page.eq_ignore_ascii_case("localhost") || page.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !is_here && name(host).is_none_or(|name| !page.eq_ignore_ascii_case(name))
}

/// Without port, brackets and the dot at the end; `None` for what is no host. Nothing is passed over: what others could read as another
/// name must not be taken for one of this machine.
fn name(host: &str) -> Option<&str> {
    let host = host.trim();
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(address, _)| address.parse::<Ipv6Addr>().is_ok())?,
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let is_name = host.starts_with('[') || name.bytes().all(fits);
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    (is_name && is_port).then(|| name.strip_suffix('.').unwrap_or(name))
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
            "[::1]",
            "agent",
            "agent:",
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

    #[test]
    fn what_can_be_read_in_two_ways_is_not() {
        for host in [
            "[::1].example.com",
            "[::1]example.com:8126",
            "[::1]:8126@example.com",
            "[localhost]",
            "[127.0.0.1]",
            "::1",
            "localhost:8126:example.com",
            "localhost:8126.example.com",
            "localhost:http",
            "localhost, example.com",
            "localhost@example.com",
            "example.com#.localhost",
            "localhost..",
            "loc\u{fffd}alhost",
        ] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }

    #[track_caller]
    fn check_origin(origin: &str, host: &str, expected: bool) {
        assert_eq!(is_elsewhere(origin, host), expected, "{origin} {host}");
    }

    #[test]
    fn pages_of_this_machine_and_of_the_one_that_is_asked_are_not_from_elsewhere() {
        check_origin("http://localhost:3000", "127.0.0.1:8126", false);
        check_origin("http://[::1]:3000", "localhost:8126", false);
        check_origin("https://GW:8443", "gw:8126", false);
        check_origin("http://192.168.1.5", "192.168.1.5:8126", false);
    }

    #[test]
    fn pages_of_others_are() {
        check_origin("https://example.com", "localhost:8126", true);
        check_origin("http://203.0.113.9", "192.168.1.5:8126", true);
        check_origin("http://localhost.example.com", "localhost:8126", true);
        check_origin("null", "localhost:8126", true);
        check_origin("null", "", true);
        check_origin("http://", "localhost", true);
        check_origin("http://[::1].example.com", "localhost", true);
        check_origin("http://[::1].example.com", "[::1].example.com", true);
    }
}
