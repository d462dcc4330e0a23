//! Settings about the network: proxies, hosts that are reached without one, how old TLS may be, and the port of DogStatsD.

use crate::config::secret::Secret;
use crate::config::values::Expected;
use crate::config::values::Raw;
use crate::config::values::Value;
use crate::config::values::list;
use crate::sys::logger::Target;

/// The address of a proxy, with what it wants to know of its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// The proxy itself is spoken to over TLS.
    pub tls: bool,
    /// Name or address, IPv6 in brackets.
    pub host: String,
    /// 80 or 443 where none is written, after the scheme.
    pub port: u16,
    /// `user:password`, percent signs decoded.
    pub credentials: Option<Secret>,
}

/// `http://` is assumed where no scheme stands.
impl Value for ProxyUrl {
    const QUOTABLE: bool = false;
    const NOT_A_KEY: Option<&'static str> = Some("the address of a proxy");

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("a proxy such as http://user:password@host:port");
        let text = raw.text()?.trim_end_matches('/');
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let tls = match scheme {
            "http" => false,
            "https" => true,
            _ => return Err(EXPECTED),
        };
        let (user, authority) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| EXPECTED)?),
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if host.is_empty() || !host.chars().all(fits) || host.contains(':') != host.starts_with('[') {
            return Err(EXPECTED);
        }
        let credentials = user.map(|user| percent_decoded(user).map(Secret::new).ok_or(EXPECTED)).transpose()?;
        Ok(ProxyUrl { tls, host: host.to_owned(), port, credentials })
    }

    fn show(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let user = if self.credentials.is_some() { "***@" } else { "" };
        format!("{scheme}://{user}{}:{}", self.host, self.port)
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        bytes.extend_from_slice(before.as_bytes());
        bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
        rest = &after[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Hosts, domains and networks, separated by commas or blanks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts(pub Vec<String>);

impl Value for Hosts {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let items = list(raw, Expected("hosts such as .example.com,10.0.0.0/8"))?;
        Ok(Hosts(items.into_iter().map(str::to_ascii_lowercase).collect()))
    }

    fn show(&self) -> String {
        self.0.join(",")
    }
}

/// The oldest TLS that is spoken. Nothing here speaks what is older than 1.2, so it is what the older names mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2 or 1.3.
    V1_2,
    /// 1.3 only.
    V1_3,
}

impl Value for TlsVersion {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        match raw.text()?.to_ascii_lowercase().as_str() {
            "tlsv1.0" | "tlsv1.1" | "tlsv1.2" => Ok(TlsVersion::V1_2),
            "tlsv1.3" => Ok(TlsVersion::V1_3),
            _ => Err(Expected("tlsv1.2 or tlsv1.3")),
        }
    }

    fn show(&self) -> String {
        if *self == TlsVersion::V1_2 { "tlsv1.2" } else { "tlsv1.3" }.to_owned()
    }
}

/// Where the system's log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogUri(pub Target);

impl Value for SyslogUri {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("an address such as unixgram:///dev/log or udp://host:514");
        Target::parse(raw.text()?).map(SyslogUri).ok_or(EXPECTED)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// A UDP port, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPort(pub Option<u16>);

/// The Agent's word for any free one, as 0 is none there.
const ANY: &str = "__random__";

impl Value for UdpPort {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        if raw.text()? == ANY {
            return Ok(UdpPort(Some(0)));
        }
        u16::parse(raw).map(|port| UdpPort(Some(port).filter(|port| *port != 0)))
    }

    fn show(&self) -> String {
        match self.0 {
            Some(0) => ANY.to_owned(),
            port => port.unwrap_or(0).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Option<&str>)>) {
        let parsed = ProxyUrl::parse(&Raw::Text(text.to_owned())).ok();
        let found = parsed.as_ref().map(|proxy| (proxy.show(), proxy.credentials.as_ref().map(Secret::expose)));
        assert_eq!(found, expected.map(|(shown, credentials)| (shown.to_owned(), credentials)), "{text}");
    }

    #[test]
    fn proxies_are_shown_without_their_credentials() {
        check("http://user:p%40ss@proxy:3128/", Some(("http://***@proxy:3128", Some("user:p@ss"))));
        check("http://us@er:pass@proxy:3128", Some(("http://***@proxy:3128", Some("us@er:pass"))));
        check("https://proxy.example.com", Some(("https://proxy.example.com:443", None)));
        check("proxy:8080", Some(("http://proxy:8080", None)));
        check("[::1]:3128", Some(("http://[::1]:3128", None)));
        check("http://[fd00::1]", Some(("http://[fd00::1]:80", None)));
    }

    #[test]
    fn a_udp_port_may_be_none_or_any() {
        for (text, expected) in
            [("0", Some(None)), ("8125", Some(Some(8125))), ("__random__", Some(Some(0))), ("-1", None), ("x", None)]
        {
            let found = UdpPort::parse(&Raw::Text(text.to_owned())).ok();
            assert_eq!(found.map(|port| port.0), expected, "{text}");
            assert!(found.is_none_or(|port| port.show() == text));
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for text in ["socks5://proxy:1080", "http://", "http://a b", "http://proxy:port", "http://u:%zz@proxy", "fd00::1"] {
            check(text, None);
        }
    }

    #[test]
    fn hosts_are_separated_by_commas_or_blanks() {
        let parse = |text: &str| Hosts::parse(&Raw::Text(text.to_owned())).unwrap().0;
        assert_eq!(parse("A.example, .b 10.0.0.0/8"), ["a.example", ".b", "10.0.0.0/8"]);
    }

    #[test]
    fn names_of_older_tls_mean_the_oldest_there_is() {
        let shown = |text: &str| TlsVersion::parse(&Raw::Text(text.to_owned())).map(|version| version.show());
        assert_eq!([shown("tlsv1.0"), shown("TLSv1.3")], [Ok("tlsv1.2".to_owned()), Ok("tlsv1.3".to_owned())]);
        assert!(shown("ssl3").is_err());
    }
}
