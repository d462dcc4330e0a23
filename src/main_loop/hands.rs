//! What the loop is told of the place it works in, and how it acts on the rest of the agent.

use crate::model::flush_strategy::FlushStrategy;
use crate::model::invocation::Event;
use crate::model::invocation::Point;
use crate::model::invocation::Remembered;
use crate::model::invocation::Telemetry;
use crate::model::traces_item::TracesItem;
use crate::model::usage::Usage;
use crate::sys::inbox::FlushMark;
use crate::sys::inbox::Parcel;
use std::fmt;
use std::time::Duration;
use std::time::Instant;

/// A batch of telemetry on its way.
pub type TelemetryParcel = Parcel<Vec<Telemetry>>;

/// What the loop gets.
pub type MainEvent = Event<TelemetryParcel, FlushMark>;

/// Is told an invocation's request id and its function's ARN; or, with neither, that some invocation began.
pub type Tell = Box<dyn FnMut(Option<&str>, &str)>;

/// Takes a batch of telemetry until a deadline, or gives it back.
pub type Take = Box<dyn FnMut(TelemetryParcel, Instant) -> Result<(), TelemetryParcel>>;

/// How the loop acts on the rest of the agent.
pub struct Hands {
    /// Sends a span that the agent made.
    pub span: Box<dyn FnMut(TracesItem)>,
    /// Hands telemetry to the logs pipeline; it comes back when there is no room until the deadline.
    pub telemetry: Take,
    /// Sends points of metrics that the agent made.
    pub points: Box<dyn FnMut(Vec<Point>)>,
    /// Reads what the machine's processes use, if anybody wants to know.
    pub measure: Option<Box<dyn FnMut() -> Usage>>,
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
    /// Tells that the loop is alive, if anybody wants to know.
    pub beat: Option<Beat>,
    /// Looks again at what may have changed while the sandbox was a snapshot.
    pub restored: Box<dyn FnMut()>,
}

/// A sign of life.
pub struct Beat {
    /// How often.
    pub every: Duration,
    /// When next, since the start.
    pub due: Duration,
    /// Gives it.
    pub tell: Box<dyn FnMut()>,
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
        /// Invocations are told of by telemetry alone.
        managed: bool,
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
