//! Datagram sockets, UDP and Unix: received one by one, or as many as there are without waiting, and what the system lost of them.
//!
//! By rustix, as std has no call that receives without waiting on a socket that otherwise waits, none that sets
//! the receive buffer, and none that wakes a thread out of a receiving call.
//!
//! Not by `recvmmsg`, which takes in many datagrams with one call: 32 at a time it made a 32nd of the calls and yet cost 3 to 6 % more CPU
//! a datagram than as many calls that do not wait (530 to 510 ns at 60 bytes, 645 to 608 at 1,432, 1,260 to 1,190 at 8,000; Linux 6.18 on
//! x86_64), since the kernel reads a header and a vector for each, and the bytes are spread over more memory than a cache holds.

use rustix::net::RecvFlags;
use rustix::net::Shutdown;
use rustix::net::sockopt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// The system takes a datagram in as long as the buffer is not full, so the last may lie beyond its end.
const ONE_MORE: usize = 128 << 10;

/// A bound socket.
#[derive(Debug)]
pub struct Datagrams {
    socket: OwnedFd,
    local_addr: Option<SocketAddr>,
}

impl From<UdpSocket> for Datagrams {
    fn from(socket: UdpSocket) -> Datagrams {
        let local_addr = socket.local_addr().ok();
        Datagrams { socket: socket.into(), local_addr }
    }
}

impl From<UnixDatagram> for Datagrams {
    fn from(socket: UnixDatagram) -> Datagrams {
        Datagrams { socket: socket.into(), local_addr: None }
    }
}

impl Datagrams {
    /// Where it listens; `None` for a path.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.local_addr
    }

    /// Asks for room for `bytes` of datagrams that nobody has received yet. Whoever may not have more than the system's limit gets that.
    pub fn set_receive_buffer(&self, bytes: usize) {
        if sockopt::set_socket_recv_buffer_size_force(&self.socket, bytes).is_err() {
            let _ = sockopt::set_socket_recv_buffer_size(&self.socket, bytes); // then it stays as it is
        }
    }

    /// The most that can wait here at one moment, each datagram with what the system needs for it. A Unix socket that was woken takes nothing
    /// more in, so it has no limit.
    pub fn waiting_bytes_max(&self) -> usize {
        let buffer = sockopt::socket_recv_buffer_size(&self.socket).unwrap_or_default();
        if self.local_addr.is_some() { buffer + ONE_MORE } else { usize::MAX }
    }

    /// The next datagram's bytes at the start of `buffer`, and how many; what of it does not fit is lost. 0 also when [`Self::wake`] was
    /// called.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&self.socket, buffer, RecvFlags::empty())?.0)
    }

    /// The same, but `None` instead of waiting.
    pub fn receive_now(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match rustix::net::recv(&self.socket, buffer, RecvFlags::DONTWAIT) {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(err) => Err(err.into()),
        }
    }

    /// Makes the thread that receives return, now and whenever it asks again. Linux says of a UDP socket that it is not connected, and
    /// wakes it all the same.
    pub fn wake(&self) {
        let _ = rustix::net::shutdown(self.socket.as_fd(), Shutdown::Both);
    }

    /// How many datagrams the system has thrown away because nobody received them in time, from tables below `root`, which is `/` outside
    /// tests. Unix sockets have none: there the sender waits or is told.
    pub fn lost(&self, root: &Path) -> u64 {
        let link = fs::read_link(format!("/proc/self/fd/{}", self.socket.as_raw_fd()));
        let Some(inode) = link.ok().and_then(|link| inode_of(link.to_str()?)) else { return 0 };
        let tables = ["proc/net/udp", "proc/net/udp6"].map(|table| fs::read_to_string(root.join(table)).unwrap_or_default());
        tables.iter().filter(|_| self.local_addr.is_some()).find_map(|table| drops_of(table, inode)).unwrap_or(0)
    }
}

/// `socket:[12345]`
fn inode_of(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A line of the table has the inode in its tenth column and the drops in its last. Source: the kernel's `udp4_format_sock`.
fn drops_of(table: &str, inode: u64) -> Option<u64> {
    let line = table.lines().skip(1).find(|line| {
        let column = line.split_whitespace().nth(9);
        column.and_then(|column| column.parse().ok()) == Some(inode)
    })?;
    line.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::socket_file;
    use std::net::Ipv4Addr;

    fn udp() -> Datagrams {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().into()
    }

    #[test]
    fn datagrams_come_one_by_one_and_then_there_are_none() {
        let socket = udp();
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        for text in ["first", "second, which is longer"] {
            client.send_to(text.as_bytes(), socket.local_addr().unwrap()).unwrap();
        }
        let mut buffer = [0; 8];
        assert_eq!(socket.receive(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"first");
        assert_eq!(socket.receive_now(&mut buffer).unwrap(), Some(8), "cut to the buffer");
        assert_eq!(socket.receive_now(&mut buffer).unwrap(), None);
    }

    #[test]
    fn a_thread_that_waits_is_woken() {
        let path = std::env::temp_dir().join(format!("mote-wake-{}", std::process::id()));
        let (unix, _file) = socket_file::datagram(&path, socket_file::MODE_OF_ALL).unwrap();
        for socket in [udp(), unix.into()] {
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| socket.receive(&mut [0; 8]).unwrap());
                socket.wake();
                assert_eq!(waiting.join().unwrap(), 0);
            });
            assert_eq!(socket.receive(&mut [0; 8]).unwrap(), 0, "and does not wait again");
        }
    }

    #[test]
    fn what_the_system_lost_is_in_its_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            56: 0100007F:1FBD 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 38\n";
        assert_eq!(drops_of(table, 4711), Some(38));
        assert_eq!(drops_of(table, 4712), None);
        assert_eq!(inode_of("socket:[4711]"), Some(4711));
    }

    #[test]
    fn a_flood_that_nobody_receives_is_lost_and_told() {
        let socket = udp();
        socket.set_receive_buffer(4096);
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        (0..1000).for_each(|_| drop(client.send_to(&[b'x'; 1000], socket.local_addr().unwrap())));
        let mut received = 0;
        while socket.receive_now(&mut [0; 1000]).unwrap().is_some() {
            received += 1;
        }
        assert!(received < 1000);
        if Path::new("/proc/net/udp").exists() {
            assert_eq!(socket.lost(Path::new("/")), 1000 - received);
        }
    }
}
