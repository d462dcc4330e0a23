//! The invocation loop on the main thread: one `select!` over events, signals and the exits of workers. It owns what is known of
//! invocations and decides when data must leave; how they leave it is given as [`Hands`].

use crate::model::flush_strategy::FlushStrategy;
use crate::model::invocation::Event;
use crate::model::invocation::Invoke;
use crate::model::invocation::Remembered;
use crate::model::invocation::Telemetry;
use crate::model::invocation::What;
use crate::model::trace::TracePayload;
use crate::process::flushes::Begin;
use crate::process::flushes::Flushes;
use crate::process::invocation::Effect;
use crate::process::invocation::Invocations;
use crate::process::invocation::unqualified;
use crate::sys::clock::Clock;
use crate::sys::clock::Elapsed;
use crate::sys::clock::Now;
use crate::sys::inbox::FlushMark;
use crate::sys::inbox::Parcel;
use crate::sys::inbox::Receiver;
use crate::sys::ledger::Reason;
use crate::sys::random::Random;
use crate::sys::signals::Signal;
use crossbeam::channel::never;
use crossbeam::select;
use std::fmt;
use std::time::Duration;
use std::time::Instant;

/// How long the loop sleeps at a time when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// What is left of an invocation's time when delivery ends, for the answer to `/next` to arrive before the function is stopped.
const DELIVERY_RESERVE: Duration = Duration::from_millis(100);

/// An invocation's end is not waited for beyond this before its deadline, so that a SHUTDOWN can still be received.
const DEADLINE_RESERVE: Duration = Duration::from_millis(20);

/// A deadline that passed longer ago than this stands in a recording and counts as absent.
const LONG_PAST_MS: i64 = 60_000;

/// Deadlines below this are not a time since 1970 but milliseconds from now.
const RELATIVE_BELOW_MS: i64 = 1_000_000_000_000;

/// On boards the state is saved no more often than that, to spare the flash.
const SAVE_EVERY: Duration = Duration::from_secs(60);

/// How long one offer of telemetry to a full pipeline waits.
const HOLD: Duration = Duration::from_millis(100);

/// So that a flush that has just been asked for is looked at again soon.
const MOMENT: Duration = Duration::from_millis(10);

/// A batch of telemetry on its way.
pub type TelemetryParcel = Parcel<Vec<Telemetry>>;

/// What the loop gets.
pub type MainEvent = Event<TelemetryParcel, FlushMark>;

/// Is told an invocation's request id and its function's ARN.
pub type Tell = Box<dyn FnMut(&str, &str)>;

/// Takes a batch of telemetry until a deadline, or gives it back.
pub type Take = Box<dyn FnMut(TelemetryParcel, Instant) -> Result<(), TelemetryParcel>>;

/// How the loop acts on the rest of the agent.
pub struct Hands {
    /// Sends a span that the agent made.
    pub span: Box<dyn FnMut(TracePayload)>,
    /// Hands telemetry to the logs pipeline; it comes back when there is no room until the deadline.
    pub telemetry: Take,
    /// Tells the logs pipeline of an invocation: request id and ARN.
    pub invoked: Tell,
    /// Makes the pipelines send on what they have; the mark is dropped when they have.
    pub flush: Box<dyn FnMut(FlushMark, Instant)>,
    /// Waits until the queues are empty or pause, until the deadline.
    pub delivered: Box<dyn FnMut(Instant)>,
    /// Lets posters start nothing more, since the sandbox may freeze at any moment; or lets them go on.
    pub rest: Box<dyn FnMut(bool)>,
    /// Tells the platform that the agent is done with the event before.
    pub next: Box<dyn FnMut()>,
    /// Saves what should survive a restart.
    pub save: Box<dyn FnMut(&Remembered)>,
    /// Prints the ledger.
    pub report: Box<dyn FnMut()>,
    /// Reads again what can change while running.
    pub reload: Box<dyn FnMut()>,
    /// Looks again at what may have changed while the sandbox was a snapshot.
    pub restored: Box<dyn FnMut()>,
}

impl fmt::Debug for Hands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hands")
    }
}

/// Where the agent runs, as far as the loop is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// On a machine of its own: an invocation's end makes data leave, and nobody waits for it.
    Edge,
    /// In a sandbox that freezes: data leave as the strategy says.
    Lambda {
        /// Who tells of the end of invocations.
        ends: Ends,
        /// When data leave.
        strategy: FlushStrategy,
        /// Longest wait for delivery at the end of an invocation.
        flush_timeout: Duration,
    },
}

/// Who tells that an invocation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The platform, by telemetry.
    Platform,
    /// A client library, in local tests.
    Library,
    /// Nobody: the subscription was refused. To hold each invocation until its deadline would cost the function more than late data
    /// do, so what there is leaves when the next invocation begins.
    Nobody,
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM or SIGINT.
    Signal,
    /// The sandbox is taken down; how long is left, if known.
    Shutdown(Option<Duration>),
    /// Standard input or the recording has ended.
    EndOfEvents,
    /// Events could not be read to their end.
    EventsBroken,
    /// No API key will come.
    KeyAbsent,
    /// A worker is gone for good.
    WorkerLost(&'static str),
}

/// The queues the loop listens to.
#[derive(Debug)]
pub struct Sources<'a> {
    /// From sources.
    pub events: &'a Receiver<MainEvent>,
    /// From the system.
    pub signals: &'a Receiver<Signal>,
    /// From workers that end.
    pub exits: &'a Receiver<&'static str>,
}

/// The loop's state.
#[derive(Debug)]
pub struct MainLoop {
    host: Host,
    clock: Clock,
    random: Random,
    invocations: Invocations,
    hands: Hands,
    flushes: Flushes,
    elapsed: Elapsed,
    /// The invocation whose end is awaited before `/next`.
    awaited: Option<Awaited>,
    /// Telemetry that the logs pipeline had no room for. While there is some, no event is taken, so sources wait or tell their
    /// clients.
    held: Option<TelemetryParcel>,
    saved_at: Option<Duration>,
    shutdown_reason: String,
}

#[derive(Debug)]
struct Awaited {
    request_id: String,
    /// The end is taken for granted then.
    by: Instant,
    /// When delivery must have ended.
    deadline: Option<Instant>,
}

impl MainLoop {
    /// A loop that has seen nothing.
    pub fn new(host: Host, clock: Clock, random: Random, invocations: Invocations, hands: Hands) -> MainLoop {
        let strategy = if let Host::Lambda { strategy, .. } = host { strategy } else { FlushStrategy::End };
        MainLoop {
            host,
            flushes: Flushes::new(strategy),
            elapsed: Elapsed::since(clock.now()),
            clock,
            random,
            invocations,
            hands,
            awaited: None,
            held: None,
            saved_at: None,
            shutdown_reason: String::new(),
        }
    }

    /// Works until something ends it.
    pub fn run(&mut self, sources: &Sources<'_>) -> Stop {
        let (mut signals, mut exits) = (sources.signals.clone(), sources.exits.clone());
        let no_events = never();
        if matches!(self.host, Host::Lambda { .. }) {
            (self.hands.next)();
        }
        loop {
            self.hand_on_held();
            let flush_in = self.flush_beside();
            let events = if self.held.is_none() { sources.events } else { &no_events };
            let due = self.awaited.as_ref().map_or(IDLE, |awaited| self.clock.until(awaited.by)).min(flush_in);
            let wait = if self.held.is_none() { due } else { Duration::ZERO };
            let stop = select! {
                recv(events) -> event => event.map_or(Some(Stop::EndOfEvents), |event| self.take(event)),
                recv(signals) -> signal => match signal {
                    Ok(signal) => self.signal(signal),
                    Err(_) => { signals = never(); None } // a closed queue would be ready for ever
                },
                recv(exits) -> exit => match exit {
                    Ok(name) => self.worker_lost(name),
                    Err(_) => { exits = never(); None }
                },
                default(wait) => { self.awaited_too_long(); None }
            };
            if let Some(stop) = stop {
                return stop;
            }
        }
    }

    /// Takes what is in the queue, without waiting. For the shutdown, when sources are closed.
    pub fn drain(&mut self, events: &Receiver<MainEvent>, by: Instant) {
        for event in events.try_iter() {
            while self.held.is_some() && !self.clock.until(by).is_zero() {
                self.hand_on_held();
            }
            if let Some(parcel) = self.held.take() {
                parcel.claim.drop_all(Reason::InboxFull);
            }
            match event {
                Event::Invoke(_) | Event::Telemetry(_) | Event::Started(_) | Event::Ended(_) => drop(self.take(event)),
                _ => (),
            }
        }
    }

    /// Makes the spans that are still owed and returns what should survive a restart. Telemetry that finds no room until `by` is
    /// dropped.
    pub fn finish(&mut self, by: Instant) -> Remembered {
        if let Some(parcel) = self.held.take()
            && let Err(parcel) = (self.hands.telemetry)(parcel, by)
        {
            parcel.claim.drop_all(Reason::InboxFull);
        }
        let reason = std::mem::take(&mut self.shutdown_reason);
        let effects = self.invocations.finish(&reason, &mut || self.random.id());
        self.act(effects);
        self.invocations.remembered().clone()
    }

    fn take(&mut self, event: MainEvent) -> Option<Stop> {
        match event {
            Event::Invoke(invoke) => self.invoke(&invoke),
            Event::Telemetry(parcel) => self.telemetry(parcel),
            Event::Started(call) => self.invocations.started(call),
            Event::Ended(call) => {
                self.invocations.ended(call);
                self.ended_without_telemetry();
            }
            Event::EndedByFlush => self.ended_without_telemetry(),
            Event::Flush(mark) => (self.hands.flush)(mark, self.clock.instant_in(Duration::from_secs(2))),
            Event::Shutdown(shutdown) => {
                let left = shutdown.deadline_ms.and_then(|ms| time_left(ms, self.clock.now()));
                self.shutdown_reason = shutdown.reason;
                return Some(Stop::Shutdown(left));
            }
            Event::EndOfEvents { complete: true } => return Some(Stop::EndOfEvents),
            Event::EndOfEvents { complete: false } => return Some(Stop::EventsBroken),
            Event::KeyAbsent => match self.host {
                Host::Edge => return Some(Stop::KeyAbsent),
                Host::Lambda { .. } => log::error!("no API key: data are dropped, and the function goes on"),
            },
        }
        None
    }

    fn invoke(&mut self, invoke: &Invoke) {
        let now = self.clock.now();
        self.invocations.invoke(invoke, now.unix_nanos());
        (self.hands.invoked)(&invoke.request_id, &unqualified(&invoke.function_arn));
        if let Host::Lambda { ends, .. } = self.host {
            (self.hands.rest)(false);
            let left = invoke.deadline_ms.and_then(|ms| time_left(ms, now));
            let wait = left.map_or(IDLE, |left| left.saturating_sub(DEADLINE_RESERVE));
            self.awaited = Some(Awaited {
                request_id: invoke.request_id.clone(),
                by: self.clock.instant_in(wait),
                deadline: left.map(|left| self.clock.instant_in(left.saturating_sub(DELIVERY_RESERVE))),
            });
            match self.flushes.begin(self.elapsed.at(now)) {
                Begin::AwaitEnd if ends == Ends::Nobody || self.invocations.has_ended(&invoke.request_id) => {
                    self.deliver_and_ask_for_next();
                }
                Begin::AwaitEnd => (),
                Begin::FlushFirst => {
                    self.deliver();
                    (self.hands.next)();
                }
                Begin::GoOn => {
                    self.awaited = None;
                    (self.hands.save)(self.invocations.remembered());
                    (self.hands.next)();
                }
            }
        }
    }

    fn telemetry(&mut self, parcel: TelemetryParcel) {
        let mut effects = Vec::new();
        for event in &parcel.item {
            if event.what == What::RestoreStart {
                (self.hands.restored)();
            }
            effects.extend(self.invocations.telemetry(event, &mut || self.random.id()));
        }
        // Before the flush that its effects may ask for, which must come behind it.
        self.held = Some(parcel);
        self.hand_on_held();
        self.act(effects);
    }

    /// Offers held telemetry for a moment; signals are looked at in between.
    fn hand_on_held(&mut self) {
        if let Some(parcel) = self.held.take() {
            self.held = (self.hands.telemetry)(parcel, self.clock.instant_in(HOLD)).err();
        }
    }

    fn act(&mut self, effects: Vec<Effect>) {
        let mut ended = Vec::new();
        for effect in effects {
            match effect {
                Effect::Span(payload) => (self.hands.span)(*payload),
                Effect::Ended { request_id } => ended.push(request_id),
            }
        }
        match self.host {
            Host::Edge if !ended.is_empty() => {
                let (mark, _nobody_waits) = FlushMark::new();
                (self.hands.flush)(mark, self.clock.instant_in(Duration::ZERO));
                self.save_now_and_then();
            }
            Host::Edge => (),
            Host::Lambda { .. } => {
                if self.awaited.as_ref().is_some_and(|awaited| ended.contains(&awaited.request_id)) {
                    self.deliver_and_ask_for_next();
                }
            }
        }
    }

    /// A client library says that the invocation has ended; the platform would know better, if it spoke.
    fn ended_without_telemetry(&mut self) {
        if matches!(self.host, Host::Lambda { ends: Ends::Library, .. }) && self.awaited.is_some() {
            self.deliver_and_ask_for_next();
        }
    }

    /// The deadline is near and no end was told: deliver what there is.
    fn awaited_too_long(&mut self) {
        if self.awaited.as_ref().is_some_and(|awaited| self.clock.until(awaited.by).is_zero()) {
            self.deliver_and_ask_for_next();
        }
    }

    fn deliver_and_ask_for_next(&mut self) {
        let Host::Lambda { ends, .. } = self.host else { return };
        if self.deliver() {
            (self.hands.rest)(ends == Ends::Platform); // nobody else knows that the function has ended too
            (self.hands.next)();
        }
    }

    /// Makes the data of the awaited invocation leave, and those before; whether there is one.
    fn deliver(&mut self) -> bool {
        let Host::Lambda { flush_timeout, .. } = self.host else { return false };
        let Some(awaited) = self.awaited.take() else { return false };
        self.flushes.flushed(self.elapsed.at(self.clock.now()));
        let longest = self.clock.instant_in(flush_timeout);
        let by = awaited.deadline.map_or(longest, |deadline| longest.min(deadline));
        let (mark, wait) = FlushMark::new();
        (self.hands.flush)(mark, by);
        if wait.wait(by) {
            (self.hands.delivered)(by);
        }
        (self.hands.save)(self.invocations.remembered());
        true
    }

    /// Makes data leave beside the work when that is due, and nobody waits; how long until it is.
    fn flush_beside(&mut self) -> Duration {
        let now = self.elapsed.at(self.clock.now());
        let Some(wait) = self.flushes.due_in(now) else { return IDLE };
        if wait.is_zero() {
            self.flushes.flushed(now);
            let (mark, _nobody_waits) = FlushMark::new();
            (self.hands.flush)(mark, self.clock.instant_in(Duration::ZERO));
        }
        wait.max(MOMENT)
    }

    fn save_now_and_then(&mut self) {
        let now = self.clock.now().uptime;
        if self.saved_at.is_none_or(|saved| SAVE_EVERY <= now.saturating_sub(saved)) {
            self.saved_at = Some(now);
            (self.hands.save)(self.invocations.remembered());
        }
    }

    fn signal(&mut self, signal: Signal) -> Option<Stop> {
        match signal {
            Signal::Stop => return Some(Stop::Signal),
            Signal::Report => (self.hands.report)(),
            Signal::Reload => (self.hands.reload)(),
        }
        None
    }

    /// The reader of events ends with its input. Any other worker ends only by fault: on a machine of its own the agent then stops
    /// for its supervisor to start it anew, in Lambda it goes on with what is left.
    fn worker_lost(&self, name: &'static str) -> Option<Stop> {
        match self.host {
            _ if matches!(name, "events" | "key" | "signals") => None,
            Host::Edge => Some(Stop::WorkerLost(name)),
            Host::Lambda { .. } => None,
        }
    }
}

/// How much time a deadline leaves: none once it has passed, and `None` for one that is long past and so no deadline at all.
fn time_left(deadline_ms: i64, now: Now) -> Option<Duration> {
    let left_ms = if deadline_ms < RELATIVE_BELOW_MS { deadline_ms } else { deadline_ms.saturating_sub(now.unix_millis()) };
    (-LONG_PAST_MS < left_ms).then(|| Duration::from_millis(left_ms.max(0) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_absolute_relative_or_absent() {
        let now = Now { uptime: Duration::ZERO, unix: Duration::from_millis(1_767_323_000_000) };
        let left = |ms| time_left(ms, now).map(|left| left.as_millis());
        assert_eq!(left(1_767_323_001_500), Some(1_500));
        assert_eq!(left(2_000), Some(2_000));
        assert_eq!(left(1_767_322_999_000), Some(0));
        assert_eq!(left(1_700_000_000_000), None);
    }
}
