//! Every outgoing request, and the only folder that names ureq and rustls. Whom to believe is in `tls`, which proxy leads where in
//! `proxy`, and what is put between a socket and a request in `connect`.
//!
//! What the client library does by default is wrong for an agent and is switched off in one place, [`Client::new`]: no time-out,
//! proxies from the environment even for loopback, redirects that carry the key along, errors that hide the status, 256 KiB of
//! buffers a connection.

mod connect;
mod provider;
mod proxy;
mod tls;

pub use proxy::Match;
pub use proxy::Proxies;
pub use proxy::Proxy;
pub use tls::Settings as TlsSettings;
pub use tls::Tls;

use connect::{Lookup, Onward};
use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{HeaderMap, HeaderValue, Uri};
use ureq::unversioned::transport::{Connector, TcpConnector};
use ureq::{Agent, Timeout};

/// How long a name look-up or a connect may take of a request's time at most.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// How long an answer's body may take once its status is known.
const ANSWER_BODY_MAX: Duration = Duration::from_secs(2);

/// Answers are short; what is longer is cut off and the connection dropped.
const ANSWER_HEADER_BYTES_MAX: usize = 16 * 1024;

/// What is sent passes through so large a buffer, and no line of a request's head can be longer.
const OUTPUT_BYTES: usize = 16 * 1024;

/// The same for the platform's own interfaces, where requests are short and a start pays for every page of a buffer.
const SHORT_OUTPUT_BYTES: usize = 2 * 1024;

/// More than an address or a header's name and value may have together: they would not fit into a line with what stands around them.
pub const LINE_BYTES_MAX: usize = OUTPUT_BYTES - LINE_BYTES_BESIDE;
const LINE_BYTES_BESIDE: usize = 64;

/// One request.
#[derive(Debug)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// Absolute.
    pub url: &'a str,
    /// Name and value.
    pub headers: &'a [(&'a str, &'a str)],
    /// Sent with its length; empty for none.
    pub body: &'a [u8],
    /// For everything: look-up, connect, TLS, sending, waiting, reading. `None` only for a call that is meant to block.
    pub timeout: Option<Duration>,
    /// More than that of an answer's body is an error.
    pub answer_bytes_max: usize,
}

/// What came back, whatever the status.
#[derive(Debug)]
pub struct Answer {
    /// 100 to 599.
    pub status: u16,
    headers: HeaderMap,
    /// At most `answer_bytes_max` bytes.
    pub body: Vec<u8>,
    /// The body came whole. The status holds even if it did not: an intake that has taken a body must not get it again because its
    /// answer was cut off.
    pub complete: bool,
}

impl Answer {
    /// The value of the header `name`, any case, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A status for people, with what may be done about it.
pub fn tell_status(status: u16) -> String {
    let advice = match status {
        300..=399 => {
            ", which leads elsewhere and is not followed: is a captive portal or a proxy on the way, or the address wrong?"
        }
        _ => "",
    };
    format!("status {status}{advice}")
}

/// Why no answer came.
#[derive(Debug)]
pub enum NetError {
    /// Which wait ran out.
    Timeout(&'static str),
    /// The name has no address.
    NoSuchHost,
    /// Refused, reset, unreachable and the like.
    Io(io::Error),
    /// The certificate or the handshake.
    Tls(String),
    /// The proxy opened no way.
    Proxy(String),
    /// The answer was not HTTP, or too long.
    Protocol(String),
    /// The request cannot be written, now or ever.
    Unfit(String),
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetError::Timeout(what) => write!(f, "timed out: {what}"),
            NetError::NoSuchHost => write!(f, "the host name has no address"),
            NetError::Io(err) => write!(f, "{err}"),
            NetError::Tls(text) => write!(f, "TLS: {text}"),
            NetError::Proxy(text) => write!(f, "{text}"),
            NetError::Protocol(text) => write!(f, "unusable answer: {text}"),
            NetError::Unfit(text) => write!(f, "the request cannot be written: {text}"),
        }
    }
}

impl std::error::Error for NetError {}

/// How the outside is reached: proxies and certificates. Made once and shared by all clients that leave the machine.
#[derive(Clone, Debug, Default)]
pub struct Ways {
    proxies: Arc<Proxies>,
    tls: Tls,
}

impl Ways {
    /// Through these proxies, believing these servers.
    pub fn new(proxies: Proxies, tls: Tls) -> Ways {
        Ways { proxies: Arc::new(proxies), tls }
    }

    /// The proxy on the way to `url`; `None` if it is reached directly.
    pub fn proxy_for(&self, url: &str) -> Option<&Proxy> {
        self.proxy_to(&url.parse().ok()?)
    }

    fn proxy_to(&self, uri: &Uri) -> Option<&Proxy> {
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        self.proxies.of(tls, uri.host()?.trim_matches(['[', ']']), port)
    }
}

/// A client with its connections. TLS is set up at the first https request, not before.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    line_bytes_max: usize,
}

/// Whether connections are kept for the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// A few, for some seconds.
    KeepAlive,
    /// Never: a frozen sandbox finds its old connections dead.
    Never,
}

impl Client {
    /// A client that goes straight to where it is told, for the platform's own interfaces.
    pub fn new(reuse: Reuse) -> Client {
        Client::through(reuse, &Ways::default())
    }

    /// The same with small buffers and no connection kept, for requests of less than half a page and answers whose head fits into one.
    pub fn small() -> Client {
        Client::with(Reuse::Never, &Ways::default(), [4 * 1024, SHORT_OUTPUT_BYTES])
    }

    /// A client for the outside.
    pub fn through(reuse: Reuse, ways: &Ways) -> Client {
        Client::with(reuse, ways, [8 * 1024, OUTPUT_BYTES])
    }

    /// The one way to make any.
    fn with(reuse: Reuse, ways: &Ways, [input_bytes, output_bytes]: [usize; 2]) -> Client {
        let idle_connections = if reuse == Reuse::KeepAlive { 2 } else { 0 };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("mote/", env!("CARGO_PKG_VERSION")))
            .input_buffer_size(input_bytes)
            .output_buffer_size(output_bytes)
            .max_response_header_size(ANSWER_HEADER_BYTES_MAX)
            .max_idle_connections(idle_connections)
            .max_idle_connections_per_host(idle_connections)
            .max_idle_age(Duration::from_secs(15))
            .build();
        let connector = ().chain(TcpConnector::default()).chain(Onward { ways: ways.clone() });
        let agent = Agent::with_parts(config, connector, Lookup { ways: ways.clone() });
        Client { agent, line_bytes_max: output_bytes - LINE_BYTES_BESIDE }
    }

    /// Sends `request` and reads the whole answer.
    pub fn send(&self, request: &Request<'_>) -> Result<Answer, NetError> {
        let too_long = |(name, value): &(&str, &str)| self.line_bytes_max < name.len() + value.len();
        if too_long(&("", request.url)) || request.headers.iter().any(too_long) {
            return Err(NetError::Unfit("its address or a header is too long".to_owned()));
        }
        let mut builder = ureq::http::Request::builder().method(request.method).uri(request.url);
        for (name, value) in request.headers {
            // As bytes, since as text only ASCII would do. Nothing that is sent is ever printed, and only keys and tokens would be worth it.
            let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|err| NetError::Unfit(err.to_string()))?;
            value.set_sensitive(true);
            builder = builder.header(*name, value);
        }
        let mut answer = match request.body {
            [] if matches!(request.method, "GET" | "DELETE" | "HEAD") => {
                let message = builder.body(()).map_err(|err| NetError::Unfit(err.to_string()))?;
                self.run(message, request.timeout)?
            }
            body => {
                let message = builder.body(body).map_err(|err| NetError::Unfit(err.to_string()))?;
                self.run(message, request.timeout)?
            }
        };
        let mut body = Vec::new();
        let read = answer.body_mut().as_reader().take(request.answer_bytes_max as u64 + 1).read_to_end(&mut body);
        let complete = read.is_ok() && body.len() <= request.answer_bytes_max;
        body.truncate(request.answer_bytes_max);
        Ok(Answer { status: answer.status().as_u16(), headers: std::mem::take(answer.headers_mut()), body, complete })
    }

    /// Ends the requests in flight and refuses later ones: for a shutdown whose deadline has come.
    pub fn interrupt(&self) {
        self.agent.clone().shutdown();
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        message: ureq::http::Request<B>,
        timeout: Option<Duration>,
    ) -> Result<ureq::http::Response<ureq::Body>, NetError> {
        let connect = timeout.map_or(CONNECT_MAX, |timeout| timeout.min(CONNECT_MAX));
        let configured = self
            .agent
            .configure_request(message)
            .timeout_global(timeout)
            .timeout_resolve(Some(connect))
            .timeout_connect(Some(connect))
            .timeout_recv_body(timeout.map(|timeout| timeout.min(ANSWER_BODY_MAX)))
            .build();
        self.agent.run(configured).map_err(net_error)
    }
}

fn net_error(err: ureq::Error) -> NetError {
    match err {
        ureq::Error::Timeout(which) => NetError::Timeout(match which {
            Timeout::Resolve => "name look-up",
            Timeout::Connect => "connect",
            Timeout::SendRequest | Timeout::SendBody => "sending the request",
            Timeout::RecvResponse | Timeout::RecvBody => "waiting for the answer",
            _ => "the whole request",
        }),
        ureq::Error::HostNotFound => NetError::NoSuchHost,
        ureq::Error::Io(err) => io_error(err),
        ureq::Error::ConnectionFailed => NetError::Io(io::ErrorKind::ConnectionRefused.into()),
        ureq::Error::ConnectProxyFailed(text) => NetError::Proxy(text),
        other => NetError::Protocol(other.to_string()),
    }
}

/// Errors of the layers above the socket come wrapped as errors of the socket.
fn io_error(err: io::Error) -> NetError {
    let inner = err.get_ref();
    if let Some(ureq::Error::Timeout(which)) = inner.and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
        return NetError::Timeout(if *which == Timeout::Connect { "connect" } else { "reading the answer" });
    }
    match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(err) => NetError::Tls(tls::describe(err)),
        None => NetError::Io(err),
    }
}
