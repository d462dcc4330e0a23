//! Events and service checks of DogStatsD.
//!
//! ```text
//! event   _e{title bytes,text bytes}:title|text[|d:seconds][|h:host][|k:aggregation key][|p:normal|low][|s:source]
//!         [|t:info|success|warning|error][|#tags]
//! check   _sc|name|status 0 to 3[|d:seconds][|h:host][|#tags][|m:message]
//! ```
//! An event's lengths decide, so its texts may have any bytes in them; they count those before `\n`, two characters, becomes a line
//! feed. A field that is not understood is passed over. A message comes last, by the protocol; `\n` in it is a line feed and `m\:` is
//! `m:`. Source: the protocol's documentation and the reference agent 7.80, comp/dogstatsd/server.

use crate::decode::dogstatsd::LineError;
use crate::decode::dogstatsd::number;
use crate::decode::dogstatsd::scan::cut_at;
use crate::model::metric::AlertType;
use crate::model::metric::Event;
use crate::model::metric::Priority;
use crate::model::metric::ServiceCheck;
use std::borrow::Cow;

/// The event that `line` is.
pub fn event(line: &[u8]) -> Result<Event<'_>, LineError> {
    let lengths = line.strip_prefix(b"_e{").ok_or(LineError::EventLengths)?;
    let (lengths, content) = cut_at(lengths, b':');
    let (title_len, text_len) = lengths.strip_suffix(b"}").and_then(pair).ok_or(LineError::EventLengths)?;
    if title_len == 0 {
        return Err(LineError::EventTitle);
    }
    // One byte stands between the two, and it is a `|` unless the client has counted wrongly.
    let content = content.ok_or(LineError::EventLengths)?;
    let (title, behind) = content.split_at_checked(title_len).ok_or(LineError::EventLengths)?;
    let (_, behind) = behind.split_first().ok_or(LineError::EventLengths)?;
    let (text, behind) = behind.split_at_checked(text_len).ok_or(LineError::EventLengths)?;
    let mut event = Event { title: lines(title), text: lines(text), ..Event::default() };
    let mut fields = Some(behind);
    while let Some(behind) = fields {
        let field;
        (field, fields) = cut_at(behind, b'|');
        match field {
            [b'd', b':', seconds @ ..] => event.timestamp = number::integer(seconds).or(event.timestamp),
            [b'h', b':', host @ ..] => event.host = String::from_utf8_lossy(host),
            [b'k', b':', key @ ..] => event.aggregation_key = String::from_utf8_lossy(key),
            b"p:normal" => event.priority = Priority::Normal,
            b"p:low" => event.priority = Priority::Low,
            [b's', b':', source @ ..] => event.source_type = String::from_utf8_lossy(source),
            b"t:info" => event.alert_type = AlertType::Info,
            b"t:success" => event.alert_type = AlertType::Success,
            b"t:warning" => event.alert_type = AlertType::Warning,
            b"t:error" => event.alert_type = AlertType::Error,
            [b'#', tags @ ..] => event.tags = tags,
            _ => {}
        }
    }
    Ok(event)
}

/// Two lengths with a comma between them.
fn pair(lengths: &[u8]) -> Option<(usize, usize)> {
    let (title, text) = cut_at(lengths, b',');
    let length = |digits: &[u8]| number::integer(digits).and_then(|length| usize::try_from(length).ok());
    Some((length(title)?, length(text?)?))
}

/// The result of a check that `line` is.
pub fn check(line: &[u8]) -> Result<ServiceCheck<'_>, LineError> {
    let (name, behind) = line.strip_prefix(b"_sc|").map_or((&b""[..], None), |fields| cut_at(fields, b'|'));
    let behind = behind.filter(|_| !name.is_empty()).ok_or(LineError::CheckFields)?;
    let (status, mut fields) = cut_at(behind, b'|');
    let status = match status {
        [digit @ b'0'..=b'3'] => digit - b'0',
        _ => return Err(LineError::CheckStatus),
    };
    let mut check = ServiceCheck { name: String::from_utf8_lossy(name), status, ..ServiceCheck::default() };
    while let Some(behind) = fields {
        let field;
        (field, fields) = cut_at(behind, b'|');
        match field {
            [b'd', b':', seconds @ ..] => check.timestamp = number::integer(seconds).or(check.timestamp),
            [b'h', b':', host @ ..] => check.host = String::from_utf8_lossy(host),
            [b'm', b':', message @ ..] => check.message = without_escapes(lines(message)),
            [b'#', tags @ ..] => check.tags = tags,
            _ => {}
        }
    }
    Ok(check)
}

/// With line feeds where two characters stand for one.
fn lines(text: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(text) {
        text if text.contains("\\n") => text.replace("\\n", "\n").into(),
        text => text,
    }
}

fn without_escapes(message: Cow<'_, str>) -> Cow<'_, str> {
    if message.contains("m\\:") { message.replace("m\\:", "m:").into() } else { message }
}
