//! Clients that nobody wants, each a function over a [`Port`], so that they can be sent against any listener. They assert nothing
//! themselves: they tell what they were answered.

use mote::sys::clock::Clock;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a client waits for anything before it calls the server dead.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Where to knock, and a path that takes bodies there.
#[derive(Clone, Copy, Debug)]
pub struct Port {
    pub addr: SocketAddr,
    pub path: &'static str,
    /// A body that is good for `path`.
    pub body: &'static str,
}

impl Port {
    pub fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.addr, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A request up to the end of its headers; `lines` end in CR LF each.
    pub fn head(&self, lines: &str) -> String {
        format!("POST {} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n", self.path)
    }

    /// Sends `bytes` and nothing more, and returns the status that comes back; `None` when the connection ends without one.
    pub fn say(&self, bytes: impl AsRef<[u8]>) -> Option<u16> {
        let mut stream = self.connect().ok()?;
        let _ = stream.write_all(bytes.as_ref()); // the server may have closed already, and its answer still be there
        read_status(&mut stream)
    }

    /// The same, and then the end of the client's side.
    pub fn say_and_end(&self, bytes: impl AsRef<[u8]>) -> Option<u16> {
        let mut stream = self.connect().ok()?;
        let _ = stream.write_all(bytes.as_ref());
        let _ = stream.shutdown(Shutdown::Write);
        read_status(&mut stream)
    }

    /// A well-behaved client that tries again for [`PATIENCE`]; whether it got a 2xx in the end.
    pub fn serves_a_good_client(&self) -> bool {
        let by = soon(PATIENCE);
        let request = self.head(&format!("Content-Length: {}\r\nConnection: close\r\n", self.body.len())) + self.body;
        while !is_past(by) {
            if self.say(&request).is_some_and(|status| status / 100 == 2) {
                return true;
            }
        }
        false
    }
}

pub fn soon(wait: Duration) -> Instant {
    Clock::new().instant_in(wait)
}

pub fn is_past(by: Instant) -> bool {
    Clock::new().until(by).is_zero()
}

/// The status of the next answer that is not `100 Continue`.
pub fn read_status(stream: &mut TcpStream) -> Option<u16> {
    loop {
        let head = read_head(stream)?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        if status != 100 {
            return Some(status);
        }
    }
}

fn read_head(stream: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A whole request, and RST before it can be answered.
pub fn reset_after_request(port: &Port, times: usize) {
    let request = port.head(&format!("Content-Length: {}\r\n", port.body.len())) + port.body;
    for _ in 0..times {
        let Ok(mut stream) = port.connect() else { continue };
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        let _ = stream.write_all(request.as_bytes());
    }
}

/// Three bytes with whatever length is claimed for them.
pub fn length(port: &Port, lengths: &[&str]) -> Option<u16> {
    let lines: String = lengths.iter().map(|length| format!("Content-Length: {length}\r\n")).collect();
    port.say(port.head(&lines) + "abc")
}

/// A body that ends early.
pub fn cut_body(port: &Port) -> Option<u16> {
    port.say_and_end(port.head("Content-Length: 5000\r\n") + "abc")
}

/// One header line of `bytes` bytes. Also returns the connection, so that what it costs can be measured while it is open.
pub fn long_header_line(port: &Port, bytes: usize) -> (usize, Option<TcpStream>) {
    let Ok(mut stream) = port.connect() else { return (0, None) };
    let _ = stream.write_all(format!("POST {} HTTP/1.1\r\nX-Long: ", port.path).as_bytes());
    let (piece, mut sent) = ([b'a'; 64 * 1024], 0);
    while sent < bytes {
        match stream.write(&piece) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    (sent, Some(stream))
}

/// So many header lines.
pub fn many_headers(port: &Port, count: usize) -> Option<u16> {
    let lines: String = (0..count).map(|number| format!("X-Header-{number}: {number}\r\n")).collect();
    port.say(port.head(&lines))
}

/// Half a header, and then nothing.
pub fn partial_header(port: &Port) -> Option<u16> {
    port.say(format!("POST {} HTTP/1.1\r\nHo", port.path))
}

/// One byte at a time with `pause` in between, until the server has had enough or `bytes` are sent; how many were.
pub fn drip(port: &Port, start: &str, bytes: usize, pause: Duration) -> (usize, Option<u16>) {
    let Ok(mut stream) = port.connect() else { return (0, None) };
    let _ = stream.set_nodelay(true);
    let _ = stream.write_all(start.as_bytes());
    for sent in 0..bytes {
        let _ = stream.set_read_timeout(Some(pause));
        // Waiting for an answer is the pause.
        match stream.peek(&mut [0]) {
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => {
                let _ = stream.set_read_timeout(Some(PATIENCE));
                return (sent, read_status(&mut stream));
            }
        }
        if stream.write_all(b"a").is_err() {
            return (sent, None);
        }
    }
    (bytes, None)
}

/// Connections that say nothing. As many as the system gives.
pub fn idle(port: &Port, count: usize) -> Vec<TcpStream> {
    (0..count).filter_map(|_| port.connect().ok()).collect()
}

/// Requests one after the other, and no answer is ever read; how many could be sent until the server, or `patience`, had enough.
pub fn pipelined(port: &Port, count: usize, patience: Duration) -> usize {
    const BATCH: usize = 500;
    let Ok(mut stream) = port.connect() else { return 0 };
    let _ = stream.set_write_timeout(Some(patience));
    let batch = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", port.path).repeat(BATCH);
    let mut sent = 0;
    while sent < count && stream.write_all(batch.as_bytes()).is_ok() {
        sent += BATCH;
    }
    sent
}

/// Chunks, then trailers.
pub fn chunked_with_trailers(port: &Port) -> Option<u16> {
    chunked(port, "0\r\nX-Trailer: a\r\nX-Other: b\r\n\r\n")
}

/// A size that is no number.
pub fn chunked_with_bad_size(port: &Port) -> Option<u16> {
    chunked(port, "5x\r\nabcde\r\n0\r\n\r\n")
}

/// More than there can be.
pub fn chunked_with_huge_size(port: &Port) -> Option<u16> {
    chunked(port, "ffffffffffffffff\r\nabcde\r\n0\r\n\r\n")
}

/// The end is missing.
pub fn chunked_cut(port: &Port) -> Option<u16> {
    chunked(port, "5\r\nab")
}

fn chunked(port: &Port, end: &str) -> Option<u16> {
    let first = format!("{:x};name=\"value\"\r\n{}\r\n", port.body.len(), port.body);
    port.say_and_end(port.head("Transfer-Encoding: chunked\r\n") + &first + end)
}

/// Waits to be asked for its body. Whether it was asked, and the answer.
pub fn expect_continue(port: &Port) -> (bool, Option<u16>) {
    let Ok(mut stream) = port.connect() else { return (false, None) };
    let head = port.head(&format!("Expect: 100-continue\r\nContent-Length: {}\r\n", port.body.len()));
    let _ = stream.write_all(head.as_bytes());
    let was_asked = read_head(&mut stream).is_some_and(|head| head.contains(" 100 "));
    let _ = stream.write_all(port.body.as_bytes());
    (was_asked, read_status(&mut stream))
}

/// What Java's client sends by default: an offer to change to HTTP/2, with a body.
pub fn h2c_upgrade(port: &Port) -> Option<u16> {
    let offer =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n";
    port.say(port.head(&format!("{offer}Content-Length: {}\r\n", port.body.len())) + port.body)
}

/// Lines without CR.
pub fn line_feeds_only(port: &Port) -> Option<u16> {
    port.say(port.head(&format!("Content-Length: {}\r\n", port.body.len())).replace('\r', "") + port.body)
}

/// HTTP/2 without asking. Returns the connection too: a server may never let go of it.
pub fn http2_preface(port: &Port) -> Option<TcpStream> {
    let mut stream = port.connect().ok()?;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\xa0\0\0\0\x02\0\0\0\0")
        .ok()?;
    Some(stream)
}

/// A header value in UTF-8 and one in Latin-1.
pub fn non_ascii_header(port: &Port) -> Option<u16> {
    let mut request = port.head(&format!("X-Name: é\r\nX-Latin: @\r\nContent-Length: {}\r\n", port.body.len())).into_bytes();
    request.extend_from_slice(port.body.as_bytes());
    request.iter_mut().filter(|byte| **byte == b'@').for_each(|byte| *byte = 0xe9);
    port.say(request)
}

/// The start of a TLS handshake.
pub fn tls_client_hello(port: &Port) -> Option<u16> {
    let mut hello = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
    hello.extend((0..506).map(|number| (number * 7 % 251) as u8));
    port.say_and_end(hello)
}
