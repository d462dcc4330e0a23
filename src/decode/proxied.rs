//! Requests of tracers that are passed on as they came: which paths there are, where each of them goes, and with which headers and
//! query. Bodies are not looked at, and the API key is not known here: whoever posts adds it.
//!
//! ```text
//! path                       goes to, on the site                                       query
//! /evp_proxy/v1/ … v4/*      <subdomain of a header>.<site>/*                           kept, checked
//! /profiling/v1/input        intake.profile.<site>/api/v2/profile                       none
//! /v0.1/pipeline_stats       trace.agent.<site>/api/v0.1/pipeline_stats                 none
//! /telemetry/proxy/*         instrumentation-telemetry-intake.<site>/*                  kept
//! /debugger/v1/input         http-intake.logs.<site>/api/v2/logs                        kept, ddtags added to
//! /debugger/v1/diagnostics   debugger-intake.<site>/api/v2/debugger                     kept, ddtags added to
//! /debugger/v2/input         debugger-intake.<site>/api/v2/debugger                     kept, ddtags added to
//! /symdb/v1/input            debugger-intake.<site>/api/v2/debugger                     kept
//! /openlineage/api/v1/lineage   data-obs-intake.<site>/api/v1/lineage                   api-version
//! /tracer_flare/v1           <x-y-z>-flare.<site>/api/ui/support/serverless/flare       none
//! ```
//! A client can choose a host only below the site, and only with the characters of a host name. Source: `pkg/trace/api` of the
//! Datadog Agent, 7.80; bottlecap for what is different in Lambda.

use crate::model::api_key::ApiKey;
use std::borrow::Cow;
use std::fmt;
use std::fmt::Write;

/// Whose data a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Anything for the event platform: test visibility, LLM observability and others.
    Evp,
    /// Profiles.
    Profiling,
    /// Data streams.
    PipelineStats,
    /// What tracers tell of themselves.
    Telemetry,
    /// Snapshots of the debugger, in the form that is taken as logs.
    DebuggerLogs,
    /// Snapshots and states of the debugger.
    Debugger,
    /// Symbols for the debugger.
    Symdb,
    /// OpenLineage events.
    OpenLineage,
    /// A tracer's own files, for support.
    Flare,
}

/// A path that is served.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// As `/info` lists it and tracers compare it; with a slash at its end it stands for all that begin so.
    pub path: &'static str,
    /// What it is for.
    pub product: Product,
}

/// All that can be served.
pub const ROUTES: [Route; 13] = [
    Route { path: "/profiling/v1/input", product: Product::Profiling },
    Route { path: "/telemetry/proxy/", product: Product::Telemetry },
    Route { path: "/v0.1/pipeline_stats", product: Product::PipelineStats },
    Route { path: "/openlineage/api/v1/lineage", product: Product::OpenLineage },
    Route { path: "/evp_proxy/v1/", product: Product::Evp },
    Route { path: "/evp_proxy/v2/", product: Product::Evp },
    Route { path: "/evp_proxy/v3/", product: Product::Evp },
    Route { path: "/evp_proxy/v4/", product: Product::Evp },
    Route { path: "/debugger/v1/input", product: Product::DebuggerLogs },
    Route { path: "/debugger/v1/diagnostics", product: Product::Debugger },
    Route { path: "/debugger/v2/input", product: Product::Debugger },
    Route { path: "/symdb/v1/input", product: Product::Symdb },
    Route { path: "/tracer_flare/v1", product: Product::Flare },
];

/// The headers that pass through the proxy of the event platform; `/info` lists them.
pub const EVP_HEADERS: [&str; 5] = ["Content-Type", "Accept-Encoding", "Content-Encoding", "User-Agent", "DD-CI-PROVIDER-NAME"];

/// Names the host of the event platform.
const SUBDOMAIN: &str = "X-Datadog-EVP-Subdomain";

/// Headers that belong to one connection, that we make ourselves, or that carry keys.
const DROPPED: [&str; 16] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Expect",
    "Host",
    "Content-Length",
    "Via",
    "X-Forwarded-For",
    "DD-API-KEY",
    "DD-APPLICATION-KEY",
];

/// So many bytes of tags go into a debugger's query at most.
const TAGS_BYTES_MAX: usize = 4001;

/// A host name has at most 253 bytes, and the site needs its share.
const SUBDOMAIN_BYTES_MAX: usize = 128;

/// One that cannot be written into a request would be tried for ever. A debugger's query of tags in letters that are all escaped needs
/// 12 KiB.
const LINE_BYTES_MAX: usize = 15 * 1024;

/// The route that serves `path`.
pub fn route(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| if route.path.ends_with('/') { path.starts_with(route.path) } else { path == route.path })
}

/// Where requests for the event platform go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EvpIntake {
    /// To the host `<subdomain>.<site>`.
    Site(String),
    /// To one address, which takes all of them and reads the subdomain in the header, like another agent's `/evp_proxy/v2`.
    Address(String),
}

/// Where everything goes. A product that is not named here is not served.
#[derive(Clone, Debug, Default)]
pub struct Intakes {
    /// The event platform.
    pub evp: Option<EvpIntake>,
    /// Whole addresses of the others; for telemetry without the path, which the client names.
    pub addresses: Vec<(Product, String)>,
}

impl Intakes {
    /// Whether requests for `product` are passed on.
    pub fn serves(&self, product: Product) -> bool {
        if product == Product::Evp { self.evp.is_some() } else { self.address(product).is_some() }
    }

    fn address(&self, product: Product) -> Option<&str> {
        self.addresses.iter().find(|(known, _)| *known == product).map(|(_, address)| address.as_str())
    }
}

/// What the agent says of itself in requests that pass.
#[derive(Clone, Debug, Default)]
pub struct Passer {
    /// Host name; empty inside Lambda.
    pub hostname: String,
    /// Environment of those who name none.
    pub env: String,
    /// Tags in a header.
    pub header_tags: String,
    /// Tags in a query, separated by commas.
    pub query_tags: String,
    /// Where the agent runs, for telemetry.
    pub cloud: &'static [(&'static str, &'static str)],
    /// For those requests for the event platform that ask for it.
    pub app_key: Option<ApiKey>,
    /// The seconds that such a request may take.
    pub evp_seconds: u64,
}

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Not decoded.
    pub path: &'a str,
    /// What followed the `?`.
    pub query: Option<&'a str>,
    /// Name and value of each header line.
    pub headers: &'a [(&'a str, &'a str)],
    /// A number that no other call has.
    pub id: [u64; 2],
}

impl<'a> Call<'a> {
    /// The first value of the header `name`; an empty one counts as none.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value).filter(|value| !value.is_empty())
    }
}

/// A request as it goes out, but for its body and the key.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Absolute.
    pub address: String,
    /// Name and value.
    pub headers: Vec<(String, String)>,
}

/// Why a request cannot be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The header is missing.
    NoSubdomain,
    /// It has characters that a host name has not.
    Subdomain,
    /// Characters that no path of the event platform has.
    Path,
    /// The same for the query.
    Query,
    /// It asks for an application key, and none is configured.
    NoAppKey,
    /// Nobody takes this product.
    NotServed,
    /// Path and query, or a header, are longer than any that can be sent on.
    TooLong,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unfit::NoSubdomain => "the header X-Datadog-EVP-Subdomain is missing",
            Unfit::Subdomain => "the header X-Datadog-EVP-Subdomain is not the name of a host",
            Unfit::Path => "the path has characters that are not passed on",
            Unfit::Query => "the query has characters that are not passed on",
            Unfit::NoAppKey => "an application key is wanted and none is configured",
            Unfit::NotServed => "nobody takes this",
            Unfit::TooLong => "path and query, or a header, are too long",
        })
    }
}

/// What leaves for a call on `route`.
pub fn outgoing(route: &Route, call: &Call<'_>, intakes: &Intakes, passer: &Passer) -> Result<Outgoing, Unfit> {
    let outgoing = match route.product {
        Product::Evp => evp(route, call, intakes.evp.as_ref().ok_or(Unfit::NotServed)?, passer)?,
        _ => to_its_intake(route, call, intakes, passer)?,
    };
    let headers = outgoing.headers.iter().map(|(name, value)| name.len() + value.len());
    if headers.chain([outgoing.address.len()]).any(|bytes| LINE_BYTES_MAX < bytes) { Err(Unfit::TooLong) } else { Ok(outgoing) }
}

fn to_its_intake(route: &Route, call: &Call<'_>, intakes: &Intakes, passer: &Passer) -> Result<Outgoing, Unfit> {
    let mut address = intakes.address(route.product).ok_or(Unfit::NotServed)?.to_owned();
    let mut headers = kept_headers(call);
    let mut set = |name: &str, value: &str| set_header(&mut headers, name, value);
    match route.product {
        Product::Evp | Product::Flare => {}
        Product::Profiling | Product::PipelineStats => set("X-Datadog-Additional-Tags", &passer.header_tags),
        Product::OpenLineage => {
            set("X-Datadog-Additional-Tags", &passer.header_tags);
            headers.retain(|(name, _)| !name.eq_ignore_ascii_case("Authorization")); // ours will stand there
        }
        Product::Telemetry => {
            push_safe(&mut address, rest_of_path(route, call));
            push_query(&mut address, call.query);
            set("DD-Agent-Hostname", &passer.hostname);
            set("DD-Agent-Env", &passer.env);
            passer.cloud.iter().for_each(|(name, value)| set(name, value));
        }
        Product::DebuggerLogs | Product::Debugger => {
            let kept = parameters(call).filter(|parameter| !is_ddtags(parameter));
            for (position, parameter) in kept.enumerate() {
                address.push(if position == 0 { '?' } else { '&' });
                push_safe(&mut address, parameter);
            }
            address.push_str(if address.contains('?') { "&ddtags=" } else { "?ddtags=" });
            push_encoded(&mut address, cut(&all_tags(call, passer), TAGS_BYTES_MAX));
            set("DD-REQUEST-ID", &uuid(call.id));
            set("DD-EVP-ORIGIN", "agent-debugger");
        }
        Product::Symdb => {
            push_query(&mut address, call.query);
            set("X-Datadog-Additional-Tags", &all_tags(call, passer));
            set("DD-REQUEST-ID", &uuid(call.id));
            set("DD-EVP-ORIGIN", "agent-symdb");
        }
    }
    Ok(Outgoing { address, headers })
}

fn evp(route: &Route, call: &Call<'_>, intake: &EvpIntake, passer: &Passer) -> Result<Outgoing, Unfit> {
    let subdomain = call.header(SUBDOMAIN).ok_or(Unfit::NoSubdomain)?;
    let path = rest_of_path(route, call);
    let query = percent_decoded(call.query.unwrap_or_default());
    // An empty label, as in `..`, would make a name that is not below the site in the eyes of all.
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(|byte| fits(byte, b"_-"));
    if SUBDOMAIN_BYTES_MAX < subdomain.len() || !subdomain.split('.').all(is_label) {
        return Err(Unfit::Subdomain);
    }
    if !path.bytes().all(|byte| fits(byte, b"/_+-")) {
        return Err(Unfit::Path);
    }
    if !query.iter().all(|byte| fits(*byte, b" /_+@?&=.:\"[]-")) {
        return Err(Unfit::Query);
    }
    let mut headers = vec![via()];
    let mut set = |name: &str, value: &str| headers.push((name.to_owned(), fit_for_header(value)));
    for name in EVP_HEADERS {
        if let Some(value) = call.header(name) {
            set(name, value);
        }
    }
    if let Some(id) = container_id(call) {
        set("Datadog-Container-ID", id);
    }
    set("X-Datadog-Hostname", &passer.hostname);
    set("X-Datadog-AgentDefaultEnv", &passer.env);
    set("X-Datadog-Timeout", &passer.evp_seconds.to_string());
    if call.header("X-Datadog-NeedsAppKey").is_some_and(|needs| needs.eq_ignore_ascii_case("true")) {
        set("DD-APPLICATION-KEY", passer.app_key.as_ref().ok_or(Unfit::NoAppKey)?.expose());
    }
    let mut address = match intake {
        EvpIntake::Site(site) => format!("https://{subdomain}.{site}"),
        EvpIntake::Address(address) => {
            set(SUBDOMAIN, subdomain);
            address.clone()
        }
    };
    address.push_str(path);
    push_query(&mut address, call.query);
    Ok(Outgoing { address, headers })
}

fn fits(byte: u8, also: &[u8]) -> bool {
    byte.is_ascii_alphanumeric() || also.contains(&byte)
}

/// What follows the route's prefix, from its last slash on.
fn rest_of_path<'a>(route: &Route, call: &Call<'a>) -> &'a str {
    call.path.get(route.path.len() - 1..).unwrap_or("/")
}

fn via() -> (String, String) {
    ("Via".to_owned(), concat!("trace-agent ", env!("CARGO_PKG_VERSION")).to_owned())
}

/// All but those that end here, among them what `Connection` names.
fn kept_headers(call: &Call<'_>) -> Vec<(String, String)> {
    let is = |name: &str, other: &str| name.eq_ignore_ascii_case(other.trim());
    let listed = |name: &str| {
        let connection = call.headers.iter().filter(|(known, _)| is(known, "Connection"));
        connection.flat_map(|(_, value)| value.split(',')).any(|token| is(name, token))
    };
    let kept = call.headers.iter().filter(|(name, _)| !DROPPED.iter().any(|dropped| is(name, dropped)) && !listed(name));
    kept.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).chain([via()]).collect()
}

fn set_header(headers: &mut Vec<(String, String)>, name: &str, value: &str) {
    headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    headers.push((name.to_owned(), fit_for_header(value)));
}

/// Names come from settings, where anything may stand.
fn fit_for_header(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect()
}

/// As the client names it, in one header or the other.
fn container_id<'a>(call: &Call<'a>) -> Option<&'a str> {
    let of_entity = || {
        let entity = call.header("Datadog-Entity-ID")?;
        entity.strip_prefix("ci-").or_else(|| entity.strip_prefix("cid-"))
    };
    call.header("Datadog-Container-ID").or_else(of_entity)
}

fn parameters<'a>(call: &Call<'a>) -> impl Iterator<Item = &'a str> {
    call.query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty())
}

fn is_ddtags(parameter: &str) -> bool {
    parameter.split('=').next() == Some("ddtags")
}

/// The agent's tags and the client's from header and query.
fn all_tags(call: &Call<'_>, passer: &Passer) -> String {
    let mut tags = passer.query_tags.clone();
    let from_query = parameters(call).find(|parameter| is_ddtags(parameter)).and_then(|parameter| parameter.get(7..));
    let from_query = percent_decoded(from_query.unwrap_or_default());
    for more in [call.header("X-Datadog-Additional-Tags").unwrap_or_default(), &String::from_utf8_lossy(&from_query)] {
        if !more.is_empty() {
            tags.push(',');
            tags.push_str(more);
        }
    }
    tags
}

fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Version 4: random but for six bits.
fn uuid([high, low]: [u64; 2]) -> String {
    let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// `%41` and `+` become what they stand for; what is no such thing stays.
fn percent_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let digit = |at: usize| others.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (byte, used) = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => ((high << 4 | low) as u8, 2),
            (b'+', ..) => (b' ', 0),
            _ => (*first, 0),
        };
        decoded.push(byte);
        rest = &others[used..];
    }
    Cow::Owned(decoded)
}

fn push_query(address: &mut String, query: Option<&str>) {
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        address.push('?');
        push_safe(address, query);
    }
}

/// As it was written, but for what no address may have.
fn push_safe(address: &mut String, text: &str) {
    push_bytes(address, text, |byte| byte.is_ascii_graphic() && !b"\"#<>\\^`{|}".contains(&byte));
}

/// As a value in a query.
fn push_encoded(address: &mut String, text: &str) {
    push_bytes(address, text, |byte| fits(byte, b"-_.~"));
}

fn push_bytes(address: &mut String, text: &str, is_kept: fn(u8) -> bool) {
    for byte in text.bytes() {
        if is_kept(byte) {
            address.push(char::from(byte));
        } else {
            let _ = write!(address, "%{byte:02X}"); // a String takes any text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intakes() -> Intakes {
        let addresses = [
            (Product::Profiling, "https://p/api/v2/profile"),
            (Product::Telemetry, "https://t"),
            (Product::Debugger, "https://d/api/v2/debugger"),
            (Product::Symdb, "https://d/api/v2/debugger"),
        ];
        Intakes {
            evp: Some(EvpIntake::Site("datadoghq.eu".to_owned())),
            addresses: addresses.map(|(product, address)| (product, address.to_owned())).to_vec(),
        }
    }

    fn passer() -> Passer {
        Passer {
            hostname: "gw-1".to_owned(),
            env: "prod".to_owned(),
            header_tags: "host:gw-1".to_owned(),
            query_tags: "host:gw-1".to_owned(),
            evp_seconds: 30,
            ..Passer::default()
        }
    }

    fn pass(path: &str, headers: &[(&str, &str)]) -> Result<Outgoing, Unfit> {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let call = Call { path, query, headers, id: [0, 0] };
        outgoing(route(path).unwrap(), &call, &intakes(), &passer())
    }

    #[track_caller]
    fn check_address(path: &str, headers: &[(&str, &str)], expected: Result<&str, Unfit>) {
        assert_eq!(pass(path, headers).map(|outgoing| outgoing.address), expected.map(str::to_owned), "{path}");
    }

    fn value<'a>(outgoing: &'a Outgoing, name: &str) -> Vec<&'a str> {
        let named = outgoing.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    const LLM: &[(&str, &str)] = &[("x-datadog-evp-subdomain", "llmobs-intake")];

    #[test]
    fn prefixes_serve_all_that_begins_so_and_other_paths_only_themselves() {
        assert_eq!(route("/evp_proxy/v2/api/v2/llmobs").map(|route| route.path), Some("/evp_proxy/v2/"));
        assert_eq!(route("/telemetry/proxy/").map(|route| route.product), Some(Product::Telemetry));
        for unknown in ["/evp_proxy/v5/x", "/evp_proxy/v2", "/telemetry/proxy", "/profiling/v1/input/", "/"] {
            assert_eq!(route(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn the_event_platforms_host_is_always_below_the_site() {
        check_address("/evp_proxy/v2/api/v2/llmobs", LLM, Ok("https://llmobs-intake.datadoghq.eu/api/v2/llmobs"));
        check_address("/evp_proxy/v4/", LLM, Ok("https://llmobs-intake.datadoghq.eu/"));
        check_address("/evp_proxy/v4/a", &[], Err(Unfit::NoSubdomain));
        check_address("/evp_proxy/v4/a", &[(SUBDOMAIN, "")], Err(Unfit::NoSubdomain));
        check_address("/evp_proxy/v4/a", &[(SUBDOMAIN, "a_b.c-d")], Ok("https://a_b.c-d.datadoghq.eu/a"));
        let long = "a".repeat(129);
        for evil in ["evil.com/", "evil.com#", "a@b", "a:1", "a..b", ".", "a.", ".a", "é", "a b", "a%2f", "a\\", "a?", &long] {
            check_address("/evp_proxy/v4/a", &[(SUBDOMAIN, evil)], Err(Unfit::Subdomain));
        }
    }

    #[test]
    fn paths_and_queries_of_the_event_platform_have_few_characters() {
        for evil in
            ["/evp_proxy/v2/a/../b", "/evp_proxy/v2/a%2fb", "/evp_proxy/v2/a:b", "/evp_proxy/v2/a@b", "/evp_proxy/v2/a b"]
        {
            check_address(evil, LLM, Err(Unfit::Path));
        }
        let base = "https://llmobs-intake.datadoghq.eu/a";
        let good = "a=b&c[d]=%22e+f%22&g=h:i.j/k@l-_?";
        check_address(&format!("/evp_proxy/v2/a?{good}"), LLM, Ok(&format!("{base}?{good}")));
        check_address("/evp_proxy/v2/a?a=\"", LLM, Ok(&format!("{base}?a=%22")));
        check_address("/evp_proxy/v2/a?", LLM, Ok(base));
        for evil in ["a=%0a", "a=%0d%0aX:y", "a=<b>", "a=%00", "a=é", "a=%C3%A9", "a=#b", "a=%", "a=%zz", "a=b;c"] {
            check_address(&format!("/evp_proxy/v2/a?{evil}"), LLM, Err(Unfit::Query));
        }
    }

    #[test]
    fn only_known_headers_reach_the_event_platform() {
        let mut sent = LLM.to_vec();
        sent.extend([("content-type", "application/json"), ("DD-API-KEY", "mine"), ("Authorization", "x"), ("Cookie", "x")]);
        sent.extend([("DD-CI-PROVIDER-NAME", "github"), ("Datadog-Entity-ID", "ci-abc"), ("X-Datadog-Timeout", "3")]);
        let found = pass("/evp_proxy/v1/a", &sent).unwrap();
        let expected = [
            ("Via", concat!("trace-agent ", env!("CARGO_PKG_VERSION"))),
            ("Content-Type", "application/json"),
            ("DD-CI-PROVIDER-NAME", "github"),
            ("Datadog-Container-ID", "abc"),
            ("X-Datadog-Hostname", "gw-1"),
            ("X-Datadog-AgentDefaultEnv", "prod"),
            ("X-Datadog-Timeout", "30"),
        ];
        assert_eq!(found.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn an_application_key_is_given_only_to_who_asks_for_it() {
        let with_key = Passer { app_key: ApiKey::parse("app").ok(), ..passer() };
        let mut headers = LLM.to_vec();
        let call = |headers: &[(&str, &str)], passer: &Passer| {
            let call = Call { path: "/evp_proxy/v2/a", query: None, headers, id: [0, 0] };
            outgoing(&ROUTES[5], &call, &intakes(), passer).map(|found| value(&found, "DD-APPLICATION-KEY").join(","))
        };
        assert_eq!(call(&headers, &with_key), Ok(String::new()));
        headers.push(("X-Datadog-NeedsAppKey", "True"));
        assert_eq!(call(&headers, &with_key), Ok("app".to_owned()));
        assert_eq!(call(&headers, &passer()), Err(Unfit::NoAppKey));
    }

    #[test]
    fn one_address_for_the_event_platform_is_told_the_subdomain() {
        let to_one = Intakes { evp: Some(EvpIntake::Address("http://hub:1/evp_proxy/v2".to_owned())), ..Intakes::default() };
        let call = Call { path: "/evp_proxy/v2/a", query: None, headers: LLM, id: [0, 0] };
        let found = outgoing(&ROUTES[5], &call, &to_one, &passer()).unwrap();
        assert_eq!((found.address.as_str(), value(&found, SUBDOMAIN)), ("http://hub:1/evp_proxy/v2/a", vec!["llmobs-intake"]));
        assert!(!to_one.serves(Product::Profiling) && to_one.serves(Product::Evp));
    }

    #[test]
    fn headers_of_one_connection_and_keys_end_here() {
        let sent = [
            ("Host", "localhost"),
            ("Connection", "close, X-Private"),
            ("X-Private", "1"),
            ("Transfer-Encoding", "chunked"),
            ("dd-api-key", "mine"),
            ("Content-Type", "multipart/form-data; boundary=x"),
            ("X-Datadog-Additional-Tags", "host:fake"),
            ("X-Own", "ü"),
        ];
        let found = pass("/profiling/v1/input?a=b", &sent).unwrap();
        assert_eq!(found.address, "https://p/api/v2/profile");
        let names: Vec<&str> = found.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Content-Type", "X-Own", "Via", "X-Datadog-Additional-Tags"]);
        assert_eq!((value(&found, "X-Own"), value(&found, "X-Datadog-Additional-Tags")), (vec!["ü"], vec!["host:gw-1"]));
    }

    #[test]
    fn telemetry_keeps_path_and_query_and_cannot_leave_its_host() {
        check_address("/telemetry/proxy/api/v2/apmtelemetry?a=b", &[], Ok("https://t/api/v2/apmtelemetry?a=b"));
        check_address("/telemetry/proxy/@evil.com/#x", &[], Ok("https://t/@evil.com/%23x"));
        check_address(&format!("/telemetry/proxy/{}", "é".repeat(3000)), &[], Err(Unfit::TooLong));
        check_address("/telemetry/proxy/a", &[("X-Long", &"x".repeat(15_400))], Err(Unfit::TooLong));
        let found = pass("/telemetry/proxy/a", &[("dd-agent-env", "fake")]).unwrap();
        assert_eq!((value(&found, "DD-Agent-Env"), value(&found, "DD-Agent-Hostname")), (vec!["prod"], vec!["gw-1"]));
    }

    #[test]
    fn tags_of_agent_header_and_query_go_into_the_debuggers_query() {
        let base = "https://d/api/v2/debugger";
        check_address("/debugger/v2/input", &[], Ok(&format!("{base}?ddtags=host%3Agw-1")));
        let tags = [("X-Datadog-Additional-Tags", "from:header")];
        let expected = format!("{base}?x=1&y=2&ddtags=host%3Agw-1%2Cfrom%3Aheader%2Ca%3A%C3%BC%20b");
        check_address("/debugger/v1/diagnostics?x=1&ddtags=a:%C3%BC+b&y=2", &tags, Ok(&expected));
        let long = format!("/debugger/v2/input?ddtags={}", "%C3%BC".repeat(4000));
        let found = pass(&long, &tags).unwrap();
        let tags = percent_decoded(found.address.split("ddtags=").nth(1).unwrap()).into_owned();
        assert!((TAGS_BYTES_MAX - 1..=TAGS_BYTES_MAX).contains(&tags.len()) && String::from_utf8(tags).is_ok());
        assert_eq!(value(&found, "DD-EVP-ORIGIN"), ["agent-debugger"]);
        assert_eq!(value(&found, "DD-REQUEST-ID"), ["00000000-0000-4000-8000-000000000000"]);
    }

    #[test]
    fn symbols_carry_all_tags_in_a_header() {
        let found = pass("/symdb/v1/input?ddtags=a:b", &[("X-Datadog-Additional-Tags", "c:d")]).unwrap();
        assert_eq!(value(&found, "X-Datadog-Additional-Tags"), ["host:gw-1,c:d,a:b"]);
        assert_eq!(
            (found.address.as_str(), value(&found, "DD-EVP-ORIGIN")),
            ("https://d/api/v2/debugger?ddtags=a:b", vec!["agent-symdb"])
        );
    }

    #[test]
    fn names_from_settings_cannot_break_a_header() {
        let broken = Passer { hostname: "a\r\nX: y".to_owned(), ..passer() };
        let call = Call { path: "/telemetry/proxy/a", query: None, headers: &[], id: [0, 0] };
        let found = outgoing(route(call.path).unwrap(), &call, &intakes(), &broken).unwrap();
        assert_eq!(value(&found, "DD-Agent-Hostname"), ["aX: y"]);
    }

    #[test]
    fn a_product_without_an_intake_is_not_served() {
        check_address("/tracer_flare/v1", &[], Err(Unfit::NotServed));
    }
}
