//! Which decoder reads a request on a trace endpoint: by the version in its path and by its content type.
//!
//! ```text
//! /v0.1/spans /spans          any but application/msgpack                    JSON, a flat list
//! /v0.2/traces                any but application/msgpack                    JSON
//! /v0.3/traces /v0.4/traces   application/msgpack                            msgpack
//!                             application/json, text/json, none, unparsable  JSON
//!                             any other                                      JSON, and if it is none, msgpack
//! /v0.5/traces                whatever it says                               msgpack with a string table
//! /v0.7/traces /v1.0/traces   whatever it says                               msgpack of a whole payload, texts as they come
//! ```
//! Source: the reference agent; its tracers send msgpack.

use crate::decode::DecodeError;
use crate::decode::traces_json;
use crate::decode::traces_v04;
use crate::decode::traces_v05;
use crate::decode::traces_v07;
use crate::decode::traces_v10;
use crate::model::trace::TracePayload;

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
    /// Msgpack of v0.7.
    V07,
    /// Msgpack of v1.0.
    V10,
    /// JSON of v0.1.
    FlatJson,
}

/// Why no decoder is for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDecoder {
    /// Nothing is read at that path.
    Path,
    /// The path takes other media types.
    MediaType,
}

/// The decoder for a request to `path`.
pub fn decoder_for(path: &str, content_type: &str) -> Result<Decoder, NoDecoder> {
    let json_only = |decoder| match media_type(content_type).as_str() {
        "application/msgpack" => Err(NoDecoder::MediaType),
        _ => Ok(decoder),
    };
    match path {
        "/v0.1/spans" | "/spans" => json_only(Decoder::FlatJson),
        "/v0.2/traces" => json_only(Decoder::Json),
        "/v0.3/traces" | "/v0.4/traces" => Ok(by_content_type(content_type)),
        "/v0.5/traces" => Ok(Decoder::V05),
        "/v0.7/traces" => Ok(Decoder::V07),
        "/v1.0/traces" => Ok(Decoder::V10),
        _ => Err(NoDecoder::Path),
    }
}

fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn by_content_type(content_type: &str) -> Decoder {
    match media_type(content_type).as_str() {
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
    /// Reads `request`. What it decodes to may take `allowance` bytes besides the request itself, with
    /// what `start`, an empty payload, has room for.
    pub fn decode(
        self,
        request: Vec<u8>,
        start: impl Into<TracePayload>,
        allowance: usize,
    ) -> Result<TracePayload, DecodeError> {
        let start = start.into();
        match self {
            Decoder::V04 => traces_v04::decode(request, start, allowance),
            Decoder::V05 => traces_v05::decode(request, start, allowance),
            Decoder::V07 => traces_v07::decode(request, start, allowance),
            Decoder::V10 => traces_v10::decode(request, start, allowance),
            Decoder::FlatJson => traces_json::decode_flat(&request, start, allowance),
            Decoder::Json => traces_json::decode(&request, start, allowance),
            Decoder::JsonOrV04 => traces_json::decode(&request, start.tracer.clone(), allowance)
                .or_else(|_| traces_v04::decode(request, start, allowance)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace::TracerInfo;

    #[track_caller]
    fn check(path: &str, content_type: &str, expected: Result<Decoder, NoDecoder>) {
        assert_eq!(decoder_for(path, content_type), expected);
    }

    #[test]
    fn content_types_choose_the_decoder() {
        check("/v0.4/traces", "application/msgpack", Ok(Decoder::V04));
        check("/v0.3/traces", " Application/MsgPack ; charset=utf-8", Ok(Decoder::V04));
        check("/v0.4/traces", "text/json", Ok(Decoder::Json));
        check("/v0.4/traces", "", Ok(Decoder::Json));
        check("/v0.4/traces", "no media type/", Ok(Decoder::Json));
        check("/v0.4/traces", "application/octet-stream", Ok(Decoder::JsonOrV04));
        check("/v0.5/traces", "application/json", Ok(Decoder::V05));
        check("/v0.7/traces", "", Ok(Decoder::V07));
        check("/v1.0/traces", "", Ok(Decoder::V10));
        check("/v0.1/spans", "application/json", Ok(Decoder::FlatJson));
        check("/spans", "application/msgpack", Err(NoDecoder::MediaType));
        check("/v0.2/traces", "application/msgpack; v=1", Err(NoDecoder::MediaType));
        check("/v0.2/traces", "", Ok(Decoder::Json));
        check("/v0.6/stats", "application/msgpack", Err(NoDecoder::Path));
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
