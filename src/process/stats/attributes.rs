//! Reads what statistics group by out of a span's tags and metrics, in one pass over both.
//!
//! Some sixty names are looked for in the twenty tags of a usual span. A table by length and three characters of the name tells for
//! nearly all tags, without looking at the rest of the name, that they are none of them.

use crate::model::trace::Slice;
use crate::model::trace::Span;
use crate::model::trace::Text;
use crate::model::trace::TracePayload;
use crate::process::stats::groups::is_same;
use crate::process::traces::normalize::number;

/// The names that have a meaning of their own.
const NAMES: [&str; 12] = [
    "span.kind",
    "http.status_code",
    "rpc.grpc.status_code",
    "grpc.code",
    "rpc.grpc.status.code",
    "grpc.status.code",
    "http.method",
    "http.endpoint",
    "http.route",
    "_dd.svc_src",
    "_dd.measured",
    "_dd.top_level",
];
const KIND: usize = 0;
const HTTP_STATUS: usize = 1;
const GRPC_STATUS: [usize; 4] = [2, 3, 4, 5];
const HTTP_METHOD: usize = 6;
const HTTP_ENDPOINT: usize = 7;
const HTTP_ROUTE: usize = 8;
const SERVICE_SOURCE: usize = 9;
const MEASURED: usize = 10;
const TOP_LEVEL: usize = 11;
const PARTIAL_VERSION: usize = 12;

/// The first of the names that describe a peer.
const PEERS: usize = 13;

/// The service that a span would have had without an instrumentation's own.
pub const BASE_SERVICE: &str = "_dd.base_service";

/// So many names can be told apart.
const KEYS_MAX: usize = 128;

/// A set of names' numbers. In two halves, since shifting 128 bits takes a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Numbers([u64; KEYS_MAX / 64]);

impl Numbers {
    #[inline(always)]
    fn insert(&mut self, number: usize) {
        self.0[number / 64] |= 1 << (number % 64);
    }

    #[inline(always)]
    fn contains(&self, number: usize) -> bool {
        self.0[number / 64] & 1 << (number % 64) != 0
    }

    /// Takes the least of them.
    fn take_first(&mut self) -> Option<usize> {
        let half = self.0.iter().position(|bits| *bits != 0)?;
        let bits = &mut self.0[half];
        let number = bits.trailing_zeros() as usize;
        *bits &= *bits - 1;
        Some(half * 64 + number)
    }
}

/// Places in the table: several for each name, so that most other names meet an empty one.
const SLOTS: usize = 512;

/// Which names are looked for, and what was found of them in the present span.
#[derive(Debug)]
pub struct Attributes {
    /// 0 for none, else a name's number and 1.
    slots: Box<[u8; SLOTS]>,
    names: Vec<String>,
    texts: Box<[Text; KEYS_MAX]>,
    /// Which of `texts` belong to the present span.
    found: Numbers,
    numbers: [f64; PEERS],
    numbers_found: u16,
    /// The same for the tags that all spans of the payload have.
    shared: Vec<(usize, Text)>,
    base_service: usize,
    by_span_kind: bool,
}

/// Whether a span talks to a peer, serves one, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `server`.
    Server,
    /// `client`, `producer` or `consumer`.
    Peer,
    /// `internal` or none.
    Internal,
    /// Any other text.
    Other,
}

impl Attributes {
    /// Looks for the names of `peer_tags` besides those of its own, the first hundred or so of them. Statistics count spans by kind
    /// only if `by_span_kind` says so.
    pub fn new(peer_tags: &[String], by_span_kind: bool) -> Attributes {
        let mut peers: Vec<&str> = peer_tags.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
        peers.sort_unstable();
        peers.dedup();
        // A name that has a meaning of its own already cannot have two numbers.
        peers.retain(|name| !NAMES.contains(name));
        peers.truncate(KEYS_MAX - PEERS);
        let names: Vec<String> = NAMES.into_iter().chain(["_dd.partial_version"]).chain(peers).map(str::to_owned).collect();
        let base_service = names.iter().position(|name| name == BASE_SERVICE).unwrap_or(PEERS);
        let mut slots = Box::new([0; SLOTS]);
        for (number, name) in (1..).zip(&names) {
            let mut slot = slot_of(name.as_bytes());
            while slots[slot] != 0 {
                slot = (slot + 1) % SLOTS;
            }
            slots[slot] = number;
        }
        Attributes {
            slots,
            names,
            texts: Box::new([Text::EMPTY; KEYS_MAX]),
            found: Numbers::default(),
            numbers: [0.0; PEERS],
            numbers_found: 0,
            shared: Vec::new(),
            base_service,
            by_span_kind,
        }
    }

    /// A name by its number.
    pub fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// A payload begins: takes the tags that all its spans have.
    pub fn read_shared(&mut self, payload: &TracePayload) {
        self.shared.clear();
        for tag in &payload.tags[payload.span_tags.range()] {
            if let Some(number) = self.number(payload.texts.bytes(tag.key)) {
                self.shared.push((number, tag.value));
            }
        }
    }

    /// Reads a span; whether statistics count it.
    pub fn read(&mut self, payload: &TracePayload, span: &Span) -> bool {
        self.read_numbers(payload, span.metrics);
        if self.metric(PARTIAL_VERSION).is_some_and(|version| 0.0 <= version) {
            return false;
        }
        self.read_texts(payload, span.meta);
        let is_measured = self.metric(MEASURED) == Some(1.0);
        let is_kind = || self.by_span_kind && matches!(self.kind(payload), Kind::Server | Kind::Peer);
        self.is_top_level(span) || is_measured || is_kind()
    }

    fn read_numbers(&mut self, payload: &TracePayload, metrics: Slice) {
        self.numbers_found = 0;
        for metric in &payload.metrics[metrics.range()] {
            match self.number(payload.texts.bytes_inline(metric.key)) {
                Some(number) if number < PEERS => {
                    self.numbers[number] = metric.value;
                    self.numbers_found |= 1 << number;
                }
                _ => {}
            }
        }
    }

    fn read_texts(&mut self, payload: &TracePayload, meta: Slice) {
        self.found = Numbers::default();
        for tag in &payload.tags[meta.range()] {
            if let Some(number) = self.number(payload.texts.bytes_inline(tag.key)) {
                self.texts[number] = tag.value;
                self.found.insert(number);
            }
        }
        for (number, value) in &self.shared {
            self.texts[*number] = *value;
            self.found.insert(*number);
        }
    }

    /// Inlined by force, like the small functions of the encoder: a build for size otherwise calls it for each tag.
    #[inline(always)]
    fn number(&self, name: &[u8]) -> Option<usize> {
        if name.is_empty() {
            return None; // a removed tag
        }
        let slot = slot_of(name);
        if self.slots[slot] == 0 { None } else { self.compare(slot, name) }
    }

    /// The search goes on from a slot that some name has.
    fn compare(&self, mut slot: usize, name: &[u8]) -> Option<usize> {
        loop {
            let number = usize::from(self.slots[slot]).checked_sub(1)?;
            if is_same(self.names[number].as_bytes(), name) {
                return Some(number);
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    #[inline(always)]
    fn metric(&self, number: usize) -> Option<f64> {
        (self.numbers_found & 1 << number != 0).then_some(self.numbers[number])
    }

    #[inline(always)]
    fn text(&self, number: usize) -> Text {
        if self.found.contains(number) { self.texts[number] } else { Text::EMPTY }
    }

    /// Marked by the tracer or by us.
    pub fn is_top_level(&self, span: &Span) -> bool {
        span.top_level || self.metric(TOP_LEVEL) == Some(1.0)
    }

    /// `span.kind` as it is.
    pub fn kind_text(&self) -> Text {
        self.text(KIND)
    }

    /// `span.kind` by what it means; case does not matter.
    pub fn kind(&self, payload: &TracePayload) -> Kind {
        let text = payload.texts.bytes(self.text(KIND));
        let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
        match text {
            b"" => Kind::Internal,
            b"server" => Kind::Server,
            b"client" => Kind::Peer,
            _ if is("server") => Kind::Server,
            _ if is("client") || is("producer") || is("consumer") => Kind::Peer,
            _ if is("internal") => Kind::Internal,
            _ => Kind::Other,
        }
    }

    /// 0 for none.
    pub fn http_status(&self, payload: &TracePayload) -> u32 {
        match self.metric(HTTP_STATUS) {
            Some(code) => code as u32,
            None => number(payload.texts.bytes(self.text(HTTP_STATUS))).unwrap_or(0),
        }
    }

    /// The first name with a value decides, tags before metrics.
    pub fn grpc_status(&self, payload: &TracePayload) -> Option<u32> {
        let texts = || GRPC_STATUS.iter().map(|number| self.text(*number));
        if let Some(text) = texts().find(|text| !text.is_empty()) {
            return grpc_code(payload.texts.str(text));
        }
        GRPC_STATUS.iter().find_map(|number| self.metric(*number)).map(|code| code as u32)
    }

    /// `GET`, ...
    pub fn http_method(&self) -> Text {
        self.text(HTTP_METHOD)
    }

    /// The endpoint, or else the route.
    pub fn http_endpoint(&self) -> Text {
        match self.text(HTTP_ENDPOINT) {
            Text::EMPTY => self.text(HTTP_ROUTE),
            endpoint => endpoint,
        }
    }

    /// What has set the service.
    pub fn service_source(&self) -> Text {
        self.text(SERVICE_SOURCE)
    }

    /// Numbers and values of the tags that say whom the span talked to, in the order of their names: all of them for spans that
    /// talk to a peer; for others only a base service that is not the span's own.
    pub fn peer_tags(&self, payload: &TracePayload, span: &Span) -> impl Iterator<Item = (usize, Text)> {
        let is_own = || payload.texts.same(self.text(self.base_service), span.service);
        let mut left = Numbers::default();
        match self.kind(payload) {
            // Names with a meaning of their own have the lowest numbers, all in the first half.
            Kind::Peer => left = Numbers([self.found.0[0] >> PEERS << PEERS, self.found.0[1]]),
            Kind::Internal if self.found.contains(self.base_service) && !is_own() => left.insert(self.base_service),
            _ => {}
        }
        std::iter::from_fn(move || left.take_first().map(|number| (number, self.texts[number])))
            .filter(|(_, value)| !value.is_empty())
    }
}

/// Where the search for a name begins.
#[inline(always)]
fn slot_of(name: &[u8]) -> usize {
    let (first, middle, last) = (name[0], name[name.len() / 2], name[name.len() - 1]);
    (name.len() * 67 + usize::from(first) * 5 + usize::from(middle) * 31 + usize::from(last) * 151) % SLOTS
}

/// A number, or the name of one in any case, with or without underscores.
fn grpc_code(text: &str) -> Option<u32> {
    const NAMES: [&str; 17] = [
        "ok",
        "cancelled",
        "unknown",
        "invalidargument",
        "deadlineexceeded",
        "notfound",
        "alreadyexists",
        "permissiondenied",
        "resourceexhausted",
        "failedprecondition",
        "aborted",
        "outofrange",
        "unimplemented",
        "internal",
        "unavailable",
        "dataloss",
        "unauthenticated",
    ];
    if let Ok(code) = text.parse() {
        return Some(code);
    }
    let name = text.strip_prefix("StatusCode.").unwrap_or(text);
    if name.eq_ignore_ascii_case("canceled") {
        return Some(1);
    }
    let is = |known: &&str| name.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase()).eq(known.bytes());
    NAMES.iter().position(is).map(|code| code as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_others_are_not() {
        let peers: Vec<String> = super::super::PEER_TAGS.iter().map(|name| (*name).to_owned()).collect();
        let attributes = Attributes::new(&peers, true);
        for (number, name) in attributes.names.iter().enumerate() {
            assert_eq!(attributes.number(name.as_bytes()), Some(number), "{name}");
        }
        for name in ["", "k", "span.kinds", "http.url", "language", "component", "runtime-id", "process_id", "_dd.p.dm"] {
            assert_eq!(attributes.number(name.as_bytes()), None, "{name}");
        }
        assert_eq!(attributes.name(PEERS), BASE_SERVICE, "peer tags are sorted");
        let many: Vec<String> = (0..200).map(|at| format!("tag{at}")).collect();
        assert_eq!(Attributes::new(&many, true).names.len(), KEYS_MAX);
    }

    #[test]
    fn grpc_codes_are_numbers_or_names() {
        let found =
            ["0", "14", "StatusCode.NOT_FOUND", "Unavailable", "DeadlineExceeded", "CANCELED", "cancelled", "nothing", "-1"]
                .map(grpc_code);
        assert_eq!(found, [Some(0), Some(14), Some(5), Some(14), Some(4), Some(1), Some(1), None, None]);
    }
}
