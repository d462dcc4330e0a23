//! What both servers promise, asked of both through a loopback port. Attacks are in `tests/hostile.rs`.

use super::*;
use crate::sys::inbox::{Receiver, Sender, channel};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

/// Long enough never to matter.
const FAR: Duration = Duration::from_secs(60);

enum Server {
    Blocking(blocking::Server),
    Tiny(tiny::Server),
}

impl Server {
    fn addr(&self) -> SocketAddr {
        match self {
            Server::Blocking(server) => server.local_addr(),
            Server::Tiny(server) => server.local_addr(),
        }
        .unwrap()
    }

    fn stop(self, by: Instant) -> bool {
        match self {
            Server::Blocking(server) => server.stop(by),
            Server::Tiny(server) => server.stop(by),
        }
    }
}

/// Answers with what it was sent; `/slow` waits until it is told to go on.
struct Echo {
    answers: AtomicUsize,
    entered: Sender<()>,
    hold: Receiver<()>,
}

impl Handler for Echo {
    fn admit(&self, head: &Head) -> Result<usize, Response> {
        if head.path == "/unknown" { Err(Response::text(404, "404 page not found")) } else { Ok(100_000) }
    }

    fn overloaded(&self, head: &Head) -> Response {
        Response::text(if head.headers.get("datadog-send-real-http-status").is_some() { 429 } else { 200 }, "busy")
    }

    fn answer(&self, request: Request) -> Response {
        if request.path == "/slow" {
            self.entered.send(()).unwrap();
            let _ = self.hold.recv_timeout(FAR);
        }
        self.answers.fetch_add(1, SeqCst);
        let seen = format!("{} {} {:?} {}", request.method, request.path, request.query, request.permit.bytes());
        Response::new(200, "text/plain", request.body).with_header("X-Seen", seen)
    }
}

struct Setup {
    service: Arc<Service>,
    budget: Budget,
    echo: Arc<Echo>,
    entered: Receiver<()>,
    release: Sender<()>,
}

fn setup(limits: Limits, budget_bytes: usize) -> Setup {
    let ((entered_tx, entered), (release, hold)) = (channel(8), channel(8));
    let (echo, budget) =
        (Arc::new(Echo { answers: AtomicUsize::new(0), entered: entered_tx, hold }), Budget::new(budget_bytes));
    Setup {
        service: Service::new(Arc::clone(&echo) as Arc<dyn Handler>, budget.clone(), limits),
        budget,
        echo,
        entered,
        release,
    }
}

/// Runs `check` against each of the two servers.
fn with_both(limits: Limits, check: impl Fn(Server, Setup)) {
    for kind in ["blocking", "tiny"] {
        let setup = setup(limits, 200_000);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let exits = channel(1).0;
        let server = if kind == "tiny" {
            Server::Tiny(tiny::Server::start("tiny", listener, Arc::clone(&setup.service), &exits).unwrap())
        } else {
            Server::Blocking(blocking::Server::start("blocking", listener, Arc::clone(&setup.service), &exits).unwrap())
        };
        check(server, setup);
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(FAR)).unwrap();
    stream
}

/// One answer: status line and headers, and the body.
fn read_answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn ask(stream: &mut TcpStream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(stream)
}

fn status(addr: SocketAddr, request: &str) -> String {
    let mut stream = connect(addr);
    let _ = stream.write_all(request.as_bytes()); // the answer may be there, and the connection closed, before all is sent
    let _ = stream.shutdown(Shutdown::Write);
    let (head, body) = read_answer(&mut stream);
    format!("{} {}", head.split(' ').nth(1).unwrap(), body.trim_end())
}

fn in_far() -> Instant {
    Clock::new().instant_in(FAR)
}

#[test]
fn requests_follow_each_other_on_one_connection() {
    with_both(Limits::default(), |server, setup| {
        let mut stream = connect(server.addr());
        let (head, body) = ask(&mut stream, "POST /a?b=c HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("X-Seen: POST /a Some(\"b=c\") 5\r\n"), "{head}");
        assert_eq!(body, "hello");
        let (_, body) =
            ask(&mut stream, "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(body, "abcde");
        let big = "x".repeat(90_000);
        assert_eq!(ask(&mut stream, &format!("POST / HTTP/1.1\r\nContent-Length: 90000\r\n\r\n{big}")).1, big);
        assert_eq!(setup.echo.answers.load(SeqCst), 3);
        assert!(server.stop(in_far()));
        assert_eq!(setup.budget.taken(), 0);
    });
}

#[test]
fn refusals_have_the_status_that_the_reference_says() {
    with_both(Limits { overload_wait: Duration::from_millis(10), ..Limits::default() }, |server, setup| {
        let check = |request: &str, expected: &str| assert_eq!(status(server.addr(), request), expected, "{request}");
        check("POST /unknown HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "404 404 page not found");
        check("POST / HTTP/1.1\r\nContent-Length: 100001\r\n\r\nabc", "413 payload-too-large");
        check("POST / HTTP/1.1\r\nContent-Length: 3000\r\n\r\nabc", "400 unexpected-eof");
        check("POST / HTTP/1.1\r\nContent-Length: 3x\r\n\r\nabc", "400 content-length is not a number");
        check("GET / HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\n\r\n", "403 cross-site requests are refused");
        check(
            "POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://example.com\r\n\r\n",
            "403 cross-site requests are refused",
        );
        check("GET / HTTP/1.1\r\nHost: rebind.example.com:8126\r\n\r\n", "403 the Host header names another machine");
        check("GET / HTTP/1.1\r\nHost: localhost:8126\r\n\r\n", "200 ");
        let two_hosts = "GET / HTTP/1.1\r\nHost: localhost\r\nHost: rebind.example.com\r\n\r\n";
        check(two_hosts, "400 host is given twice");
        check(&two_hosts.replace("rebind.example.com", "localhost"), "400 host is given twice");
        let absolute = "GET http://rebind.example.com/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
        check(absolute, "403 the Host header names another machine");
        check("GET http://localhost:8126/ HTTP/1.1\r\nHost: rebind.example.com\r\n\r\n", "200 ");
        check("GET / HTTP/1.0\r\n\r\n", "200 ");
        assert_eq!(setup.service.refusals().of(Refusal::TooLarge), 1);
        assert_eq!(setup.service.refusals().of(Refusal::CutShort), 1);
        let chunk = format!("c350\r\n{}\r\n", "x".repeat(50_000));
        let chunked = "POST / HTTP/1.1\r\nDatadog-Send-Real-Http-Status: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("{chunked}{}0\r\n\r\n", chunk.repeat(3)), "413 payload-too-large");
        let held = setup.budget.reserve(190_000, in_far()).unwrap();
        check("POST / HTTP/1.1\r\nDatadog-Send-Real-Http-Status: 1\r\nContent-Length: 20000\r\n\r\nabc", "429 busy");
        check("POST / HTTP/1.1\r\nContent-Length: 20000\r\n\r\nabc", "200 busy");
        check(&format!("{chunked}{chunk}0\r\n\r\n"), "429 busy");
        drop(held);
        assert!(server.stop(in_far()));
        assert_eq!(setup.budget.taken(), 0);
    });
}

#[test]
fn a_client_that_waits_to_be_asked_is_asked() {
    with_both(Limits::default(), |server, _| {
        let mut stream = connect(server.addr());
        let (head, _) = ask(&mut stream, "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 100 Continue\r\n"), "{head}");
        assert_eq!(ask(&mut stream, "abc").1, "abc");
        let (head, _) = ask(&mut stream, "POST /unknown HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        assert!(server.stop(in_far()));
    });
}

#[test]
fn stopping_answers_what_is_in_progress_and_closes_what_is_idle() {
    with_both(Limits::default(), |server, setup| {
        let addr = server.addr();
        let (mut idle, mut slow) = (connect(addr), connect(addr));
        ask(&mut idle, "GET / HTTP/1.1\r\n\r\n");
        slow.write_all(b"GET /slow HTTP/1.1\r\n\r\n").unwrap();
        setup.entered.recv_timeout(FAR).unwrap();
        let is_tiny = matches!(server, Server::Tiny(_));
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| server.stop(in_far()));
            if !is_tiny {
                assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0, "closed at once");
            }
            while TcpStream::connect(addr).is_ok() {
                std::thread::yield_now(); // until the port is closed
            }
            setup.release.send(()).unwrap();
            assert!(read_answer(&mut slow).0.starts_with("HTTP/1.1 200 "));
            assert!(stopping.join().unwrap());
        });
    });
}

#[test]
fn a_request_that_is_still_in_progress_at_the_deadline_is_cut_off() {
    with_both(Limits::default(), |server, setup| {
        let mut slow = connect(server.addr());
        slow.write_all(b"GET /slow HTTP/1.1\r\n\r\n").unwrap();
        setup.entered.recv_timeout(FAR).unwrap();
        assert!(!server.stop(Clock::new().instant_in(Duration::from_millis(1))));
        setup.release.send(()).unwrap();
    });
}

#[test]
fn a_panic_in_a_handler_costs_one_connection() {
    struct Panics;
    impl Handler for Panics {
        fn admit(&self, _: &Head) -> Result<usize, Response> {
            Ok(10)
        }
        fn overloaded(&self, _: &Head) -> Response {
            Response::text(429, "busy")
        }
        fn answer(&self, request: Request) -> Response {
            assert!(request.path != "/panic", "on purpose");
            Response::text(200, "ok")
        }
    }
    let service = Service::new(Arc::new(Panics), Budget::new(100), Limits::default());
    let exits = channel(1).0;
    let server = blocking::Server::start("panics", TcpListener::bind("127.0.0.1:0").unwrap(), service, &exits).unwrap();
    let addr = server.local_addr().unwrap();
    let mut stream = connect(addr);
    stream.write_all(b"GET /panic HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(status(addr, "GET / HTTP/1.1\r\n\r\n"), "200 ok");
    assert!(server.stop(in_far()));
}

#[test]
fn a_unix_socket_is_served_too() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let path = std::env::temp_dir().join(format!("mote-http-{}-{:?}", std::process::id(), std::thread::current().id()));
    let setup = setup(Limits::default(), 1000);
    let listener = UnixListener::bind(&path).unwrap();
    let exits = channel(1).0;
    let server = blocking::Server::start("unix", listener, setup.service, &exits).unwrap();
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer}");
    assert!(server.stop(in_far()));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_unix_socket_beside_a_port_on_loopback_takes_any_name_and_the_port_does_not() {
    use std::os::unix::net::{UnixListener, UnixStream};
    let path = std::env::temp_dir().join(format!("mote-doors-{}", std::process::id()));
    let setup = setup(Limits::default(), 1000);
    let start =
        |listener: Listener| blocking::Server::start("doors", listener, Arc::clone(&setup.service), &channel(1).0).unwrap();
    let port = start(TcpListener::bind("127.0.0.1:0").unwrap().into());
    let socket = start(UnixListener::bind(&path).unwrap().into());
    let request = "GET / HTTP/1.1\r\nHost: rebind.example.com\r\nConnection: close\r\n\r\n";
    let mut stream = UnixStream::connect(&path).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(status(port.local_addr().unwrap(), request), "403 the Host header names another machine");
    assert!(port.stop(in_far()) && socket.stop(in_far()));
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn loopback_is_loopback_however_it_is_written() {
    for (address, expected) in [
        ("127.0.0.2:1", Names::OfThisMachine),
        ("[::1]:1", Names::OfThisMachine),
        ("[::ffff:127.0.0.1]:1", Names::OfThisMachine),
        ("[::ffff:192.168.1.5]:1", Names::Any),
        ("0.0.0.0:1", Names::Any),
    ] {
        assert_eq!(Names::at(Some(address.parse().unwrap())), expected, "{address}");
    }
}

#[test]
fn a_port_that_other_machines_reach_may_have_any_name() {
    let setup = setup(Limits::default(), 200_000);
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = blocking::Server::start("open", listener, Arc::clone(&setup.service), &channel(1).0).unwrap();
    let mut stream = connect(SocketAddr::from(([127, 0, 0, 1], port)));
    stream.write_all(b"GET / HTTP/1.1\r\nHost: gateway.example.com\r\n\r\n").unwrap();
    assert!(read_answer(&mut stream).0.starts_with("HTTP/1.1 200"));
    drop(stream);
    assert!(server.stop(in_far()));
}
