//! URLs: user and password always go; if wanted so does the query, and each part of the path that has a digit becomes `?`.
//!
//! The reference takes a URL apart and writes it anew with Go's `net/url`, so this follows that package: the scheme in lower
//! case, characters that do not belong into a path, host or fragment as `%XX`, an empty fragment gone. What that package
//! refuses is `?` if something was to be removed, else it stays as it is; but where the reference then leaves user and password
//! in place they go here. One pass over a few parts; the result has at most three bytes for each of the URL's. Source:
//! reference agent 7.80, pkg/obfuscate/http.go; Go 1.24, net/url.

/// What goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What stands behind the `?`.
    pub remove_query_string: bool,
    /// Parts of the path that have a digit.
    pub remove_paths_with_digits: bool,
}

/// Appends `url` without what must not be seen to `out`.
pub fn obfuscate(url: &str, settings: &Settings, out: &mut String) {
    let removes = settings.remove_query_string || settings.remove_paths_with_digits;
    if !removes && is_plain(url) {
        return out.push_str(url);
    }
    match Url::parse(url) {
        Ok(url) => url.write(settings, out),
        Err(Unreadable) if removes => out.push('?'),
        Err(Unreadable) => push_without_user(url, out),
    }
}

/// Nothing in it can be a user, or would be written in another way.
fn is_plain(url: &str) -> bool {
    let is_usual = url.starts_with("http://") || url.starts_with("https://") || url.starts_with('/');
    let (head, query) = url.split_once('?').unwrap_or((url, ""));
    let is_path = head.bytes().all(|byte| byte == b'/' || (is_path_byte(byte) && byte != b'@'));
    is_usual && is_path && !head.ends_with("//") && !query.contains('#')
}

/// Best effort where the URL cannot be read.
fn push_without_user(url: &str, out: &mut String) {
    let authority = url.find("//").map_or(0, |at| at + 2);
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    match url[authority..end].rfind('@') {
        Some(at) if 0 < authority => out.extend([&url[..authority], &url[authority + at + 1..]]),
        _ => out.push_str(url),
    }
}

/// `net/url` would refuse it.
struct Unreadable;

/// A URL in parts, as they were written.
#[derive(Default)]
struct Url<'u> {
    scheme: Option<&'u str>,
    /// What follows a scheme without a slash.
    opaque: &'u str,
    /// There was an authority, be it empty.
    has_authority: bool,
    host: &'u str,
    path: &'u str,
    /// There was a `?`.
    has_query: bool,
    query: &'u str,
    fragment: &'u str,
}

impl<'u> Url<'u> {
    fn parse(text: &'u str) -> Result<Url<'u>, Unreadable> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(Unreadable);
        }
        let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
        check_escapes(fragment)?;
        let (scheme, rest) = split_scheme(text)?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        let mut url = Url { scheme, has_query: query.is_some(), query: query.unwrap_or_default(), fragment, ..Url::default() };
        if !rest.starts_with('/') {
            if scheme.is_some() {
                url.opaque = rest;
                return Ok(url);
            }
            if rest.split('/').next().is_some_and(|part| part.contains(':')) {
                return Err(Unreadable);
            }
        }
        url.path = rest;
        if (scheme.is_some() || !rest.starts_with("///")) && rest.starts_with("//") {
            let authority = &rest[2..];
            let (authority, path) = authority.split_at(authority.find('/').unwrap_or(authority.len()));
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            check_user(user)?;
            check_host(host)?;
            (url.has_authority, url.host, url.path) = (true, host, path);
        }
        check_escapes(url.path)?;
        Ok(url)
    }

    fn write(&self, settings: &Settings, out: &mut String) {
        let start = out.len();
        if let Some(scheme) = self.scheme {
            out.extend(scheme.chars().map(|c| c.to_ascii_lowercase()));
            out.push(':');
        }
        if !self.opaque.is_empty() {
            out.push_str(self.opaque);
        } else {
            if self.has_authority && (!self.host.is_empty() || (self.scheme.is_some() && !self.path.is_empty())) {
                out.push_str("//");
                push_escaped(out, self.host, is_host_byte);
            }
            self.write_path(settings, out.len() == start, out);
        }
        if self.has_query {
            out.push('?');
            out.push_str(if settings.remove_query_string { "" } else { self.query });
        }
        if !self.fragment.is_empty() {
            out.push('#');
            let is_right = is_right(self.fragment, is_fragment_byte);
            push_part(out, self.fragment, is_right, |byte| is_fragment_byte(byte) && !matches!(byte, b'\'' | b'[' | b']'));
        }
    }

    /// The path; as it is if all of it is right and nothing goes, else each byte written as it should be.
    fn write_path(&self, settings: &Settings, is_first: bool, out: &mut String) {
        let removes = settings.remove_paths_with_digits && decoded(self.path).any(|byte| byte.is_ascii_digit());
        let is_right = !removes && is_right(self.path, |byte| byte == b'/' || is_path_byte(byte));
        if is_first && !is_right && decoded(self.path).take_while(|byte| *byte != b'/').any(|byte| byte == b':') {
            out.push_str("./");
        }
        let is_plain =
            |byte: u8| byte == b'/' || (is_path_byte(byte) && !matches!(byte, b'!' | b'\'' | b'(' | b')' | b'*' | b'[' | b']'));
        if !removes {
            return push_part(out, self.path, is_right, is_plain);
        }
        let (mut start, mut has_digit) = (out.len(), false);
        for byte in decoded(self.path) {
            if byte == b'/' {
                out.push('/');
                (start, has_digit) = (out.len(), false);
            } else if has_digit || byte.is_ascii_digit() {
                if !has_digit {
                    out.truncate(start);
                    out.push('?');
                }
                has_digit = true;
            } else {
                push_byte(out, byte, is_plain);
            }
        }
    }
}

fn push_part(out: &mut String, part: &str, is_right: bool, is_plain: impl Fn(u8) -> bool) {
    if is_right { out.push_str(part) } else { push_escaped(out, part, is_plain) }
}

fn push_escaped(out: &mut String, part: &str, is_plain: impl Fn(u8) -> bool) {
    decoded(part).for_each(|byte| push_byte(out, byte, &is_plain));
}

fn push_byte(out: &mut String, byte: u8, is_plain: impl Fn(u8) -> bool) {
    if is_plain(byte) {
        return out.push(char::from(byte));
    }
    let digit = |value: u8| char::from(b"0123456789ABCDEF"[usize::from(value & 15)]);
    out.extend(['%', digit(byte >> 4), digit(byte)]);
}

/// The bytes of a part whose escapes are right, `%XX` as one.
fn decoded(part: &str) -> impl Iterator<Item = u8> {
    let bytes = part.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        let byte = *bytes.get(at)?;
        let escaped = if byte == b'%' { escape(bytes.get(at..).unwrap_or_default()) } else { None };
        at += if escaped.is_some() { 3 } else { 1 };
        Some(escaped.unwrap_or(byte))
    })
}

/// The byte that the `%XX` at the beginning stands for.
fn escape(bytes: &[u8]) -> Option<u8> {
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    Some((digit(1)? * 16 + digit(2)?) as u8)
}

fn check_escapes(part: &str) -> Result<(), Unreadable> {
    let is_wrong = |(at, _): (usize, &str)| escape(part.as_bytes().get(at..).unwrap_or_default()).is_none();
    if part.match_indices('%').any(is_wrong) { Err(Unreadable) } else { Ok(()) }
}

/// All of it can be written as it is.
fn is_right(part: &str, fits: impl Fn(u8) -> bool) -> bool {
    part.bytes().all(|byte| byte == b'%' || fits(byte))
}

/// A scheme is a letter, then letters, digits, `+`, `-` and `.`, up to a colon.
fn split_scheme(text: &str) -> Result<(Option<&str>, &str), Unreadable> {
    let end = text.bytes().position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'+' | b'-' | b'.'));
    match end.map(|end| text.split_at(end)) {
        Some(("", rest)) if rest.starts_with(':') => Err(Unreadable),
        Some((scheme, rest)) if rest.starts_with(':') && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Ok((Some(scheme), &rest[1..]))
        }
        _ => Ok((None, text)),
    }
}

fn check_user(user: &str) -> Result<(), Unreadable> {
    check_escapes(user)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if user.bytes().all(fits) { Ok(()) } else { Err(Unreadable) }
}

fn check_host(host: &str) -> Result<(), Unreadable> {
    let port = match host.starts_with('[') {
        true => &host[host.rfind(']').ok_or(Unreadable)? + 1..],
        false => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let bytes = host.as_bytes();
    let fits = |(at, byte): (usize, &u8)| match byte {
        // Only what is no ASCII may be escaped, and the sign before a zone.
        b'%' => escape(&bytes[at..]).is_some_and(|escaped| !escaped.is_ascii() || escaped == b'%'),
        byte => !byte.is_ascii() || is_host_byte(*byte),
    };
    if is_port && bytes.iter().enumerate().all(fits) { Ok(()) } else { Err(Unreadable) }
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]".contains(&byte)
}

fn is_fragment_byte(byte: u8) -> bool {
    is_path_byte(byte) || matches!(byte, b'/' | b'?')
}
