//! DogStatsD over datagrams: a UDP port or a Unix datagram socket, each with a thread of its own.

use super::BATCH_BYTES_MAX;
use super::Outlet;
use super::StopBy;
use crate::sys::datagrams::Datagrams;
use crate::sys::inbox::Sender;
use crate::sys::worker::Worker;
use crate::sys::worker::pause;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

/// After an error that is not one datagram's, so that a broken socket does not keep a core busy.
const REST: Duration = Duration::from_millis(100);

/// Nor one with so many, of which most are empty then.
const BATCH_DATAGRAMS_MAX: usize = 4096;

/// What the system needs for a datagram besides its bytes, at least; with it, bytes that were received say how many had waited.
const SYSTEM_BYTES: usize = 256;

/// A socket and the thread that empties it.
#[derive(Debug)]
pub struct Server {
    socket: Arc<Datagrams>,
    stop_by: StopBy,
    worker: Worker<()>,
}

impl Server {
    /// Starts the thread `name`. Of a datagram longer than `buffer_bytes` the rest is lost.
    pub fn start(
        name: &'static str,
        socket: impl Into<Datagrams>,
        buffer_bytes: usize,
        outlet: Outlet,
        exits: &Sender<&'static str>,
    ) -> io::Result<Server> {
        let (socket, stop_by) = (Arc::new(socket.into()), StopBy::default());
        let (inner, stops) = (Arc::clone(&socket), Arc::clone(&stop_by));
        let mut buffer = vec![0; buffer_bytes];
        let worker = Worker::spawn(name, exits, move || receive(&inner, &stops, &mut buffer, &outlet))?;
        Ok(Server { socket, stop_by, worker })
    }

    /// Where it listens; `None` for a path.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.local_addr()
    }

    /// The socket, which knows what the system has thrown away because it came faster than it was received.
    pub fn socket(&self) -> Arc<Datagrams> {
        Arc::clone(&self.socket)
    }

    /// From now on it hands on what has arrived, until `by`, and then ends.
    pub fn tell_to_stop(&self, by: Instant) {
        let _ = self.stop_by.set(by); // whoever tells it first decides
        self.socket.wake();
    }

    /// Tells it, if nobody has, and waits for its end.
    pub fn stop(self, by: Instant) {
        self.ends(by);
    }

    fn ends(&self, by: Instant) -> bool {
        self.tell_to_stop(by);
        self.worker.finish(by).inspect_err(|err| log::warn!("{err}")).is_ok()
    }
}

fn receive(socket: &Datagrams, stop_by: &StopBy, buffer: &mut [u8], outlet: &Outlet) {
    // Someone who sends faster than this thread receives must not keep it from ending.
    let mut left = None;
    loop {
        let (mut batch, mut received) = (outlet.batch(), 1);
        let stops = stop_by.get();
        if left.is_none() && stops.is_some() {
            left = Some(socket.waiting_bytes_max());
        }
        // Once it is woken the first call no longer waits, and takes out what is still there.
        match socket.receive(buffer) {
            Ok(bytes) => outlet.add(&mut batch, &buffer[..bytes]),
            Err(err) => outlive(&err),
        }
        let mut has_more = true;
        while has_more && batch.bytes_len() < BATCH_BYTES_MAX && received < BATCH_DATAGRAMS_MAX {
            match socket.receive_now(buffer) {
                Ok(Some(bytes)) => outlet.add(&mut batch, &buffer[..bytes]),
                Ok(None) | Err(_) => has_more = false, // an error comes again with the next call that waits
            }
            received += 1;
        }
        left = left.map(|left: usize| left.saturating_sub(batch.bytes_len() + received * SYSTEM_BYTES));
        let is_last = stops.is_some() && (!has_more || batch.is_empty() || left == Some(0));
        outlet.hand_on_before(batch, stops);
        if is_last {
            return;
        }
    }
}

/// An error of a datagram socket is the system's remark on an earlier one, or want of memory.
fn outlive(err: &io::Error) {
    if err.kind() != io::ErrorKind::Interrupted {
        log::debug!("dogstatsd: {err}");
        pause(REST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metrics_item;
    use crate::model::metrics_item::MetricsItem;
    use crate::sources::dogstatsd::LastLine;
    use crate::sys::clock::Clock;
    use crate::sys::inbox::Message;
    use crate::sys::inbox::Receiver;
    use crate::sys::inbox::RecvTimeoutError;
    use crate::sys::inbox::channel;
    use crate::sys::inbox::inbox;
    use crate::sys::ledger::Ledger;
    use crate::sys::memory::Budget;
    use crate::sys::socket_file;
    use crate::sys::spares::Limits;
    use crate::sys::spares::Spares;
    use std::net::Ipv4Addr;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    fn outlet(items_max: usize, last_line: LastLine) -> (Outlet, Receiver<Message<MetricsItem>>, Arc<Ledger>) {
        let (inbox, receiver) = inbox(items_max);
        let (ledger, spares) = (Ledger::new(), Spares::new(Limits::NONE));
        let outlet =
            Outlet { inbox, ledger: Arc::clone(&ledger), budget: Budget::new(1 << 20), spares, clock: Clock::new(), last_line };
        (outlet, receiver, ledger)
    }

    /// Everything in the inbox once the server is gone.
    fn texts(receiver: &Receiver<Message<MetricsItem>>) -> Vec<String> {
        let mut texts = Vec::new();
        for message in receiver.try_iter() {
            if let Message::Item(Parcel { item: MetricsItem::Datagrams(datagrams), claim, .. }) = message {
                assert_eq!(claim.records(), datagrams.len() as u64);
                texts.extend(datagrams.iter().map(|datagram| String::from_utf8_lossy(datagram).into_owned()));
                claim.sent();
            }
        }
        texts
    }

    use crate::sys::inbox::Parcel;

    fn far() -> Instant {
        Clock::new().instant_in(Duration::from_secs(3600))
    }

    #[test]
    fn what_has_arrived_before_the_stop_is_handed_on() {
        let (outlet, receiver, ledger) = outlet(100, LastLine::Counts);
        let (exits, _keep) = channel(4);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = Server::start("udp", socket, 8192, outlet, &exits).unwrap();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let sent: Vec<String> = (0..50).map(|number| format!("page.views:{number}|c")).collect();
        for text in &sent {
            client.send_to(text.as_bytes(), server.local_addr().unwrap()).unwrap();
        }
        client.send_to(b"", server.local_addr().unwrap()).unwrap();
        server.stop(far());
        assert_eq!(texts(&receiver), sent);
        assert!(ledger.snapshot().is_quiet() && ledger.snapshot().is_balanced());
    }

    #[test]
    fn empty_datagrams_do_not_end_the_last_look() {
        let (outlet, receiver, ledger) = outlet(100, LastLine::Counts);
        let path = std::env::temp_dir().join(format!("mote-dogstatsd-empty-{}", std::process::id()));
        let (unix, _file) = socket_file::datagram(&path, socket_file::MODE_OF_ALL).unwrap();
        let (udp, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        for text in ["", "", "a:1|c", "", "", "b:1|c"] {
            client.send_to(text.as_bytes(), udp.local_addr().unwrap()).unwrap();
            UnixDatagram::unbound().unwrap().send_to(text.as_bytes(), &path).unwrap();
        }
        for socket in [Datagrams::from(udp), unix.into()] {
            socket.wake();
            receive(&socket, &StopBy::new(far().into()), &mut [0; 64], &outlet);
            assert_eq!(texts(&receiver), ["a:1|c", "b:1|c"]);
        }
        assert!(ledger.snapshot().is_quiet());
    }

    #[test]
    fn a_unix_socket_is_as_good() {
        let (outlet, receiver, _) = outlet(100, LastLine::NeedsItsEnd);
        let (exits, _keep) = channel(4);
        let path = std::env::temp_dir().join(format!("mote-dogstatsd-{}", std::process::id()));
        let (socket, _file) = socket_file::datagram(&path, socket_file::MODE_OF_ALL).unwrap();
        let server = Server::start("unix", socket, 8192, outlet, &exits).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        client.send_to(b"a:1|c\nb:2|c\nc:3", &path).unwrap();
        client.send_to(b"d:4|c", &path).unwrap();
        server.stop(far());
        assert_eq!(texts(&receiver), ["a:1|c\nb:2|c\n"], "what no line feed ends is dropped");
    }

    #[test]
    fn a_flood_does_not_keep_it_from_ending() {
        // Each batch waits in vain for a place, so there is always more to receive.
        let (outlet, receiver, _ledger) = outlet(1, LastLine::Counts);
        let (exits, _keep) = channel(4);
        let socket = Datagrams::from(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        socket.set_receive_buffer(4096);
        let server = Server::start("udp", socket, 65_535, outlet, &exits).unwrap();
        let (addr, clock) = (server.local_addr().unwrap(), Clock::new());
        let (flooding, has_begun) = channel(1);
        let (is_needed, is_over) = channel::<()>(1);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                // Not at full speed, which would cost other tests their datagrams.
                while is_over.recv_deadline(clock.instant_in(Duration::from_millis(1))) == Err(RecvTimeoutError::Timeout) {
                    let _ = client.send_to(&[b'x'; 30_000], addr); // what finds no room is lost
                    let _ = flooding.try_send(()); // once is enough
                }
            });
            has_begun.recv().unwrap();
            let has_ended = server.ends(clock.instant_in(Duration::from_secs(20)));
            drop(is_needed);
            assert!(has_ended);
        });
        assert_eq!(texts(&receiver).first().map(String::len), Some(30_000));
    }

    #[test]
    fn a_full_inbox_costs_the_batch_and_is_counted() {
        let (outlet, receiver, ledger) = outlet(1, LastLine::Counts);
        for _ in 0..2 {
            let mut batch = metrics_item::Datagrams::default();
            batch.push(b"a:1|c");
            outlet.hand_on(batch);
        }
        assert!(
            ledger
                .snapshot()
                .to_string()
                .starts_with("metrics accepted=2 restored=0 sent=0 memory=1 spool=0 dropped=1 inbox_full=1")
        );
        assert_eq!(texts(&receiver), ["a:1|c"]);
    }
}
