//! A small blocking HTTP/1.1 server on std::net and httparse: a thread that accepts, a thread for each connection, and a bound for
//! everything a client can make it spend.
//!
//! * Connections: `connections_max`. When all places are taken, the one that has waited longest (between requests, or with an
//!   incomplete header) is closed, so idle clients never lock out a good one; a request in progress is never closed, since its body
//!   and its answer have time limits of their own. So the worst is that as many clients as there are places send slow bodies: a
//!   new one then waits for `body_time` (and `overload_wait`, and `write_time`) at most.
//! * Memory: a connection has 4 KiB of buffer, up to `header_bytes_max` if its headers are long, and a thread with about 20 KiB of
//!   touched stack and tables; with the defaults at most some 3 MiB in all. Bodies come out of the shared budget.
//! * One request at a time for each connection: who pipelines without reading answers is held back by its own socket, and closed
//!   when an answer cannot be written for `write_time`.
//! * An idle server wakes up for nothing: accepting blocks until there is a connection or the listening socket is shut down, and
//!   an idle connection wakes once, when its `idle_time` is over.

use super::framing::Head;
use super::refusals::{Fault, Refusal, Refusals};
use super::wire::{NoBody, Shown, Wire};
use super::{Names, Request, Response, Service};
use crate::sources::connections::{Connections, Seat};
use crate::sources::socket::{Listener, Socket};
use crate::sys::inbox::Sender;
use crate::sys::memory::Permit;
use crate::sys::worker::{Crew, Worker};
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

/// A thread leaves its connection's place a moment before it leaves its own place in the crew.
pub(super) const CREW_SPARE: usize = 16;

/// A running server.
#[derive(Debug)]
pub struct Server {
    service: Arc<Service>,
    connections: Arc<Connections>,
    local_addr: Option<SocketAddr>,
    listening: Socket,
    accepting: Worker<()>,
    crew: Crew,
}

impl Server {
    /// Serves what arrives at `listener`. Its threads are called `name`.
    pub fn start(
        name: &'static str,
        listener: impl Into<Listener>,
        service: Arc<Service>,
        exits: &Sender<&'static str>,
    ) -> io::Result<Server> {
        let listener = listener.into();
        let connections = Connections::new(service.limits.connections_max);
        let crew = Crew::new(name, service.limits.connections_max + CREW_SPARE);
        let (local_addr, listening) = (listener.local_addr(), listener.as_stream()?);
        let names = Names::at(local_addr);
        let front = Front { service: Arc::clone(&service), connections: Arc::clone(&connections), crew: crew.clone(), names };
        let accepting = Worker::spawn(name, exits, move || front.accept(&listener))?;
        Ok(Server { service, connections, local_addr, listening, accepting, crew })
    }

    /// Where it listens; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// What was refused so far.
    pub fn refusals(&self) -> &Refusals {
        &self.service.refusals
    }

    /// How many connections ended in a panic.
    pub fn panics(&self) -> usize {
        self.crew.panics()
    }

    /// Takes no more connections, closes the idle ones, and lets requests in progress be answered until `by`, when they are cut off;
    /// whether all were answered.
    pub fn stop(self, by: Instant) -> bool {
        self.close();
        let answered = self.connections.wait_empty(self.service.clock.until(by));
        self.connections.cut();
        answered && self.accepting.finish(by).is_ok()
    }

    fn close(&self) {
        self.connections.stop();
        self.listening.shut(Shutdown::Both);
    }
}

impl Drop for Server {
    /// Whoever forgets to stop it at least does not keep the port.
    fn drop(&mut self) {
        self.close();
    }
}

/// What takes in connections.
#[derive(Debug)]
pub(super) struct Front {
    pub service: Arc<Service>,
    pub connections: Arc<Connections>,
    pub crew: Crew,
    pub names: Names,
}

impl Front {
    /// Accepts until the server stops.
    pub fn accept(&self, listener: &Listener) {
        while !self.connections.is_stopping() {
            match listener.accept() {
                Ok(socket) => self.take_in(Arc::new(socket)),
                Err(err) => self.outlive(&err),
            }
        }
    }

    fn take_in(&self, socket: Arc<Socket>) {
        let Some(entered) = self.connections.enter(&socket, self.service.clock.now().uptime) else { return };
        (0..entered.evicted).for_each(|_| self.service.refusals.count(Refusal::Evicted));
        let service = Arc::clone(&self.service);
        let mut connection =
            Connection { wire: Wire::new(Arc::clone(&service), socket), seat: entered.seat, service, names: self.names };
        let started = self.crew.run(move || {
            connection.serve();
            let Connection { wire, seat, .. } = connection;
            wire.part();
            drop(seat);
        });
        if !started {
            self.service.refusals.count(Refusal::NoThread);
        }
    }

    /// Nothing that `accept` says ends the server. When the system has run out of something, an idle connection of ours gives up
    /// its share, and we wait instead of asking again at once: the connection that was not accepted stays in the queue.
    fn outlive(&self, err: &io::Error) {
        match err.kind() {
            ErrorKind::ConnectionAborted | ErrorKind::Interrupted | ErrorKind::WouldBlock => {}
            _ if self.connections.is_stopping() => {}
            _ => {
                self.service.refusals.count(Refusal::NoDescriptor);
                self.connections.evict();
                self.connections.pause(self.service.limits.pause);
            }
        }
    }
}

/// One client's connection.
#[derive(Debug)]
struct Connection {
    wire: Wire,
    seat: Seat,
    service: Arc<Service>,
    names: Names,
}

/// Whether another request may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Request,
    Close,
}

impl Connection {
    fn serve(&mut self) {
        loop {
            let next = match self.wire.head() {
                Ok(None) => return,
                Ok(Some(_)) if !self.seat.begin() => return,
                Ok(Some(head)) => self.exchange(head),
                Err(fault) => self.refuse(fault),
            };
            if !self.seat.rest(self.service.clock.now().uptime) || next == Next::Close {
                return;
            }
        }
    }

    fn exchange(&mut self, head: Head) -> Next {
        let keep_alive = head.keep_alive;
        let shown = if head.method == "HEAD" { Shown::Head } else { Shown::Whole };
        let (response, next) = match self.receive(&head) {
            Ok((body, permit)) => {
                let next = if keep_alive { Next::Request } else { Next::Close };
                (self.service.answer(Request::new(head, body, permit)), next)
            }
            // What of the body was not read would be taken for the next request.
            Err(response) if head.has_body() => (response, Next::Close),
            Err(response) => (response, if keep_alive { Next::Request } else { Next::Close }),
        };
        self.answer(response, next, shown)
    }

    fn receive(&mut self, head: &Head) -> Result<(Vec<u8>, Permit), Response> {
        let bytes_max = self.service.admit(head, self.names)?;
        self.wire.body(head, bytes_max).map_err(|err| match err {
            NoBody::Fault(fault) => self.service.refuse_body(head, fault),
            NoBody::Overloaded => self.service.overloaded(head),
        })
    }

    fn refuse(&mut self, fault: Fault) -> Next {
        let response = self.service.refuse(fault);
        self.answer(response, Next::Close, Shown::Whole)
    }

    fn answer(&mut self, response: Response, next: Next, shown: Shown) -> Next {
        let next = if next == Next::Close || self.seat.is_stopping() { Next::Close } else { Next::Request };
        match self.wire.answer(&response, next == Next::Request, shown) {
            Ok(()) => next,
            Err(err) => {
                let unread = err.kind() == ErrorKind::TimedOut;
                self.service.refusals.count(if unread { Refusal::AnswerUnread } else { Refusal::CutShort });
                Next::Close
            }
        }
    }
}
