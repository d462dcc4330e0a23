//! A service manager's side: readiness, reloads, the stop and signs of life on its socket, and signals that it sends too early.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod support;

use rustix::process::Signal;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;
use support::agent::{Agent, PATIENCE, folder, runner, settings};

/// The manager's socket and its name.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at_path(name: &str) -> Manager {
        let path = folder(name).join("notify");
        // Of a path that is too long for a socket the system takes one that leads there.
        let short = std::env::temp_dir().join(format!("mote-{name}-{}", std::process::id()));
        let path = if 100 < path.as_os_str().len() { short } else { path };
        let _ = std::fs::remove_file(&path);
        Manager { socket: UnixDatagram::bind(&path).unwrap(), name: path.to_str().unwrap().to_owned() }
    }

    fn abstract_one(name: &str) -> Manager {
        let name = format!("mote-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        Manager { socket: UnixDatagram::bind_addr(&address).unwrap(), name: format!("@{name}") }
    }

    fn start_agent(&self, extra: &[(&'static str, &str)]) -> Agent {
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut env = settings();
        env.push(("NOTIFY_SOCKET", self.name.clone()));
        env.extend(extra.iter().map(|(name, value)| (*name, (*value).to_owned())));
        Agent::start(&["--out", "-"], &env)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 2000];
        let length = self.socket.recv(&mut buffer).expect("the agent tells its manager");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The next but signs of life.
    fn next_state(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|state| state != "WATCHDOG=1").unwrap()
    }
}

#[test]
fn a_manager_is_told_of_readiness_reload_and_stop() {
    for manager in [Manager::at_path("notify-path"), Manager::abstract_one("notify-abstract")] {
        let mut agent = manager.start_agent(&[("DD_SHUTDOWN_TIMEOUT", "60")]);
        let ready = manager.next();
        assert!(ready.starts_with("READY=1\nSTATUS=ready: communication=127.0.0.1:"), "{ready}");
        let port = agent.ready().communication.unwrap();
        assert_eq!(support::fake_http::send(port, "GET", "/lambda/hello", &[], b"").0, 200, "it listens");
        agent.send(Signal::HUP);
        let reloading = manager.next();
        assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
        let again = manager.next();
        assert!(again.starts_with("READY=1\n"), "{again}");
        agent.line_with("settings were read again");
        agent.stop_and_finish().assert_clean();
        let stopping = manager.next();
        // More than the agent may take.
        let expected = "STOPPING=1\nEXTEND_TIMEOUT_USEC=65000000\nSTATUS=stopping: told to by a signal";
        assert_eq!(stopping, expected);
    }
}

#[test]
fn a_manager_that_wants_signs_of_life_gets_them_from_the_main_loop() {
    let manager = Manager::at_path("notify-watchdog");
    let agent = manager.start_agent(&[("WATCHDOG_USEC", "20000")]);
    assert!(manager.next().starts_with("READY=1"));
    assert_eq!([manager.next(), manager.next(), manager.next()], ["WATCHDOG=1"; 3]);
    agent.send(Signal::HUP);
    assert!(manager.next_state().starts_with("RELOADING=1"));
    assert!(manager.next_state().starts_with("READY=1"));
    agent.stop_and_finish().assert_clean();
    assert!(manager.next_state().starts_with("STOPPING=1"));
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 8]).is_err(), "a loop that has ended gives none");
}

#[test]
fn a_manager_that_is_gone_is_a_warning() {
    let manager = Manager { socket: UnixDatagram::unbound().unwrap(), name: "/nowhere/notify".to_owned() };
    let mut agent = manager.start_agent(&[]);
    agent.ready();
    let finished = agent.stop_and_finish();
    finished.assert_clean();
    assert!(finished.says("the service manager cannot be told that the agent is ready"), "{finished:?}");
}

#[test]
fn an_agent_that_does_not_start_is_never_ready() {
    let manager = Manager::at_path("notify-fails");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let finished = manager.start_agent(&[("DD_COMMUNICATION_PORT", &port)]).finish();
    assert_eq!(finished.code, Some(69));
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 8]).is_err());
}

/// Before its first instruction nothing can keep SIGHUP from ending a process but the one that starts it, who has it ignored: that is
/// inherited. So the scripts in packaging/ do.
#[test]
fn a_reload_at_any_moment_of_the_start_does_not_end_an_agent_whose_script_ignores_it() {
    let mut script = Command::new("/bin/sh");
    script.args(["-c", &format!("trap '' HUP; echo ignored; exec {} \"$0\" --out -", runner()), env!("CARGO_BIN_EXE_mote")]);
    let mut agent = Agent::spawn(script, &settings());
    agent.line_with("ignored");
    let mut sent = 0;
    while !agent.new_lines().iter().any(|line| line.contains("ready: ")) {
        agent.send(Signal::HUP);
        sent += 1;
        assert!(sent < 10_000_000, "it did not get ready");
    }
    agent.send(Signal::HUP);
    agent.line_with("settings were read again");
    agent.stop_and_finish().assert_clean();
}
