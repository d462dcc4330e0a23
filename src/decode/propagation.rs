//! Trace contexts as callers write them beside what they send.
//!
//! ```text
//! datadog       x-datadog-trace-id, -parent-id   decimal, low half; also 0x and hex digits
//!               x-datadog-sampling-priority      decimal, may be negative
//!               x-datadog-origin, -tags          text; k=v,k=v with _dd.p.tid=<16 hex, high half>
//! tracecontext  traceparent                      00-<32 hex>-<16 hex>-<flags>
//!               tracestate                       dd=s:<priority>;o:<origin>;p:<16 hex>;t.<key>:<value>, other vendors after commas
//! b3            b3                               <32 or 16 hex>-<16 hex>-<0, 1 or d>
//! b3multi       x-b3-traceid, -spanid, -sampled, -flags
//! baggage       baggage                          <key>=<value>, after commas; keys and values with percent signs, properties after semicolons
//! any           ot-baggage-<key>                 text, if that is on
//! ```
//! Names of any case. Source: Datadog's documentation on trace context propagation; W3C Trace Context; openzipkin/b3-propagation.

use crate::decode::json::Json;
use crate::model::tags::Tags;
use crate::model::trace_context::TraceContext;
use std::borrow::Cow;

/// Everything but baggage, whose names vary.
const NAMES: [&str; 13] = [
    "x-datadog-trace-id",
    "x-datadog-parent-id",
    "x-datadog-sampling-priority",
    "x-datadog-origin",
    "x-datadog-tags",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "baggage",
];

/// Of W3C's baggage, which may be anything, only these become tags, as in tracers.
const BAGGAGE_KEYS: [&str; 3] = ["user.id", "session.id", "account.id"];

/// Baggage beyond this is left where it is.
const BAGGAGE_MAX: usize = 64;

/// What may tell a context, by names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Carrier(Tags);

impl Carrier {
    /// From headers that are known by name.
    pub fn of_headers<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Carrier {
        let mut carrier = Carrier::default();
        for name in NAMES {
            if let Some(value) = header(name) {
                carrier.0.push(name, value.trim());
            }
        }
        carrier
    }

    /// From an object of texts; of an array of texts the first one counts.
    pub fn of_object(object: Json<'_>) -> Carrier {
        let mut carrier = Carrier::default();
        for (name, value) in object.members() {
            let value = value.items().next().unwrap_or(value);
            if let Some(text) = value.text() {
                carrier.add(&name, text);
            }
        }
        carrier
    }

    /// One more name, if it is one of those that matter.
    pub fn add(&mut self, name: &str, value: Cow<'_, str>) {
        let name = name.to_ascii_lowercase();
        let room = self.0.pairs().len() < NAMES.len() + BAGGAGE_MAX;
        if room && (name.starts_with("ot-baggage-") || NAMES.contains(&&*name)) {
            self.0.push(&name, value.trim());
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.pairs().iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// A way to write a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Datadog,
    W3c,
    B3,
    B3Multi,
}

/// The ways that are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Styles {
    order: Vec<Style>,
    /// `ot-baggage-*` comes along.
    baggage: bool,
    /// W3C's does.
    w3c_baggage: bool,
    first_only: bool,
}

impl Styles {
    /// By their names in the tracers' settings, in this order; names of others are passed over. `baggage`: take that along too.
    /// `first_only`: the first that is found is not compared with W3C's.
    pub fn new(names: &[String], baggage: bool, first_only: bool) -> Styles {
        let style = |name: &String| match &*name.to_ascii_lowercase() {
            "datadog" => Some(Style::Datadog),
            "tracecontext" => Some(Style::W3c),
            "b3" | "b3 single header" => Some(Style::B3),
            "b3multi" => Some(Style::B3Multi),
            _ => None,
        };
        let w3c_baggage = names.iter().any(|name| name.eq_ignore_ascii_case("baggage"));
        Styles { order: names.iter().filter_map(style).collect(), baggage, w3c_baggage, first_only }
    }

    /// The context that the carrier holds. The first style wins; when W3C's tells the same trace but a later span, that is the parent,
    /// since somebody without Datadog stands between.
    pub fn extract(&self, carrier: &Carrier) -> Option<TraceContext> {
        let mut found: Option<TraceContext> = None;
        for style in &self.order {
            let context = match style {
                Style::Datadog => datadog(carrier),
                Style::W3c => w3c(carrier),
                Style::B3 => b3(carrier),
                Style::B3Multi => b3_multi(carrier),
            };
            match (&mut found, context) {
                (None, context) => found = context,
                (Some(first), Some(later)) if *style == Style::W3c && !self.first_only => first.complete(&later),
                _ => (),
            }
        }
        if let Some(context) = found.as_mut().filter(|_| self.baggage) {
            for (name, value) in carrier.0.pairs() {
                if let Some(key) = name.strip_prefix("ot-baggage-") {
                    context.tags.push(&format!("baggage.{key}"), value);
                }
            }
        }
        if let Some(context) = found.as_mut().filter(|_| self.w3c_baggage) {
            let members = carrier.get("baggage").unwrap_or_default().split(',');
            for (key, value) in members.filter_map(|member| member.split(';').next()?.split_once('=')) {
                let (key, value) = (percent_decoded(key.trim()), percent_decoded(value.trim()));
                if BAGGAGE_KEYS.contains(&&*key) {
                    context.tags.push(&format!("baggage.{key}"), &value);
                }
            }
        }
        found
    }
}

/// What is no sign of that kind stays as it is.
fn percent_decoded(text: &str) -> String {
    let (mut decoded, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| hex(digits, 2));
        decoded.push(byte.map_or(*first, |byte| byte as u8));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

impl TraceContext {
    fn complete(&mut self, later: &TraceContext) {
        let same_half = |one: &Option<String>, other: &Option<String>| one.is_none() || one == other;
        if self.trace_id != later.trace_id || !same_half(&self.trace_id_high, &later.trace_id_high) {
            return;
        }
        self.trace_id_high.clone_from(&later.trace_id_high);
        if self.parent_id != later.parent_id {
            let known = later.tags.pairs().iter().find(|(key, _)| key == LAST_DATADOG_PARENT);
            let hex = known.map_or_else(|| format!("{:016x}", self.parent_id), |(_, value)| value.clone());
            self.tags.push(LAST_DATADOG_PARENT, &hex);
            self.parent_id = later.parent_id;
        }
    }
}

/// Tag that names the last span that Datadog knows, when another vendor's follows.
const LAST_DATADOG_PARENT: &str = "_dd.parent_id";

fn datadog(carrier: &Carrier) -> Option<TraceContext> {
    let number = |name: &str| decimal_or_hex(carrier.get(name)?);
    let trace_id = number("x-datadog-trace-id")?;
    let (mut trace_id_high, mut tags) = (None, Tags::default());
    for (key, value) in carrier.get("x-datadog-tags").unwrap_or("").split(',').filter_map(|pair| pair.trim().split_once('=')) {
        match key {
            "_dd.p.tid" => trace_id_high = hex(value, 16).map(|_| value.to_ascii_lowercase()),
            _ if key.starts_with("_dd.p.") => tags.push(key, value),
            _ => (),
        }
    }
    Some(TraceContext {
        trace_id,
        trace_id_high,
        parent_id: number("x-datadog-parent-id").unwrap_or(0),
        sampling_priority: carrier.get("x-datadog-sampling-priority").and_then(|priority| priority.parse().ok()),
        origin: carrier.get("x-datadog-origin").map(str::to_owned),
        tags,
    })
}

fn w3c(carrier: &Carrier) -> Option<TraceContext> {
    let parts: Vec<&str> = carrier.get("traceparent")?.split('-').collect();
    let [version, trace, parent, flags, ..] = parts.as_slice() else { return None };
    hex(version, 2).filter(|version| *version != 0xff)?;
    let is_sampled = hex(flags, 2)? & 1 == 1;
    let mut context = of_hex(trace, parent)?;
    if context.trace_id == 0 || context.parent_id == 0 || trace.len() != 32 {
        return None;
    }
    let vendors = carrier.get("tracestate").unwrap_or("").split(',');
    let ours = vendors.filter_map(|vendor| vendor.trim().strip_prefix("dd=")).next().unwrap_or("");
    let mut priority = None;
    for (key, value) in ours.split(';').filter_map(|member| member.split_once(':')) {
        match key {
            "s" => priority = value.parse::<i32>().ok(),
            "o" => context.origin = Some(value.replace('~', "=")),
            "p" if hex(value, 16).is_some() => context.tags.push(LAST_DATADOG_PARENT, value),
            _ => {
                if let Some(key) = key.strip_prefix("t.") {
                    context.tags.push(&format!("_dd.p.{key}"), &value.replace('~', "="));
                }
            }
        }
    }
    // Whoever wrote traceparent last has the say; our own word counts where it says the same.
    context.sampling_priority = priority.filter(|priority| (0 < *priority) == is_sampled).or(Some(i32::from(is_sampled)));
    Some(context)
}

fn b3(carrier: &Carrier) -> Option<TraceContext> {
    let mut parts = carrier.get("b3")?.split('-');
    let (trace, span) = (parts.next()?, parts.next()?);
    Some(TraceContext { sampling_priority: parts.next().and_then(b3_priority), ..b3_ids(trace, span)? })
}

fn b3_multi(carrier: &Carrier) -> Option<TraceContext> {
    let ids = b3_ids(carrier.get("x-b3-traceid")?, carrier.get("x-b3-spanid")?)?;
    let debug = carrier.get("x-b3-flags").filter(|flags| *flags == "1").map(|_| "d");
    Some(TraceContext { sampling_priority: debug.or(carrier.get("x-b3-sampled")).and_then(b3_priority), ..ids })
}

fn b3_ids(trace: &str, span: &str) -> Option<TraceContext> {
    of_hex(trace, span).filter(|context| context.trace_id != 0)
}

fn b3_priority(word: &str) -> Option<i32> {
    match word {
        "d" => Some(2),
        "1" | "true" => Some(1),
        "0" | "false" => Some(0),
        _ => None,
    }
}

/// Ids of 16 or 32 hex digits and of 16.
fn of_hex(trace: &str, parent: &str) -> Option<TraceContext> {
    let (high, low) = if trace.len() == 32 { trace.split_at_checked(16)? } else { ("", trace) };
    Some(TraceContext {
        trace_id: hex(low, 16)?,
        trace_id_high: match high {
            "" => None,
            high => hex(high, 16).map(|half| (half != 0).then(|| high.to_ascii_lowercase()))?,
        },
        parent_id: hex(parent, 16)?,
        ..TraceContext::default()
    })
}

fn decimal_or_hex(text: &str) -> Option<u64> {
    let id = text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |digits| u64::from_str_radix(digits, 16).ok());
    id.filter(|id| *id != 0)
}

/// The number that exactly so many hex digits are.
pub fn hex(text: &str, digits: usize) -> Option<u64> {
    let is_hex = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-6553f10000000000000000000000000b-000000000000000c-01";

    fn extracted(styles: &str, pairs: &[(&str, &str)]) -> Option<TraceContext> {
        let names: Vec<String> = styles.split(',').map(str::to_owned).collect();
        let mut carrier = Carrier::default();
        for (name, value) in pairs {
            carrier.add(name, Cow::Borrowed(value));
        }
        Styles::new(&names, true, false).extract(&carrier)
    }

    /// `high low parent priority origin tags`
    #[track_caller]
    fn check(styles: &str, pairs: &[(&str, &str)], expected: &str) {
        let shown = extracted(styles, pairs).map_or_else(String::new, |context| {
            let high = context.trace_id_high.as_deref().unwrap_or("-");
            let priority = context.sampling_priority.map_or_else(|| "-".to_owned(), |priority| priority.to_string());
            let origin = context.origin.as_deref().unwrap_or("-");
            let (trace, parent) = (context.trace_id, context.parent_id);
            format!("{high} {trace} {parent} {priority} {origin} {}", context.tags.joined()).trim_end().to_owned()
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn datadogs_headers_are_read_in_any_case() {
        let tags = ("X-Datadog-Tags", "_dd.p.dm=-0, _dd.p.tid=6553F10000000000,other=1,_dd.p.usr.id=a=b");
        let all = [
            ("X-Datadog-Trace-Id", " 11 "),
            ("x-datadog-PARENT-id", "12"),
            ("x-datadog-sampling-priority", "-1"),
            ("x-datadog-origin", "rum"),
            tags,
            ("ot-baggage-User", "me"),
        ];
        check("datadog", &all, "6553f10000000000 11 12 -1 rum _dd.p.dm:-0,_dd.p.usr.id:a=b,baggage.user:me");
        check("datadog", &[all[0], ("x-datadog-tags", "_dd.p.tid=123")], "- 11 0 - -");
        check("datadog", &[("x-datadog-trace-id", "0xff")], "- 255 0 - -");
        check("tracecontext,b3", &all, "");
    }

    #[test]
    fn w3cs_headers_carry_our_own_state() {
        let parent = ("traceparent", SAMPLED);
        check("tracecontext", &[parent], "6553f10000000000 11 12 1 -");
        let state = ("tracestate", "other=1, dd=s:2;o:r~m;p:00000000000000aa;t.dm:-4;t.x:a~b;y:z");
        check(
            "tracecontext",
            &[parent, state],
            "6553f10000000000 11 12 2 r=m _dd.parent_id:00000000000000aa,_dd.p.dm:-4,_dd.p.x:a=b",
        );
        check("tracecontext", &[parent, ("tracestate", "dd=s:-1")], "6553f10000000000 11 12 1 -");
        let dropped = ("traceparent", "00-0000000000000000000000000000000b-000000000000000c-00");
        check("tracecontext", &[dropped, ("tracestate", "dd=s:-1")], "- 11 12 -1 -");
        check("tracecontext", &[dropped, state], "- 11 12 0 r=m _dd.parent_id:00000000000000aa,_dd.p.dm:-4,_dd.p.x:a=b");
    }

    #[test]
    fn the_first_style_wins_and_w3c_may_tell_a_later_parent() {
        let pairs = |id| [("x-datadog-trace-id", id), ("x-datadog-parent-id", "10"), ("traceparent", SAMPLED)];
        check("datadog,tracecontext", &pairs("11"), "6553f10000000000 11 12 - - _dd.parent_id:000000000000000a");
        check("datadog,tracecontext", &pairs("13"), "- 13 10 - -");
        check("tracecontext,datadog", &pairs("13"), "6553f10000000000 11 12 1 -");
        check("none", &pairs("11"), "");
    }

    #[test]
    fn the_first_style_alone_counts_where_that_is_wanted() {
        let mut carrier = Carrier::default();
        for (name, value) in [("x-datadog-trace-id", "11"), ("x-datadog-parent-id", "10"), ("traceparent", SAMPLED)] {
            carrier.add(name, Cow::Borrowed(value));
        }
        let parent = |first_only| {
            let names = ["datadog", "tracecontext"].map(str::to_owned);
            Styles::new(&names, false, first_only).extract(&carrier).unwrap().parent_id
        };
        assert_eq!((parent(true), parent(false)), (10, 12));
    }

    #[test]
    fn of_baggage_the_keys_that_tracers_show_become_tags() {
        let pairs = [
            ("x-datadog-trace-id", "11"),
            ("Baggage", "user.id=a%40b%C3%A4;p=1, other=x ,session.id = 7%,account%2Eid=,broken"),
        ];
        check("datadog,baggage", &pairs, "- 11 0 - - baggage.user.id:a@b\u{e4},baggage.session.id:7%,baggage.account.id:");
        check("datadog", &pairs, "- 11 0 - -");
        check("baggage", &pairs, "");
    }

    #[test]
    fn b3_comes_in_one_header_or_in_several() {
        check("b3", &[("b3", "000000000000000b-000000000000000c-d")], "- 11 12 2 -");
        check("b3", &[("b3", "6553f10000000000000000000000000b-000000000000000c")], "6553f10000000000 11 12 - -");
        let several = [("X-B3-TraceId", "000000000000000b"), ("X-B3-SpanId", "000000000000000c"), ("X-B3-Sampled", "0")];
        check("b3multi", &several, "- 11 12 0 -");
        check("b3", &[("b3", "0")], "");
    }

    #[test]
    fn broken_contexts_are_none() {
        for value in ["", "0", "-1", "x", "0x", "99999999999999999999999"] {
            check("datadog", &[("x-datadog-trace-id", value)], "");
        }
        let broken = [
            "",
            "00-1-2-01",
            "ff-0000000000000000000000000000000b-000000000000000c-01",
            "00-0000000000000000000000000000000b-000000000000000c-zz",
            "00-00000000000000000000000000000000-000000000000000c-01",
            "00-0000000000000000000000000000000b-0000000000000000-01",
            "00-000000000000000b-000000000000000c-01",
            "00-ääääääääääääääää-000000000000000c-01",
        ];
        for value in broken {
            check("tracecontext", &[("traceparent", value)], "");
        }
    }

    #[test]
    fn baggage_has_an_end() {
        let pairs: Vec<String> = (0..1000).map(|number| format!("\"ot-baggage-{number}\":1")).collect();
        let carrier = Carrier::of_object(Json::new(format!("{{{}}}", pairs.join(",")).as_bytes()));
        assert_eq!(carrier.0.pairs().len(), NAMES.len() + BAGGAGE_MAX);
    }
}
