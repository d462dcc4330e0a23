//! How the sandbox began: the init phase, or the return from a snapshot in its place.

use crate::model::invocation::Telemetry;
use crate::model::invocation::What;
use crate::model::traces_item::InitSpan;
use crate::process::invocation::RootSpans;
use crate::process::invocation::Settings;
use crate::process::invocation::root_span::service;

/// What is known of the beginning.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// Nanoseconds since 1970.
    start: Option<i64>,
    is_told: bool,
}

impl Beginning {
    /// The span of the beginning, once `event` tells how long that took: once for the init phase, and again for each snapshot.
    pub fn telemetry(&mut self, event: &Telemetry, settings: &Settings, random: &mut impl FnMut() -> u64) -> Option<InitSpan> {
        let at = event.time_ms.saturating_mul(1_000_000);
        let (name, duration_ms) = match &event.what {
            What::InitStart { .. } | What::RestoreStart => {
                self.start = Some(at);
                return None;
            }
            What::InitReport { duration_ms } if !self.is_told => ("aws.lambda.cold_start", (*duration_ms)?),
            What::RestoreReport { duration_ms } => ("aws.lambda.snapstart_restore", (*duration_ms)?),
            _ => return None,
        };
        if settings.root_spans != RootSpans::Announced || settings.is_managed() {
            return None;
        }
        self.is_told = true;
        let duration = (duration_ms * 1e6).round() as i64;
        let start = self.start.take().unwrap_or_else(|| at.saturating_sub(duration));
        let function = settings.function_name.as_deref().unwrap_or("invocation");
        let service = service(settings, function, true);
        Some(InitSpan { name, service, resource: function.to_owned(), span_id: random(), start, duration })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spans that these events yield, each at its millisecond, as `name service start+duration` in milliseconds.
    fn told(root_spans: RootSpans, events: Vec<(i64, What)>) -> Vec<String> {
        let function_name = Some("Shop".to_owned());
        let settings = Settings { root_spans, aws_services: true, function_name, ..Settings::default() };
        let mut beginning = Beginning::default();
        let spans = events.into_iter().filter_map(|(time_ms, what)| {
            let span = beginning.telemetry(&Telemetry { time_ms, what }, &settings, &mut || 7)?;
            Some(format!("{} {} {}+{}", span.name, span.service, span.start / 1_000_000, span.duration / 1_000_000))
        });
        spans.collect()
    }

    fn init_start() -> What {
        What::InitStart { runtime_version: None, runtime_version_arn: None }
    }

    fn init_report() -> What {
        What::InitReport { duration_ms: Some(250.0) }
    }

    #[test]
    fn the_init_phase_is_told_once() {
        let events = vec![(1000, init_start()), (1260, init_report()), (1300, init_report())];
        assert_eq!(told(RootSpans::Announced, events), ["aws.lambda.cold_start shop 1000+250"]);
        assert_eq!(told(RootSpans::Announced, vec![(1260, init_report())]), ["aws.lambda.cold_start shop 1010+250"]);
        let nothing = What::InitReport { duration_ms: None };
        assert!(told(RootSpans::Announced, vec![(1000, init_start()), (1, nothing)]).is_empty());
        assert!(told(RootSpans::Always, vec![(1000, init_start()), (1260, init_report())]).is_empty());
    }

    #[test]
    fn a_snapshot_begins_anew() {
        let events = vec![
            (1000, init_start()),
            (1260, init_report()),
            (9000, What::RestoreStart),
            (9400, What::RestoreReport { duration_ms: Some(398.0) }),
        ];
        let expected = ["aws.lambda.cold_start shop 1000+250", "aws.lambda.snapstart_restore shop 9000+398"];
        assert_eq!(told(RootSpans::Announced, events), expected);
    }
}
