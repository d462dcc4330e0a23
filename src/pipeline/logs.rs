//! Log lines from telemetry events to bodies: attribute, put together, apply the user's rules, cut, encode, batch.

use crate::batch::Batch;
use crate::batch::Limits;
use crate::encode::compress::Compressor;
use crate::encode::logs as encode_logs;
use crate::encode::logs::Common;
use crate::model::invocation::Telemetry;
use crate::model::invocation::What;
use crate::model::log_line::LogLine;
use crate::pipeline::Stage;
use crate::process::log_rules;
use crate::process::log_rules::Joiner;
use crate::process::log_rules::Rule;
use crate::process::logs as rules;
use crate::process::logs::Attribution;
use crate::process::pattern::Pattern;
use crate::spool::Body;
use crate::spool::Kind;
use crate::spool::Queue;
use crate::sys::clock::Now;
use crate::sys::inbox::Parcel;
use crate::sys::ledger::Claim;
use crate::sys::ledger::Ledger;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Runtime durations that are remembered until the report of the same invocation comes.
const DURATIONS_MAX: usize = 64;

/// A message that further lines may belong to waits so long for them.
const JOIN_WAIT: Duration = Duration::from_secs(1);

/// What the pipeline takes.
#[derive(Debug)]
pub enum LogsItem {
    /// Telemetry events; the claim is for the lines among them.
    Telemetry(Vec<Telemetry>),
    /// The function is known: its ARN, without version and in lower case, empty if only the rest is; and inside Lambda all tags, `k:v,k:v`.
    Function(String, Option<String>),
    /// `/next` told of an invocation with this request id.
    Invoked(String),
    /// Rules in place of those in force.
    Rules(Rules),
}

/// What the user wants done to lines.
#[derive(Debug, Default)]
pub struct Rules {
    /// Which lines go on, and what is hidden in them.
    pub lines: Vec<Rule>,
    /// Lines up to the next one that matches are one message.
    pub begins: Option<Pattern>,
}

/// The pipeline's settings.
#[derive(Debug)]
pub struct Settings {
    /// Ship logs at all; otherwise lines are counted as filtered.
    pub enabled: bool,
    /// Also the lines that platform events make.
    pub with_platform: bool,
    /// What is done to them.
    pub rules: Rules,
    /// What all entries have in common.
    pub common: Common,
    /// Longest wait of a part-filled body; also of lines that wait for an invocation outside Lambda.
    pub batch_wait: Duration,
    /// Bytes of a body before compression, at most what the intake takes.
    pub body_bytes_max: usize,
    /// 0 for none.
    pub compression_level: u32,
    /// The host of entries is the function, as in Lambda.
    pub host_is_function: bool,
    /// Lines before the first invocation wait for it as long as it takes. Outside Lambda there may never be one.
    pub hold_orphans: bool,
    /// Several invocations run at once, so that nobody can tell whose a line without an id is.
    pub concurrent: bool,
}

/// The stage.
#[derive(Debug)]
pub struct LogsStage {
    settings: Settings,
    attribution: Attribution<Claim>,
    durations: VecDeque<(String, f64)>,
    batch: Batch,
    body: Option<(Compressor, Claim)>,
    entry: Vec<u8>,
    orphans_since: Option<Duration>,
    joiner: Option<Joiner<Claim>>,
    joining_since: Option<Duration>,
    queue: Arc<Queue>,
    ledger: Arc<Ledger>,
}

impl LogsStage {
    /// A stage that puts bodies into `queue`.
    pub fn new(settings: Settings, queue: Arc<Queue>, ledger: Arc<Ledger>) -> LogsStage {
        let limits = Limits {
            bytes_max: settings.body_bytes_max.min(encode_logs::BODY_BYTES_MAX) - "[]".len(),
            entries_max: encode_logs::ENTRIES_MAX,
            age_max: settings.batch_wait,
        };
        LogsStage {
            attribution: Attribution::new(settings.concurrent),
            joiner: settings.rules.begins.clone().map(Joiner::new),
            joining_since: None,
            settings,
            durations: VecDeque::new(),
            batch: Batch::new(limits),
            body: None,
            entry: Vec::new(),
            orphans_since: None,
            queue,
            ledger,
        }
    }

    fn event(&mut self, event: Telemetry, claim: &mut Claim, now: Now) {
        let runtime_duration = self.runtime_duration(&event.what);
        if let What::Start { request_id, .. } = &event.what {
            let waited = self.attribution.started(request_id);
            self.put_all(waited, now);
        }
        let wanted = self.settings.with_platform.then(|| rules::platform_line(&event.what, event.time_ms, runtime_duration));
        if let Some(line) = wanted.flatten() {
            self.put_joined(now);
            let claim = self.ledger.accept(Signal::Logs, 1);
            self.put(line, claim, now);
        }
        if let What::Line(line) = event.what {
            let ready = self.attribution.line(line, claim.split(1));
            self.put_all(ready, now);
            self.joining_since = self.joining_since.or(Some(now.uptime)).filter(|_| self.is_joining());
        }
    }

    /// Remembers the duration that `runtimeDone` tells, for the report of the same invocation.
    fn runtime_duration(&mut self, what: &What) -> Option<f64> {
        match what {
            What::RuntimeDone(outcome) => {
                if let Some(duration) = outcome.duration_ms {
                    self.durations.push_back((outcome.request_id.clone(), duration));
                }
                if DURATIONS_MAX < self.durations.len() {
                    self.durations.pop_front();
                }
                None
            }
            What::Report { outcome, .. } => {
                let at = self.durations.iter().position(|(id, _)| *id == outcome.request_id)?;
                self.durations.remove(at).map(|(_, duration)| duration)
            }
            _ => None,
        }
    }

    fn put_all(&mut self, lines: Vec<(LogLine, Claim)>, now: Now) {
        for (line, claim) in lines {
            let whole = match &mut self.joiner {
                None => Some((line, claim)),
                Some(joiner) => joiner.line(line, claim, Claim::merge),
            };
            if let Some((line, claim)) = whole {
                self.put(line, claim, now);
            }
        }
    }

    fn is_joining(&self) -> bool {
        self.joiner.as_ref().is_some_and(Joiner::is_open)
    }

    /// Puts the message that waits for further lines.
    fn put_joined(&mut self, now: Now) {
        self.joining_since = None;
        if let Some((line, claim)) = self.joiner.as_mut().and_then(Joiner::take) {
            self.put(line, claim, now);
        }
    }

    fn put(&mut self, mut line: LogLine, claim: Claim, now: Now) {
        if !self.settings.enabled || rules::is_blank(&line) || !log_rules::apply(&self.settings.rules.lines, &mut line.message)
        {
            return claim.drop_all(Reason::Filtered);
        }
        rules::cut(&mut line.message);
        self.entry.clear();
        encode_logs::entry(&line, &self.settings.common, &mut self.entry);
        let bytes = self.entry.len() + ",".len();
        if self.settings.body_bytes_max < bytes {
            return claim.drop_all(Reason::TooLarge);
        }
        if !self.batch.takes(bytes) {
            self.close_body();
        }
        self.batch.add(bytes, now.uptime);
        match &mut self.body {
            Some((body, held)) => {
                body.write(b",");
                body.write(&self.entry);
                held.merge(claim);
            }
            None => {
                let mut body = Compressor::new(self.settings.compression_level);
                body.write(b"[");
                body.write(&self.entry);
                self.body = Some((body, claim));
            }
        }
    }

    fn close_body(&mut self) {
        self.batch.clear();
        let Some((mut body, claim)) = self.body.take() else { return };
        body.write(b"]");
        let mut headers = vec![("Content-Type", "application/json".to_owned()), ("DD-PROTOCOL", "agent-json".to_owned())];
        headers.extend(body.encoding().map(|encoding| ("Content-Encoding", encoding.to_owned())));
        self.queue.push(Body::new(Kind::Logs, body.finish(), headers, claim));
    }
}

impl Stage for LogsStage {
    type Item = LogsItem;

    fn take(&mut self, mut parcel: Parcel<LogsItem>, now: Now) {
        match parcel.item {
            LogsItem::Telemetry(events) => {
                for event in events {
                    self.event(event, &mut parcel.claim, now);
                }
            }
            LogsItem::Function(arn, tags) => {
                if let Some(tags) = tags {
                    self.settings.common.tags = tags;
                }
                if self.settings.host_is_function {
                    self.settings.common.hostname.clone_from(&arn);
                }
                self.settings.common.arn = arn;
            }
            LogsItem::Invoked(request_id) => {
                let waited = self.attribution.invoked(&request_id);
                self.put_all(waited, now);
            }
            LogsItem::Rules(rules) => {
                // What came before them follows the others.
                let waited = self.attribution.release();
                self.put_all(waited, now);
                self.put_joined(now);
                self.joiner = rules.begins.clone().map(Joiner::new);
                self.settings.rules = rules;
            }
        }
        let waits = 0 < self.attribution.waiting() && !self.settings.hold_orphans;
        self.orphans_since = waits.then(|| self.orphans_since.unwrap_or(now.uptime));
    }

    fn due(&self) -> Option<Duration> {
        let orphans = self.orphans_since.map(|since| since + self.settings.batch_wait);
        let joining = self.joining_since.map(|since| since + JOIN_WAIT);
        self.batch.due().into_iter().chain(orphans).chain(joining).min()
    }

    fn on_due(&mut self, now: Now) {
        if self.joining_since.is_some_and(|since| since + JOIN_WAIT <= now.uptime) {
            self.put_joined(now);
        }
        if self
            .batch
            .due()
            .into_iter()
            .chain(self.orphans_since.map(|since| since + self.settings.batch_wait))
            .any(|due| due <= now.uptime)
        {
            self.flush(now);
        }
    }

    fn flush(&mut self, now: Now) {
        if !self.settings.hold_orphans {
            let waited = self.attribution.release();
            self.put_all(waited, now);
            self.orphans_since = None;
        }
        self.put_joined(now);
        self.close_body();
    }

    /// Lines that still wait go with the last id, or without one.
    fn finish(&mut self, now: Now) {
        let waited = self.attribution.release();
        self.put_all(waited, now);
        self.put_joined(now);
        self.close_body();
    }
}
