//! The Lambda Extensions and Telemetry APIs of one sandbox, as far as one extension sees them. `/next` is answered when the test has
//! an event for it.

use crate::support::agent::PATIENCE;
use crate::support::fake_http::{FakeServer, Reply, Seen, send};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

/// How the APIs behave where they have a choice.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub register: u16,
    pub subscribe: u16,
}

impl Default for Manners {
    fn default() -> Self {
        Manners { register: 200, subscribe: 200 }
    }
}

/// The sandbox.
pub struct FakeLambda {
    server: FakeServer,
    events: Sender<Reply>,
    asked: Receiver<()>,
}

pub const ARN: &str = "arn:aws:lambda:eu-west-1:123456789012:function:Shop";

impl FakeLambda {
    pub fn start(manners: Manners) -> FakeLambda {
        let (events, next) = channel::<Reply>();
        let (asked_tx, asked) = channel();
        let (next, asked_tx) = (Mutex::new(next), Mutex::new(asked_tx));
        let server = FakeServer::start(move |request| match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/2020-01-01/extension/register") => {
                let body =
                    json!({"functionName": "Shop", "functionVersion": "$LATEST", "handler": "h", "accountId": "123456789012"});
                Reply::Answer(manners.register, vec![("Lambda-Extension-Identifier", "id-1".to_owned())], body.to_string())
            }
            ("PUT", "/2022-07-01/telemetry") => Reply::Answer(manners.subscribe, vec![], "\"OK\"".to_owned()),
            ("GET", "/2020-01-01/extension/event/next") => {
                if request.header("lambda-extension-identifier") != Some("id-1") {
                    return Reply::status(403);
                }
                let _ = asked_tx.lock().expect("no thread panics with it").send(());
                next.lock().expect("no thread panics with it").recv_timeout(PATIENCE).unwrap_or(Reply::Hangup)
            }
            _ => Reply::status(404),
        });
        FakeLambda { server, events, asked }
    }

    /// For `AWS_LAMBDA_RUNTIME_API`.
    pub fn host(&self) -> String {
        self.server.address.to_string()
    }

    /// The next call that is not `/next`.
    #[track_caller]
    pub fn call(&self) -> Seen {
        loop {
            let seen = self.server.next();
            if !seen.path.ends_with("/next") {
                return seen;
            }
        }
    }

    /// The calls that have come so far and are not `/next`.
    pub fn calls_so_far(&self) -> Vec<Seen> {
        self.server.so_far().into_iter().filter(|seen| !seen.path.ends_with("/next")).collect()
    }

    /// Waits until the agent asks for an event.
    #[track_caller]
    pub fn wait_asked(&self) {
        self.asked.recv_timeout(PATIENCE).expect("the agent asks for the next event");
    }

    /// Whether the agent has asked again already.
    pub fn has_asked(&self) -> bool {
        self.asked.try_recv().is_ok()
    }

    /// Answers the question that was asked, or will be.
    pub fn answer(&self, reply: Reply) {
        self.events.send(reply).expect("the server listens");
    }

    pub fn invoke(&self, id: &str, deadline_ms: i64) {
        let arn = format!("{ARN}:live");
        let event = json!({"eventType": "INVOKE", "deadlineMs": deadline_ms, "requestId": id, "invokedFunctionArn": arn});
        self.answer(Reply::Answer(200, vec![], event.to_string()));
    }

    pub fn shutdown(&self, deadline_ms: i64) {
        let event = json!({"eventType": "SHUTDOWN", "shutdownReason": "spindown", "deadlineMs": deadline_ms});
        self.answer(Reply::Answer(200, vec![], event.to_string()));
    }
}

/// Delivers a batch of telemetry as the platform does.
#[track_caller]
pub fn telemetry(communication: SocketAddr, events: &[Value]) {
    let body = Value::from(events.to_vec()).to_string();
    assert_eq!(send(communication, "POST", "/lambda/logs", &[("Content-Type", "application/json")], body.as_bytes()).0, 200);
}

pub fn started(id: &str) -> Value {
    json!({"time": "2026-01-02T03:04:05.000Z", "type": "platform.start", "record": {"requestId": id, "version": "$LATEST"}})
}

pub fn line(text: &str) -> Value {
    json!({"time": "2026-01-02T03:04:05.100Z", "type": "function", "record": text})
}

pub fn line_before_start(text: &str) -> Value {
    json!({"time": "2026-01-02T03:04:04.900Z", "type": "function", "record": text})
}

pub fn done(id: &str, status: &str) -> Value {
    let record = json!({"requestId": id, "status": status, "metrics": {"durationMs": 139.2, "producedBytes": 0}});
    json!({"time": "2026-01-02T03:04:05.200Z", "type": "platform.runtimeDone", "record": record})
}

pub fn report(id: &str) -> Value {
    let metrics = json!({"durationMs": 170.33, "billedDurationMs": 471, "memorySizeMB": 256, "maxMemoryUsedMB": 91});
    let record = json!({"requestId": id, "status": "success", "metrics": metrics});
    json!({"time": "2026-01-02T03:04:05.230Z", "type": "platform.report", "record": record})
}
