//! HTTP/1 as bytes, without a socket: a header to a [`Head`], how long its body is, chunk sizes, an answer's header.
//!
//! Lines may end in LF alone. A length is decimal digits and nothing else; several must be equal; next to `Transfer-Encoding` there
//! must be none (RFC 9112, 6.3): whatever could be read in two ways is refused.

use super::refusals::Fault;
use super::{Limits, Response};
use std::borrow::Cow;
use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Header lines. Values that are not UTF-8 have U+FFFD in place of what is not.
#[derive(Clone, Default)]
pub struct Headers {
    source: Source,
}

#[derive(Clone)]
enum Source {
    /// All names and values in one text.
    Lines { text: String, lines: Vec<(Range<usize>, Range<usize>)> },
    /// What tiny_http parsed; it shows a header only to those who know its name.
    Tiny(tiny_http::Headers),
}

impl Default for Source {
    fn default() -> Self {
        Source::Lines { text: String::new(), lines: Vec::new() }
    }
}

impl Headers {
    /// The first value of `name`, in any case, without blanks around it.
    pub fn get(&self, name: &str) -> Option<&str> {
        match &self.source {
            Source::Lines { text, lines } => {
                let (_, value) = lines.iter().find(|(line_name, _)| text[line_name.clone()].eq_ignore_ascii_case(name))?;
                Some(&text[value.clone()])
            }
            Source::Tiny(headers) => headers.get(name).map(|value| value.as_str()),
        }
    }

    /// Name and value of each line, in order; none of what tiny_http parsed.
    pub fn lines(&self) -> Vec<(&str, &str)> {
        match &self.source {
            Source::Lines { text, lines } => {
                lines.iter().map(|(name, value)| (&text[name.clone()], &text[value.clone()])).collect()
            }
            Source::Tiny(_) => Vec::new(),
        }
    }

    /// Every value of `name`, in order.
    pub(super) fn all(&self, name: &str) -> Vec<Cow<'_, str>> {
        match &self.source {
            Source::Lines { text, lines } => {
                let named = lines.iter().filter(|(line_name, _)| text[line_name.clone()].eq_ignore_ascii_case(name));
                named.map(|(_, value)| Cow::Borrowed(&text[value.clone()])).collect()
            }
            Source::Tiny(headers) if headers.get(name).is_none() => Vec::new(), // spares the copy
            Source::Tiny(headers) => all_of_tiny(headers.clone(), name),
        }
    }

    pub(super) fn of_tiny(headers: &tiny_http::Headers) -> Headers {
        Headers { source: Source::Tiny(headers.clone()) }
    }
}

/// tiny_http gives only the first header of a name; so each one that is found is renamed until no more come.
fn all_of_tiny(mut headers: tiny_http::Headers, name: &str) -> Vec<Cow<'static, str>> {
    let mut values = Vec::new();
    while let Some(header) = headers.get_header_mut(name) {
        values.push(Cow::Owned(header.value.as_str().to_owned()));
        let Ok(other) = tiny_http::Header::from_bytes("x-seen", "") else { break };
        header.field = other.field;
    }
    values
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(pairs: I) -> Self {
        let pairs = pairs.into_iter();
        let (mut text, mut lines) = (String::new(), Vec::with_capacity(pairs.size_hint().0));
        for (name, value) in pairs {
            let name_at = text.len()..text.len() + name.len();
            text.push_str(name);
            text.push_str(&String::from_utf8_lossy(value));
            lines.push((name_at.clone(), name_at.end..text.len()));
        }
        Headers { source: Source::Lines { text, lines } }
    }
}

impl fmt::Debug for Headers {
    /// Only how many: values may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Lines { lines, .. } => write!(f, "Headers({})", lines.len()),
            Source::Tiny(_) => write!(f, "Headers"),
        }
    }
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; more than 64 bits can hold count as the most that they can.
    Length(u64),
    /// In chunks, which tell their sizes one by one.
    Chunked,
}

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Head {
    /// In capitals, as sent.
    pub method: String,
    /// Without query, not decoded.
    pub path: String,
    /// What follows the `?`.
    pub query: Option<String>,
    /// The header lines.
    pub headers: Headers,
    /// What the client says about the body.
    pub framing: Framing,
    /// Host and port of a target that names them.
    target_host: Option<String>,
    pub(super) keep_alive: bool,
    pub(super) expects_continue: bool,
}

/// What tells HTTP versions apart here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Closed after the answer, and knows no chunks.
    V10,
    V11,
}

impl Head {
    /// Puts together what a parser found; everything that is decided by headers is decided here, for both servers.
    pub(super) fn new(method: &str, target: &str, version: Version, headers: Headers) -> Result<Head, Fault> {
        let expects_continue = match headers.get("expect") {
            None => false,
            Some(value) if value.eq_ignore_ascii_case("100-continue") => version == Version::V11,
            Some(_) => return Err(Fault::EXPECTATION),
        };
        let framing = framing(&headers, version)?;
        if 1 < headers.all("host").len() {
            return Err(Fault::malformed("host is given twice")); // RFC 9112, 3.2
        }
        let close = headers.all("connection").iter().any(|value| has_token(value, "close"));
        let (host, path, query) = parts(target);
        Ok(Head {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.map(str::to_owned),
            target_host: host.filter(|host| !host.is_empty()).map(str::to_owned),
            keep_alive: version == Version::V11 && !close,
            headers,
            framing,
            expects_continue,
        })
    }

    /// Host and port that the request is meant for. What the target names counts, whatever the header says (RFC 9112, 3.2.2).
    pub(super) fn host(&self) -> Option<&str> {
        self.target_host.as_deref().or_else(|| self.headers.get("host"))
    }

    /// Whether anything follows the header.
    pub(super) fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }
}

fn has_token(value: &str, token: &str) -> bool {
    value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// Host, path and query: `http://host/path?query`, the form meant for proxies, is taken as well.
fn parts(target: &str) -> (Option<&str>, &str, Option<&str>) {
    let (host, target) = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            let (host, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            (Some(host), target)
        }
        _ => (None, target),
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    (host, if path.is_empty() { "/" } else { path }, query)
}

fn framing(headers: &Headers, version: Version) -> Result<Framing, Fault> {
    let (encodings, lengths) = (headers.all("transfer-encoding"), headers.all("content-length"));
    match (encodings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(Framing::Length(0)),
        ([], [first, others @ ..]) if others.iter().all(|other| other == first) => length(first).map(Framing::Length),
        ([], _) => Err(Fault::malformed("content-length is given twice")),
        ([encoding], []) if version == Version::V11 && encoding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        (_, []) => Err(Fault::malformed("unknown transfer-encoding")),
        _ => Err(Fault::malformed("both content-length and transfer-encoding")),
    }
}

fn length(text: &str) -> Result<u64, Fault> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::malformed("content-length is not a number"));
    }
    Ok(text.parse().unwrap_or(u64::MAX)) // digits alone can only be too many
}

/// The head at the start of `bytes` and how long it is there; `None` when it is not complete yet.
pub(super) fn parse_head(bytes: &[u8], headers_max: usize) -> Result<Option<(Head, usize)>, Fault> {
    let mut lines = [const { MaybeUninit::uninit() }; Limits::HEADERS_MOST];
    let mut request = httparse::Request::new(&mut []);
    let status = request.parse_with_uninit_headers(bytes, &mut lines[..headers_max.min(Limits::HEADERS_MOST)]);
    let length = match status {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Fault::HEADER_TOO_LARGE),
        Err(httparse::Error::Version) => return Err(Fault::malformed("only HTTP/1.0 and HTTP/1.1 are spoken here")),
        Err(_) => return Err(Fault::malformed("malformed request")),
    };
    let version = if request.version == Some(0) { Version::V10 } else { Version::V11 };
    let headers = request.headers.iter().map(|line| (line.name, line.value.trim_ascii())).collect();
    let head = Head::new(request.method.unwrap_or_default(), request.path.unwrap_or_default(), version, headers)?;
    Ok(Some((head, length)))
}

/// The size in a chunk's first line, `1f4; extension\r\n`.
pub(super) fn chunk_size(line: &[u8]) -> Result<usize, Fault> {
    const FAULT: Fault = Fault::malformed("malformed chunk size");
    let size = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    if size.is_empty() || 16 < size.len() || !size.iter().all(u8::is_ascii_hexdigit) {
        return Err(FAULT);
    }
    let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok()).ok_or(FAULT)?;
    Ok(usize::try_from(size).unwrap_or(usize::MAX))
}

/// Status line and headers of an answer, up to the empty line.
pub(super) fn encode_head(response: &Response, keep_alive: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason_phrase(response.status));
    let mut line = |name: &str, value: &str| {
        if !value.chars().any(char::is_control) {
            head.extend([name, ": ", value, "\r\n"]);
        }
    };
    if !response.content_type.is_empty() {
        line("Content-Type", response.content_type);
    }
    response.headers.iter().for_each(|(name, value)| line(name, value));
    if may_have_body(response.status) {
        line("Content-Length", &response.body.len().to_string());
    }
    if !keep_alive {
        line("Connection", "close");
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// These never carry a body, and a length would be taken for one.
pub(super) fn may_have_body(status: u16) -> bool {
    200 <= status && status != 204 && status != 304
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &[u8]) -> Result<Option<Head>, u16> {
        parse_head(bytes, 8).map(|found| found.map(|(head, _)| head)).map_err(|fault| fault.status)
    }

    #[track_caller]
    fn check_framing(headers: &str, expected: Result<Framing, u16>) {
        let head = parse(format!("POST / HTTP/1.1\r\n{headers}\r\n").as_bytes());
        assert_eq!(head.map(|head| head.unwrap().framing), expected, "{headers:?}");
    }

    #[test]
    fn lengths_are_digits_and_agree() {
        check_framing("", Ok(Framing::Length(0)));
        check_framing("Content-Length: 12\r\n", Ok(Framing::Length(12)));
        check_framing("Content-Length: 12\r\ncontent-length: 12\r\n", Ok(Framing::Length(12)));
        check_framing("Content-Length: 12\r\ncontent-length: 13\r\n", Err(400));
        for wrong in ["3x", "+3", "-1", "0x10", "", "1 2", "1,1", "١"] {
            check_framing(&format!("Content-Length: {wrong}\r\n"), Err(400));
        }
        check_framing("Content-Length: 9223372036854775807\r\n", Ok(Framing::Length(i64::MAX as u64)));
        check_framing("Content-Length: 99999999999999999999999\r\n", Ok(Framing::Length(u64::MAX)));
    }

    #[test]
    fn only_chunked_alone_is_a_transfer_encoding() {
        check_framing("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked));
        check_framing("Transfer-Encoding: gzip\r\n", Err(400));
        check_framing("Transfer-Encoding: gzip, chunked\r\n", Err(400));
        check_framing("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(400));
        check_framing("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", Err(400));
        assert_eq!(parse(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err(), 400);
    }

    #[test]
    fn a_head_is_cut_at_each_byte_without_harm() {
        let whole = b"PUT /v0.4/traces?a=b HTTP/1.1\r\nHost: x\r\nX-Name:  \xc3\xa9\xff \r\n\r\nbody";
        let head_bytes = whole.len() - 4;
        for cut in 0..head_bytes {
            assert!(parse(&whole[..cut]).unwrap().is_none(), "cut at {cut}");
        }
        let (head, length) = parse_head(whole, 8).unwrap().unwrap();
        assert_eq!((head.method.as_str(), head.path.as_str(), head.query.as_deref()), ("PUT", "/v0.4/traces", Some("a=b")));
        assert_eq!((head.headers.get("x-NAME"), head.headers.get("y")), (Some("é\u{fffd}"), None));
        assert_eq!((length, head.keep_alive), (head_bytes, true));
    }

    #[test]
    fn what_is_not_http_1_is_refused() {
        for bytes in
            [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /\r\n\r\n"]
        {
            assert_eq!(parse(bytes).unwrap_err(), 400);
        }
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(9));
        assert_eq!(parse(many.as_bytes()).unwrap_err(), 431);
        assert_eq!(parse(b"GET / HTTP/1.1\r\nExpect: wonders\r\n\r\n").unwrap_err(), 417);
    }

    #[test]
    fn connection_and_target_come_in_several_forms() {
        let head = |bytes: &[u8]| parse(bytes).unwrap().unwrap();
        assert!(!head(b"GET / HTTP/1.0\r\n\r\n").keep_alive);
        assert!(!head(b"GET / HTTP/1.1\r\nConnection: TE, Close\r\n\r\n").keep_alive);
        assert!(head(b"GET / HTTP/1.1\nConnection: Upgrade, HTTP2-Settings\n\n").keep_alive);
        assert_eq!(head(b"GET http://host:1/info?x HTTP/1.1\r\n\r\n").path, "/info");
        assert_eq!(head(b"GET http://host HTTP/1.1\r\n\r\n").path, "/");
        assert_eq!(head(b"GET http://a:1/info HTTP/1.1\r\nHost: b\r\n\r\n").host(), Some("a:1"));
        assert_eq!(head(b"GET /info HTTP/1.1\r\nhost: b\r\n\r\n").host(), Some("b"));
        assert_eq!(head(b"GET http:///info HTTP/1.1\r\nHost: b\r\n\r\n").host(), Some("b"));
        assert_eq!(head(b"GET /a://b HTTP/1.1\r\n\r\n").path, "/a://b");
    }

    #[test]
    fn chunk_sizes_are_hexadecimal_digits() {
        assert_eq!(chunk_size(b"1F4;name=\"value\""), Ok(0x1f4));
        assert_eq!(chunk_size(b"0 ; x"), Ok(0));
        // Cut to 32 bits it would be 3.
        assert!(chunk_size(b"100000003").is_ok_and(|size| u32::MAX as usize <= size));
        for wrong in [&b""[..], b";x", b"-1", b"+1", b"0x1", b"g", b"11111111111111111"] {
            assert_eq!(chunk_size(wrong).unwrap_err().status, 400);
        }
    }

    #[test]
    fn an_answer_cannot_be_split_by_a_header_value() {
        let response = Response::text(200, "ok").with_header("X-Good", "1").with_header("X-Bad", "1\r\nX-Forged: 2");
        let head = String::from_utf8(encode_head(&response, false)).unwrap();
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nX-Good: 1\r\nContent-Length: 3\r\n\
                        Connection: close\r\n\r\n";
        assert_eq!(head, expected);
    }
}
