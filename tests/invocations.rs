//! The invocation state machine as a table: what comes in, in which order, and what is told of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use mote::decode::events::{self, AnyEvent};
use mote::model::invocation::{EndCall, HandlerError, Remembered, StartCall};
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
/// oom:r line:r fault:r                                                            lines of the function, and of the platform
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
            sandbox: Some(sandbox),
            metrics: Some(metrics::Settings { arm64: false, managed }),
            ..Settings::default()
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
                let mut call = StartCall { request_id, at, ..StartCall::default() };
                call.context = Some(TraceContext { trace_id: 11, ..TraceContext::default() });
                self.machine.started(call);
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
            "fault" => {
                let text = format!("RequestId: {id} Error: Runtime exited with error: signal: killed\nRuntime.ExitError\n");
                Some(("platform.fault", json!(text)))
            }
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
            // One of those that go together says enough.
            let word = match point.name {
                "duration" => "report",
                "runtime_duration" => "runtime",
                "billed_duration" | "post_runtime_duration" | "max_memory_used" | "memorysize" | "estimated_cost" => continue,
                name => name,
            };
            self.told.push(format!("{word}{}", mark(&point.tags)));
        }
    }

    fn tell(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.told.push(match effect {
                Effect::Init(_) => continue, // a span for later
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
    let reported = "report+";
    for (words, expected) in [
        ("invoke:r begin:r start:r end:r done:r report:r", format!("invocations+ span:r ended:r runtime+ {reported}")),
        ("begin:r end:r invoke:r start:r done:r report:r", format!("invocations+ span:r ended:r runtime+ {reported}")),
        ("begin:_ invoke:r start:r end:_ done:r report:r", format!("invocations+ span:r ended:r runtime+ {reported}")),
        ("begin:_ end:_ start:r done:r invoke:r report:r", format!("span:r ended:r runtime+ invocations+ {reported}")),
        ("invoke:r start:r done:r begin:r end:r report:r", format!("invocations+ ended:r runtime+ {reported}")),
        ("invoke:r invoke:r start:r start:r done:r done:r", "invocations+ ended:r runtime+".to_owned()),
        ("invoke:r done:r report:r report:r done:r start:r", format!("invocations+ ended:r runtime+ {reported}")),
        ("invoke:r report:r", "invocations+ ended:r report+".to_owned()),
        ("report:r", "report".to_owned()),
        ("invoke:r crash:r:failure report:r:failure", "invocations+ ended:r errors+ report+ out_of_memory+".to_owned()),
        ("invoke:r crash:r:melted", "invocations+ ended:r".to_owned()),
        ("invoke:r begin:r crash:r:timeout", "invocations+ span:r! ended:r errors+ timeouts+".to_owned()),
        ("invoke:r begin:r end:r shutdown:failure", "invocations+ span:r! errors+ shutdowns".to_owned()),
        ("invoke:r shutdown:timeout", "invocations+ errors+ timeouts+ shutdowns".to_owned()),
        ("invoke:r shutdown", "invocations+ shutdowns".to_owned()),
        ("shutdown", "shutdowns unused_init".to_owned()),
    ] {
        check(ON_DEMAND, words, &expected);
    }
}

#[test]
fn a_failed_invocation_is_one_error_by_whatever_sources() {
    for sources in [
        "end:r:error",
        "end:r:502",
        "oom:r",
        "fault:r",
        "fault:r crash:r:failure report:r:failure",
        "done:r:error",
        "done:r:failure",
        "done:r:timeout",
        "end:r:error end:r:503 done:r:error report:r:error",
        "oom:r oom:_ done:r:error report:r:error",
        "end:r:error oom:r done:r:timeout report:r:timeout shutdown:timeout",
        "start:r report:r:failure",
        "shutdown:failure",
        "end:_:error shutdown:timeout",
    ] {
        let mut stage = Stage::new(ON_DEMAND, None);
        stage.feed("invoke:r start:r").feed(sources);
        let count = |name: &str| stage.told.iter().filter(|told| told.starts_with(name)).count();
        assert_eq!(count("errors"), 1, "{sources}: {:?}", stage.told);
        assert_eq!(count("timeouts"), usize::from(sources.contains("timeout")), "{sources}: {:?}", stage.told);
        // A report of 128 of 128 MB without success says the same as the runtime's words.
        let is_full = sources.contains("oom") || sources.contains("fault") || sources.contains("report");
        assert_eq!(count("out_of_memory"), usize::from(is_full), "{sources}: {:?}", stage.told);
    }
    let success = "invoke:r begin:r line:r end:r:200 done:r:success report:r:success";
    check(ON_DEMAND, success, "invocations+ span:r ended:r runtime+ report+");
}

#[test]
fn the_latest_lines_and_their_want_of_memory_are_remembered() {
    let mut stage = Stage::new(ON_DEMAND, None);
    let remembered = |stage: &Stage| {
        let Remembered { last_request_id, last_log_request_id, last_oom_request_id, .. } = stage.machine.remembered().clone();
        [last_request_id, last_log_request_id, last_oom_request_id]
    };
    stage.feed("line:_ oom:_");
    assert_eq!((remembered(&stage), stage.told.len()), (["", "", ""].map(str::to_owned), 0), "nobody knows whose they are");
    stage.feed("invoke:a start:a oom:_ done:a:error");
    assert_eq!(remembered(&stage), ["a", "a", "a"].map(str::to_owned));
    stage.feed("invoke:b line:_");
    assert_eq!(remembered(&stage), ["b", "b", "a"].map(str::to_owned));
    stage.feed("report:b:error");
    assert_eq!(remembered(&stage)[2], "b", "the report says so too");
}

#[test]
fn invocations_follow_each_other() {
    check(
        ON_DEMAND,
        "invoke:a begin:_ start:a end:_ done:a invoke:b report:a begin:_ start:b end:_ done:b:error",
        "invocations+ span:a ended:a runtime+ invocations report+ span:b! ended:b runtime errors",
    );
    // The first crashed, so its library never called, and no call of it is left over.
    check(
        ON_DEMAND,
        "invoke:a begin:_ start:a crash:a:failure invoke:b begin:b start:b end:b done:b",
        "invocations+ ended:a errors+ invocations span:b ended:b runtime",
    );
    // A late call of the one before is not the next one's.
    check(
        ON_DEMAND,
        "invoke:a start:a done:a invoke:b start:b end:a:error done:b",
        "invocations+ ended:a runtime+ invocations errors+ ended:b runtime",
    );
}

#[test]
fn an_invocation_repeated_under_its_id_is_another_attempt() {
    let (first, second) = ("ended:a runtime+ errors+", "ended:a runtime errors");
    check(
        ON_DEMAND,
        "invoke:a done:a:error report:a invoke:a start:a done:a:error report:a",
        &format!("invocations+ {first} report+ invocations {second} report"),
    );
    // Telemetry may be faster than the answer to `/next`.
    check(
        ON_DEMAND,
        "invoke:a done:a:error report:a start:a done:a:error invoke:a report:a",
        "invocations+ ended:a runtime+ errors+ report+ ended:a runtime errors invocations report",
    );
    check(
        ON_DEMAND,
        "invoke:a done:a:error start:a done:a:error invoke:a",
        "invocations+ ended:a runtime+ errors+ ended:a runtime errors invocations",
    );
    // The report of the first comes with the second, as usual.
    check(
        ON_DEMAND,
        "invoke:a done:a:error invoke:a report:a start:a done:a:error report:a",
        &format!("invocations+ {first} invocations report+ {second} report"),
    );
}

#[test]
fn the_first_invocation_is_a_cold_start_unless_it_found_a_sandbox_ready() {
    for (init_type, words, expected) in [
        (ON_DEMAND, "invoke:a invoke:b", "invocations+ invocations"),
        // Reports forget invocations, and the next one is no cold start for that.
        (ON_DEMAND, "invoke:a report:a invoke:b", "invocations+ ended:a report+ invocations"),
        (ON_DEMAND, "wait invoke:a invoke:b", "invocations* invocations"),
        (ON_DEMAND, "invoke:a wait invoke:b", "invocations+ invocations"),
        ("provisioned-concurrency", "init wait wait invoke:a", "init_duration* invocations*"),
        ("provisioned-concurrency", "init invoke:a", "init_duration+ invocations+"),
        ("snap-start", "init wait restore restored invoke:a", "snapstart_restore_duration init_duration+ invocations+"),
        ("snap-start", "wait restore restored wait invoke:a invoke:b", "snapstart_restore_duration invocations* invocations"),
        // The restore has not been told of yet.
        ("snap-start", "wait invoke:a restore", "invocations+"),
    ] {
        check(init_type, words, expected);
    }
}

#[test]
fn managed_instances_run_several_at_once_and_tell_only_reports() {
    check(
        "lambda-managed-instances",
        "init start:a start:b begin:b managed:b:error oom:a end:a:error managed:a start:c shutdown",
        "init_duration invocations invocations ended:b errors runtime report out_of_memory errors span:a! ended:a runtime report \
         invocations shutdowns",
    );
    let mut stage = Stage::new("lambda-managed-instances", None);
    stage.feed("start:a start:b oom:_ managed:a managed:b");
    let told = stage.told.join(" ");
    assert!(!told.contains("out_of_memory"), "of two at once nobody knows whose line it is: {told}");
}

#[test]
fn a_restart_in_the_same_sandbox_is_no_cold_start_and_repeats_nothing() {
    let after = |words: &str| {
        let mut before = Stage::new(ON_DEMAND, None);
        before.feed(words);
        before.machine.remembered().clone()
    };
    let remembered = after("invoke:a done:a report:a invoke:b start:b shutdown:timeout");
    let check_after = |remembered: &Remembered, words: &str, expected: &str| {
        let mut stage = Stage::new(ON_DEMAND, Some(remembered.clone()));
        stage.feed(words);
        assert_eq!(stage.told.join(" "), expected, "{words}");
    };
    check_after(&remembered, "invoke:c", "invocations");
    check_after(&remembered, "wait invoke:c", "invocations");
    check_after(&remembered, "shutdown", "shutdowns");
    // What is told late of the one that ended the process before was counted by that one.
    check_after(&remembered, "done:b:timeout report:b:timeout invoke:c", "ended:b runtime report invocations");
    check_after(&remembered, "report:b:timeout invoke:c", "report invocations");
    check_after(&remembered, "report:a invoke:c", "report+ invocations");
    // The process before was killed and could not count it.
    let killed = after("invoke:a done:a invoke:b start:b");
    check_after(&killed, "done:b:failure invoke:c", "ended:b runtime errors invocations");
    check_after(&killed, "report:b:failure invoke:c", "errors report out_of_memory invocations");
    // Lambda repeats the failed one under its id.
    check_after(&remembered, "invoke:b done:b:error", "invocations ended:b runtime errors");
    let other = Remembered { arn: "arn:aws:lambda:eu-west-1:1:function:other".into(), ..remembered };
    check_after(&other, "invoke:c", "invocations+");
}
