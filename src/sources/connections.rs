//! The open connections of one server: how many there may be, which of them wait, and which has waited longest.
//!
//! Behind a mutex and not a channel, because whoever makes room must see all connections in one step, and a connection that begins a
//! request must learn in the same step that it has just been closed.

use crate::sources::socket::Socket;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a thread that waits for room looks whether there is still something to wait for.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Entry>,
    next_id: u64,
    stopping: bool,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    socket: Arc<Socket>,
    /// Uptime since which it is between requests or within a header; `None` while a request is in progress.
    waiting_since: Option<Duration>,
    closed: bool,
}

/// A connection's place; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    connections: Arc<Connections>,
    id: u64,
}

/// What [`Connections::enter`] did to give a place.
#[derive(Debug)]
pub(super) struct Entered {
    pub seat: Seat,
    pub evicted: u64,
}

impl Connections {
    pub fn new(max: usize) -> Arc<Connections> {
        Arc::new(Connections { max: max.max(1), state: Mutex::default(), changed: Condvar::new() })
    }

    /// A place for `socket`. When there is none, the longest waiting connection is closed; when all are busy, the caller waits, as
    /// every request has its time limits. `None` when the server stops.
    pub fn enter(self: &Arc<Self>, socket: &Arc<Socket>, uptime: Duration) -> Option<Entered> {
        let mut evicted = 0;
        let mut state = self.lock();
        while !state.stopping && self.max <= state.open.len() {
            evicted += u64::from(state.close_longest_waiting());
            state = self.changed.wait_timeout(state, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.stopping {
            return None;
        }
        let id = state.next_id;
        state.next_id += 1;
        state.open.push(Entry { id, socket: Arc::clone(socket), waiting_since: Some(uptime), closed: false });
        Some(Entered { seat: Seat { connections: Arc::clone(self), id }, evicted })
    }

    /// Closes the connection that has waited longest; whether there was one.
    pub fn evict(&self) -> bool {
        self.lock().close_longest_waiting()
    }

    /// Waits, until the server stops or `wait` has passed.
    pub fn pause(&self, wait: Duration) {
        let state = self.lock();
        drop(self.changed.wait_timeout_while(state, wait, |state| !state.stopping));
    }

    pub fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// Closes what waits; requests in progress go on, and no new ones begin.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        state.open.iter_mut().filter(|entry| entry.waiting_since.is_some()).for_each(Entry::close);
        self.changed.notify_all();
    }

    /// Closes everything.
    pub fn cut(&self) {
        self.lock().open.iter_mut().for_each(Entry::close);
    }

    /// Waits until all have left, `wait` at most; whether that happened.
    pub fn wait_empty(&self, wait: Duration) -> bool {
        let state = self.lock();
        let waited = self.changed.wait_timeout_while(state, wait, |state| !state.open.is_empty());
        waited.unwrap_or_else(PoisonError::into_inner).0.open.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// One at a time: while a closed one has not left yet, no second one has to go.
    fn close_longest_waiting(&mut self) -> bool {
        if self.open.iter().any(|entry| entry.closed) {
            return false;
        }
        let waiting = self.open.iter_mut().filter(|entry| entry.waiting_since.is_some());
        waiting.min_by_key(|entry| entry.waiting_since).map(Entry::close).is_some()
    }
}

impl Entry {
    fn close(&mut self) {
        self.closed = true;
        self.socket.shut(Shutdown::Both);
    }
}

impl Seat {
    /// A header is complete: from now on the connection is not closed to make room. `false` when it already was.
    pub fn begin(&self) -> bool {
        self.with_entry(|stopping, entry| {
            entry.waiting_since = None;
            !stopping && !entry.closed
        })
    }

    /// The answer is out. `false` when no further request may begin.
    pub fn rest(&self, uptime: Duration) -> bool {
        self.with_entry(|stopping, entry| {
            entry.waiting_since = Some(uptime);
            !stopping && !entry.closed
        })
    }

    /// Whether the server takes no further requests.
    pub fn is_stopping(&self) -> bool {
        self.connections.is_stopping()
    }

    fn with_entry(&self, change: impl FnOnce(bool, &mut Entry) -> bool) -> bool {
        let mut state = self.connections.lock();
        let stopping = state.stopping;
        state.open.iter_mut().find(|entry| entry.id == self.id).is_some_and(|entry| change(stopping, entry))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.lock().open.retain(|entry| entry.id != self.id);
        self.connections.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn socket() -> Arc<Socket> {
        Arc::new(Socket::Unix(UnixStream::pair().unwrap().0))
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_longest_waiting_connection_makes_room() {
        let connections = Connections::new(2);
        let first = connections.enter(&socket(), at(1)).unwrap().seat;
        let second = connections.enter(&socket(), at(2)).unwrap().seat;
        assert!(first.begin() && first.rest(at(3)));
        std::thread::scope(|scope| {
            let third = scope.spawn(|| connections.enter(&socket(), at(4)).unwrap());
            while second.rest(at(2)) {
                std::thread::yield_now();
            }
            drop(second);
            assert_eq!(third.join().unwrap().evicted, 1);
        });
        assert!(first.begin(), "the other one was not touched");
    }

    #[test]
    fn a_busy_connection_is_never_closed_to_make_room() {
        let connections = Connections::new(1);
        let seat = connections.enter(&socket(), at(1)).unwrap().seat;
        assert!(seat.begin());
        assert!(!connections.evict());
        connections.stop();
        assert!(!seat.rest(at(2)), "but it begins no further request once the server stops");
        assert!(connections.enter(&socket(), at(3)).is_none());
    }
}
