//! Posting bodies: one thread an endpoint takes them from its queue, tries, judges the answer, and has a breaker for failures.
//!
//! What a body holds is not known here; its headers come with it. In place of an intake there can be a [`Target::Local`], which
//! goes through the same queue and the same thread.

mod breaker;
mod outlook;
mod verdict;

pub use breaker::Limits as BackoffLimits;
pub use breaker::State as BreakerState;
pub use outlook::Outlook;
pub use outlook::Seen;

use crate::deliver::breaker::Breaker;
use crate::deliver::breaker::State;
use crate::deliver::verdict::Outcome;
use crate::deliver::verdict::Verdict;
use crate::deliver::verdict::asked_pause;
use crate::deliver::verdict::judge;
use crate::model::api_key::ApiKey;
use crate::model::api_key::KeyHandle;
use crate::model::api_key::KeyState;
use crate::spool::Body;
use crate::spool::Fate;
use crate::spool::Kind;
use crate::spool::Pause;
use crate::spool::Queue;
use crate::spool::Taken;
use crate::sys::clock::Clock;
use crate::sys::clock::Now;
use crate::sys::clock::http_date;
use crate::sys::inbox::Sender;
use crate::sys::ledger::Reason;
use crate::sys::net::Answer;
use crate::sys::net::Client;
use crate::sys::net::NetError;
use crate::sys::net::Request;
use crate::sys::net::tell_status;
use crate::sys::random::Random;
use crate::sys::wall_clock::Authentic;
use crate::sys::wall_clock::Shift;
use crate::sys::worker::Worker;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// An intake's answer is a few bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long one look at a key that is still to come may take; the queue's close is looked at in between.
const KEY_WAIT: Duration = Duration::from_millis(200);

/// Writes a body's records somewhere on this machine.
pub type LocalSink = Box<dyn FnMut(&Body) -> io::Result<()> + Send>;

/// Where bodies go.
pub enum Target {
    /// To an intake.
    Intake(Intake),
    /// To local output, which needs no key.
    Local(LocalSink),
}

/// An intake.
#[derive(Clone, Debug)]
pub struct Intake {
    /// Scheme and host; the path follows from a body's kind.
    pub base: String,
    /// The way there.
    pub client: Client,
    /// Asked before each try.
    pub key: KeyHandle,
    /// Longest time for one request.
    pub timeout: Duration,
}

/// What is done for an endpoint that does not take a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// The body is kept; after a refusal of the key until there is another.
    Main,
    /// The body is kept and tried again; the key is the only one there will be.
    Further,
    /// Nothing: one try is all.
    OneTry,
}

/// A key that will not change may still become good where it is taken; it is tried again so often.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// One endpoint's settings.
pub struct Endpoint {
    /// Name of its thread.
    pub name: &'static str,
    /// Its name in messages.
    pub label: String,
    /// What it is worth.
    pub care: Care,
    /// Where its bodies go.
    pub target: Target,
    /// Pauses after failures.
    pub backoff: BackoffLimits,
    /// What moves stamps.
    pub restamp: Restamp,
}

/// The bytes of a body whose stamps are moved, from its kind, whether it is compressed, and its bytes; `None` where there is nothing to move.
pub type Restamp = fn(Kind, bool, &[u8], &[Shift]) -> Option<Vec<u8>>;

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.label)
    }
}

/// A running poster.
#[derive(Debug)]
pub struct Poster {
    worker: Worker<()>,
    queue: Arc<Queue>,
    client: Option<Client>,
    address: String,
    outlook: Outlook,
}

/// A request that was interrupted needs that long to return.
const INTERRUPT_GRACE: Duration = Duration::from_millis(250);

impl Poster {
    /// Starts the thread that posts what `queue` holds.
    pub fn start(
        endpoint: Endpoint,
        queue: Arc<Queue>,
        clock: Clock,
        random: Random,
        exits: &Sender<&'static str>,
    ) -> io::Result<Poster> {
        let (client, address) = match &endpoint.target {
            Target::Intake(intake) => (Some(intake.client.clone()), intake.base.clone()),
            Target::Local(_) => (None, "local output".to_owned()),
        };
        let (name, inner) = (endpoint.name, Arc::clone(&queue));
        let outlook = Outlook::default();
        let mut posting = Posting {
            breaker: Breaker::new(endpoint.backoff),
            usual: Duration::ZERO,
            remarks: Remarks::new(endpoint.label.clone(), outlook.clone(), clock),
            endpoint,
            queue: inner,
            random,
            clock,
            outlook: outlook.clone(),
        };
        let worker = Worker::spawn(name, exits, move || posting.run())?;
        Ok(Poster { worker, queue, client, address, outlook })
    }

    /// The queue it takes from.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Where it posts to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How it does, also while it waits for the other side.
    pub fn outlook(&self) -> Outlook {
        self.outlook.clone()
    }

    /// Posts what is left until `by`. What is in the queue then is the caller's.
    pub fn finish(self, clock: &Clock, by: Instant) {
        if self.worker.finish(by).is_err() {
            if let Some(client) = &self.client {
                client.interrupt();
            }
            if let Err(err) = self.worker.finish(clock.instant_in(INTERRUPT_GRACE)) {
                log::warn!("{err}");
            }
        }
    }
}

/// The thread's own state.
struct Posting {
    endpoint: Endpoint,
    queue: Arc<Queue>,
    breaker: Breaker,
    /// What a try took that was answered: the longest of late, of which a quarter is forgotten with each further one.
    usual: Duration,
    random: Random,
    clock: Clock,
    remarks: Remarks,
    outlook: Outlook,
}

impl Posting {
    fn run(&mut self) {
        loop {
            if let State::Open { until, asked } = self.breaker.state() {
                self.queue.pause(until.saturating_sub(self.uptime()), if asked { Pause::Theirs } else { Pause::Ours });
                self.breaker.probe();
                self.outlook.probes();
            }
            let Taken::Body(mut body) = self.queue.take(self.usual) else { return };
            body.attempts += 1;
            let began = self.uptime();
            let Endpoint { target, care, restamp, .. } = &mut self.endpoint;
            let verdict = match target {
                Target::Local(sink) => write_locally(sink, &body),
                Target::Intake(intake) => match usable_key(&intake.key) {
                    Key::Here(_) if !self.clock.is_known() && !ask_the_time(intake, &body, &self.queue, self.clock) => {
                        self.remarks.say(format_args!("no intake tells the time yet"));
                        Verdict::Retry(None)
                    }
                    Key::Here(key) => {
                        let shifts = body.shifts(self.clock);
                        if !shifts.is_empty()
                            && let Some(bytes) = restamp(body.kind, body.is_compressed(), &body.bytes, &shifts)
                        {
                            self.queue.replace_bytes(&mut body, bytes);
                        }
                        post(intake, &key, &body, &self.queue, *care, &mut self.remarks)
                    }
                    Key::Never => Verdict::Discard(Reason::NoKey),
                    Key::Later => Verdict::HoldForKey,
                },
            };
            self.settle(body, verdict, began);
        }
    }

    fn uptime(&self) -> Duration {
        self.clock.now().uptime
    }

    fn settle(&mut self, body: Body, verdict: Verdict, began: Duration) {
        let fate = match verdict {
            Verdict::Done => Fate::Sent,
            Verdict::Discard(reason) => Fate::Dropped(reason),
            Verdict::Retry(asked) => {
                let now = self.uptime();
                self.breaker.failed(now, asked, &mut self.random);
                self.outlook.failed(now, self.breaker.state());
                if self.endpoint.care == Care::OneTry {
                    return self.queue.settle(body, Fate::Dropped(Reason::Unreliable));
                }
                self.queue.put_back(body);
                return self.queue.failing();
            }
            Verdict::HoldForKey => {
                self.queue.put_back(body);
                return self.wait_for_key();
            }
        };
        let now = self.uptime();
        self.usual = now.saturating_sub(began).max(self.usual * 3 / 4);
        self.outlook.succeeded(now, fate == Fate::Sent);
        if self.breaker.succeeded() {
            log::info!("{}: deliveries succeed again", self.endpoint.label);
        }
        self.queue.settle(body, fate);
    }

    /// Waits until the key is another than now, or the queue closes; then one more try is due.
    fn wait_for_key(&self) {
        let Target::Intake(intake) = &self.endpoint.target else { return };
        if matches!(intake.key.state(), KeyState::Refused(_)) {
            self.queue.failing(); // a key that is only still to come will come soon
        }
        while matches!(intake.key.state(), KeyState::Pending | KeyState::Refused(_)) {
            self.queue.pause(KEY_WAIT, Pause::Ours);
            if self.queue.is_closed() {
                return;
            }
        }
    }
}

enum Key {
    Here(ApiKey),
    Later,
    Never,
}

fn usable_key(handle: &KeyHandle) -> Key {
    match handle.state() {
        KeyState::Ready(key) => Key::Here(key),
        KeyState::Pending | KeyState::Refused(_) => Key::Later,
        KeyState::Absent => Key::Never,
    }
}

/// Nothing is sent while nobody knows what time it is; any answer of the intake tells. Whether there was one.
fn ask_the_time(intake: &Intake, body: &Body, queue: &Queue, clock: Clock) -> bool {
    let (sent, base) = (clock.now(), body.address.as_deref().map_or(intake.base.as_str(), origin));
    let url = format!("{base}/");
    let timeout = Some(queue.request_time(intake.timeout));
    let request = Request { method: "GET", url: &url, headers: &[], body: &[], timeout, answer_bytes_max: ANSWER_BYTES_MAX };
    let Ok(answer) = intake.client.send(&request) else { return false };
    tell_the_time(&answer, &url, clock, sent);
    clock.give_up(); // where it did not tell, nobody will
    true
}

/// Scheme and host of an address.
fn origin(address: &str) -> &str {
    let host = address.find("://").map_or(0, |at| at + "://".len());
    address[host..].find(['/', '?']).map_or(address, |end| &address[..host + end])
}

fn tell_the_time(answer: &Answer, url: &str, clock: Clock, sent: Now) {
    if let Some(date) = answer.header("date").and_then(http_date) {
        clock.told(date, sent, if url.starts_with("https:") { Authentic::Yes } else { Authentic::No });
    }
}

fn write_locally(sink: &mut LocalSink, body: &Body) -> Verdict {
    match sink(body) {
        Ok(()) => Verdict::Done,
        // Nobody reads standard output any more; nobody will.
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Verdict::Discard(Reason::OutputClosed),
        Err(err) => {
            log::error!("cannot write local output: {err}");
            Verdict::Retry(None)
        }
    }
}

fn post(intake: &Intake, key: &ApiKey, body: &Body, queue: &Queue, care: Care, remarks: &mut Remarks) -> Verdict {
    let mut headers: Vec<(&str, &str)> = body.headers.iter().map(|(name, value)| (name.as_ref(), value.as_str())).collect();
    let bearer;
    match body.kind {
        Kind::Lineage => {
            bearer = key.bearer();
            headers.push(("Authorization", &bearer));
        }
        _ => headers.push(("DD-API-KEY", key.expose())),
    }
    let url = body.address.clone().unwrap_or_else(|| format!("{}{}", intake.base, body.kind.path()));
    let request = Request {
        method: "POST",
        url: &url,
        headers: &headers,
        body: &body.bytes,
        timeout: Some(queue.request_time(intake.timeout)),
        answer_bytes_max: ANSWER_BYTES_MAX,
    };
    let sent = remarks.clock.now();
    let outcome = match intake.client.send(&request) {
        Ok(answer) => {
            if care == Care::Main {
                tell_the_time(&answer, &url, remarks.clock, sent);
            }
            let now = remarks.clock.now().unix;
            let retry_after = answer.header("retry-after").and_then(|text| asked_pause(text, answer.header("date"), now));
            if !(200..300).contains(&answer.status) {
                remarks.say(format_args!("the intake answered with {}", tell_status(answer.status)));
            }
            Outcome::Answer { status: answer.status, retry_after }
        }
        // What a client has put into it would hold up all others for ever. Addresses and headers of the rest are our own.
        Err(err @ NetError::Unfit(_)) if body.address.is_some() => {
            remarks.say(format_args!("{err}"));
            return Verdict::Discard(Reason::Malformed);
        }
        Err(err) => {
            remarks.say(format_args!("no answer from the intake: {err}"));
            Outcome::NoAnswer
        }
    };
    match judge(outcome) {
        // An account may lack a product; that says nothing of the key, which all others need.
        Verdict::HoldForKey if body.address.is_some() => Verdict::Discard(Reason::Refused),
        Verdict::HoldForKey if care != Care::Main => Verdict::Retry(Some(REFUSED_PAUSE)),
        Verdict::HoldForKey => {
            intake.key.refuse(key);
            Verdict::HoldForKey
        }
        verdict => verdict,
    }
}

/// One remark in ten seconds, so that an outage does not fill a log; the others are counted.
struct Remarks {
    label: String,
    outlook: Outlook,
    clock: Clock,
    last: Option<Duration>,
    untold: u32,
}

const REMARK_EVERY: Duration = Duration::from_secs(10);

impl Remarks {
    fn new(label: String, outlook: Outlook, clock: Clock) -> Remarks {
        Remarks { label, outlook, clock, last: None, untold: 0 }
    }

    fn say(&mut self, text: fmt::Arguments<'_>) {
        let now = self.clock.now().uptime;
        self.outlook.says(now, text.to_string());
        if self.last.is_some_and(|last| now - last < REMARK_EVERY) {
            self.untold += 1;
            return;
        }
        self.last = Some(now);
        let name = &self.label;
        match std::mem::take(&mut self.untold) {
            0 => log::warn!("{name}: {text}"),
            untold => log::warn!("{name}: {text} ({untold} failures since the last line)"),
        }
    }
}
