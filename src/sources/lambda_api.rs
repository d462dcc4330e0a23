//! The Lambda Extensions API: registration, the telemetry subscription, and the thread that waits in `/next`.
//!
//! Source: AWS's documentation of both APIs. `/next` is the one call without a time-out: it blocks through freezes. The thread calls
//! it only when told to, since each call tells the platform that the agent is done with the event before.

use crate::decode::events as decode;
use crate::decode::events::AnyEvent;
use crate::decode::lambda_api::Registered;
use crate::decode::lambda_api::registered;
use crate::model::invocation::Event;
use crate::model::invocation::Shutdown;
use crate::sources::MainEvent;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::Sender;
use crate::sys::net::Answer;
use crate::sys::net::Client;
use crate::sys::net::NetError;
use crate::sys::net::Request;
use crate::sys::worker::Worker;
use std::fmt;
use std::io;
use std::time::Duration;

const REGISTER_TIMEOUT: Duration = Duration::from_secs(5);
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(1);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// `/next` is given up after so many failures in a row, each with a longer pause.
const FAILURES_MAX: u32 = 10;
const PAUSE_BASE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Why the agent is not registered.
#[derive(Debug)]
pub enum RegisterError {
    /// The API did not answer.
    Net(NetError),
    /// It answered with this status and text.
    Refused(u16, String),
    /// It gave no id.
    NoId,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterError::Net(err) => write!(f, "{err}"),
            RegisterError::Refused(status, text) => write!(f, "status {status}: {text}"),
            RegisterError::NoId => write!(f, "the answer has no Lambda-Extension-Identifier"),
        }
    }
}

impl std::error::Error for RegisterError {}

/// The Lambda APIs of this sandbox.
#[derive(Clone, Debug)]
pub struct LambdaApi {
    client: Client,
    base: String,
}

/// A registered extension.
#[derive(Clone, Debug)]
pub struct Extension {
    api: LambdaApi,
    id: String,
    /// What the platform said of the function.
    pub function: Registered,
}

impl LambdaApi {
    /// The APIs at `host`, which is `host:port`.
    pub fn new(client: Client, host: &str) -> LambdaApi {
        LambdaApi { client, base: format!("http://{host}") }
    }

    /// Registers under `name`, which must be the base name of the program's file. The only step that may fail the function.
    pub fn register(self, name: &str, body: &str) -> Result<Extension, RegisterError> {
        let headers = [
            ("Lambda-Extension-Name", name),
            ("Lambda-Extension-Accept-Feature", "accountId"),
            ("Content-Type", "application/json"),
        ];
        let answer = self.call("POST", "/2020-01-01/extension/register", &headers, body, Some(REGISTER_TIMEOUT));
        let answer = answer.map_err(RegisterError::Net)?;
        if answer.status != 200 {
            return Err(RegisterError::Refused(answer.status, brief(&answer.body)));
        }
        let id = answer.header("lambda-extension-identifier").ok_or(RegisterError::NoId)?.to_owned();
        Ok(Extension { function: registered(&answer.body), id, api: self })
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        timeout: Option<Duration>,
    ) -> Result<Answer, NetError> {
        let url = format!("{}{path}", self.base);
        let body = body.as_bytes();
        self.client.send(&Request { method, url: &url, headers, body, timeout, answer_bytes_max: ANSWER_BYTES_MAX })
    }
}

impl Extension {
    /// Subscribes to telemetry; whether events will come. Tried once more after a failure, then the agent goes on without.
    pub fn subscribe(&self, body: &str) -> bool {
        let headers = [("Lambda-Extension-Identifier", self.id.as_str()), ("Content-Type", "application/json")];
        for _ in 0..2 {
            match self.api.call("PUT", "/2022-07-01/telemetry", &headers, body, Some(SUBSCRIBE_TIMEOUT)) {
                Ok(answer) if answer.status == 200 => return true,
                Ok(answer) => {
                    let text = brief(&answer.body);
                    log::error!("no telemetry, so no logs: the subscription was answered {}: {text}", answer.status);
                    return false;
                }
                Err(err) => log::error!("the telemetry subscription failed: {err}"),
            }
        }
        false
    }

    /// Starts the thread that calls `/next` once for each message in `go`.
    pub fn start(self, go: Receiver<()>, events: Sender<MainEvent>, exits: &Sender<&'static str>) -> io::Result<Worker<()>> {
        Worker::spawn("next", exits, move || {
            while go.recv().is_ok() {
                // The main loop is gone only when the process ends.
                let _ = events.send(self.next_event());
            }
        })
    }

    /// Answers `/next` without doing anything, until the sandbox is taken down: the function works as if the agent were not there.
    pub fn idle(&self) {
        while !matches!(self.next_event(), Event::Shutdown(_)) {}
    }

    fn next_event(&self) -> MainEvent {
        let headers = [("Lambda-Extension-Identifier", self.id.as_str())];
        for failures in 0..FAILURES_MAX {
            match self.api.call("GET", "/2020-01-01/extension/event/next", &headers, "", None) {
                Ok(answer) if answer.status == 200 => match decode::any(&String::from_utf8_lossy(&answer.body)) {
                    Ok(AnyEvent::Invoke(invoke)) => return Event::Invoke(invoke),
                    Ok(AnyEvent::Shutdown(shutdown)) => return Event::Shutdown(shutdown),
                    Ok(AnyEvent::Telemetry(_)) => log::warn!("the platform sent telemetry in place of an event"),
                    Err(err) => log::warn!("an event of the platform is left out: {err}"),
                },
                Ok(answer) => {
                    log::error!("the platform answered {} in place of an event", answer.status);
                    if matches!(answer.status, 403 | 500) {
                        break;
                    }
                }
                Err(err) => log::debug!("no event from the platform: {err}"),
            }
            crate::sys::worker::pause((PAUSE_BASE * (1 << failures)).min(PAUSE_MAX));
        }
        Event::Shutdown(Shutdown { reason: "no_events".to_owned(), deadline_ms: None })
    }
}

/// The beginning of an answer, for a message.
fn brief(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(200)]).trim().to_owned()
}
