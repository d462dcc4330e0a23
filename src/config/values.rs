//! The types a setting can have and how each is read from text. Formats are those of the Datadog Agent (its documentation on
//! environment variables and `datadog.yaml`); what is written wrongly is a warning and the default, never an error.

use crate::model::api_key::masked;
use crate::model::tags::Tags;
use log::LevelFilter;
use std::path::PathBuf;
use std::time::Duration;

/// A value as it was written: a text from a flag or variable, or a tree from the file. Numbers and booleans stay text until the
/// setting's type is known, so a key made of digits keeps its zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raw {
    /// A scalar; `null` and `~` are the empty text.
    Text(String),
    /// A sequence.
    List(Vec<Raw>),
    /// A mapping, in the order of the file.
    Map(Vec<(String, Raw)>),
}

impl Raw {
    /// Whether nothing was written, which counts as not set.
    pub fn is_empty(&self) -> bool {
        matches!(self, Raw::Text(text) if text.trim().is_empty())
    }

    pub(super) fn text(&self) -> Result<&str, Expected> {
        match self {
            Raw::Text(text) => Ok(text.trim()),
            _ => Err(Expected("one value, not a list or map")),
        }
    }
}

/// What a setting wants instead of what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected(pub &'static str);

/// A type that a setting can have.
pub trait Value: Sized {
    /// Whether it must not be shown.
    const SECRET: bool = false;

    /// Whether what was written wrongly may be shown in a warning. People put credentials into addresses.
    const QUOTABLE: bool = true;

    /// What is wanted where a key was given instead; `None` where what looks like a key may be meant.
    const NOT_A_KEY: Option<&'static str> = Some("another value");

    /// From what was written.
    fn parse(raw: &Raw) -> Result<Self, Expected>;

    /// What is to be said of a value that could be read all the same.
    fn remark(_raw: &Raw) -> Option<String> {
        None
    }

    /// As `mote check` shows it.
    fn show(&self) -> String;
}

impl Value for String {
    const NOT_A_KEY: Option<&'static str> = None;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        raw.text().map(str::to_owned)
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const NOT_A_KEY: Option<&'static str> = Some("a path");

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        raw.text().map(PathBuf::from)
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

/// Not set is a value.
impl<T: Value> Value for Option<T> {
    const SECRET: bool = T::SECRET;
    const QUOTABLE: bool = T::QUOTABLE;
    const NOT_A_KEY: Option<&'static str> = T::NOT_A_KEY;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        if raw.is_empty() { Ok(None) } else { T::parse(raw).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

impl Value for bool {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        match raw.text()? {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(Expected("true or false")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u16 {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        raw.text()?.parse().map_err(|_| Expected("a port from 0 to 65535"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for u32 {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        raw.text()?.parse().map_err(|_| Expected("a whole number"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// How many or how much of something.
impl Value for f64 {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let number = raw.text()?.parse().ok().filter(|number| (0.0..=1e9).contains(number));
        number.ok_or(Expected("a number from 0 up"))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// The Agent's words in any case: `critical` is the worst of ours, `warning` is `warn`.
impl Value for LevelFilter {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        Ok(match raw.text()?.to_ascii_lowercase().as_str() {
            "trace" => LevelFilter::Trace,
            "debug" => LevelFilter::Debug,
            "info" => LevelFilter::Info,
            "warn" | "warning" => LevelFilter::Warn,
            "error" | "critical" => LevelFilter::Error,
            "off" => LevelFilter::Off,
            _ => return Err(Expected("a level such as info")),
        })
    }

    fn show(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

/// No setting is meant to be longer, and sums of such times do not overflow.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Seconds, whole or not, or Go's text for durations (`1m30s`, `250ms`).
impl Value for Duration {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("seconds, or a duration such as 1m30s");
        let text = raw.text()?;
        let seconds = match text.parse::<f64>() {
            Ok(seconds) => seconds,
            Err(_) => go_duration(text).ok_or(EXPECTED)?,
        };
        Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= LONGEST).ok_or(EXPECTED)
    }

    fn show(&self) -> String {
        format!("{}s", self.as_secs_f64())
    }
}

fn go_duration(text: &str) -> Option<f64> {
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(unit_at);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_len);
        let factor = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = next;
    }
    (!text.is_empty()).then_some(seconds)
}

/// A share of a whole, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl Value for Share {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let share = raw.text()?.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        share.map(Share).ok_or(Expected("a share from 0 to 1"))
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// When files are made sure to be on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// When the system sees fit.
    Never,
    /// When a file is full.
    Rotate,
    /// With each record.
    Always,
}

const FSYNCS: [(&str, Fsync); 3] = [("never", Fsync::Never), ("rotate", Fsync::Rotate), ("always", Fsync::Always)];

impl Value for Fsync {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let text = raw.text()?;
        let known = FSYNCS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        known.map(|(_, fsync)| *fsync).ok_or(Expected("never, rotate or always"))
    }

    fn show(&self) -> String {
        FSYNCS[*self as usize].0.to_owned()
    }
}

/// When data are written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StorageMode {
    /// Bodies that cannot be delivered.
    OnFailure,
    /// Also each request, before it is acknowledged.
    Journal,
}

const STORAGE_MODES: [(&str, StorageMode); 2] = [("on_failure", StorageMode::OnFailure), ("journal", StorageMode::Journal)];

impl Value for StorageMode {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let text = raw.text()?;
        let known = STORAGE_MODES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        known.map(|(_, mode)| *mode).ok_or(Expected("on_failure or journal"))
    }

    fn show(&self) -> String {
        STORAGE_MODES[*self as usize].0.to_owned()
    }
}

/// A number of bytes, with `KiB`, `MiB`, `KB` or `MB` behind it or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub usize);

impl Value for Bytes {
    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("a number of bytes such as 8MiB");
        let text = raw.text()?;
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" => 1_000,
            "kib" => 1 << 10,
            "m" | "mb" => 1_000_000,
            "mib" => 1 << 20,
            _ => return Err(EXPECTED),
        };
        number.parse::<usize>().ok().and_then(|number| number.checked_mul(factor)).map(Bytes).ok_or(EXPECTED)
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// The Datadog site, such as `datadoghq.eu`; unknown ones are used as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site(String);

impl Site {
    /// The host name that all intakes end in.
    pub fn host(&self) -> &str {
        &self.0
    }
}

impl Value for Site {
    const QUOTABLE: bool = false;
    const NOT_A_KEY: Option<&'static str> = Some("a site");

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let lower = raw.text()?.to_ascii_lowercase();
        let host = lower.trim_start_matches("https://").trim_start_matches("http://").trim_start_matches("app.");
        let host = host.trim_end_matches(['/', '.']);
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if host.is_empty() || !host.chars().all(fits) {
            return Err(Expected("a site such as datadoghq.eu"));
        }
        Ok(Site(host.to_owned()))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The address of an intake, without a slash at its end; `https://` is assumed where no scheme stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(String);

impl BaseUrl {
    /// Scheme, host, port and path prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that is known to be right.
    pub fn of_host(host: &str) -> BaseUrl {
        BaseUrl(format!("https://{host}"))
    }
}

impl Value for BaseUrl {
    const QUOTABLE: bool = false;
    const NOT_A_KEY: Option<&'static str> = Some("an address");

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        const EXPECTED: Expected = Expected("an address such as https://host:port");
        let text = raw.text()?.trim_end_matches('/');
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("https://{text}") };
        let (scheme, rest) = with_scheme.split_once("://").ok_or(EXPECTED)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let port_fits = authority.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']') || port.parse::<u16>().is_ok());
        let plain = rest.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '@' | '"' | '\\'));
        if !matches!(scheme, "http" | "https") || host.is_empty() || !port_fits || !plain {
            return Err(EXPECTED);
        }
        Ok(BaseUrl(with_scheme))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// A host to put names before, or a whole address: what has a scheme is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostOrUrl {
    /// Without scheme and path.
    Host(String),
    /// With its scheme.
    Url(BaseUrl),
}

impl Value for HostOrUrl {
    const QUOTABLE: bool = false;
    const NOT_A_KEY: Option<&'static str> = Some("an address");

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        if raw.text()?.contains("://") {
            return BaseUrl::parse(raw).map(HostOrUrl::Url);
        }
        let url = BaseUrl::parse(raw)?;
        let host = url.as_str().trim_start_matches("https://");
        if host.contains('/') {
            Err(Expected("a host, or an address with its scheme"))
        } else {
            Ok(HostOrUrl::Host(host.to_owned()))
        }
    }

    fn show(&self) -> String {
        match self {
            HostOrUrl::Host(host) => host.clone(),
            HostOrUrl::Url(url) => url.show(),
        }
    }
}

/// A pair that is none is left out and remarked on; the others stay.
impl Value for Tags {
    const NOT_A_KEY: Option<&'static str> = None;

    fn parse(raw: &Raw) -> Result<Self, Expected> {
        let mut tags = Tags::default();
        for item in list(raw, Expected("pairs such as team:web,region:eu"))? {
            if let Some((key, value)) = pair(item) {
                tags.push(key, value);
            }
        }
        Ok(tags)
    }

    fn remark(raw: &Raw) -> Option<String> {
        let items = list(raw, Expected("")).ok()?;
        let bad: Vec<&str> = items.into_iter().filter(|item| pair(item).is_none()).collect();
        (!bad.is_empty()).then(|| format!("no pair of key and value, left out: {}", masked(&bad.join(" "))))
    }

    fn show(&self) -> String {
        self.joined()
    }
}

fn pair(item: &str) -> Option<(&str, &str)> {
    let (key, value) = item.split_once(':')?;
    let (key, value) = (key.trim(), value.trim());
    (!key.is_empty() && !value.is_empty()).then_some((key, value))
}

/// The items of a list: a sequence, or a text split at commas and blanks.
pub(super) fn list(raw: &Raw, expected: Expected) -> Result<Vec<&str>, Expected> {
    match raw {
        // A JSON list of plain texts comes apart at the same places.
        Raw::Text(text) => {
            let text = text.trim();
            let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
            let items = inner.unwrap_or(text).split([',', ' ', '\t', '\n']);
            Ok(items
                .map(|item| if inner.is_some() { item.trim_matches('"') } else { item })
                .filter(|item| !item.is_empty())
                .collect())
        }
        Raw::List(items) => items.iter().map(|item| item.text().map_err(|_| expected)).collect(),
        Raw::Map(_) => Err(expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check<T: Value>(text: &str, expected: Option<&str>) {
        let shown = T::parse(&Raw::Text(text.to_owned())).ok().map(|value| value.show());
        assert_eq!(shown.as_deref(), expected, "{text}");
    }

    #[test]
    fn booleans_are_those_of_the_agent() {
        check::<bool>("T", Some("true"));
        check::<bool>(" 0 ", Some("false"));
        check::<bool>("yes", None);
    }

    #[test]
    fn durations_are_seconds_or_go_text() {
        check::<Duration>("2.5", Some("2.5s"));
        check::<Duration>("1m30s", Some("90s"));
        check::<Duration>("250ms", Some("0.25s"));
        check::<Duration>("-1", None);
        check::<Duration>("1e19", None);
        check::<Duration>("s", None);
        check::<Duration>("5 apples", None);
    }

    #[test]
    fn byte_sizes_take_units() {
        check::<Bytes>("8MiB", Some("8388608"));
        check::<Bytes>("1000", Some("1000"));
        check::<Bytes>("99999999999999999999", None);
        check::<Bytes>("8 apples", None);
    }

    #[test]
    fn sites_are_cleaned_of_what_people_paste() {
        check::<Site>("https://app.datadoghq.EU/", Some("datadoghq.eu"));
        check::<Site>("us3.datadoghq.com", Some("us3.datadoghq.com"));
        check::<Site>("a b", None);
    }

    #[test]
    fn addresses_get_a_scheme_and_lose_the_slash() {
        check::<BaseUrl>("localhost:8080/", Some("https://localhost:8080"));
        check::<BaseUrl>("http://[::1]:80/prefix", Some("http://[::1]:80/prefix"));
        check::<BaseUrl>("ftp://host", None);
        check::<BaseUrl>("http://user@host", None);
        check::<BaseUrl>("http://host:port", None);
    }

    #[test]
    fn tags_split_at_the_first_colon() {
        check::<Tags>("a:b url:http://x", Some("a:b,url:http://x"));
        check::<Tags>("team:web,oops,:x,y:", Some("team:web"));
        check::<Tags>(r#"["team:web", "a:b"]"#, Some("team:web,a:b"));
    }
}
