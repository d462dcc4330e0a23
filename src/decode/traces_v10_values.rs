//! The texts and values of `/v1.0/traces`, for the reader in `traces_v10`: texts by number, attributes of any type as texts.
//!
//! Arrays and lists become JSON text, as the reference agent does with what OTLP sends. It is cut at about 25,000 bytes, and a tag's
//! value would be anyway: a text can be named any number of times, so that a small request could stand for much JSON.

use crate::decode::DecodeError;
use crate::decode::msgpack::DEPTH_MAX;
use crate::decode::traces_v10::Payload;
use crate::model::trace::Text;

/// Arrays and lists are written as JSON of at most about this size: longer tags are cut at it anyway.
const JSON_BYTES_MAX: usize = 25_000;

impl Payload<'_, '_> {
    /// How many groups of `size` elements an attribute array has.
    pub(super) fn groups(&mut self, what: &'static str, size: u32) -> Result<u32, DecodeError> {
        let count = self.reader.array_len()?;
        match count % size {
            0 => Ok(count / size),
            _ => Err(DecodeError::Length { what, count: u64::from(count), wanted: u64::from(count.next_multiple_of(size)) }),
        }
    }

    pub(super) fn triplets(&mut self) -> Result<u32, DecodeError> {
        self.groups("elements of attributes", 3)
    }

    /// A value of any type as a text.
    pub(super) fn as_text(&mut self, kind: u64) -> Result<Text, DecodeError> {
        match kind {
            1 => self.text(),
            2 => Ok(if self.reader.bool()? { self.words.yes } else { self.words.no }),
            5 => {
                let range = self.reader.str()?;
                self.arena.text(self.reader.input(), range)
            }
            kind => {
                let mut json = String::new();
                self.json(kind, DEPTH_MAX, &mut json)?;
                self.arena.make(json.as_bytes())
            }
        }
    }

    /// Appends a value of any type as JSON, unless there is much already: a text can be named any number of times.
    fn json(&mut self, kind: u64, levels: u32, out: &mut String) -> Result<(), DecodeError> {
        let inner = levels.checked_sub(1).ok_or(DecodeError::TooDeep { max: DEPTH_MAX })?;
        if JSON_BYTES_MAX <= out.len() && !matches!(kind, 6 | 7) {
            // Stepped over and not written: a small request could otherwise keep a thread busy for seconds.
            return if kind == 1 { self.text().map(drop) } else { self.skip(inner) };
        }
        let value = match kind {
            1 | 2 | 5 => {
                let text = self.as_text(kind)?;
                let text = self.arena.payload().texts.bytes_beside(self.reader.input(), text);
                let text = String::from_utf8_lossy(&text[..text.len().min(JSON_BYTES_MAX)]);
                if kind == 2 { text.into_owned() } else { serde_json::Value::from(text).to_string() }
            }
            3 => serde_json::Value::from(self.reader.float()?).to_string(),
            4 => self.reader.signed()?.to_string(),
            6 => return self.json_array(inner, out),
            7 => return self.json_object(inner, out),
            _ => {
                self.skip(inner)?;
                "null".to_owned()
            }
        };
        if out.len() < JSON_BYTES_MAX {
            out.push_str(&value);
        }
        Ok(())
    }

    fn json_array(&mut self, levels: u32, out: &mut String) -> Result<(), DecodeError> {
        out.push('[');
        for index in 0..self.groups("elements of an array", 2)? {
            separate(index, out);
            let kind = self.reader.unsigned()?;
            self.json(kind, levels, out)?;
        }
        out.push(']');
        Ok(())
    }

    fn json_object(&mut self, levels: u32, out: &mut String) -> Result<(), DecodeError> {
        out.push('{');
        for index in 0..self.triplets()? {
            separate(index, out);
            self.json(1, levels, out)?;
            separate_key(out);
            let kind = self.reader.unsigned()?;
            self.json(kind, levels, out)?;
        }
        out.push('}');
        Ok(())
    }

    /// A text, inline or by its number.
    pub(super) fn text(&mut self) -> Result<Text, DecodeError> {
        match self.reader.peek() {
            Some(0xa0..=0xbf | 0xd9..=0xdb | 0xc4..=0xc6) => {
                let range = self.reader.str()?;
                let text = self.arena.text(self.reader.input(), range)?;
                self.number(text)?;
                Ok(text)
            }
            _ => {
                let index = self.reader.unsigned()?;
                let found = usize::try_from(index).ok().and_then(|index| self.table.get(index));
                found.copied().ok_or(DecodeError::Index { index, len: self.table.len() })
            }
        }
    }

    pub(super) fn number(&mut self, text: Text) -> Result<(), DecodeError> {
        self.arena.memory().push(&mut self.table, text)
    }

    /// Steps over a value, but for the texts in it, which have numbers too.
    pub(super) fn skip(&mut self, levels: u32) -> Result<(), DecodeError> {
        let elements = match self.reader.peek() {
            Some(0xa0..=0xbf | 0xd9..=0xdb) => return self.text().map(drop),
            Some(0x90..=0x9f | 0xdc | 0xdd) => u64::from(self.reader.array_len()?),
            Some(0x80..=0x8f | 0xde | 0xdf) => 2 * u64::from(self.reader.map_len()?),
            _ => return self.reader.skip(),
        };
        let inner = levels.checked_sub(1).ok_or(DecodeError::TooDeep { max: DEPTH_MAX })?;
        (0..elements).try_for_each(|_| self.skip(inner))
    }
}

fn separate(index: u32, out: &mut String) {
    if 0 < index && out.len() < JSON_BYTES_MAX {
        out.push(',');
    }
}

fn separate_key(out: &mut String) {
    if out.len() < JSON_BYTES_MAX {
        out.push(':');
    }
}
