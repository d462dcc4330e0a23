//! DogStatsD over a Unix stream socket: each message has its length before it.
//!
//! ```text
//! message   4 bytes of length, little-endian; then so many bytes, which are what a datagram would be
//! ```
//! A length over the limit cannot be read past and ends the connection. Connections have a thread each; when all places are taken, the
//! one that has said nothing for longest makes room. Source: the Datadog Agent's `uds_stream` listener.

use super::BATCH_BYTES_MAX;
use super::Outlet;
use crate::sources::connections::Connections;
use crate::sources::connections::Seat;
use crate::sources::socket::Listener;
use crate::sources::socket::Socket;
use crate::sys::clock::Clock;
use crate::sys::inbox::Sender;
use crate::sys::ledger::Reason;
use crate::sys::ledger::Signal;
use crate::sys::worker::Crew;
use crate::sys::worker::Worker;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// Each has a thread and a buffer.
const CONNECTIONS_MAX: usize = 32;

/// A thread leaves its connection's place a moment before it leaves its own place in the crew.
const CREW_SPARE: usize = 8;

/// How long accepting rests when the system has no descriptor for a connection.
const REST: Duration = Duration::from_millis(200);

/// The length before a message.
const LENGTH_BYTES: usize = 4;

/// A listening socket with its connections.
#[derive(Debug)]
pub struct Server {
    connections: Arc<Connections>,
    listening: Socket,
    accepting: Worker<()>,
    clock: Clock,
}

impl Server {
    /// Starts the thread `name`, which accepts. Messages have at most `message_bytes_max` bytes.
    pub fn start(
        name: &'static str,
        listener: UnixListener,
        message_bytes_max: usize,
        outlet: Outlet,
        exits: &Sender<&'static str>,
    ) -> io::Result<Server> {
        let listener = Listener::from(listener);
        let (connections, listening, clock) = (Connections::new(CONNECTIONS_MAX), listener.as_stream()?, outlet.clock);
        let crew = Crew::new(name, CONNECTIONS_MAX + CREW_SPARE);
        let inner = Arc::clone(&connections);
        let accepting = Worker::spawn(name, exits, move || {
            while !inner.is_stopping() {
                match listener.accept() {
                    Ok(socket) => take_in(&inner, &crew, Arc::new(socket), message_bytes_max, &outlet),
                    Err(_) if inner.is_stopping() => {}
                    Err(_) => {
                        inner.evict();
                        inner.pause(REST);
                    }
                }
            }
        })?;
        Ok(Server { connections, listening, accepting, clock })
    }

    /// Hands on what has arrived whole, then closes all connections.
    pub fn stop(self, by: Instant) {
        self.connections.stop();
        self.listening.shut(Shutdown::Both);
        self.connections.wait_empty(self.clock.until(by));
        if let Err(err) = self.accepting.finish(by) {
            log::warn!("{err}");
        }
    }
}

fn take_in(connections: &Arc<Connections>, crew: &Crew, socket: Arc<Socket>, message_bytes_max: usize, outlet: &Outlet) {
    let Some(entered) = connections.enter(&socket, outlet.clock.now().uptime) else { return };
    let (seat, outlet) = (entered.seat, outlet.clone());
    crew.run(move || Connection { socket, seat, outlet, message_bytes_max, unread: Vec::new() }.serve());
}

struct Connection {
    socket: Arc<Socket>,
    seat: Seat,
    outlet: Outlet,
    message_bytes_max: usize,
    unread: Vec<u8>,
}

impl Connection {
    fn serve(&mut self) {
        let mut buffer = vec![0; BATCH_BYTES_MAX / 2];
        // A connection that is being closed may still have messages in it, which are read until its end.
        while let Ok(bytes) = self.socket.read(&mut buffer) {
            if bytes == 0 {
                break;
            }
            self.unread.extend_from_slice(&buffer[..bytes]);
            if !self.hand_on_messages() {
                self.malformed();
                return;
            }
            self.seat.rest(self.outlet.clock.now().uptime);
        }
        if !self.unread.is_empty() {
            self.malformed();
        }
    }

    /// Hands on the messages that are whole; whether more can follow.
    fn hand_on_messages(&mut self) -> bool {
        let (mut batch, mut at, mut is_good) = (self.outlet.batch(), 0, true);
        while let Some((length, rest)) = self.unread[at..].split_first_chunk::<LENGTH_BYTES>() {
            let length = u32::from_le_bytes(*length) as usize;
            if self.message_bytes_max < length {
                is_good = false;
                break;
            }
            let Some(message) = rest.get(..length) else { break };
            self.outlet.add(&mut batch, message);
            at += LENGTH_BYTES + length;
        }
        self.outlet.hand_on(batch);
        self.unread.drain(..at);
        is_good
    }

    /// What cannot be read may have been a message, so it counts as one.
    fn malformed(&self) {
        self.outlet.ledger.accept(Signal::Metrics, 1).drop_all(Reason::Malformed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metrics_item::MetricsItem;
    use crate::sources::dogstatsd::LastLine;
    use crate::sys::inbox::Message;
    use crate::sys::inbox::channel;
    use crate::sys::inbox::inbox;
    use crate::sys::ledger::Ledger;
    use crate::sys::memory::Budget;
    use crate::sys::socket_file;
    use crate::sys::spares::Limits;
    use crate::sys::spares::Spares;
    use std::io::Read;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// What is handed on when a client writes `pieces` one after the other and goes; and the ledger.
    fn check(pieces: &[&[u8]], expected: &[&str], malformed: u64) {
        let (inbox, receiver) = inbox(100);
        let (exits, _keep) = channel(4);
        let ledger = Ledger::new();
        let (budget, clock, last_line) = (Budget::new(1 << 20), Clock::new(), LastLine::Counts);
        let spares = Spares::new(Limits::NONE);
        let outlet = Outlet { inbox, ledger: Arc::clone(&ledger), budget, spares, clock, last_line };
        let path = std::env::temp_dir().join(format!("mote-stream-{}-{malformed}-{}", std::process::id(), expected.len()));
        let (listener, _file) = socket_file::listen(&path, socket_file::MODE_OF_ALL).unwrap();
        let server = Server::start("stream", listener, 64, outlet, &exits).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        for piece in pieces {
            let _ = client.write_all(piece); // a connection that was closed takes nothing more
        }
        client.shutdown(Shutdown::Write).unwrap();
        let _ = client.read(&mut [0]); // its end means that the other side is done
        server.stop(clock.instant_in(Duration::from_secs(3600)));
        let mut texts = Vec::new();
        for message in receiver.try_iter() {
            if let Message::Item(parcel) = message
                && let MetricsItem::Datagrams(datagrams) = parcel.item
            {
                texts.extend(datagrams.iter().map(|message| String::from_utf8_lossy(message).into_owned()));
                parcel.claim.sent();
            }
        }
        assert_eq!(texts, expected);
        let row = ledger.snapshot().rows[Signal::Metrics as usize].clone();
        assert_eq!(row.dropped_total(), malformed);
        assert!(row.is_balanced());
    }

    #[test]
    fn messages_have_their_length_before_them() {
        check(&[b"\x0e\0\0\0page.views:1|c\x05\0\0\0a:1|c"], &["page.views:1|c", "a:1|c"], 0);
    }

    #[test]
    fn a_message_may_come_in_pieces() {
        check(&[b"\x05\0", b"\0\0a:", b"1|c"], &["a:1|c"], 0);
    }

    #[test]
    fn a_length_over_the_limit_ends_the_connection_and_costs_nothing_else() {
        check(&[b"\x05\0\0\0a:1|c", b"\xff\xff\0\0", b"b:1|c"], &["a:1|c"], 1);
    }

    #[test]
    fn a_message_that_is_cut_short_is_counted() {
        check(&[b"\x05\0\0\0a:1"], &[], 1);
    }
}
