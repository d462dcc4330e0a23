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
use std::io;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// The longest wait for one line to be taken.
const WRITE_WAIT: Duration = Duration::from_secs(2);

const CONNECT_WAIT: Duration = Duration::from_secs(5);

const DAEMON: u8 = 3;

/// Where systems listen for lines.
const USUAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];

const PORT: u16 = 514;

/// Before the release of this program a clock does not tell the time.
const CLOCK_IS_SET: Duration = Duration::from_secs(1_735_689_600);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A socket of this machine, of datagrams.
    Datagram(PathBuf),
    /// Of a stream.
    Stream(PathBuf),
    /// Host and port.
    Udp(String),
    /// The same.
    Tcp(String),
}

impl Target {
    /// Reads `unixgram:///dev/log`, `unix:///dev/log`, `udp://host:514`, `tcp://host:514`; a port that is left out is 514.
    pub fn parse(text: &str) -> Option<Target> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let rest = rest.trim_end_matches('/');
        let path = || Some(PathBuf::from(rest)).filter(|path| path.is_absolute());
        let host = || {
            let has_port = rest.rsplit_once(':').is_some_and(|(host, port)| {
                !port.is_empty() && port.chars().all(|c| c.is_ascii_digit()) && (!host.contains(':') || host.ends_with(']'))
            });
            let host = if has_port { rest.to_owned() } else { format!("{rest}:{PORT}") };
            (!rest.is_empty() && !rest.starts_with(':') && !rest.contains(['/', '@', ' '])).then_some(host)
        };
        match scheme {
            "unixgram" => path().map(Target::Datagram),
            "unix" => path().map(Target::Stream),
            "udp" => host().map(Target::Udp),
            "tcp" => host().map(Target::Tcp),
            _ => None,
        }
    }

    fn open(&self) -> io::Result<Socket> {
        Ok(match self {
            Target::Datagram(path) => datagrams(path)?,
            Target::Stream(path) => stream(path)?,
            Target::Udp(host) => {
                let address = resolve(host)?;
                let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                // Not connected: a machine that refuses would have every second line fail.
                Socket::Udp(UdpSocket::bind(any)?, address)
            }
            Target::Tcp(host) => {
                let stream = TcpStream::connect_timeout(&resolve(host)?, CONNECT_WAIT)?;
                stream.set_write_timeout(Some(WRITE_WAIT))?;
                Socket::Stream(Box::new(stream))
            }
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Datagram(path) => write!(f, "unixgram://{}", path.display()),
            Target::Stream(path) => write!(f, "unix://{}", path.display()),
            Target::Udp(host) => write!(f, "udp://{host}"),
            Target::Tcp(host) => write!(f, "tcp://{host}"),
        }
    }
}

fn resolve(host: &str) -> io::Result<SocketAddr> {
    host.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))
}

fn datagrams(path: &Path) -> io::Result<Socket> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(WRITE_WAIT))?;
    Ok(Socket::Datagrams(socket))
}

fn stream(path: &Path) -> io::Result<Socket> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(WRITE_WAIT))?;
    Ok(Socket::Stream(Box::new(stream)))
}

fn usual() -> io::Result<Socket> {
    let places = USUAL.iter().map(Path::new);
    let mut tries = places.clone().map(datagrams).chain(places.map(stream));
    let first = tries.next().unwrap_or_else(|| unreachable!("there are some"));
    first.or_else(|err| tries.find_map(Result::ok).ok_or(err))
}

enum Socket {
    Datagrams(UnixDatagram),
    Udp(UdpSocket, SocketAddr),
    Stream(Box<dyn Write + Send>),
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
    socket: Option<Socket>,
}

impl Syslog {
    /// It is opened when there is something to say.
    pub fn new(settings: SyslogSettings) -> Syslog {
        Syslog { settings, socket: None }
    }

    fn send(&mut self, line: &Line) -> io::Result<()> {
        let socket = match &mut self.socket {
            Some(socket) => socket,
            closed => closed.insert(self.settings.target.as_ref().map_or_else(usual, Target::open)?),
        };
        let mut message = message(line, &self.settings, std::process::id());
        match socket {
            Socket::Datagrams(socket) => socket.send(message.as_bytes()).map(drop),
            Socket::Udp(socket, address) => socket.send_to(message.as_bytes(), *address).map(drop),
            Socket::Stream(stream) => {
                message.push('\n');
                stream.write_all(message.as_bytes())
            }
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
    let Utc { year, month, day, hour, minute, second } = Utc::of(line.unix);
    let time = match line.unix < CLOCK_IS_SET {
        true => "-".to_owned(),
        false => format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
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
    fn what_is_not_known_is_left_out_of_an_rfc_line() {
        check_message(&line(Level::Info, 77, "x"), true, "<30>1 - gw-1 mote 123 - - x");
        let settings = SyslogSettings { target: None, rfc: true, host: "two words".to_owned() };
        let sent = message(&line(Level::Info, 4_102_444_799, "x"), &settings, 123);
        assert_eq!(sent, "<30>1 2099-12-31T23:59:59Z - mote 123 - - x");
    }
}
