//! The system's log, on this machine or another one.
//!
//! ```text
//! as BusyBox, journald and most others take it   <30>mote[123]: MOTE | INFO | message
//! RFC 5424                                       <30>1 2026-01-02T03:04:05Z gw-1 mote 123 - - MOTE | INFO | message
//! ```
//!
//! The number is the facility `daemon` times eight and the severity. The first has no time, as that of RFC 3164 is local and does not say
//! so: whoever receives a line without takes its own. On streams each line ends with a line feed.

use crate::sys::clock::Utc;
use crate::sys::logger::outlet::Line;
use crate::sys::logger::outlet::Outlet;
use log::Level;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::ErrorKind;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// The longest wait for one line to be taken.
const WRITE_WAIT: Duration = Duration::from_secs(2);

const CONNECT_WAIT: Duration = Duration::from_secs(5);

const DAEMON: u8 = 3;

/// Where systems listen for lines.
const USUAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

const PORT: &str = ":514";

/// Before the release of this program a clock does not tell the time.
const CLOCK_IS_SET: Duration = Duration::from_secs(1_735_689_600);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    way: Way,
    /// A path, or host and port.
    place: String,
}

/// The scheme of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A socket of this machine, of datagrams.
    Unixgram,
    /// Of a stream.
    Unix,
    Udp,
    Tcp,
}

impl Way {
    const ALL: [(&str, Way); 4] = [("unixgram", Way::Unixgram), ("unix", Way::Unix), ("udp", Way::Udp), ("tcp", Way::Tcp)];
}

impl Target {
    /// Reads `unixgram:///dev/log`, `unix:///dev/log`, `udp://host:514`, `tcp://host:514`; a port that is left out is 514.
    pub fn parse(text: &str) -> Option<Target> {
        let (scheme, place) = text.trim().split_once("://")?;
        let (_, way) = Way::ALL.into_iter().find(|(name, _)| *name == scheme)?;
        let mut place = place.trim_end_matches('/').to_owned();
        if matches!(way, Way::Unixgram | Way::Unix) {
            return place.starts_with('/').then_some(Target { way, place });
        }
        if place.is_empty() || place.starts_with(':') || place.contains(['/', '@', ' ']) {
            return None;
        }
        // An address in brackets has colons of its own.
        if !place.rsplit(']').next().is_some_and(|rest| rest.contains(':')) {
            place.push_str(PORT);
        }
        Some(Target { way, place })
    }

    fn open(&self) -> io::Result<File> {
        match self.way {
            Way::Unixgram => datagrams(Path::new(&self.place)),
            Way::Unix => stream(Path::new(&self.place)),
            Way::Udp => {
                let address = resolve(&self.place)?;
                let socket = UdpSocket::bind(if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
                socket.connect(address)?;
                Ok(File::from(OwnedFd::from(socket)))
            }
            Way::Tcp => {
                let stream = TcpStream::connect_timeout(&resolve(&self.place)?, CONNECT_WAIT)?;
                stream.set_write_timeout(Some(WRITE_WAIT))?;
                Ok(File::from(OwnedFd::from(stream)))
            }
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, _) = Way::ALL[self.way as usize];
        write!(f, "{scheme}://{}", self.place)
    }
}

fn resolve(host: &String) -> io::Result<SocketAddr> {
    host.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}

fn datagrams(path: &Path) -> io::Result<File> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(WRITE_WAIT))?;
    Ok(File::from(OwnedFd::from(socket)))
}

fn stream(path: &Path) -> io::Result<File> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(WRITE_WAIT))?;
    Ok(File::from(OwnedFd::from(stream)))
}

/// The socket, and whether it is a stream.
fn open(target: Option<&Target>) -> io::Result<(File, bool)> {
    if let Some(target) = target {
        return Ok((target.open()?, matches!(target.way, Way::Unix | Way::Tcp)));
    }
    let mut first = None;
    for path in USUAL.map(Path::new) {
        match datagrams(path).map(|socket| (socket, false)).or_else(|_| Ok((stream(path)?, true))) {
            Ok(socket) => return Ok(socket),
            Err(err) => first = first.or(Some(err)),
        }
    }
    Err(first.unwrap_or_else(|| ErrorKind::NotFound.into()))
}

/// What the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogSettings {
    /// Where to; otherwise where systems usually listen.
    pub target: Option<Target>,
    /// Lines as RFC 5424 wants them.
    pub rfc: bool,
    /// The machine's name, for such lines; empty if it has none.
    pub host: String,
}

/// The way there, once it is open.
pub struct Syslog {
    settings: SyslogSettings,
    /// Whatever the socket is, a line is written to it as to a file; and whether it is a stream.
    socket: Option<(File, bool)>,
}

impl Syslog {
    /// It is opened when there is something to say.
    pub fn new(settings: SyslogSettings) -> Syslog {
        Syslog { settings, socket: None }
    }

    fn send(&mut self, line: &Line) -> io::Result<()> {
        let (socket, is_stream) = match &mut self.socket {
            Some(socket) => socket,
            closed => closed.insert(open(self.settings.target.as_ref())?),
        };
        let mut message = message(line, &self.settings, std::process::id());
        if *is_stream {
            message.push('\n');
        }
        match socket.write_all(message.as_bytes()) {
            // Told of the line before, by a machine where nobody listens: nobody knows which lines of UDP arrive.
            Err(err)
                if err.kind() == ErrorKind::ConnectionRefused
                    && self.settings.target.as_ref().is_some_and(|target| target.way == Way::Udp) =>
            {
                Ok(())
            }
            done => done,
        }
    }
}

fn message(line: &Line, settings: &SyslogSettings, pid: u32) -> String {
    let severity = match line.level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    let number = DAEMON * 8 + severity;
    // The system's log tells the time itself.
    let text =
        line.text.split_once(" UTC | ").filter(|(time, _)| time.len() == 19).map_or(line.text.as_str(), |(_, rest)| rest);
    if !settings.rfc {
        return format!("<{number}>mote[{pid}]: {text}");
    }
    let time = match line.unix < CLOCK_IS_SET {
        true => "-".to_owned(),
        false => Utc::of(line.unix).to_string().replace(" UTC", "Z").replace(' ', "T"),
    };
    let host = Some(settings.host.as_str())
        .filter(|host| !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic()))
        .unwrap_or("-");
    format!("<{number}>1 {time} {host} mote {pid} - - {text}")
}

impl Outlet for Syslog {
    fn name(&self) -> String {
        self.settings.target.as_ref().map_or("the system's log".to_owned(), |target| format!("syslog_uri {target}"))
    }

    fn take(&mut self, line: &Line) -> io::Result<()> {
        self.send(line).inspect_err(|_| self.socket = None)
    }

    fn settle(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reopen(&mut self) {
        self.socket = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_target(text: &str, expected: Option<&str>) {
        assert_eq!(Target::parse(text).map(|target| target.to_string()).as_deref(), expected, "{text}");
    }

    #[test]
    fn targets_are_sockets_of_this_machine_or_hosts() {
        check_target("unixgram:///dev/log", Some("unixgram:///dev/log"));
        check_target(" unix:///run/log ", Some("unix:///run/log"));
        check_target("udp://collector:5514", Some("udp://collector:5514"));
        check_target("udp://10.0.0.1/", Some("udp://10.0.0.1:514"));
        check_target("tcp://[::1]", Some("tcp://[::1]:514"));
        check_target("tcp://[::1]:99", Some("tcp://[::1]:99"));
        for text in ["/dev/log", "unixgram://dev/log", "udp://", "udp://:514", "http://host", "udp://a/b", "udp://user@host"] {
            check_target(text, None);
        }
    }

    fn line(level: Level, unix: u64, text: &str) -> Line {
        Line { level, unix: Duration::from_secs(unix), text: text.to_owned(), urgent: false }
    }

    #[track_caller]
    fn check_message(line: &Line, rfc: bool, expected: &str) {
        let settings = SyslogSettings { target: None, rfc, host: "gw-1".to_owned() };
        assert_eq!(message(line, &settings, 123), expected);
    }

    #[test]
    fn lines_are_as_documented() {
        let text = "2026-01-02 03:04:05 UTC | MOTE | INFO | message";
        check_message(&line(Level::Info, 1_767_323_045, text), false, "<30>mote[123]: MOTE | INFO | message");
        let rfc = "<30>1 2026-01-02T03:04:05Z gw-1 mote 123 - - MOTE | INFO | message";
        check_message(&line(Level::Info, 1_767_323_045, text), true, rfc);
        let json = r#"{"time":"2026-01-02 03:04:05 UTC","status":"WARN","message":"a | b"}"#;
        check_message(&line(Level::Warn, 1_767_323_045, json), false, &format!("<28>mote[123]: {json}"));
        check_message(&line(Level::Error, 0, "x"), false, "<27>mote[123]: x");
        check_message(&line(Level::Debug, 0, "x"), false, "<31>mote[123]: x");
    }

    #[test]
    fn a_machine_where_nobody_listens_is_no_failure() {
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let target = Target::parse(&format!("udp://127.0.0.1:{port}"));
        let mut syslog = Syslog::new(SyslogSettings { target, rfc: false, host: String::new() });
        for _ in 0..3 {
            syslog.take(&line(Level::Info, 0, "x")).unwrap();
        }
    }

    #[test]
    fn what_is_not_known_is_left_out_of_an_rfc_line() {
        check_message(&line(Level::Info, 77, "x"), true, "<30>1 - gw-1 mote 123 - - x");
        let settings = SyslogSettings { target: None, rfc: true, host: "two words".to_owned() };
        let sent = message(&line(Level::Info, 4_102_444_799, "x"), &settings, 123);
        assert_eq!(sent, "<30>1 2099-12-31T23:59:59Z - mote 123 - - x");
    }
}
