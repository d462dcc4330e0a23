//! Takes addresses out of peer tags: which host it was is too much for a statistic, that it was one is not.
//!
//! A value is a list of hosts separated by commas. In each, an IP address becomes `blocked-ip-address`; a scheme or `ip-` before it, a
//! port and what follows it stay. IPv4 may be written with `-` or `_` and may have a tail (`ip-10-0-0-7.ec2.internal`). Loopback and the
//! metadata services of clouds stay, since they are the same everywhere. Hosts that are equal then are written once. Source: reference
//! agent 7.80, pkg/obfuscate; vectors of its output.

use std::collections::HashSet;
use std::net::Ipv6Addr;

/// What stands in the place of an address.
const BLOCKED: &str = "blocked-ip-address";

/// Addresses that tell nothing.
const ALLOWED: [&str; 5] = ["127.0.0.1", "::1", "169.254.169.254", "fd00:ec2::254", "169.254.170.2"];

/// Lists up to this length are searched for equal hosts one by one, longer ones by a set.
const SHORT_LIST: usize = 16;

/// Appends `value` without addresses to `out`.
pub fn quantize(value: &str, out: &mut String) {
    // Without a digit or a colon there is no address in it, and no comma makes it no list.
    if !value.bytes().any(|byte| byte.is_ascii_digit() || byte == b':' || byte == b',') {
        return out.push_str(value);
    }
    if !value.contains(',') {
        return quantize_host(value, out);
    }
    let start = out.len();
    let mut seen = HashSet::new();
    let is_long = SHORT_LIST < value.bytes().filter(|byte| *byte == b',').count();
    for (index, host) in value.split(',').enumerate() {
        let end = out.len();
        if 0 < index {
            out.push(',');
        }
        let host_start = out.len();
        quantize_host(host, out);
        let (before, host) = (&out[start..end], &out[host_start..]);
        let is_known = match is_long {
            true => !seen.insert(host.to_owned()),
            false => 0 < index && before.split(',').any(|known| known == host),
        };
        if is_known {
            out.truncate(end);
        }
    }
}

fn quantize_host(host: &str, out: &mut String) {
    let (prefix, rest) = split_prefix(host);
    let (address, port) = split_port(rest).unwrap_or((rest, ""));
    let Some(len) = address_len(address) else { return out.push_str(host) };
    let (address, tail) = address.split_at(len);
    if ALLOWED.contains(&address) {
        return out.push_str(host);
    }
    out.push_str(prefix);
    out.push_str(BLOCKED);
    if !port.is_empty() {
        out.push(':');
        out.push_str(port);
    }
    out.push_str(tail);
}

/// `ip-` or a scheme with two or three slashes.
fn split_prefix(host: &str) -> (&str, &str) {
    if let Some(rest) = host.strip_prefix("ip-") {
        return ("ip-", rest);
    }
    let scheme = ["dnspoll:", "ftp:", "file:", "http:", "https:"].into_iter().find(|scheme| host.starts_with(scheme));
    let Some(scheme) = scheme else { return ("", host) };
    let slashes = host[scheme.len()..].bytes().take(3).take_while(|byte| *byte == b'/').count();
    if slashes < 2 { ("", host) } else { host.split_at(scheme.len() + slashes) }
}

/// Host and what follows its port's colon; brackets around the host go. As Go's `net.SplitHostPort`, which takes any text for a port.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').filter(|inner| !inner.contains(']'))?,
        None if host.contains(':') => return None,
        None => host,
    };
    let has_bracket = |text: &str| text.contains(['[', ']']);
    (!has_bracket(host) && !has_bracket(port)).then_some((host, port))
}

/// The length of the address that `text` begins with; an IPv6 address must be all of it.
fn address_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b':') {
        return None;
    }
    match bytes.iter().find(|byte| b"._-:%".contains(byte))? {
        b':' => is_ipv6(text).then_some(text.len()),
        b'%' => None,
        separator => ipv4_len(bytes, *separator),
    }
}

fn is_ipv6(text: &str) -> bool {
    match text.split_once('%') {
        Some((address, zone)) => !zone.is_empty() && address.parse::<Ipv6Addr>().is_ok(),
        None => text.parse::<Ipv6Addr>().is_ok(),
    }
}

/// Four numbers up to 255 without leading zeros; the fourth may be followed by anything.
fn ipv4_len(bytes: &[u8], separator: u8) -> Option<usize> {
    let (mut fields, mut value, mut digits) = (0, 0_u32, 0);
    for (at, byte) in bytes.iter().enumerate() {
        if byte.is_ascii_digit() {
            if digits == 1 && value == 0 {
                return None;
            }
            value = value * 10 + u32::from(byte - b'0');
            digits += 1;
            if 255 < value {
                return None;
            }
        } else if *byte == separator {
            if at == 0 || at + 1 == bytes.len() || bytes[at - 1] == separator {
                return None;
            }
            if fields == 3 {
                return Some(at);
            }
            (fields, value, digits) = (fields + 1, 0, 0);
        } else {
            return (fields == 3).then_some(at);
        }
    }
    (fields == 3).then_some(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::random::Random;

    #[track_caller]
    fn check(value: &str, expected: &str) {
        let mut out = "before".to_owned();
        quantize(value, &mut out);
        assert_eq!(out, format!("before{expected}"));
    }

    #[test]
    fn the_vectors_of_the_reference_agent_pass() {
        check("10.0.0.7", "blocked-ip-address");
        check("10.0.0.7:5432", "blocked-ip-address:5432");
        check("127.0.0.1", "127.0.0.1");
        check("::1", "::1");
        check("[::1]:80", "[::1]:80");
        check("2001:db8::1", "blocked-ip-address");
        check("a.b.c", "a.b.c");
        check("kafka-1,10.1.1.1:9092,10.1.1.2:9092", "kafka-1,blocked-ip-address:9092");
        check("10.0.0.1,10.0.0.2", "blocked-ip-address");
        check("http://10.0.0.1:80/x", "http://blocked-ip-address:80/x");
        check("ip-10-0-0-7", "ip-blocked-ip-address");
        check("ip-10-0-0-7.ec2.internal", "ip-blocked-ip-address.ec2.internal");
        check("169.254.169.254", "169.254.169.254");
        check("192.168.1.1:80,host:81", "blocked-ip-address:80,host:81");
        check("10.0.0.7foo", "blocked-ip-addressfoo");
        check("dnspoll:///10.21.120.145:6400", "dnspoll:///blocked-ip-address:6400");
        check("fd00:ec2::254", "fd00:ec2::254");
        check("1.2.3", "1.2.3");
        check("10_0_0_1", "blocked-ip-address");
        check("", "");
    }

    #[test]
    fn what_only_looks_like_an_address_stays() {
        check("256.1.1.1", "256.1.1.1");
        check("01.1.1.1", "01.1.1.1");
        check("1..2.3", "1..2.3");
        check("1.2.3.", "1.2.3.");
        check("1.2.3.4.5", "blocked-ip-address.5");
        check("fe80::1%eth0", "blocked-ip-address");
        check("[2001:db8::1]:443", "blocked-ip-address:443");
        check("http:/10.0.0.1", "http:/10.0.0.1");
        check("redis-1.internal", "redis-1.internal");
        check("a,a,b,a", "a,b");
        check(",,", "");
    }

    #[test]
    fn long_lists_are_treated_like_short_ones() {
        let hosts: Vec<String> = (0..100).map(|at| format!("10.0.0.{at}:{}", 9000 + at % 20)).collect();
        let expected: Vec<String> = (0..20).map(|at| format!("blocked-ip-address:{}", 9000 + at)).collect();
        check(&hosts.join(","), &expected.join(","));
    }

    #[test]
    fn no_text_is_too_strange() {
        let seed = Random::from_system().bits();
        println!("seed {seed}");
        let mut random = Random::new(seed);
        for _ in 0..20_000 {
            let text: String =
                (0..random.below(20)).map(|_| char::from(b"0129afz.:-_%[],/ipht"[random.below(20) as usize])).collect();
            quantize(&text, &mut String::new());
        }
    }
}
