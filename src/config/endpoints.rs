//! Endpoints that get the same data as the main one, each with a key of its own, as the Datadog Agent writes them.
//!
//! ```text
//! KeyedUrls   a map, or JSON: {"https://app.datadoghq.eu": ["key", "another key"]}
//! LogIntakes  a list, or JSON: [{"api_key": "key", "Host": "http-intake.logs.datadoghq.eu", "Port": 443, "use_ssl": true,
//!             "is_reliable": true}]; names in any case, and only the first two must be there
//! ```
//!
//! One that is no address with a key is left out and remarked on; the others stay. Nothing of what was written is shown but addresses that
//! were found good.

use crate::config::values::BaseUrl;
use crate::config::values::Expected;
use crate::config::values::Raw;
use crate::config::values::Value;
use crate::model::api_key::ApiKey;
use crate::model::api_key::has_form_of_key;
use serde_json::Value as Json;

/// More are not looked at: each takes a share of the memory.
const ENDPOINTS_MAX: usize = 4;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FurtherEndpoint {
    /// Scheme and host.
    pub url: BaseUrl,
    /// What it takes data with.
    pub api_key: ApiKey,
    /// Data are kept for it while it does not answer; otherwise each body is tried once.
    pub is_reliable: bool,
}

/// Endpoints for metrics, or for traces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyedUrls(pub Vec<FurtherEndpoint>);

/// Endpoints for logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogIntakes(pub Vec<FurtherEndpoint>);

/// Those that can be used, and how many cannot.
type Found = (Vec<FurtherEndpoint>, usize);

impl Value for KeyedUrls {
    const SECRET: bool = true;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        keyed_urls(raw).map(|(found, _)| KeyedUrls(found))
    }

    fn remark(raw: &Raw) -> Option<String> {
        remark(keyed_urls(raw))
    }

    fn show(&self) -> String {
        show(&self.0)
    }
}

impl Value for LogIntakes {
    const SECRET: bool = true;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        log_intakes(raw).map(|(found, _)| LogIntakes(found))
    }

    fn remark(raw: &Raw) -> Option<String> {
        remark(log_intakes(raw))
    }

    fn show(&self) -> String {
        show(&self.0)
    }
}

fn keyed_urls(raw: &Raw) -> Result<Found, Expected> {
    let Json::Object(urls) = tree(raw) else { return Err(Expected("a map of addresses to lists of keys")) };
    let pairs = urls.iter().flat_map(|(url, keys)| {
        let keys = keys.as_array().map_or(std::slice::from_ref(keys), Vec::as_slice);
        keys.iter().map(|key| endpoint(url, key.as_str(), true))
    });
    Ok(usable(pairs))
}

fn log_intakes(raw: &Raw) -> Result<Found, Expected> {
    let Json::Array(items) = tree(raw) else { return Err(Expected("a list of endpoints with api_key and Host")) };
    Ok(usable(items.iter().map(log_intake)))
}

fn log_intake(item: &Json) -> Option<FurtherEndpoint> {
    let of = |name: &str| item.as_object()?.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let is_off = |name| of(name).is_some_and(|value| matches!(text(value).as_str(), "false" | "False" | "FALSE" | "0"));
    let scheme = if is_off("use_ssl") { "http" } else { "https" };
    let port = of("port").map(|port| format!(":{}", text(port))).unwrap_or_default();
    let url = format!("{scheme}://{}{port}", of("host")?.as_str()?.trim());
    endpoint(&url, of("api_key")?.as_str(), !is_off("is_reliable"))
}

fn endpoint(url: &str, key: Option<&str>, is_reliable: bool) -> Option<FurtherEndpoint> {
    if url.split(['/', ':']).any(has_form_of_key) {
        return None; // a key in the place of its address would be printed, and looked up as a name
    }
    let url = BaseUrl::parse(&Raw::Text(url.to_owned())).ok()?;
    Some(FurtherEndpoint { url, api_key: ApiKey::parse(key?).ok()?, is_reliable })
}

fn usable(items: impl Iterator<Item = Option<FurtherEndpoint>>) -> Found {
    let (mut found, mut bad) = (Vec::new(), 0);
    for item in items {
        match item.filter(|_| found.len() < ENDPOINTS_MAX) {
            Some(endpoint) => found.push(endpoint),
            None => bad += 1,
        }
    }
    (found, bad)
}

fn remark(found: Result<Found, Expected>) -> Option<String> {
    let (_, bad) = found.ok().filter(|(_, bad)| 0 < *bad)?;
    Some(format!("{bad} of them are no address with a key, or more than {ENDPOINTS_MAX}, and are left out"))
}

fn show(endpoints: &[FurtherEndpoint]) -> String {
    endpoints.iter().map(|endpoint| format!("{} ***", endpoint.url.as_str())).collect::<Vec<_>>().join(", ")
}

/// What is not set is empty, which is either form.
fn tree(raw: &Raw) -> Json {
    match raw {
        Raw::Text(text) => serde_json::from_str(text).unwrap_or_default(),
        Raw::List(items) => items.iter().map(tree_of).collect(),
        Raw::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), tree_of(value))).collect(),
    }
}

fn tree_of(raw: &Raw) -> Json {
    if let Raw::Text(text) = raw { text.trim().into() } else { tree(raw) }
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::yaml;

    fn written(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    fn in_file(text: &str) -> Raw {
        let Ok(Raw::Map(mut entries)) = yaml::parse(text) else { panic!("a mapping") };
        entries.remove(0).1
    }

    fn described(found: &[FurtherEndpoint]) -> String {
        let describe = |one: &FurtherEndpoint| format!("{} {} {}", one.url.as_str(), one.api_key.expose(), one.is_reliable);
        found.iter().map(describe).collect::<Vec<_>>().join(", ")
    }

    #[track_caller]
    fn check_urls(raw: Raw, expected: Option<(&str, bool)>) {
        let found = KeyedUrls::parse(&raw).ok().map(|urls| (described(&urls.0), KeyedUrls::remark(&raw).is_some()));
        assert_eq!(found, expected.map(|(text, remarked)| (text.to_owned(), remarked)), "{raw:?}");
    }

    #[track_caller]
    fn check_intakes(raw: Raw, expected: Option<(&str, bool)>) {
        let found = LogIntakes::parse(&raw).ok().map(|list| (described(&list.0), LogIntakes::remark(&raw).is_some()));
        assert_eq!(found, expected.map(|(text, remarked)| (text.to_owned(), remarked)), "{raw:?}");
    }

    #[test]
    fn addresses_stand_with_their_keys() {
        let both = Some(("https://a k1 true, https://a k2 true, http://b:80 k3 true", false));
        check_urls(written(r#"{"https://a/": ["k1", "k2"], "http://b:80": ["k3"]}"#), both);
        check_urls(in_file("x:\n  https://a:\n  - k1\n  - k2\n  http://b:80: k3\n"), both);
        check_urls(in_file("x: {'https://a': [00123]}\n"), Some(("https://a 00123 true", false)));
        check_urls(written(r#"{"ftp://a": ["k1"], "https://b": ["k2", "", 7]}"#), Some(("https://b k2 true", true)));
        check_urls(
            written(r#"{"0123456789abcdef0123456789abcdef": ["https://a"], "https://b": ["k"]}"#),
            Some(("https://b k true", true)),
        );
        check_urls(written("{}"), Some(("", false)));
        check_urls(written("https://a"), None);
        check_urls(written("[1]"), None);
    }

    #[test]
    fn log_intakes_are_objects_with_names_in_any_case() {
        let both = Some(("https://h:443 k1 true, http://i:80 k2 false", false));
        let json = r#"[{"api_key":"k1","Host":"h","Port":443,"is_reliable":true},
            {"API_KEY":"k2","host":"i","port":"80","use_ssl":false,"Is_Reliable":false}]"#;
        check_intakes(written(json), both);
        let file = "x:\n- api_key: k1\n  Host: h\n  Port: 443\n- {api_key: k2, host: i, port: 80, use_ssl: 'false', is_reliable: false}\n";
        check_intakes(in_file(file), both);
        check_intakes(
            written(r#"[{"api_key":"k","Host":"h"},{"Host":"h"},{"api_key":"k"},7]"#),
            Some(("https://h k true", true)),
        );
        check_intakes(written(r#"[{"api_key":"h","Host":"0123456789abcdef0123456789abcdef","Port":443}]"#), Some(("", true)));
        check_intakes(written(r#"{"https://a":["k"]}"#), None);
    }

    #[test]
    fn keys_are_never_shown() {
        let urls = KeyedUrls::parse(&written(r#"{"https://a": ["k1"]}"#)).unwrap();
        assert_eq!(urls.show(), "https://a ***");
        assert!(!format!("{urls:?}").contains("k1"));
        assert!(!KeyedUrls::remark(&written(r#"{"https://u:k1@a": ["k2"]}"#)).unwrap().contains("k1"));
    }

    #[test]
    fn there_are_no_more_than_memory_is_shared_out_to() {
        let keys: Vec<String> = (0..20).map(|number| format!("\"k{number}\"")).collect();
        let raw = written(&format!("{{\"https://a\": [{}]}}", keys.join(",")));
        assert_eq!(KeyedUrls::parse(&raw).unwrap().0.len(), ENDPOINTS_MAX);
        assert!(KeyedUrls::remark(&raw).is_some());
    }
}
