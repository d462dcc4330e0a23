//! The trace agent's two doors, a port and a Unix socket, with one service behind both: the same handler, memory, limits and counters.

use crate::sources::http::Refusals;
use crate::sources::http::Service;
use crate::sources::http::blocking::Server;
use crate::sys::inbox::Sender;
use crate::sys::socket_file::SocketFile;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What could be bound; without any of it there is no trace agent.
#[derive(Debug, Default)]
pub struct Doors {
    /// The port.
    pub tcp: Option<TcpListener>,
    /// The socket, and its file.
    pub unix: Option<(UnixListener, SocketFile)>,
}

impl Doors {
    /// The port's address, the chosen one where any was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The socket's path.
    pub fn path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(_, file)| file.path())
    }
}

/// The running trace agent.
#[derive(Debug)]
pub struct TraceAgent {
    tcp: Option<Server>,
    unix: Option<(Server, SocketFile)>,
    service: Arc<Service>,
}

impl TraceAgent {
    /// Opens the doors.
    pub fn start(doors: Doors, service: Arc<Service>, exits: &Sender<&'static str>) -> io::Result<TraceAgent> {
        let start_tcp = |listener| Server::start("trace-agent", listener, Arc::clone(&service), exits);
        let tcp = doors.tcp.map(start_tcp).transpose()?;
        let start_unix = |(listener, file)| Ok((Server::start("trace-socket", listener, Arc::clone(&service), exits)?, file));
        let unix = doors.unix.map(start_unix).transpose();
        unix.map(|unix| TraceAgent { tcp, unix, service })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(Server::local_addr)
    }

    /// The path it listens on.
    pub fn path(&self) -> Option<&Path> {
        self.unix.as_ref().map(|(_, file)| file.path())
    }

    /// Who counts what is refused, at both doors.
    pub fn service(&self) -> Arc<Service> {
        Arc::clone(&self.service)
    }

    /// What was refused so far, at both doors.
    pub fn refusals(&self) -> &Refusals {
        self.service.refusals()
    }

    /// Takes no more connections, and lets requests in progress be answered until `by`; then the socket's file goes.
    pub fn stop(self, by: Instant) {
        if let Some(server) = self.tcp {
            server.stop(by);
        }
        if let Some((server, file)) = self.unix {
            server.stop(by);
            drop(file);
        }
    }
}
