//! Other sides over HTTP, scripted: an intake, the Lambda APIs, KMS. One thread a connection, one request after the other.

use crate::support::agent::PATIENCE;
use flate2::read::GzDecoder;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body, decompressed.
    pub fn plain(&self) -> Vec<u8> {
        if self.header("content-encoding") != Some("gzip") {
            return self.body.clone();
        }
        let mut plain = Vec::new();
        GzDecoder::new(&self.body[..]).read_to_end(&mut plain).expect("a gzip body");
        plain
    }

    /// The records of a body.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let mut records = Vec::new();
        let mut each = |record| records.push(record);
        match self.path.as_str() {
            "/api/v0.2/traces" => mote::out::traces::records(&self.plain(), &mut each).expect("an AgentPayload"),
            "/api/v0.2/stats" => mote::out::stats::records(&self.plain(), &mut each).expect("a StatsPayload"),
            "/api/v2/series" => mote::out::metrics::series(&self.plain(), &mut each).expect("a MetricPayload"),
            "/api/beta/sketches" => mote::out::metrics::sketches(&self.plain(), &mut each).expect("a SketchPayload"),
            "/api/v1/check_run" => mote::out::checks::records(&self.plain(), &mut each).expect("an array of checks"),
            "/api/v1/events" => mote::out::checks::event(&self.plain(), &mut each).expect("an event"),
            _ => mote::out::logs::records(&self.plain(), &mut each).expect("an array of entries"),
        }
        records
    }
}

/// What is answered.
pub enum Reply {
    /// A status with headers and a body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// A status whose body is announced longer than it comes.
    CutShort(u16),
    /// The connection stays open and nothing comes.
    Silence,
    /// The connection is closed without an answer.
    Hangup,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply::Answer(status, Vec::new(), "{}".to_owned())
    }
}

/// A listening other side.
pub struct FakeServer {
    pub address: SocketAddr,
    requests: Receiver<Seen>,
}

/// Connections that are to stay open.
type Held = Arc<Mutex<Vec<TcpStream>>>;

impl FakeServer {
    /// Answers every request with what `reply` says; requests can be looked at as soon as they are complete.
    pub fn start(reply: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> FakeServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound");
        let (sender, requests) = channel();
        let (reply, held) = (Arc::new(reply), Held::default());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (sender, reply, held) = (sender.clone(), Arc::clone(&reply), Arc::clone(&held));
                thread::spawn(move || serve(stream, &sender, &*reply, &held));
            }
        });
        FakeServer { address, requests }
    }

    /// `http://host:port`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request.
    #[track_caller]
    pub fn next(&self) -> Seen {
        self.requests.recv_timeout(PATIENCE).expect("a request comes")
    }

    /// The requests that have come so far.
    pub fn so_far(&self) -> Vec<Seen> {
        self.requests.try_iter().collect()
    }

    /// All records of the requests that have come so far.
    pub fn records(&self) -> Vec<serde_json::Value> {
        self.so_far().iter().flat_map(Seen::records).collect()
    }

    /// Those of one signal.
    pub fn records_of(&self, signal: &str) -> Vec<serde_json::Value> {
        self.records().into_iter().filter(|record| record["signal"] == signal).collect()
    }
}

/// An address where nobody listens, now or later: the port stays taken until the test's process ends, so that no other test gets it.
pub fn dead_url() -> String {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("loopback");
    let address = socket.local_addr().ok().and_then(|address| address.as_socket()).expect("bound");
    std::mem::forget(socket);
    format!("http://{address}")
}

fn serve(stream: TcpStream, sender: &Sender<Seen>, reply: &dyn Fn(&Seen) -> Reply, held: &Held) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let seen = read_request(&mut reader)?;
        let answer = reply(&seen);
        let _ = sender.send(seen);
        match answer {
            Reply::Answer(status, headers, body) => {
                let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let head = format!("HTTP/1.1 {status} X\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).ok()?;
                stream.write_all(body.as_bytes()).ok()?;
            }
            Reply::CutShort(status) => {
                let _ = stream.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 100\r\n\r\ncut").as_bytes());
                return None;
            }
            Reply::Silence => {
                held.lock().expect("no thread panics with it").push(stream);
                return None;
            }
            Reply::Hangup => return None,
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| 0 < *read)?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let mut body = vec![0; length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { method, path, headers, body })
}

/// Sends a request to the agent and returns status, headers and body of its answer.
pub fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, String) {
    let stream = TcpStream::connect(address).expect("the agent listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    exchange(stream, method, path, headers, body)
}

/// The same over its Unix socket.
pub fn send_unix(socket: &Path, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, String) {
    let stream = UnixStream::connect(socket).expect("the agent listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    exchange(stream, method, path, headers, body)
}

fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String, String) {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)); // a refusal may come before the end of a body
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a reset after the answer is as good as an end
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}
