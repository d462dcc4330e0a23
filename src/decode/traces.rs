//! Which decoder reads a request on a trace endpoint: by the version in its path and by its content type.
//!
//! ```text
//! /v0.3/traces /v0.4/traces   application/msgpack                            msgpack
//!                             application/json, text/json, none, unparsable  JSON
//!                             any other                                      JSON, and if it is none, msgpack
//! /v0.5/traces                whatever it says                               msgpack with a string table
//! ```
//! Source: the reference agent; its tracers send msgpack.

use crate::decode::DecodeError;
use crate::decode::traces_json;
use crate::decode::traces_v04;
use crate::decode::traces_v05;
use crate::model::trace::TracePayload;
use crate::model::trace::TracerInfo;

/// The formats of trace requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// Msgpack of v0.3 and v0.4.
    V04,
    /// JSON of v0.3 and v0.4.
    Json,
    /// JSON or else msgpack of v0.3 and v0.4.
    JsonOrV04,
    /// Msgpack of v0.5.
    V05,
}

/// The decoder for a request to `path`, or `None` if no decoder is for that path.
pub fn decoder_for(path: &str, content_type: &str) -> Option<Decoder> {
    match path {
        "/v0.3/traces" | "/v0.4/traces" => Some(by_content_type(content_type)),
        "/v0.5/traces" => Some(Decoder::V05),
        _ => None,
    }
}

fn by_content_type(content_type: &str) -> Decoder {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/msgpack" => Decoder::V04,
        "application/json" | "text/json" => Decoder::Json,
        other if !is_media_type(other) => Decoder::Json,
        _ => Decoder::JsonOrV04,
    }
}

/// `type/subtype`, or as the reference has it also one alone.
fn is_media_type(text: &str) -> bool {
    let is_token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic() && !br#"()<>@,;:\"/[]?="#.contains(&b));
    text.split_once('/').map_or_else(|| is_token(text), |(main, sub)| is_token(main) && is_token(sub))
}

impl Decoder {
    /// Reads `request`. What it decodes to may take `allowance` bytes besides the request itself.
    pub fn decode(self, request: Vec<u8>, tracer: TracerInfo, allowance: usize) -> Result<TracePayload, DecodeError> {
        match self {
            Decoder::V04 => traces_v04::decode(request, tracer, allowance),
            Decoder::V05 => traces_v05::decode(request, tracer, allowance),
            Decoder::Json => traces_json::decode(&request, tracer, allowance),
            Decoder::JsonOrV04 => traces_json::decode(&request, tracer.clone(), allowance)
                .or_else(|_| traces_v04::decode(request, tracer, allowance)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, content_type: &str, expected: Option<Decoder>) {
        assert_eq!(decoder_for(path, content_type), expected);
    }

    #[test]
    fn content_types_choose_the_decoder() {
        check("/v0.4/traces", "application/msgpack", Some(Decoder::V04));
        check("/v0.3/traces", " Application/MsgPack ; charset=utf-8", Some(Decoder::V04));
        check("/v0.4/traces", "text/json", Some(Decoder::Json));
        check("/v0.4/traces", "", Some(Decoder::Json));
        check("/v0.4/traces", "no media type/", Some(Decoder::Json));
        check("/v0.4/traces", "application/octet-stream", Some(Decoder::JsonOrV04));
        check("/v0.5/traces", "application/json", Some(Decoder::V05));
        check("/v0.6/stats", "application/msgpack", None);
    }

    #[test]
    fn an_unknown_content_type_is_read_as_json_or_as_msgpack() {
        let read =
            |request: &[u8]| Decoder::JsonOrV04.decode(request.to_vec(), TracerInfo::default(), 10_000).map(|p| p.spans.len());
        assert_eq!(read(br#"[[{"trace_id":1,"span_id":2}]]"#), Ok(1));
        assert_eq!(read(b"\x91\x91\x82\xa8trace_id\x01\xa7span_id\x02"), Ok(1));
        assert_eq!(read(b"\x91\x91\x82\xa8trace_id"), Err(DecodeError::UnexpectedEnd));
    }
}
