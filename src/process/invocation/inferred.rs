//! Spans of the services that handed an event on to a function.

use crate::model::trace::Span;
use crate::model::trigger::Inferred;
use crate::process::invocation::Settings;
use crate::process::invocation::draft::Draft;

/// The spans of `callers`, the last one first, which become the parents of `root` and of each other. A sender that does not wait for
/// the function is done when that begins, any other when it ends.
pub(super) fn drafts(
    callers: &[Inferred],
    root: &mut Draft,
    settings: &Settings,
    random: &mut impl FnMut() -> u64,
) -> Vec<Draft> {
    let mut drafts: Vec<Draft> = Vec::new();
    let (of_root, mut end) = (root.span, root.span.start);
    if callers.first().is_some_and(|caller| !caller.is_async) {
        end = end.saturating_add(of_root.duration);
    }
    let mut child_service = root.service.clone();
    for caller in callers {
        let start = caller.start.unwrap_or(end).min(end);
        let service = service(caller, settings, &root.service);
        let mut tags = caller.tags.clone();
        for (key, value) in [
            ("_inferred_span.tag_source", "self"),
            ("_inferred_span.synchronicity", if caller.is_async { "async" } else { "sync" }),
            ("span.kind", "server"),
            ("peer.service", &child_service),
            ("_dd.base_service", &root.service),
        ] {
            tags.push(key, value);
        }
        if let Some((key, code)) = root.tags.pairs().iter().find(|(key, _)| key == "http.status_code") {
            tags.push(key, code);
        }
        let span = Span { span_id: random(), start, duration: end.saturating_sub(start), ..of_root };
        let child = drafts.last_mut().unwrap_or(root);
        child.span.parent_id = span.span_id;
        child_service.clone_from(&service);
        drafts.push(Draft { name: caller.name, service, resource: caller.resource.clone(), kind: caller.kind, span, tags });
        end = start;
    }
    drafts
}

/// By the mapping for this very instance, else for its kind, else as the settings call such services.
fn service(caller: &Inferred, settings: &Settings, of_root: &String) -> String {
    // A mapping of a name to itself is a way to say nothing, and one with two colons says nothing clear.
    let mapping = |wanted: &String| {
        let mut pairs = settings.service_mapping.pairs().iter();
        pairs.find(|(key, value)| key == wanted && key != value && !value.contains(':')).map(|(_, value)| value)
    };
    let [of_instance, of_kind] = &caller.services;
    let by_default = match settings.aws_services && !of_instance.is_empty() {
        _ if settings.one_service => of_root,
        true => of_instance,
        false => of_kind,
    };
    let service = caller.keys.iter().find_map(mapping).unwrap_or(by_default);
    if service.is_empty() { caller.name.to_owned() } else { service.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tags::Tags;

    fn caller(name: &'static str, start: i64, is_async: bool) -> Inferred {
        Inferred {
            name,
            keys: ["orders".into(), "lambda_sqs".into()],
            services: ["orders".into(), "sqs".into()],
            start: Some(start),
            is_async,
            ..Inferred::default()
        }
    }

    /// The spans that `callers` yield, as `name service start+duration parent<span`; the function's runs from 100 to 110 as span 5 of
    /// parent 4.
    fn told(callers: &[Inferred], aws_services: bool, mapping: &[(&str, &str)]) -> Vec<String> {
        told_by(callers, Settings { aws_services, service_mapping: Tags::of(mapping), ..Settings::default() })
    }

    fn told_by(callers: &[Inferred], settings: Settings) -> Vec<String> {
        let span = Span { trace_id: 3, span_id: 5, parent_id: 4, start: 100, duration: 10, ..Span::default() };
        let mut root = Draft { name: "aws.lambda", service: "shop".into(), span, ..Draft::default() };
        let mut next = 10;
        let drafts = drafts(callers, &mut root, &settings, &mut || {
            next += 1;
            next
        });
        let tell = |draft: &Draft| {
            let Span { start, duration, parent_id, span_id, trace_id: 3, .. } = draft.span else { panic!("another trace") };
            format!("{} {} {start}+{duration} {parent_id}<{span_id}", draft.name, draft.service)
        };
        std::iter::once(&root).chain(&drafts).map(tell).collect()
    }

    #[test]
    fn callers_are_parents_and_last_as_long_as_they_wait() {
        let plain = |callers: &[Inferred]| told(callers, true, &[]);
        assert_eq!(plain(&[]), ["aws.lambda shop 100+10 4<5"]);
        assert_eq!(plain(&[caller("url", 90, false)]), ["aws.lambda shop 100+10 11<5", "url orders 90+20 4<11"]);
        let both = [caller("sqs", 90, true), caller("sns", 70, true)];
        assert_eq!(plain(&both), ["aws.lambda shop 100+10 11<5", "sqs orders 90+10 12<11", "sns orders 70+20 4<12"]);
        assert_eq!(plain(&[caller("sqs", 900, true)])[1], "sqs orders 100+0 4<11", "clocks differ");
        let unknown = Inferred { start: None, ..caller("sqs", 0, true) };
        assert_eq!(plain(&[unknown])[1], "sqs orders 100+0 4<11");
    }

    #[test]
    fn services_are_mapped_by_instance_then_by_kind() {
        let service = |aws, mapping: &[(&str, &str)]| {
            told(&[caller("sqs", 90, true)], aws, mapping)[1].split(' ').nth(1).map(str::to_owned).unwrap()
        };
        assert_eq!((service(true, &[]), service(false, &[])), ("orders".into(), "sqs".into()));
        assert_eq!(service(false, &[("lambda_sqs", "queues"), ("orders", "mine")]), "mine");
        assert_eq!(service(true, &[("lambda_sqs", "queues")]), "queues");
        assert_eq!(service(true, &[("lambda_sqs", "a:b"), ("orders", "orders")]), "orders");
        let as_one = |mapping: &[(&str, &str)]| {
            let settings =
                Settings { aws_services: true, one_service: true, service_mapping: Tags::of(mapping), ..Settings::default() };
            told_by(&[caller("sqs", 90, true)], settings)[1].split(' ').nth(1).map(str::to_owned).unwrap()
        };
        assert_eq!((as_one(&[]), as_one(&[("lambda_sqs", "queues")])), ("shop".into(), "queues".into()));
    }
}
