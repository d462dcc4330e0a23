//! The invocation state machine as a table: what comes in, in which order, and what is told of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use mote::decode::events::{self, AnyEvent};
use mote::model::invocation::{EndCall, HandlerError, Remembered, StartCall};
use mote::model::tags::Tags;
use mote::model::trace_context::TraceContext;
use mote::process::invocation::{Effect, Invocations, RootSpans, Sandbox, Settings, metrics};
use serde_json::json;

const ARN: &str = "arn:aws:lambda:eu-west-1:1:function:shop";

/// The second of 2026 at which sandboxes start.
const START_MS: i64 = 1_767_225_600_000;

/// What a machine is fed with: words with blanks between them, each at one second after the other.
///
/// ```text
/// invoke:r start:r done:r[:status] report:r[:status] end:r[:error|:502] begin:r   of the invocation r; `_` for no id
/// oom:r line:r                                                                    lines of the function
/// init restore restored shutdown[:reason]                                         of the sandbox
/// wait                                                                            20 seconds pass
/// ```
struct Stage {
    machine: Invocations,
    seconds: i64,
    next_id: u64,
    told: Vec<String>,
}

impl Stage {
    fn new(init_type: &str, restored: Option<Remembered>) -> Stage {
        let managed = init_type == "lambda-managed-instances";
        let sandbox = Sandbox {
            arn: Some(ARN.to_owned()),
            started_at: START_MS * 1_000_000,
            snap_start: init_type == "snap-start",
            managed,
        };
        let settings = Settings {
            root_spans: RootSpans::Announced,
            service: None,
            function_name: None,
            tags: Tags::default(),
            sandbox: Some(sandbox),
            metrics: Some(metrics::Settings { arm64: false, managed }),
        };
        Stage { machine: Invocations::new(settings, restored), seconds: 0, next_id: 100, told: Vec::new() }
    }

    fn feed(&mut self, words: &str) -> &mut Stage {
        words.split_whitespace().for_each(|word| self.word(word));
        self
    }

    fn word(&mut self, word: &str) {
        self.seconds += 1;
        let mut parts = word.split(':');
        let (what, id, how) = (parts.next().unwrap(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let at = (START_MS + self.seconds * 1000) * 1_000_000;
        let request_id = (id != "_").then(|| id.to_owned());
        let status = if how.is_empty() { "success" } else { how };
        let outcome = |metrics| json!({"requestId": id, "status": status, "metrics": metrics});
        let kind_and_record = match what {
            "invoke" => {
                let event = json!({"eventType": "INVOKE", "requestId": id, "invokedFunctionArn": ARN});
                let Ok(AnyEvent::Invoke(invoke)) = events::any(&event.to_string()) else { panic!("an invoke") };
                self.machine.invoke(&invoke, at);
                None
            }
            "begin" => {
                let context = Some(TraceContext { trace_id: 11, ..TraceContext::default() });
                self.machine.started(StartCall { request_id, context, at });
                None
            }
            "end" => {
                let error = (how == "error").then(HandlerError::default);
                let status_code = how.parse().ok();
                self.machine.ended(EndCall { request_id, span_id: Some(13), error, status_code, at, ..EndCall::default() });
                None
            }
            "shutdown" => {
                self.machine.shutting_down(at);
                let next_id = &mut self.next_id;
                let effects = self.machine.finish(if id.is_empty() { "spindown" } else { id }, &mut || {
                    *next_id += 1;
                    *next_id
                });
                self.tell(effects);
                None
            }
            "wait" => {
                self.seconds += 19;
                None
            }
            "start" => Some(("platform.start", json!({"requestId": id}))),
            "done" => Some(("platform.runtimeDone", outcome(json!({"durationMs": 500.0})))),
            "crash" => Some(("platform.runtimeDone", json!({"requestId": id, "status": status, "metrics": null}))),
            "report" => Some((
                "platform.report",
                outcome(json!({"durationMs": 600, "billedDurationMs": 600, "memorySizeMB": 128, "maxMemoryUsedMB": 128})),
            )),
            "managed" => Some(("platform.report", outcome(json!({"durationMs": 600})))),
            "oom" => Some(("function", json!({"requestId": request_id, "message": "MemoryError"}))),
            "line" => Some(("function", json!({"requestId": request_id, "message": "fine"}))),
            "init" => Some(("platform.initReport", json!({"metrics": {"durationMs": 300}}))),
            "restore" => Some(("platform.restoreStart", json!({}))),
            "restored" => Some(("platform.restoreReport", json!({"metrics": {"durationMs": 400}}))),
            _ => panic!("what is {word}?"),
        };
        if let Some((kind, record)) = kind_and_record {
            let (minute, second) = (self.seconds / 60, self.seconds % 60);
            let time = format!("2026-01-01T00:{minute:02}:{second:02}.000Z");
            let event = json!({"time": time, "type": kind, "record": record});
            let Ok(AnyEvent::Telemetry(event)) = events::any(&event.to_string()) else { panic!("telemetry: {event}") };
            let next_id = &mut self.next_id;
            let effects = self.machine.telemetry(&event, &mut || {
                *next_id += 1;
                *next_id
            });
            self.tell(effects);
        }
        for point in self.machine.take_points() {
            // Those that every invocation has say nothing about order.
            let plain = ["duration", "billed_duration", "max_memory_used", "memorysize", "estimated_cost", "runtime_duration"];
            if !plain.contains(&point.name) || self.told.last().is_none_or(|last| last != "figures") {
                let is_plain = plain.contains(&point.name);
                self.told.push(if is_plain { "figures".to_owned() } else { format!("{}{}", point.name, mark(&point.tags)) });
            }
        }
    }

    fn tell(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.told.push(match effect {
                Effect::Ended { request_id } => format!("ended:{request_id}"),
                Effect::Span(payload) => {
                    let span = payload.spans[0];
                    let tag = payload.tag(span.meta, "request_id").map(|text| payload.texts.str(text).to_owned());
                    format!("span:{}{}", tag.unwrap_or_default(), if span.error == 0 { "" } else { "!" })
                }
            });
        }
    }
}

/// `+` for a cold start, `*` for a proactive one.
fn mark(tags: &str) -> &'static str {
    match (tags.contains("cold_start:true"), tags.contains("proactive_initialization:true")) {
        (true, false) => "+",
        (false, true) => "*",
        (false, false) => "",
        (true, true) => "?!",
    }
}

#[track_caller]
fn check(init_type: &str, words: &str, expected: &str) {
    let mut stage = Stage::new(init_type, None);
    stage.feed(words);
    assert_eq!(stage.told.join(" "), expected, "{words}");
}

const ON_DEMAND: &str = "on-demand";

#[test]
fn events_of_an_invocation_come_in_any_order_twice_or_never() {
    let whole = "invocations+ figures span:r ended:r post_runtime_duration+ figures";
    for (words, expected) in [
        (
            "invoke:r begin:r start:r end:r done:r report:r",
            "invocations+ span:r ended:r figures post_runtime_duration+ figures",
        ),
        (
            "begin:_ invoke:r start:r end:_ done:r report:r",
            "invocations+ span:r ended:r figures post_runtime_duration+ figures",
        ),
        (
            "begin:_ end:_ start:r done:r invoke:r report:r",
            "span:r ended:r figures invocations+ figures post_runtime_duration+ figures",
        ),
        (
            "invoke:r invoke:r start:r start:r done:r done:r report:r report:r done:r",
            "invocations+ ended:r figures post_runtime_duration+ figures",
        ),
        ("invoke:r done:r report:r", "invocations+ ended:r figures post_runtime_duration+ figures"),
        ("invoke:r report:r", "invocations+ ended:r figures"),
        ("invoke:r crash:r:failure report:r:failure", "invocations+ ended:r errors+ figures out_of_memory+"),
        ("invoke:r crash:r:melted", "invocations+ ended:r"),
        ("invoke:r shutdown", "invocations+ shutdowns"),
        ("invoke:r begin:r end:r shutdown:failure", "invocations+ span:r! errors+ shutdowns"),
    ] {
        let _ = whole;
        check(ON_DEMAND, words, expected);
    }
}
