//! TCP and Unix stream sockets as one type, and how a thread that blocks in `accept` is woken.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

/// A bound, listening socket.
#[derive(Debug)]
pub enum Listener {
    /// On an address and port.
    Tcp(TcpListener),
    /// On a path; whoever bound it removes the file.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Listener::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Listener::Unix(listener)
    }
}

impl Listener {
    /// Where it listens; `None` for a path.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }

    pub(super) fn accept(&self) -> io::Result<Socket> {
        match self {
            Listener::Tcp(listener) => listener.accept().map(|(stream, _)| Socket::Tcp(stream)),
            Listener::Unix(listener) => listener.accept().map(|(stream, _)| Socket::Unix(stream)),
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Listener> {
        Ok(match self {
            Listener::Tcp(listener) => Listener::Tcp(listener.try_clone()?),
            Listener::Unix(listener) => Listener::Unix(listener.try_clone()?),
        })
    }

    /// The same socket seen as a stream. Shutting that down makes a blocked `accept` return an error at once (Linux). A connection
    /// to ourselves would wake it too, but not when the descriptors are used up or the queue of the port is full, and polling a
    /// flag would wake an idle process. Made at the start, for the same reason.
    pub(super) fn as_stream(&self) -> io::Result<Socket> {
        Ok(match self.try_clone()? {
            Listener::Tcp(listener) => Socket::Tcp(TcpStream::from(OwnedFd::from(listener))),
            Listener::Unix(listener) => Socket::Unix(UnixStream::from(OwnedFd::from(listener))),
        })
    }
}

/// A connection. All calls take `&self`: the owner of the server shuts it down while its thread reads.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&*stream).read(buffer),
            Socket::Unix(stream) => (&*stream).read(buffer),
        }
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => (&*stream).write(bytes),
            Socket::Unix(stream) => (&*stream).write(bytes),
        }
    }

    pub fn set_read_timeout(&self, wait: Duration) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_read_timeout(Some(wait)),
            Socket::Unix(stream) => stream.set_read_timeout(Some(wait)),
        }
    }

    pub fn set_write_timeout(&self, wait: Duration) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.set_write_timeout(Some(wait)),
            Socket::Unix(stream) => stream.set_write_timeout(Some(wait)),
        }
    }

    /// Answers leave at once.
    pub fn set_nodelay(&self) {
        if let Socket::Tcp(stream) = self {
            let _ = stream.set_nodelay(true); // only slower without it
        }
    }

    /// Ends what other threads do with it.
    pub fn shut(&self, how: Shutdown) {
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(how),
            Socket::Unix(stream) => stream.shutdown(how),
        }; // fails only when the other side was faster
    }
}
