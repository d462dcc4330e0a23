//! Spans from decoded requests to bodies: prepare, encode, batch by whole chunks.

use crate::encode::traces::Agent;
use crate::encode::traces::BODY_BYTES_MAX;
use crate::encode::traces::PayloadWriter;
use crate::encode::traces::TraceBody;
use crate::model::trace::TracePayload;
use crate::pipeline::Stage;
use crate::process::traces as rules;
use crate::spool::Body;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::sys::clock::Now;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Reason;
use std::sync::Arc;
use std::time::Duration;

/// How long spans wait for others to share a body with.
const BATCH_WAIT: Duration = Duration::from_secs(5);

/// A chunk beyond this is dropped; the intake would refuse it long before.
const CHUNK_BYTES_MAX: u64 = 25 * 1024 * 1024;

/// The pipeline's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is done to spans.
    pub rules: rules::Settings,
    /// What every body says of the agent.
    pub agent: Agent,
    /// Bytes of a body before compression, at most what the intake takes.
    pub body_bytes_max: usize,
    /// 0 to 9.
    pub compression_level: u32,
}

/// The stage.
#[derive(Debug)]
pub struct TracesStage {
    settings: Settings,
    memory: rules::Memory,
    body: Option<Filling>,
    queue: Arc<Queue>,
}

/// The body that is being filled, and the spans it will settle.
#[derive(Debug)]
struct Filling {
    body: TraceBody,
    claim: Claim,
    due: Duration,
}

impl TracesStage {
    /// A stage that puts bodies into `queue`.
    pub fn new(settings: Settings, queue: Arc<Queue>) -> TracesStage {
        TracesStage { settings, memory: rules::Memory::default(), body: None, queue }
    }

    fn close_body(&mut self) {
        let Some(Filling { body, claim, .. }) = self.body.take() else { return };
        let encoded = body.finish();
        let headers = vec![
            ("Content-Type", "application/x-protobuf".to_owned()),
            ("Content-Encoding", "gzip".to_owned()),
            ("X-Datadog-Reported-Languages", encoded.languages.join("|")),
        ];
        self.queue.push(Body::new(Kind::Traces, encoded.bytes, headers, claim));
    }
}

impl Stage for TracesStage {
    type Item = TracePayload;

    fn take(&mut self, parcel: Parcel<TracePayload>, now: Now) {
        let Parcel { item: mut payload, mut claim, permit } = parcel;
        let filtered = rules::prepare(&mut payload, &self.settings.rules, &mut self.memory, now.unix_nanos());
        claim.drop_some(filtered, Reason::Filtered);
        let mut writer = PayloadWriter::new(&payload, CHUNK_BYTES_MAX);
        loop {
            let filling = self.body.get_or_insert_with(|| Filling {
                body: TraceBody::new(
                    &self.settings.agent,
                    BODY_BYTES_MAX.min(self.settings.body_bytes_max as u64),
                    self.settings.compression_level,
                ),
                claim: claim.split(0),
                due: now.uptime + BATCH_WAIT,
            });
            let added = filling.body.add(&mut writer);
            filling.claim.merge(claim.split(added.spans));
            if !added.is_full {
                break;
            }
            self.close_body();
        }
        claim.drop_some(writer.too_large_spans(), Reason::TooLarge);
        debug_assert_eq!(claim.records(), 0, "every span of a payload is written or passed over");
        if self.body.as_ref().is_some_and(|filling| filling.claim.records() == 0) {
            self.body = None; // nothing but chunks that were filtered or are too large
        }
        drop(permit);
    }

    fn due(&self) -> Option<Duration> {
        self.body.as_ref().map(|filling| filling.due)
    }

    fn flush(&mut self, _now: Now) {
        self.close_body();
    }

    fn finish(&mut self, _now: Now) {
        self.close_body();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::Chunk;
    use crate::model::trace::Slice;
    use crate::model::trace::Span;
    use crate::process::traces::filters::Filters;
    use crate::process::traces::filters::TagFilter;
    use crate::spool::Room;
    use crate::spool::WhenFull;
    use crate::sys::clock::Clock;
    use crate::sys::ledger::Ledger;
    use crate::sys::ledger::Signal;
    use crate::sys::memory::Budget;

    #[test]
    fn filtered_spans_are_booked_as_such() {
        let clock = Clock::new();
        let require = vec![TagFilter::parse("wanted")];
        let rules = rules::Settings { filters: Filters { require, ..Filters::default() }, ..rules::Settings::default() };
        let settings = Settings { rules, agent: Agent::default(), body_bytes_max: 1 << 20, compression_level: 1 };
        let mut stage = TracesStage::new(settings, Queue::new(Room::new(1 << 20), WhenFull::DropOldest, clock));
        let (ledger, budget) = (Ledger::new(), Budget::new(1 << 20));
        let span = Span { trace_id: 1, span_id: 2, ..Span::default() };
        let chunks = vec![Chunk { spans: Slice::since(0, 3), ..Chunk::default() }];
        let item = TracePayload { spans: vec![span; 3], chunks, ..TracePayload::default() };
        let permit = budget.reserve(1000, clock.instant_in(Duration::ZERO)).unwrap();
        let claim = ledger.accept(Signal::Traces, 3);
        stage.take(Parcel { item, claim, permit }, clock.now());
        assert!(stage.due().is_none(), "there is no body without spans");
        let line = ledger.snapshot().to_string();
        assert!(line.contains("accepted=3 restored=0 sent=0 memory=0 spool=0 dropped=3 filtered=3;"), "{line}");
    }
}
