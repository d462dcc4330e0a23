//! What the service manager is told that started this process: that it is ready, reads its settings again, stops, and is alive.
//!
//! systemd's protocol: datagrams of `NAME=value` lines to the socket that `NOTIFY_SOCKET` names, a path or, behind `@`, an abstract name.
//! Without that variable nobody is told anything. A manager that does not take a datagram holds the agent up for a moment at most.

use crate::sys::clock::monotonic_micros;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The longest wait for room in the manager's queue.
const ROOM_WAIT: Duration = Duration::from_secs(1);

/// The way to the manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    beat: Option<Duration>,
}

impl Notifier {
    /// From the variables that the manager sets.
    pub fn new<'a>(variable: &dyn Fn(&str) -> Option<&'a str>) -> Notifier {
        let address = variable("NOTIFY_SOCKET").and_then(address);
        let manager = address.and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_write_timeout(Some(ROOM_WAIT)).ok()?;
            Some((socket, address))
        });
        // The variables are inherited; they are meant for the process that they name.
        let is_meant = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let limit = variable("WATCHDOG_USEC").filter(|_| is_meant && manager.is_some());
        let limit = limit.and_then(|micros| micros.parse().ok()).filter(|micros| 0 < *micros);
        Notifier { manager, beat: limit.map(|micros: u64| Duration::from_micros(micros / 2)) }
    }

    /// All listeners are up.
    pub fn ready(&self, status: &str) {
        if let Err(err) = self.send(&format!("READY=1\nSTATUS={status}")) {
            log::warn!("the service manager cannot be told that the agent is ready: {err}");
        }
    }

    /// Settings are read again; [`Self::ready`] follows.
    pub fn reloading(&self) {
        if self.manager.is_some()
            && let Ok(micros) = monotonic_micros()
        {
            let _ = self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading settings again"));
        }
    }

    /// The agent stops, which takes `time` at most: however long that is set, the manager waits for it.
    pub fn stopping(&self, why: &str, time: Duration) {
        let micros = (time + Duration::from_secs(5)).as_micros(); // the last lines are written after that time
        let _ = self.send(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=stopping: {why}"));
    }

    /// How often the manager wants to hear that the agent is alive: twice in the time after which it takes it for dead.
    pub fn beat(&self) -> Option<Duration> {
        self.beat
    }

    /// It is.
    pub fn alive(&self) {
        let _ = self.send("WATCHDOG=1"); // the next one comes before the time is over
    }

    fn send(&self, state: &str) -> std::io::Result<()> {
        match &self.manager {
            Some((socket, address)) => socket.send_to_addr(state.as_bytes(), address).map(drop),
            None => Ok(()),
        }
    }
}

fn address(name: &str) -> Option<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => Some(name).filter(|name| name.starts_with('/')).and_then(|path| SocketAddr::from_pathname(path).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives at an abstract socket after `tell`, with these variables besides.
    fn told(name: &str, variables: &[(&str, &str)], tell: impl Fn(&Notifier)) -> String {
        let name = format!("mote-{name}-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = format!("@{name}");
        let notifier = Notifier::new(&|wanted| match wanted {
            "NOTIFY_SOCKET" => Some(socket.as_str()),
            _ => variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value),
        });
        tell(&notifier);
        let mut buffer = [0; 500];
        let length = manager.recv(&mut buffer).unwrap_or_default();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn each_state_is_a_datagram() {
        assert_eq!(told("ready", &[], |notifier| notifier.ready("all up")), "READY=1\nSTATUS=all up");
        let stopping = told("stopping", &[], |notifier| notifier.stopping("it is time", Duration::from_secs(60)));
        assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=65000000\nSTATUS=stopping: it is time");
        assert_eq!(told("alive", &[], Notifier::alive), "WATCHDOG=1");
    }

    #[test]
    fn reloading_tells_the_time_on_the_monotonic_clock() {
        let before = monotonic_micros().unwrap();
        let text = told("reloading", &[], Notifier::reloading);
        let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.split('\n').next()).unwrap();
        assert!((before..=monotonic_micros().unwrap()).contains(&micros.parse().unwrap()), "{text}");
    }

    #[test]
    fn a_beat_is_half_of_what_the_manager_waits_for_and_only_for_whom_it_names() {
        let beat = |variables: &[(&str, &str)]| {
            let found = std::cell::Cell::new(None);
            told("beat", variables, |notifier| found.set(notifier.beat()));
            found.get()
        };
        let pid = std::process::id().to_string();
        assert_eq!(beat(&[("WATCHDOG_USEC", "3000000")]), Some(Duration::from_millis(1500)));
        assert_eq!(beat(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", &pid)]), Some(Duration::from_millis(1500)));
        assert_eq!(beat(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")]), None);
        assert_eq!(beat(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(beat(&[]), None);
    }

    #[test]
    fn without_a_manager_nobody_is_told() {
        for name in [None, Some("relative/path"), Some("vsock:2:1234"), Some("")] {
            let notifier = Notifier::new(&|wanted| if wanted == "NOTIFY_SOCKET" { name } else { Some("3000000") });
            notifier.ready("all up");
            assert!(notifier.manager.is_none() && notifier.beat().is_none(), "{name:?}");
        }
    }
}
