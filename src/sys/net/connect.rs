//! What is put between an open socket and a request: a tunnel through a proxy, the form that a proxy wants for plain requests, TLS.
//!
//! ```text
//! http:  without proxy   socket
//! http:  with proxy      socket to the proxy [TLS], and the request names scheme and host ("POST http://host/path")
//! https: without proxy   socket, TLS
//! https: with proxy      socket to the proxy [TLS], CONNECT host:port, TLS
//! ```
//! The client library would tunnel plain requests too, which most proxies allow for port 443 only.

use crate::sys::net::Ways;
use crate::sys::net::proxy::Proxy;
use rustls::ClientConnection;
use rustls::StreamOwned;
use rustls::pki_types::ServerName;
use std::fmt;
use std::io;
use std::io::Read;
use std::io::Write;
use std::net::IpAddr;
use std::net::SocketAddr;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::resolver::ResolvedSocketAddrs;
use ureq::unversioned::resolver::Resolver;
use ureq::unversioned::transport::Buffers;
use ureq::unversioned::transport::ConnectionDetails;
use ureq::unversioned::transport::Connector;
use ureq::unversioned::transport::LazyBuffers;
use ureq::unversioned::transport::NextTimeout;
use ureq::unversioned::transport::Transport;
use ureq::unversioned::transport::TransportAdapter;
use ureq::unversioned::transport::time::Duration;
use ureq::unversioned::transport::time::Instant;

/// What a proxy says before a tunnel is open.
const GREETING_BYTES_MAX: usize = 8 * 1024;

/// Looks up the proxy's name where there is one on the way: it may know names that this machine does not.
#[derive(Debug)]
pub(super) struct Lookup {
    pub ways: Ways,
}

impl Resolver for Lookup {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let resolver = DefaultResolver::default();
        // What is an address already needs no look-up, which would take a thread for its time-out; so it is with the platform's interfaces.
        if let (None, Some(address)) = (self.ways.proxy_to(uri), literal(uri)) {
            let mut found = resolver.empty();
            found.push(address);
            return Ok(found);
        }
        match self.ways.proxy_to(uri) {
            None => resolver.resolve(uri, config, timeout),
            Some(proxy) => {
                let proxy = proxy.url().parse().map_err(|_| Error::InvalidProxyUrl)?;
                resolver.resolve(&proxy, config, timeout)
            }
        }
    }
}

/// The address that stands in `uri`, if one does.
fn literal(uri: &Uri) -> Option<SocketAddr> {
    let ip: IpAddr = uri.host()?.trim_matches(['[', ']']).parse().ok()?;
    let port = uri.port_u16().or_else(|| match uri.scheme_str() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        _ => None,
    });
    Some(SocketAddr::new(ip, port?))
}

/// Comes after the socket.
#[derive(Debug)]
pub(super) struct Onward {
    pub ways: Ways,
}

impl<In: Transport> Connector<In> for Onward {
    type Out = Box<dyn Transport>;

    fn connect(&self, details: &ConnectionDetails<'_>, socket: Option<In>) -> Result<Option<Self::Out>, Error> {
        let Some(socket) = socket else { return Ok(None) };
        self.go_on(details, Box::new(socket)).map(Some)
    }
}

impl Onward {
    fn go_on(&self, details: &ConnectionDetails<'_>, socket: Box<dyn Transport>) -> Result<Box<dyn Transport>, Error> {
        let host = details.uri.host().unwrap_or_default();
        let Some(proxy) = self.ways.proxy_to(details.uri) else {
            return if details.needs_tls() { self.tls(details, socket, host) } else { Ok(socket) };
        };
        let to_proxy = if proxy.tls { self.tls(details, socket, &proxy.host)? } else { socket };
        let port = details.uri.port_u16();
        if !details.needs_tls() {
            let host = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
            return Ok(Box::new(Forwarded {
                stream: adapter(details, to_proxy),
                buffers: buffers(details),
                head: Some(head(proxy, &host)),
            }));
        }
        let tunnel = tunnel(details, to_proxy, proxy, &format!("{host}:{}", port.unwrap_or(443)))?;
        self.tls(details, tunnel, host)
    }

    fn tls(
        &self,
        details: &ConnectionDetails<'_>,
        socket: Box<dyn Transport>,
        host: &str,
    ) -> Result<Box<dyn Transport>, Error> {
        let config = self.ways.tls.config().map_err(io::Error::other)?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(|_| Error::HostNotFound)?;
        let mut session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = adapter(details, socket);
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Box::new(Encrypted { stream: StreamOwned::new(session, stream), buffers: buffers(details) }))
    }
}

fn buffers(details: &ConnectionDetails<'_>) -> LazyBuffers {
    LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size())
}

/// A stream with what is left of the time for connecting.
fn adapter(details: &ConnectionDetails<'_>, socket: Box<dyn Transport>) -> TransportAdapter {
    let mut timeout = details.timeout;
    if let (Duration::Exact(all), Instant::Exact(begin), Instant::Exact(now)) =
        (timeout.after, details.now, (details.current_time)())
    {
        timeout.after = Duration::Exact(all.saturating_sub(now.saturating_duration_since(begin)));
    }
    let mut stream = TransportAdapter::new(socket, details.current_time.clone());
    stream.set_timeout(timeout);
    stream
}

/// Opens a tunnel to `target`, host and port.
fn tunnel(
    details: &ConnectionDetails<'_>,
    socket: Box<dyn Transport>,
    proxy: &Proxy,
    target: &str,
) -> Result<Box<dyn Transport>, Error> {
    let mut stream = adapter(details, socket);
    let authorization = authorization_line(proxy);
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n").as_bytes())?;
    // Byte by byte, so that nothing of what comes through the tunnel is taken for the proxy's. The reads are from a buffer.
    let mut greeting = Vec::new();
    while !greeting.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if GREETING_BYTES_MAX <= greeting.len() || stream.read(&mut byte)? == 0 {
            return Err(Error::ConnectProxyFailed(format!("the proxy {} gave no usable answer", proxy.url())));
        }
        greeting.push(byte[0]);
    }
    let status =
        std::str::from_utf8(&greeting).ok().and_then(|text| text.strip_prefix("HTTP/1.")?.get(2..5)?.parse::<u16>().ok());
    match status {
        Some(200..=299) => Ok(Box::new(Tunnel(stream.into_inner()))),
        Some(407) => Err(Error::ConnectProxyFailed(format!("the proxy {} wants other credentials (407)", proxy.url()))),
        status => {
            let status = status.map_or("no status".to_owned(), |status| status.to_string());
            Err(Error::ConnectProxyFailed(format!("the proxy {} opens no way to {target} ({status})", proxy.url())))
        }
    }
}

fn authorization_line(proxy: &Proxy) -> String {
    proxy.authorization.as_ref().map(|text| format!("Proxy-Authorization: {}\r\n", text.as_str())).unwrap_or_default()
}

/// What came through a tunnel is not yet encrypted, whatever the way to the proxy is.
#[derive(Debug)]
struct Tunnel(Box<dyn Transport>);

impl Transport for Tunnel {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.0.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }
}

/// What goes into a plain request for a proxy: before the path, and before the first header.
fn head(proxy: &Proxy, host: &str) -> (String, String) {
    (format!("http://{host}"), authorization_line(proxy))
}

/// A plain request through a proxy. One request a connection, so that the first thing that is sent is its first line.
struct Forwarded {
    stream: TransportAdapter,
    buffers: LazyBuffers,
    head: Option<(String, String)>,
}

impl fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Forwarded")
    }
}

/// `POST /path HTTP/1.1` as a proxy wants it.
fn for_proxy(request: &[u8], base: &str, headers: &str) -> Option<Vec<u8>> {
    let path = request.iter().position(|byte| *byte == b' ')? + 1;
    let second_line = request.windows(2).position(|two| two == b"\r\n")? + 2;
    let parts =
        [&request[..path], base.as_bytes(), request.get(path..second_line)?, headers.as_bytes(), &request[second_line..]];
    Some(parts.concat())
}

impl Transport for Forwarded {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        match self.head.take() {
            None => self.stream.write_all(output)?,
            Some((base, headers)) => {
                let request = for_proxy(output, &base, &headers).ok_or(Error::InvalidProxyUrl)?;
                self.stream.write_all(&request)?;
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_timeout(timeout);
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(0 < count)
    }

    fn is_open(&mut self) -> bool {
        false
    }
}

/// A connection over TLS.
struct Encrypted {
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    buffers: LazyBuffers,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encrypted")
    }
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.sock.set_timeout(timeout);
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(0 < count)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_no_look_up_and_a_name_does() {
        let of = |url: &str| literal(&url.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(of("http://127.0.0.1:9001/a").as_deref(), Some("127.0.0.1:9001"));
        assert_eq!(of("https://[::1]/").as_deref(), Some("[::1]:443"));
        assert_eq!(of("http://10.0.0.1").as_deref(), Some("10.0.0.1:80"));
        for url in ["http://localhost:1", "http://127.0.0.1.example.com", "http://127.1:80", "/path", "odd://127.0.0.1"] {
            assert_eq!(of(url), None, "{url}");
        }
    }

    #[test]
    fn a_plain_request_for_a_proxy_names_its_host() {
        let proxy = Proxy::new(false, "p", 1, Some("u:p"));
        let (base, headers) = head(&proxy, "intake:80");
        let request = for_proxy(b"POST /api HTTP/1.1\r\nhost: intake:80\r\n\r\nbody \r\n", &base, &headers).unwrap();
        let expected =
            "POST http://intake:80/api HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\nhost: intake:80\r\n\r\nbody \r\n";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
        assert_eq!(for_proxy(b"nothing of the kind", &base, &headers), None);
    }
}
