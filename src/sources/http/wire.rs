//! One connection as bytes with deadlines: what was read ahead, reading up to a moment, writing up to a moment.
//!
//! A limit is for the whole of a header or a body and not for one read, so that a byte a second does not renew it. The socket's
//! own time-out is set to what is left. Because that costs a system call, it is left alone while it is off by less than an eighth:
//! a limit may be overshot by so much.

use super::framing::{Framing, Head, chunk_size, encode_head, may_have_body, parse_head};
use super::refusals::Fault;
use super::{Limits, Response, Service};
use crate::sources::socket::Socket;
use crate::sys::clock::Clock;
use crate::sys::memory::Permit;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a connection reads ahead at first; a longer header makes it grow up to the header limit.
const BUFFER_BYTES: usize = 4 * 1024;

/// By how much a body grows at a time, so that its pages are touched only when there is something to put there.
const STEP_BYTES: usize = 64 * 1024;

/// For making a body longer. `Vec::resize` goes byte by byte when the build is made for size: a third of a request's time.
static ZEROES: [u8; 4096] = [0; 4096];

/// A chunk's size and extensions.
const CHUNK_LINE_BYTES_MAX: usize = 1024;

/// Answers up to this are sent in one write with their header.
const ONE_WRITE_BYTES: usize = 16 * 1024;

/// Why a read gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// The client has sent all it will.
    Eof,
    /// The moment came.
    Timeout,
    /// The connection is gone.
    Gone,
}

impl From<Cut> for Fault {
    fn from(cut: Cut) -> Fault {
        match cut {
            Cut::Timeout => Fault::TIMEOUT,
            Cut::Eof | Cut::Gone => Fault::CUT_SHORT,
        }
    }
}

/// How much of an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Whole,
    /// What `HEAD` asks for.
    Head,
}

/// Why there is no body to hand on.
#[derive(Debug)]
pub(super) enum NoBody {
    Fault(Fault),
    /// No memory within the overload wait.
    Overloaded,
}

impl From<Fault> for NoBody {
    fn from(fault: Fault) -> NoBody {
        NoBody::Fault(fault)
    }
}

impl From<Cut> for NoBody {
    fn from(cut: Cut) -> NoBody {
        NoBody::Fault(cut.into())
    }
}

#[derive(Debug)]
pub(super) struct Wire {
    service: Arc<Service>,
    line: Line,
    buffer: Vec<u8>,
    /// Where in `buffer` the bytes lie that nobody has taken yet.
    unread: Range<usize>,
}

impl Wire {
    pub fn new(service: Arc<Service>, socket: Arc<Socket>) -> Wire {
        socket.set_nodelay();
        let line = Line { clock: service.clock, socket, read_time: None, write_time: None };
        Wire { service, line, buffer: vec![0; BUFFER_BYTES], unread: 0..0 }
    }

    /// The next head. `None` when the client has nothing more to say.
    pub fn head(&mut self) -> Result<Option<Head>, Fault> {
        let limits = *self.limits();
        if self.unread.is_empty() && self.fill(limits.header_bytes_max, self.moment(limits.idle_time)).is_err() {
            return Ok(None);
        }
        let by = self.moment(limits.header_time);
        loop {
            if let Some((head, length)) = parse_head(&self.buffer[self.unread.clone()], limits.headers_max)? {
                self.unread.start += length;
                return Ok(Some(head));
            }
            // Only the end of a line can complete it. Parsing again for each single byte would be a client's way to burn our time.
            let mut seen = self.unread.len();
            while !self.buffer[self.unread.clone()][seen..].contains(&b'\n') {
                seen = self.unread.len();
                if limits.header_bytes_max <= seen {
                    return Err(Fault::HEADER_TOO_LARGE);
                }
                self.fill(limits.header_bytes_max, by)?;
            }
        }
    }

    /// The whole body that `head` announces, if it has no more than `bytes_max` bytes.
    pub fn body(&mut self, head: &Head, bytes_max: usize) -> Result<(Vec<u8>, Permit), NoBody> {
        match head.framing {
            Framing::Length(bytes) => {
                let bytes = usize::try_from(bytes).ok().filter(|bytes| *bytes <= bytes_max).ok_or(Fault::TOO_LARGE)?;
                let permit = self.service.reserve(bytes).ok_or(NoBody::Overloaded)?;
                let mut body = self.service.handler.spare_buffer();
                body.clear();
                body.try_reserve_exact(bytes).map_err(|_| NoBody::Overloaded)?;
                if 0 < bytes {
                    self.invite(head)?;
                }
                self.take(&mut body, bytes, self.moment(self.limits().body_time))?;
                Ok((body, permit))
            }
            Framing::Chunked => self.chunks(head, bytes_max, self.moment(self.limits().body_time)),
        }
    }

    fn chunks(&mut self, head: &Head, bytes_max: usize, by: Instant) -> Result<(Vec<u8>, Permit), NoBody> {
        let mut permit = self.service.reserve(0).ok_or(NoBody::Overloaded)?;
        let mut body = Vec::new();
        self.invite(head)?;
        loop {
            let mut left = chunk_size(&self.text_line(CHUNK_LINE_BYTES_MAX, by)?)?;
            if left == 0 {
                break;
            }
            if bytes_max - body.len() < left {
                return Err(Fault::TOO_LARGE.into());
            }
            while 0 < left {
                let step = left.min(STEP_BYTES);
                self.make_room(&mut body, &mut permit, step, bytes_max)?;
                self.take(&mut body, step, by)?;
                left -= step;
            }
            if !self.text_line(2, by)?.is_empty() {
                return Err(Fault::malformed("malformed chunk").into());
            }
        }
        let mut trailer_bytes = 0;
        loop {
            let line = self.text_line(self.limits().header_bytes_max - trailer_bytes, by)?;
            trailer_bytes += line.len();
            if line.is_empty() {
                break;
            }
        }
        body.shrink_to_fit();
        permit.shrink_to(body.capacity());
        Ok((body, permit))
    }

    /// Room for `more` bytes, at least doubled each time, and paid for before it is taken.
    fn make_room(&self, body: &mut Vec<u8>, permit: &mut Permit, more: usize, bytes_max: usize) -> Result<(), NoBody> {
        let (held, needed) = (permit.bytes(), body.len() + more);
        if needed <= held {
            return Ok(());
        }
        let target = needed.max(held * 2).min(bytes_max.max(needed));
        let by = self.moment(self.limits().overload_wait);
        if !permit.grow(target - held, by) || body.try_reserve_exact(target - body.len()).is_err() {
            return Err(NoBody::Overloaded);
        }
        Ok(())
    }

    /// Tells a client that waits for it to send its body.
    fn invite(&mut self, head: &Head) -> Result<(), NoBody> {
        if head.expects_continue && self.unread.is_empty() {
            let by = self.moment(self.limits().write_time);
            self.line.send(b"HTTP/1.1 100 Continue\r\n\r\n", by).map_err(|_| NoBody::Fault(Fault::CUT_SHORT))?;
        }
        Ok(())
    }

    /// Writes the answer.
    pub fn answer(&mut self, response: &Response, keep_alive: bool, shown: Shown) -> io::Result<()> {
        let by = self.moment(self.limits().write_time);
        let mut bytes = encode_head(response, keep_alive);
        let body = if shown == Shown::Head || !may_have_body(response.status) { &[][..] } else { &response.body };
        if body.len() <= ONE_WRITE_BYTES {
            bytes.extend_from_slice(body);
            return self.line.send(&bytes, by);
        }
        self.line.send(&bytes, by)?;
        self.line.send(body, by)
    }

    /// Says that nothing more will come, and reads away some of what the client still sends: closing over unread bytes would make
    /// its system throw our answer away.
    pub fn part(mut self) {
        let (by, mut left) = (self.moment(self.limits().drain_time), self.limits().drain_bytes_max);
        self.line.socket.shut(Shutdown::Write);
        self.unread = 0..0;
        while 0 < left && self.fill(BUFFER_BYTES, by).is_ok() {
            left = left.saturating_sub(self.unread.len());
            self.unread = 0..0;
        }
    }

    /// The next `bytes` bytes, at the end of `body`.
    fn take(&mut self, body: &mut Vec<u8>, bytes: usize, by: Instant) -> Result<(), Cut> {
        let end = body.len() + bytes;
        let ahead = bytes.min(self.unread.len());
        body.extend_from_slice(&self.buffer[self.unread.start..self.unread.start + ahead]);
        self.unread.start += ahead;
        let mut filled = body.len();
        while filled < end {
            if filled == body.len() {
                lengthen(body, end.min(filled + STEP_BYTES));
            }
            match self.line.read(&mut body[filled..], by) {
                Ok(count) => filled += count,
                Err(cut) => {
                    body.truncate(filled);
                    return Err(cut);
                }
            }
        }
        Ok(())
    }

    /// The next line without its CR LF.
    fn text_line(&mut self, bytes_max: usize, by: Instant) -> Result<Vec<u8>, Fault> {
        loop {
            let unread = &self.buffer[self.unread.clone()];
            if let Some(end) = unread.iter().take(bytes_max).position(|byte| *byte == b'\n') {
                let line = unread[..end].strip_suffix(b"\r").ok_or(Fault::malformed("malformed chunk"))?.to_vec();
                self.unread.start += end + 1;
                return Ok(line);
            }
            if bytes_max <= unread.len() {
                return Err(Fault::malformed("malformed chunk"));
            }
            self.fill(bytes_max, by)?;
        }
    }

    /// Reads once more into the buffer, which may grow to `bytes_max`.
    fn fill(&mut self, bytes_max: usize, by: Instant) -> Result<(), Cut> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        }
        if self.unread.end == self.buffer.len() {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            let grown = (self.buffer.len() * 2).min(bytes_max);
            if self.unread.end == self.buffer.len() {
                self.buffer.resize(grown.max(self.buffer.len() + 1), 0);
            }
        }
        self.unread.end += self.line.read(&mut self.buffer[self.unread.end..], by)?;
        Ok(())
    }

    fn limits(&self) -> &Limits {
        &self.service.limits
    }

    fn moment(&self, wait: Duration) -> Instant {
        self.service.clock.instant_in(wait)
    }
}

/// The socket and what its own time-outs are set to.
#[derive(Debug)]
struct Line {
    clock: Clock,
    socket: Arc<Socket>,
    read_time: Option<Duration>,
    write_time: Option<Duration>,
}

impl Line {
    /// At least one byte.
    fn read(&mut self, buffer: &mut [u8], by: Instant) -> Result<usize, Cut> {
        loop {
            let left = self.clock.until(by);
            if left.is_zero() {
                return Err(Cut::Timeout);
            }
            if !is_near(self.read_time, left) {
                self.socket.set_read_timeout(left).map_err(|_| Cut::Gone)?;
                self.read_time = Some(left);
            }
            match self.socket.read(buffer) {
                Ok(0) => return Err(Cut::Eof),
                Ok(count) => return Ok(count),
                Err(err) if is_no_verdict(&err) => {} // the moment has come, or the time-out was a little short of it
                Err(_) => return Err(Cut::Gone),
            }
        }
    }

    /// All of `bytes`.
    fn send(&mut self, mut bytes: &[u8], by: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            let left = self.clock.until(by);
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            if !is_near(self.write_time, left) {
                self.socket.set_write_timeout(left)?;
                self.write_time = Some(left);
            }
            match self.socket.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(err) if is_no_verdict(&err) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }
}

fn lengthen(body: &mut Vec<u8>, bytes: usize) {
    while body.len() < bytes {
        body.extend_from_slice(&ZEROES[..ZEROES.len().min(bytes - body.len())]);
    }
}

fn is_near(set: Option<Duration>, left: Duration) -> bool {
    set.is_some_and(|set| set <= left + left / 8 && left <= set + set / 8)
}

fn is_no_verdict(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
