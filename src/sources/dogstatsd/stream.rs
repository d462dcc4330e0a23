//! DogStatsD over a Unix stream socket: each message has its length before it (`decode/dogstatsd/frames.rs`).
//!
//! A length over the limit ends the connection. Connections have a thread each; when all places are taken, the one that has said nothing
//! for longest makes room.

use super::BATCH_BYTES_MAX;
use super::Outlet;
use super::StopBy;
use crate::decode::dogstatsd::frames::Frames;
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
use crate::sys::worker::pause;
use std::io;
use std::io::ErrorKind;
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

/// The same when there is little time.
const REST_AT_STOP: Duration = Duration::from_millis(10);

/// A listening socket with its connections.
#[derive(Debug)]
pub struct Server {
    connections: Arc<Connections>,
    listening: Socket,
    accepting: Worker<()>,
    clock: Clock,
    stop_by: StopBy,
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
        let stop_by = StopBy::default();
        let accepting = Accepting {
            listener,
            connections: Arc::clone(&connections),
            crew,
            message_bytes_max,
            outlet,
            stop_by: Arc::clone(&stop_by),
        };
        let accepting = Worker::spawn(name, exits, move || accepting.run())?;
        Ok(Server { connections, listening, accepting, clock, stop_by })
    }

    /// From now on it hands on what has arrived whole, until `by`, also from those who wait to be accepted, and closes all connections.
    pub fn tell_to_stop(&self, by: Instant) {
        let _ = self.stop_by.set(by); // whoever tells it first decides
        self.connections.stop();
        self.listening.shut(Shutdown::Both);
    }

    /// Tells it, if nobody has, and waits for its end.
    pub fn stop(self, by: Instant) {
        self.tell_to_stop(by);
        self.connections.wait_empty(self.clock.until(by));
        if let Err(err) = self.accepting.finish(by) {
            log::warn!("{err}");
        }
    }
}

/// Takes connections in.
struct Accepting {
    listener: Listener,
    connections: Arc<Connections>,
    crew: Crew,
    message_bytes_max: usize,
    outlet: Outlet,
    stop_by: StopBy,
}

impl Accepting {
    /// Until the stop; then also those who had connected before, whom a socket that was shut gives out before it refuses.
    fn run(&self) {
        loop {
            match (self.listener.accept(), self.stop_by.get()) {
                (Ok(socket), _) => self.take_in(Arc::new(socket)),
                (Err(_), None) => {
                    self.connections.evict();
                    self.connections.pause(REST);
                }
                // Short of descriptors, which those who leave give back.
                (Err(err), Some(by)) if err.kind() != ErrorKind::InvalidInput && !self.outlet.clock.until(*by).is_zero() => {
                    pause(REST_AT_STOP);
                }
                (Err(_), Some(_)) => return,
            }
        }
    }

    fn take_in(&self, socket: Arc<Socket>) {
        let entered = self.connections.enter(&socket, self.outlet.clock.now().uptime);
        let (outlet, stop_by) = (self.outlet.clone(), Arc::clone(&self.stop_by));
        let (message_bytes_max, unread) = (self.message_bytes_max, Vec::new());
        let mut connection = Connection { socket, seat: None, outlet, stop_by, message_bytes_max, unread };
        match entered {
            Some(entered) => {
                connection.seat = Some(entered.seat);
                self.crew.run(move || connection.serve());
            }
            // It is stopping. A thread each would be many at once, and of a connection that was shut no read waits.
            None => {
                connection.socket.shut(Shutdown::Both);
                connection.serve();
            }
        }
    }
}

struct Connection {
    socket: Arc<Socket>,
    seat: Option<Seat>,
    outlet: Outlet,
    stop_by: StopBy,
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
            if self.stop_by.get().is_some_and(|by| self.outlet.clock.until(*by).is_zero()) {
                return self.lose(Reason::Shutdown);
            }
            self.unread.extend_from_slice(&buffer[..bytes]);
            if !self.hand_on_messages() {
                return self.lose(Reason::Malformed);
            }
            if let Some(seat) = &self.seat {
                seat.rest(self.outlet.clock.now().uptime);
            }
        }
        if !self.unread.is_empty() {
            self.lose(Reason::Malformed);
        }
    }

    /// Hands on the messages that are whole; whether more can follow.
    fn hand_on_messages(&mut self) -> bool {
        let mut batch = self.outlet.batch();
        let mut frames = Frames::new(&self.unread, self.message_bytes_max);
        frames.by_ref().map_while(Result::ok).for_each(|message| self.outlet.add(&mut batch, message));
        let (read, is_good) = (frames.read(), frames.next().is_none());
        self.outlet.hand_on_before(batch, self.stop_by.get());
        self.unread.drain(..read);
        is_good
    }

    /// What is not read may have been a message, so it counts as one.
    fn lose(&self, reason: Reason) {
        self.outlet.ledger.accept(Signal::Metrics, 1).drop_all(reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metrics_item::MetricsItem;
    use crate::sources::dogstatsd::LastLine;
    use crate::sys::inbox::Message;
    use crate::sys::inbox::Receiver;
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
    use std::path::PathBuf;

    fn outlet() -> (Outlet, Receiver<Message<MetricsItem>>, Arc<Ledger>) {
        let (inbox, receiver) = inbox(100);
        let (ledger, spares) = (Ledger::new(), Spares::new(Limits::NONE));
        let (budget, clock, last_line) = (Budget::new(1 << 20), Clock::new(), LastLine::Counts);
        (Outlet { inbox, ledger: Arc::clone(&ledger), budget, spares, clock, last_line }, receiver, ledger)
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mote-stream-{}-{name}", std::process::id()))
    }

    fn texts(receiver: &Receiver<Message<MetricsItem>>) -> Vec<String> {
        let mut texts = Vec::new();
        for message in receiver.try_iter() {
            if let Message::Item(parcel) = message
                && let MetricsItem::Datagrams(datagrams) = parcel.item
            {
                texts.extend(datagrams.iter().map(|message| String::from_utf8_lossy(message).into_owned()));
                parcel.claim.sent();
            }
        }
        texts
    }

    #[track_caller]
    fn dropped(ledger: &Ledger) -> [u64; 2] {
        let row = ledger.snapshot().rows[Signal::Metrics as usize].clone();
        assert!(row.is_balanced() && row.memory == 0, "{row:?}");
        let of = |reason: Reason| row.dropped[reason as usize].1;
        assert_eq!(of(Reason::Malformed) + of(Reason::Shutdown), row.dropped_total());
        [of(Reason::Malformed), of(Reason::Shutdown)]
    }

    /// What is handed on when a client writes `pieces` one after the other and goes; and the ledger.
    fn check(pieces: &[&[u8]], expected: &[&str], malformed: u64) {
        let (outlet, receiver, ledger) = outlet();
        let (exits, _keep) = channel(4);
        let (clock, path) = (outlet.clock, path(&format!("{malformed}-{}", expected.len())));
        let (listener, _file) = socket_file::listen(&path, socket_file::MODE_OF_ALL).unwrap();
        let server = Server::start("stream", listener, 64, outlet, &exits).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        for piece in pieces {
            let _ = client.write_all(piece); // a connection that was closed takes nothing more
        }
        client.shutdown(Shutdown::Write).unwrap();
        let _ = client.read(&mut [0]); // its end means that the other side is done
        server.stop(clock.instant_in(Duration::from_secs(3600)));
        assert_eq!(texts(&receiver), expected);
        assert_eq!(dropped(&ledger), [malformed, 0]);
    }

    /// What is handed on of `clients` clients with a message each who were not accepted before the stop, of which `wait` is left.
    fn unaccepted(name: &str, clients: usize, wait: Duration) -> (Vec<String>, [u64; 2]) {
        let (outlet, receiver, ledger) = outlet();
        let (clock, path) = (outlet.clock, path(name));
        let (listener, _file) = socket_file::listen(&path, socket_file::MODE_OF_ALL).unwrap();
        let listener = Listener::from(listener);
        let (listening, connections) = (listener.as_stream().unwrap(), Connections::new(2));
        let accepting = Accepting {
            listener,
            connections: Arc::clone(&connections),
            crew: Crew::new("stream", 2),
            message_bytes_max: 64,
            outlet,
            stop_by: StopBy::default(),
        };
        let _still_open: Vec<UnixStream> = (0..clients)
            .map(|_| {
                let mut client = UnixStream::connect(&path).unwrap();
                client.write_all(b"\x05\0\0\0a:1|c").unwrap();
                client
            })
            .collect();
        let _silent = UnixStream::connect(&path).unwrap();
        accepting.stop_by.set(clock.instant_in(wait)).unwrap();
        connections.stop();
        listening.shut(Shutdown::Both);
        accepting.run();
        assert!(UnixStream::connect(&path).is_err(), "nobody can connect who would not be heard");
        (texts(&receiver), dropped(&ledger))
    }

    #[test]
    fn connections_that_wait_to_be_accepted_are_read_at_the_stop() {
        let (texts, dropped) = unaccepted("waiting", 40, Duration::from_secs(3600));
        assert_eq!((texts, dropped), (vec!["a:1|c".to_owned(); 40], [0, 0]));
    }

    #[test]
    fn connections_for_which_no_time_is_left_are_counted() {
        let (texts, dropped) = unaccepted("late", 3, Duration::ZERO);
        assert_eq!((texts, dropped), (vec![], [0, 3]));
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
