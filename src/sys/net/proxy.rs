//! Which proxy leads to an address, if any. Pure: no socket, no setting, only hosts and ports.
//!
//! What stands in `no_proxy` is read as by Go's HTTP library, which the Datadog Agent uses:
//!
//! ```text
//! *                        everything
//! example.com              the host and all below it
//! .example.com             all below it; *.example.com is the same
//! 10.0.0.7, 10.0.0.0/8     an address, a network; names are not looked up
//! any of them with :port   only at that port
//! ```
//! This machine and link-local addresses, where clouds keep their metadata and credentials (AWS at fd00:ec2:: as well), are never reached
//! through a proxy.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// A proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// It is spoken to over TLS.
    pub tls: bool,
    /// Name or address, IPv6 in brackets.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub authorization: Option<Zeroizing<String>>,
}

impl Proxy {
    /// With `user:password`, if it wants to know its user.
    pub fn new(tls: bool, host: &str, port: u16, credentials: Option<&str>) -> Proxy {
        let authorization = credentials.map(|text| Zeroizing::new(format!("Basic {}", STANDARD.encode(text))));
        Proxy { tls, host: host.to_owned(), port, authorization }
    }

    /// Scheme, host and port.
    pub fn url(&self) -> String {
        format!("{}://{}:{}", if self.tls { "https" } else { "http" }, self.host, self.port)
    }
}

/// Never the credentials.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url())
    }
}

/// How names in the list of exceptions are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Match {
    /// A name stands for the hosts below it as well, and networks count.
    #[default]
    Wide,
    /// Only the very host is meant.
    Exact,
}

/// Proxies by scheme, and what they are not for.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For addresses that begin with `http:`.
    pub http: Option<Proxy>,
    /// For addresses that begin with `https:`.
    pub https: Option<Proxy>,
    /// What is reached without one.
    pub exceptions: Vec<String>,
    /// How they are read.
    pub exactness: Match,
}

impl Proxies {
    /// The proxy on the way to `host` (no brackets) at `port`.
    pub fn of(&self, tls: bool, host: &str, port: u16) -> Option<&Proxy> {
        let proxy = if tls { self.https.as_ref() } else { self.http.as_ref() }?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_excepted = self.exceptions.iter().any(|exception| match self.exactness {
            Match::Wide => covers(exception, &host, port),
            Match::Exact => exception == "*" || *exception == host || *exception == format!("{host}:{port}"),
        });
        (!is_near(&host) && !is_excepted).then_some(proxy)
    }
}

/// This machine, a link-local address, or one of AWS's that serve as such.
fn is_near(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => {
            let of_aws = ip.segments()[..2] == [0xfd00, 0x0ec2];
            ip.is_loopback() || ip.is_unicast_link_local() || of_aws || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn covers(exception: &str, host: &str, port: u16) -> bool {
    if exception == "*" {
        return true;
    }
    let address = host.parse::<IpAddr>().ok();
    if let Some((network, bits)) = exception.split_once('/') {
        let network = network.parse::<IpAddr>().ok().zip(bits.parse::<u32>().ok());
        return address.zip(network).is_some_and(|(address, (network, bits))| is_inside(address, network, bits));
    }
    let (name, wanted) = with_port(exception);
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Ok(excepted) = name.parse::<IpAddr>() {
        return address == Some(excepted);
    }
    let name = name.strip_prefix('*').unwrap_or(name);
    match name.strip_prefix('.') {
        Some(domain) => is_below(host, domain),
        None => host == name || is_below(host, name),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// Name and port; brackets around an IPv6 address go, and one without brackets has no port.
fn with_port(text: &str) -> (&str, Option<u16>) {
    if let Some((address, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, port.parse().ok()),
        _ => (text, None),
    }
}

fn is_inside(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |left: u128, right: u128, length: u32| {
        bits <= length && (bits == 0 || (left ^ right).checked_shr(length - bits).unwrap_or(0) == 0)
    };
    match (address, network) {
        (IpAddr::V4(left), IpAddr::V4(right)) => same(left.to_bits().into(), right.to_bits().into(), 32),
        (IpAddr::V6(left), IpAddr::V6(right)) => same(left.to_bits(), right.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(exceptions: &str, exactness: Match) -> Proxies {
        let proxy = |port| Some(Proxy::new(false, "proxy", port, None));
        let exceptions = exceptions.split(',').map(str::to_owned).collect();
        Proxies { http: proxy(80), https: proxy(443), exceptions, exactness }
    }

    #[track_caller]
    fn check(exceptions: &str, host: &str, port: u16, is_direct: bool) {
        let found = proxies(exceptions, Match::Wide);
        assert_eq!(found.of(true, host, port).is_none(), is_direct, "{exceptions} {host}:{port}");
    }

    #[test]
    fn schemes_have_proxies_of_their_own() {
        let both = proxies("x", Match::Wide);
        assert_eq!([both.of(false, "a", 1), both.of(true, "a", 1)].map(|proxy| proxy.unwrap().port), [80, 443]);
        assert_eq!(Proxies { http: None, ..both }.of(false, "a", 1), None);
    }

    #[test]
    fn names_stand_for_what_is_below_them() {
        check("example.com", "example.com", 443, true);
        check("example.com", "API.example.com.", 443, true);
        check("example.com", "badexample.com", 443, false);
        check(".example.com", "a.b.example.com", 443, true);
        check(".example.com", "example.com", 443, false);
        check("*.example.com", "api.example.com", 443, true);
        check("other,*", "anything", 443, true);
    }

    #[test]
    fn addresses_and_networks_count() {
        check("10.0.0.7", "10.0.0.7", 443, true);
        check("10.0.0.0/8", "10.9.8.7", 443, true);
        check("10.0.0.0/8", "11.9.8.7", 443, false);
        check("0.0.0.0/0", "11.9.8.7", 443, true);
        check("10.0.0.0/40", "10.0.0.0", 443, false);
        check("fd00::/8", "fd12::1", 443, true);
        check("fd00::/8", "fe12::1", 443, false);
        check("10.0.0.0/8", "10.example.com", 443, false);
    }

    #[test]
    fn a_port_limits_an_exception_to_itself() {
        check("example.com:8443", "example.com", 8443, true);
        check("example.com:8443", "example.com", 443, false);
        check("[fd00::1]:443", "fd00::1", 443, true);
        check("fd00::1", "fd00::1", 443, true);
    }

    #[test]
    fn this_machine_and_metadata_are_never_behind_a_proxy() {
        for host in [
            "localhost",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
            "fd00:ec2::23",
        ] {
            check("x", host, 80, true);
        }
    }

    #[test]
    fn exact_means_the_very_host() {
        let exact = proxies("example.com,b:444", Match::Exact);
        let is_direct = |host, port| exact.of(true, host, port).is_none();
        assert_eq!(
            [is_direct("example.com", 443), is_direct("a.example.com", 443), is_direct("b", 444), is_direct("b", 443)],
            [true, false, true, false]
        );
    }

    #[test]
    fn credentials_are_not_shown() {
        let proxy = Proxy::new(true, "proxy", 3128, Some("user:pass"));
        assert_eq!(proxy.authorization.as_ref().unwrap().as_str(), "Basic dXNlcjpwYXNz");
        assert_eq!(format!("{proxy:?}"), "https://proxy:3128");
    }
}
