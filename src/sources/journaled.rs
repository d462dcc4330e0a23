//! A handler with the journal before it: a request that its sender need not keep any longer is on disk before it is answered with 200.
//! What an earlier run left goes through the same handler once more, beside new requests.
//!
//! Datagrams and streams of DogStatsD are acknowledged to nobody and are not entered; nor are requests that are answered with what the
//! intake says.

use crate::sources::http::Handler;
use crate::sources::http::Head;
use crate::sources::http::Headers;
use crate::sources::http::Request;
use crate::sources::http::Response;
use crate::spool::journal::Door;
use crate::spool::journal::Entered;
use crate::spool::journal::Journal;
use crate::spool::journal::Left;
use crate::spool::journal::Next;
use crate::sys::clock::Clock;
use crate::sys::inbox::Receiver;
use crate::sys::inbox::RecvTimeoutError;
use crate::sys::memory::Budget;
use crate::sys::memory::Permit;
use crate::sys::receipt::Receipt;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Headers that are nobody's business on a disk, or that say how a body was sent and not what it is.
const LEFT_OUT: [&str; 8] = [
    "dd-api-key",
    "dd-application-key",
    "authorization",
    "proxy-authorization",
    "cookie",
    "connection",
    "content-length",
    "transfer-encoding",
];

/// While pipelines or memory are full, what is left of an earlier run waits so long before it is tried again.
const AGAIN: Duration = Duration::from_millis(200);

/// The handler of a door, behind the journal.
#[derive(Clone)]
pub struct Journaled {
    /// Who answers.
    pub handler: Arc<dyn Handler>,
    /// Where requests are entered.
    pub journal: Arc<Journal>,
    /// As the journal calls it.
    pub door: Door,
}

impl fmt::Debug for Journaled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Journaled({:?})", self.door)
    }
}

impl Journaled {
    /// Whether a request on this path is data that we promise to deliver.
    fn enters(&self, path: &str) -> bool {
        match self.door {
            Door::Communication => path == "/lambda/logs",
            Door::Traces => {
                path.ends_with("/traces")
                    || path.ends_with("/spans")
                    || path.ends_with("/stats")
                    || path.starts_with("/telemetry/")
            }
        }
    }
}

impl Handler for Journaled {
    fn admit(&self, head: &Head) -> Result<usize, Response> {
        self.handler.admit(head)
    }

    fn overloaded(&self, head: &Head) -> Response {
        self.handler.overloaded(head)
    }

    fn answer(&self, mut request: Request) -> Response {
        if self.enters(&request.path) {
            let target = match &request.query {
                Some(query) => format!("{}?{query}", request.path),
                None => request.path.clone(),
            };
            let is_kept = |name: &str| !LEFT_OUT.iter().any(|left_out| left_out.eq_ignore_ascii_case(name));
            let lines = request.headers.lines().into_iter().filter(|(name, _)| is_kept(name));
            let headers = lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            match self.journal.enter(self.door, target, headers, &request.body) {
                Entered::Kept(receipt) => request.receipt = Some(receipt),
                Entered::Full => return Response::text(429, "the journal is full"),
                Entered::Nowhere => (),
            }
        }
        self.handler.answer(request)
    }

    fn spare_buffer(&self) -> Vec<u8> {
        self.handler.spare_buffer()
    }
}

/// Takes in what an earlier run has left, newest first, until nothing is left or `stop` is closed. It waits where new requests are told to
/// come later.
pub fn take_in(doors: &[Journaled], budget: &Budget, clock: Clock, stop: &Receiver<()>) {
    for door in doors {
        loop {
            let mut permit = None;
            let next = door.journal.next_left(door.door, &mut |bytes| {
                permit = budget.reserve(bytes.min(budget.limit()), clock.instant_in(Duration::ZERO));
                permit.is_some()
            });
            let is_taken = match (next, permit) {
                (Next::Nothing, _) => break,
                (Next::Left(left, receipt), Some(permit)) => {
                    let is_taken = again(door, left, &receipt, permit);
                    if !is_taken {
                        door.journal.leave(&receipt);
                    }
                    is_taken
                }
                (Next::NoRoom | Next::Left(..), _) => false,
            };
            let wait = if is_taken { Duration::ZERO } else { AGAIN };
            if stop.recv_deadline(clock.instant_in(wait)) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    }
}

/// Whether the request was taken in, or can never be.
fn again(door: &Journaled, left: Left, receipt: &Arc<Receipt>, permit: Permit) -> bool {
    let Left { target, headers, body } = left;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path.to_owned(), Some(query.to_owned())),
        None => (target, None),
    };
    let headers: Headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let (method, receipt) = ("POST".to_owned(), Some(Arc::clone(receipt)));
    let answer = door.handler.answer(Request { method, path, query, headers, body, permit, receipt });
    match answer.status {
        429 | 503 => false,
        status if 400 <= status => {
            log::warn!("journal: a request that was taken once is answered with {status} now and is given up");
            true
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::ages::Ages;
    use crate::spool::disk::Fsync;
    use crate::spool::disk::Limits;
    use crate::spool::journal::Clerk;
    use crate::sys::inbox::channel;
    use std::sync::Mutex;

    /// Target and a header in one, body and receipt.
    type Taken = (String, Vec<u8>, Option<Arc<Receipt>>);

    /// Answers with what it is told, and holds the receipts of what it takes.
    #[derive(Default)]
    struct Taker {
        status: Mutex<u16>,
        asked: Mutex<usize>,
        taken: Mutex<Vec<Taken>>,
    }

    impl Handler for Taker {
        fn admit(&self, _head: &Head) -> Result<usize, Response> {
            Ok(1 << 20)
        }

        fn overloaded(&self, _head: &Head) -> Response {
            Response::text(429, "full")
        }

        fn answer(&self, request: Request) -> Response {
            *self.asked.lock().unwrap() += 1;
            let status = *self.status.lock().unwrap();
            if status == 200 {
                let target = format!("{}?{}", request.path, request.query.unwrap_or_default());
                let headers = request.headers.get("x-kept").unwrap_or_default().to_owned();
                self.taken.lock().unwrap().push((target + &headers, request.body, request.receipt));
            }
            Response::new(status, "", "")
        }
    }

    fn rig(name: &str) -> (Journaled, Arc<Taker>, Clerk) {
        let folder = std::env::temp_dir().join(format!("mote-journaled-{name}-{}", std::process::id()));
        let limits = Limits { bytes_max: 20_000, disk_ratio: 1.0, entries_max: 100, ages: Ages::none(), fsync: Fsync::Never };
        let clerk = Clerk::start(folder, limits, Clock::new(), &channel(1).0).unwrap();
        let taker = Arc::new(Taker { status: Mutex::new(200), ..Taker::default() });
        let journal = Arc::clone(clerk.journal());
        (Journaled { handler: Arc::clone(&taker) as Arc<dyn Handler>, journal, door: Door::Traces }, taker, clerk)
    }

    fn put(door: &Journaled, path: &str, body: &[u8]) -> u16 {
        let permit = Budget::new(1 << 20).reserve(body.len(), Clock::new().instant_in(Duration::ZERO)).unwrap();
        let headers: Headers = [("X-Kept", &b"yes"[..]), ("Content-Length", b"4")].into_iter().collect();
        let (method, query) = ("POST".to_owned(), Some("a=b".to_owned()));
        let path = path.to_owned();
        door.answer(Request { method, path, query, headers, body: body.to_vec(), permit, receipt: None }).status
    }

    fn take_in_all(door: &Journaled) {
        let (_stop, stopped) = channel(1);
        take_in(std::slice::from_ref(door), &Budget::new(1 << 20), Clock::new(), &stopped);
    }

    #[test]
    fn data_are_entered_and_questions_are_not() {
        let (door, taker, clerk) = rig("entered");
        for (path, is_entered) in
            [("/v0.4/services", false), ("/info", false), ("/v0.6/stats", true), ("/telemetry/proxy/x", true)]
        {
            assert_eq!(put(&door, path, b"body"), 200);
            let (_, _, receipt) = taker.taken.lock().unwrap().pop().unwrap();
            assert_eq!(receipt.is_some(), is_entered, "{path}");
        }
        clerk.finish(Clock::new().instant_in(Duration::from_secs(60)));
        assert_eq!(door.journal.bytes(), 0);
    }

    #[test]
    fn a_full_journal_is_told_and_nothing_is_taken_then() {
        let (door, taker, clerk) = rig("full");
        assert_eq!(put(&door, "/v0.7/traces", &[1; 15_000]), 200);
        assert_eq!(put(&door, "/v0.7/traces", &[2; 15_000]), 429);
        assert_eq!(taker.taken.lock().unwrap().len(), 1);
        taker.taken.lock().unwrap().clear();
        clerk.finish(Clock::new().instant_in(Duration::from_secs(60)));
        assert_eq!(put(&door, "/v0.7/traces", &[3; 15_000]), 200);
    }

    #[test]
    fn what_was_left_comes_in_as_it_came_and_waits_while_there_is_no_room() {
        let (door, taker, _clerk) = rig("left");
        assert_eq!(put(&door, "/v0.3/traces", b"one"), 200);
        let (first, body, receipt) = taker.taken.lock().unwrap().pop().unwrap();
        door.journal.leave(&receipt.unwrap()); // as if it had been left by a run that was killed
        *taker.status.lock().unwrap() = 429;
        std::thread::scope(|scope| {
            let again = scope.spawn(|| take_in_all(&door));
            while *taker.asked.lock().unwrap() < 2 {
                std::thread::yield_now();
            }
            *taker.status.lock().unwrap() = 200;
            again.join().unwrap();
        });
        let (second, again, receipt) = taker.taken.lock().unwrap().pop().unwrap();
        assert_eq!((first, body), (second.clone(), again));
        assert_eq!(second, "/v0.3/traces?a=byes");
        assert!(receipt.is_some());
        door.journal.leave(&receipt.unwrap());
        *taker.status.lock().unwrap() = 400;
        take_in_all(&door); // ends, as it can never be taken
        assert!(taker.taken.lock().unwrap().is_empty());
    }
}
