//! The keys of the two tables of statistics, as bytes: put together from borrowed texts, taken apart again when a bucket is sent.
//!
//! ```text
//! text    u32 length, bytes
//! part    text env, host, version, commit, language, process tags
//! group   u8 flags: 1 synthetics, 2 trace root, 4 has a gRPC status     u32 HTTP status     u32 gRPC status
//!         u32 length each of service, name, resource, type, span kind, HTTP method, HTTP endpoint, service source; then their bytes
//!         then for each peer tag  u8 its number  text value
//! ```
//! Numbers are little-endian. These bytes never leave the process, so that reading them back cannot fail but by a fault of ours.

use crate::model::stats::ClientStats;
use crate::model::stats::GroupedStats;

const SYNTHETICS: u8 = 1;
const TRACE_ROOT: u8 = 2;
const GRPC: u8 = 4;

/// The attributes of a group that are not peer tags.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupKey<'a> {
    /// The trace began with a test from the outside.
    pub is_synthetics: bool,
    /// The span began its trace.
    pub is_trace_root: bool,
    /// 0 for none.
    pub http_status: u32,
    /// Of a gRPC call.
    pub grpc_status: Option<u32>,
    /// Service, name, resource, type, span kind, HTTP method, HTTP endpoint, service source.
    pub texts: [&'a [u8]; 8],
}

impl GroupKey<'_> {
    /// Puts the key into `out`; peer tags may be appended.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(self.is_synthetics, SYNTHETICS)
            | flag(self.is_trace_root, TRACE_ROOT)
            | flag(self.grpc_status.is_some(), GRPC);
        let mut head = [0; HEAD_BYTES];
        head[0] = flags;
        let numbers = [self.http_status, self.grpc_status.unwrap_or(0)].into_iter();
        let lens = self.texts.iter().map(|text| text.len() as u32);
        for (place, number) in head[1..].as_chunks_mut::<4>().0.iter_mut().zip(numbers.chain(lens)) {
            *place = number.to_le_bytes();
        }
        out.clear();
        out.extend_from_slice(&head);
        for text in self.texts {
            out.extend_from_slice(text);
        }
    }
}

/// What comes before a group's texts.
const HEAD_BYTES: usize = 1 + 4 + 4 + 8 * 4;

/// Appends a peer tag.
#[inline]
pub fn put_peer_tag(out: &mut Vec<u8>, number: usize, value: &[u8]) {
    out.push(number as u8);
    put_text(out, value);
}

/// Appends a text.
#[inline]
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text);
}

/// Takes out of a group's key what there are many of: the resource becomes `resource`, and status, route and peer tags go.
pub fn fold(key: &mut Vec<u8>, resource: &str) {
    let whole = std::mem::take(key);
    let mut rest = Rest(&whole);
    let flags = rest.byte();
    let _ = (rest.number(), rest.number());
    let [service, name, _, kind, span_kind, ..] = rest.texts();
    let folded = GroupKey {
        is_synthetics: flags & SYNTHETICS != 0,
        is_trace_root: flags & TRACE_ROOT != 0,
        texts: [service, name, resource.as_bytes(), kind, span_kind, b"", b"", b""],
        ..GroupKey::default()
    };
    folded.write(key);
}

/// The attributes that a group's key holds; `tag_name` gives a peer tag's name by its number.
pub fn read_group<'a>(key: &[u8], tag_name: impl Fn(usize) -> &'a str) -> GroupedStats {
    let mut key = Rest(key);
    let flags = key.byte();
    let has = |flag: u8| flags & flag != 0;
    let (http_status, grpc_status) = (key.number(), key.number());
    let [service, name, resource, kind, span_kind, http_method, http_endpoint, service_source] =
        key.texts().map(|text| String::from_utf8_lossy(text).into_owned());
    let mut group = GroupedStats {
        is_synthetics: has(SYNTHETICS),
        is_trace_root: if has(TRACE_ROOT) { 1 } else { 2 },
        http_status,
        grpc_status: if has(GRPC) { grpc_status.to_string() } else { String::new() },
        service,
        name,
        resource,
        kind,
        span_kind,
        http_method,
        http_endpoint,
        service_source,
        ..GroupedStats::default()
    };
    while !key.0.is_empty() {
        let number = usize::from(key.byte());
        group.peer_tags.push(format!("{}:{}", tag_name(number), key.text()));
    }
    group.peer_tags.sort_unstable();
    group
}

/// What a part's key says of the client.
pub fn read_part(key: &[u8]) -> ClientStats {
    let mut key = Rest(key);
    let mut client = ClientStats {
        env: key.text(),
        hostname: key.text(),
        version: key.text(),
        git_commit_sha: key.text(),
        language: key.text(),
        process_tags: key.text(),
        ..ClientStats::default()
    };
    if !client.process_tags.is_empty() {
        client.process_tags_hash = fnv_1a(client.process_tags.as_bytes());
    }
    client
}

/// FNV-1a of 64 bits, by which the backend knows equal tags.
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().expect("a key is read as it was written");
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> u32 {
        let (bytes, rest) = self.0.split_first_chunk().expect("a key is read as it was written");
        self.0 = rest;
        u32::from_le_bytes(*bytes)
    }

    fn bytes(&mut self, len: u32) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len as usize);
        self.0 = rest;
        bytes
    }

    /// The texts of a group.
    fn texts(&mut self) -> [&'a [u8]; 8] {
        let lens: [u32; 8] = std::array::from_fn(|_| self.number());
        lens.map(|len| self.bytes(len))
    }

    fn text(&mut self) -> String {
        let len = self.number();
        String::from_utf8_lossy(self.bytes(len)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_is_taken_apart() {
        let texts = [&b"service"[..], b"name", b"resource", b"web", b"client", b"GET", b"/a/{b}", b"redis"];
        let key = GroupKey { is_synthetics: true, http_status: 404, grpc_status: Some(14), texts, ..GroupKey::default() };
        let mut bytes = b"of before".to_vec();
        key.write(&mut bytes);
        put_peer_tag(&mut bytes, 20, b"z");
        put_peer_tag(&mut bytes, 21, b"");
        let group = read_group(&bytes, |number| if number == 20 { "b" } else { "a" });
        assert_eq!(
            [&group.service, &group.name, &group.resource, &group.kind, &group.span_kind].map(String::as_str),
            ["service", "name", "resource", "web", "client"]
        );
        assert_eq!(
            [&group.http_method, &group.http_endpoint, &group.service_source].map(String::as_str),
            ["GET", "/a/{b}", "redis"]
        );
        assert_eq!(
            (group.http_status, group.grpc_status.as_str(), group.is_trace_root, group.is_synthetics),
            (404, "14", 2, true)
        );
        assert_eq!(group.peer_tags, ["a:", "b:z"]);
    }

    #[test]
    fn hashes_of_tags_are_fnv() {
        assert_eq!([b"".as_slice(), b"a", b"foobar"].map(fnv_1a), [0xcbf29ce484222325, 0xaf63dc4c8601ec8c, 0x85944171f73967e8]);
    }
}
